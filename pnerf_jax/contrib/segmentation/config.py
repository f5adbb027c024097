"""The config of a PSPNet's run: one dataclass per group."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from pnerf_jax.config import spec
from pnerf_jax.config.spec import (
  INTS,
  PATH,
  PATHS,
  TEXT,
  TEXTS,
  WEIGHT,
  choice,
  declare,
  float_range,
  int_range,
)
from pnerf_jax.errors import InputError

_SIDE = int_range(16, 65536)
_SCALE = float_range(0, 100, exclusive=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """The labelled images."""

  roots: str = declare(
    '.', PATHS, 'datasets with data_2d_semantics, separated by commas; may contain *', free=True
  )
  sequence: str = declare('', TEXT, "the drive, e.g. 2013_05_28_drive_0000_sync; '' = all")
  cameras: tuple[str, ...] = declare(('image_00', 'image_01'), TEXTS, 'cameras of the images')
  frames: tuple[int, ...] = declare((), INTS, 'frames to train on; () = all that have labels')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """The network."""

  width: int = declare(64, int_range(1, 4096), 'channels of the first stage; the last has 8 times')
  blocks: int = declare(2, int_range(1, 64), 'residual blocks of each of the four stages')
  stride: int = declare(8, choice(4, 8), 'pixels between the last features')
  init_from: str = declare('', PATH, "run, or its pspnet.npz, of the initial weights; '' = none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
  """The loss."""

  auxiliary: float = declare(0.4, WEIGHT, 'weight of the auxiliary head')


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
  """AdamW and its schedule."""

  learning_rate: float = declare(
    1e-3, float_range(0, 1e38, exclusive=True), 'learning rate after the warm-up'
  )
  poly_power: float = declare(0.9, float_range(0, 100), 'power of the polynomial schedule')
  warmup_steps: int = declare(50, int_range(0), 'steps of linear warm-up')
  weight_decay: float = declare(1e-2, WEIGHT, 'decay of the weights')


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """Length, batch and intervals of training."""

  steps: int = declare(40000, int_range(1), 'optimiser steps of the run')
  batch_size: int = declare(16, int_range(1), 'crops per step')
  crop_height: int = declare(376, _SIDE, 'pixels')
  crop_width: int = declare(512, _SIDE, 'pixels')
  scale_low: float = declare(0.5, _SCALE, 'smallest random scale of an image')
  scale_high: float = declare(2.0, _SCALE, 'largest random scale of an image')
  seed: int = declare(0, int_range(0), 'seed of parameters and crops')
  log_every: int = declare(100, int_range(1), 'steps between log lines', free=True)
  checkpoint_every: int = declare(1000, int_range(1), 'steps between checkpoints', free=True)
  preview_every: int = declare(2500, int_range(1), 'steps between previews and RUN/pspnet.npz')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """The config of a PSPNet's run."""

  data: DataConfig
  model: ModelConfig
  loss: LossConfig
  optim: OptimConfig
  train: TrainConfig


def default_config() -> ml_collections.ConfigDict:
  """Return the default config, mutable."""
  return spec.defaults(Config)


def parse_config(config: Config | Mapping[str, Any]) -> Config:
  """Check a config and return it typed.

  Args:
    config: groups of fields.

  Raises:
    InputError: a field is unknown, absent, of the wrong type, out of range, or contradicts another.
  """
  parsed = spec.parse(Config, config, example='configs/pspnet.py')
  train = parsed.train
  if train.scale_low > train.scale_high:
    raise InputError(
      f'config.train.scale_low: {train.scale_low} is above config.train.scale_high'
      f' ({train.scale_high}). Lower it.'
    )
  return parsed
