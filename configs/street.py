"""The demo: a synthetic street (python -m pnerf_jax.street) trained in a few minutes on 2 cores.

python -m pnerf_jax.street --out=runs/demo/street
python -m pnerf_jax.train --config=configs/street.py --workdir=runs/demo/run
"""

import ml_collections

from configs import kitti360


def get_config(variant: str = 'cpu') -> ml_collections.ConfigDict:
  """The config of a variant of configs/kitti360.py on the demo's street."""
  config = kitti360.get_config(variant)
  config.data.root = 'runs/demo/street'
  if variant == 'cpu':
    config.train.steps = 5000  # the whole demo, installation included, within ten minutes
  return config
