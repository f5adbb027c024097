"""Label transfer on your own cameras: a transforms.json and primitives (docs/data_custom.md).

    python -m pnerf_jax.train --config=configs/transforms.py:cpu --config.data.root=DATA \\
        --workdir=RUN [--config.scene.unannotated_space=void]

Variants and training times are those of configs/kitti360.py.
"""

import ml_collections

from configs import kitti360


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """Return a variant of configs/kitti360.py for all cameras of a transforms.json."""
  config = kitti360.get_config(variant)
  config.data.source = 'transforms'
  config.data.cameras = ()
  return config
