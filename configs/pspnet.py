"""A PSPNet that predicts pseudo-labels, trained on datasets with labelled images.

    python -m pnerf_jax.pspnet --config=configs/pspnet.py --workdir=RUN \\
        --config.data.roots=DATA1,DATA2

Variants, after a colon: `street` (images about 350 pixels wide, the default size of
python -m pnerf_jax.street; minutes on one core), `tiny` (seconds, for tests).
"""

import ml_collections

from pnerf_jax.contrib.segmentation.config import default_config
from pnerf_jax.errors import InputError


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """Return the config of a variant: 'default', 'street' or 'tiny'."""
  config = default_config()
  model, train = config.model, config.train
  if variant in ('street', 'tiny'):
    model.width = 16
    train.batch_size = 4
    train.crop_height = 94
    train.crop_width = 176
    train.scale_low = 0.75
    train.scale_high = 1.5
    train.steps = 2400
    train.checkpoint_every = 200
    train.preview_every = 600
  if variant == 'tiny':
    model.width = 4
    model.blocks = 1
    train.crop_height = 16
    train.crop_width = 24
    train.steps = 4
    train.log_every = 2
    train.checkpoint_every = 2
    train.preview_every = 4
  if variant not in ('default', 'street', 'tiny'):
    raise InputError(
      f'--config=configs/pspnet.py:{variant}: no such variant. Use default, street or tiny.'
    )
  return config
