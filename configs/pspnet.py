"""A PSPNet for pseudo labels, trained on any roots that have labelled photos.

    python -m pnerf_jax.pspnet --config=configs/pspnet.py --workdir=RUN \\
        --config.data.roots=DATA1,DATA2

Variants, after a colon: `street` (photos of some 350 pixels' width, as streets of our generator
have; minutes on one core), `tiny` (seconds, for tests).
"""
import ml_collections


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """The config of a variant: 'default', 'street' or 'tiny'."""
  config = ml_collections.ConfigDict()

  data = config.data = ml_collections.ConfigDict()
  data.roots = '.'  # datasets with data_2d_semantics, separated by commas; may have * in them
  data.sequence = ''  # e.g. 2013_05_28_drive_0000_sync; '' = all
  data.cameras = ('image_00', 'image_01')  # whose photos
  data.frames = ()  # frames to train on, e.g. a few labelled ones; () = all that have labels

  model = config.model = ml_collections.ConfigDict()
  model.width = 64  # channels of the first stage; the last has eight times as many
  model.blocks = 2  # residual blocks of each of the four stages
  model.stride = 8  # pixels between the last features, 4 or 8
  model.start = ''  # run, or its pspnet.npz, whose weights training starts from; '' = none

  loss = config.loss = ml_collections.ConfigDict()
  loss.auxiliary = 0.4  # weight of the auxiliary head

  optim = config.optim = ml_collections.ConfigDict()
  optim.learning_rate = 1e-3  # AdamW's, after the warm-up
  optim.power = 0.9  # of the poly schedule
  optim.warmup = 50  # steps
  optim.decay = 1e-2  # of the weights

  train = config.train = ml_collections.ConfigDict()
  train.steps = 40000  # optimiser steps of the whole run
  train.crops = 16  # a step
  train.crop_height = 376  # pixels
  train.crop_width = 512  # pixels
  train.scale_low = 0.5  # of the photos, at least
  train.scale_high = 2.0  # of the photos, at most
  train.seed = 0  # of parameters and crops
  train.log_every = 100  # steps
  train.checkpoint_every = 1000  # steps
  train.preview_every = 2500  # steps; also when pspnet.npz is written

  if variant in ('street', 'tiny'):
    model.width = 16
    train.crops = 4
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
    raise ValueError(f'configs/pspnet.py:{variant}: no such variant. Use default, street or tiny.')
  return config
