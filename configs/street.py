"""The demo: label transfer on a synthetic street, about 10 minutes on two idle cores.

    python -m pnerf_jax.street --out=runs/demo/street
    python -m pnerf_jax.train --config=configs/street.py --workdir=runs/demo/run

The variants are those of configs/kitti360.py; the default is `cpu`, with fewer steps.
"""

import ml_collections

from configs import kitti360


def get_config(variant: str = 'cpu') -> ml_collections.ConfigDict:
  """Return a variant of configs/kitti360.py for the street of the demo."""
  config = kitti360.get_config(variant)
  config.data.root = 'runs/demo/street'
  if variant == 'cpu':
    config.train.steps = 5000
  return config
