"""The config of a field's run: one dataclass per group, grouped by consumer.

Whatever can only be checked against files (config.data.cameras, config.data.primitives) is checked
where the files are read; here such a field need only be of the right type.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from pnerf_jax.config import spec
from pnerf_jax.config.spec import (
  FLAG,
  FRACTION,
  INTS,
  LENGTH,
  MAX_INT,
  MAX_LENGTH,
  PATH,
  TEXT,
  TEXTS,
  WEIGHT,
  choice,
  coordinates,
  declare,
  float_range,
  int_range,
)
from pnerf_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """The dataset and the window of it."""

  root: str = declare('.', PATH, "the dataset's folder", free=True)
  source: str = declare(
    'folder',
    choice('folder', 'transforms', 'tfds'),
    "KITTI-360's layout, a folder with a transforms.json, or a packed window",
    free=True,
  )
  derived_root: str = declare(
    '',
    PATH,
    'folder of pseudo-labels, their confidence and pseudo depth; files that it lacks are read from'
    " config.data.root; '' = config.data.root",
    free=True,
  )
  sequence: str = declare('', TEXT, "the drive, e.g. 2013_05_28_drive_0000_sync; '' = the only one")
  start: int = declare(-1, int_range(-1), 'first frame; -1 = the first with an image and a pose')
  frames: int = declare(
    64, int_range(1), 'number of frames from start on that have a pose and all images'
  )
  cameras: tuple[str, ...] = declare(
    ('image_00', 'image_01'), TEXTS, 'cameras of the window; with transforms, () = all'
  )
  primitives: str = declare(
    'auto',
    TEXT,
    'primitive files: train, train_full, union, none; auto = train_full if present, else train',
  )
  image_scale: float = declare(
    0.0, FRACTION, 'scale of training images; 0 = the largest of 1, 1/2, 1/4 within max_width'
  )
  max_width: int = declare(704, int_range(8), 'pixels; limits the automatic image_scale')
  pixel_origin: str = declare(
    'center',
    choice('center', 'corner'),
    'point that scaling of images keeps: the corner of the image (integer coordinates are pixel'
    " centres), or, as in the paper's program, the centre of its first pixel",
  )
  eval_frames: tuple[int, ...] = declare(
    (), INTS, 'frames to evaluate; () = all with ground truth, or all if none has any', free=True
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneConfig:
  """The volume that is modelled."""

  unannotated_space: str = declare(
    'empty',
    choice('empty', 'void'),
    'space outside all primitives: empty, or void (may hold geometry; partial annotations)',
  )
  center: tuple[float, ...] = declare(
    (), coordinates(0, 3), "origin in the dataset's world, metres; () = the mean camera position"
  )
  bounds: tuple[float, ...] = declare(
    (), coordinates(0, 6), 'x, y, z low, then high, of the sampled box, metres; () = derived'
  )
  near: float = declare(0.3, LENGTH, 'start of the rays, metres')
  far: float = declare(
    0.0, float_range(0, MAX_LENGTH), 'end of the rays, metres; 0 = derived from the primitives'
  )
  annotation_margin_frames: int = declare(
    150, int_range(0), "frames by which a primitive's annotated range may miss the window"
  )
  max_intervals_per_ray: int = declare(
    16, int_range(1, 1024), 'K, primitive intervals kept per ray'
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """The field and its sampling."""

  field: str = declare(
    'hash_grid', choice('hash_grid', 'paper'), "hash grid with small MLPs, or the paper's network"
  )
  num_samples: int = declare(24, int_range(1, 65536), 'samples per ray in training')
  num_render_samples: int = declare(48, int_range(1, 65536), 'samples per ray at inference')
  num_coarse_samples: int = declare(
    24, int_range(0, 65536), 'density-only samples of the coarse pass; 0 = no coarse pass'
  )
  uniform_fraction: float = declare(
    0.3, FRACTION, 'fraction of fine samples drawn uniformly, ignoring the coarse weights'
  )
  per_interval_fraction: float = declare(
    0.5, FRACTION, 'fraction of coarse samples allocated evenly to the intervals of a ray'
  )
  mask_semantics: bool = declare(
    True, FLAG, "restrict the softmax of a sample to its primitives' classes"
  )
  grid_levels: int = declare(9, int_range(1, 64), 'levels of the hash grid')
  grid_features: int = declare(4, int_range(1, 1024), 'features per level')
  log2_hashmap_size: int = declare(19, int_range(1, 30), 'log2 of the largest table of a level')
  grid_max_cell: float = declare(4.0, LENGTH, 'cell size of the coarsest level, metres')
  grid_min_cell: float = declare(0.03, LENGTH, 'cell size of the finest level, metres')
  hidden_dim: int = declare(64, int_range(1, 65536), 'width of the MLPs of the hash-grid field')
  appearance_embed_dim: int = declare(
    8, int_range(0, 65536), 'size of the per-image appearance embedding; 0 = none'
  )
  density_bias: float = declare(-1.0, float_range(-100, 100), 'initial raw density')
  compute_dtype: str = declare(
    'bfloat16', choice('float32', 'bfloat16'), 'operand type of the matrix products'
  )


LOSS_FORMS = ('default', 'paper', 'paper_before_2022_12')
LOSS_TERMS = ('rgb', 'depth', 'semantic_2d_fixed', 'semantic_2d', 'semantic_3d')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
  """Weights and settings of the loss terms."""

  form: str = declare(
    'default',
    choice(*LOSS_FORMS),
    "this project's losses, or those of the paper's program, today's or before December 2022, with"
    ' its quadrature and its rules of labels',
  )
  label_cameras: tuple[str, ...] = declare(
    (), TEXTS, 'cameras whose pseudo-labels and stereo depth are used; () = all'
  )
  rgb: float = declare(1.0, WEIGHT, 'weight of the squared colour error')
  depth: float = declare(3e-4, WEIGHT, 'weight of the stereo depth loss')
  semantic_2d_fixed: float = declare(
    3e-4, WEIGHT, 'weight of L_fix: rendered fixed semantics against pseudo-labels'
  )
  semantic_2d: float = declare(
    1e-3,
    WEIGHT,
    'weight of L_2D: rendered learned semantics against pseudo-labels; scaled by their reliability',
  )
  semantic_3d: float = declare(
    1e-4, WEIGHT, 'weight of L_3D: learned semantics of samples against fixed semantics'
  )
  depth_loss: str = declare(
    'mixture', choice('mixture', 'huber'), 'likelihood with outliers, or Huber loss of mean depth'
  )
  depth_max: float = declare(100.0, LENGTH, 'largest stereo depth used, metres')
  depth_classes: tuple[int, ...] = declare(
    (), INTS, 'ids; the depth loss is restricted to rays that intersect these; () = all rays'
  )
  depth_sigma: float = declare(
    0.2, LENGTH, 'stereo error scale; the tolerance is sigma * (0.3 + (z / 10)^2), metres'
  )
  depth_outlier_prob: float = declare(0.05, FRACTION, 'probability that a stereo depth is wrong')
  label_noise: str = declare(
    'estimated',
    choice('estimated', 'label_sets'),
    'transition matrix: estimated, or from fixed label sets',
  )
  transition_prior_mass: float = declare(
    1e-4, WEIGHT, 'prior mass of the initial transition matrix, as a fraction of all pixels'
  )
  transition_ema_rate: float = declare(
    0.005, FRACTION, 'rate of the moving average of label counts, per step'
  )
  transition_warmup_steps: int = declare(
    400, int_range(0), 'steps before label counts are accumulated'
  )
  uniform_label_noise: float = declare(
    0.05, FRACTION, 'probability of a label that is independent of the class'
  )
  posterior_weight_warmup: float = declare(
    1.0, WEIGHT, 'weight of the posterior cross-entropy within L_2D during the warm-up'
  )
  posterior_weight: float = declare(0.3, WEIGHT, 'weight of the same after the warm-up')
  refine_depth_scale: float = declare(
    0.1, FRACTION, 'scale of the depth weight in the refinement stage'
  )
  refine_semantic_2d_scale: float = declare(
    0.3, FRACTION, 'scale of the L_2D weight in the refinement stage'
  )
  mask_unsupported_labels: bool = declare(
    True, FLAG, 'mask L_2D by u(r): labels that no primitive on the ray supports'
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
  """Adam and its schedule."""

  learning_rate: float = declare(
    1e-2, float_range(0, 1e38, exclusive=True), 'learning rate after the warm-up'
  )
  final_lr_fraction: float = declare(
    0.05, float_range(0, 1, exclusive=True), 'last learning rate as a fraction of the first'
  )
  warmup_steps: int = declare(50, int_range(0), 'steps of linear warm-up')
  decay_every: int = declare(
    1, int_range(1), 'steps between two values of the decaying learning rate'
  )
  clip_value: float = declare(
    0.0,
    WEIGHT,
    'largest absolute component of gradients, others are clipped; 0 = no clipping',
  )
  adam_b2: float = declare(
    0.99, float_range(0, 1, exclusive=True), "decay rate of Adam's second moment"
  )
  adam_eps: float = declare(
    1e-15, float_range(0, 1, exclusive=True), "Adam's epsilon; small for sparse hash-grid gradients"
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """Length, batch and intervals of training."""

  steps: int = declare(10000, int_range(1), 'optimiser steps of the run')
  batch_rays: int = declare(8192, int_range(1), 'rays per step')
  rays_from: str = declare(
    'window',
    choice('window', 'image'),
    'rays of a step: of the whole window, or of one image, without replacement',
  )
  importance_fraction: float = declare(
    0.5, FRACTION, 'fraction of rays importance-sampled towards small primitives'
  )
  refine_fraction: float = declare(
    0.5, FRACTION, 'last fraction of the steps: supersampled, semantics do not move density'
  )
  refine_supersampling: int = declare(
    2, int_range(1, 16), 'rays per pixel side in the refinement stage'
  )
  seed: int = declare(0, int_range(0, MAX_INT - 1), 'seed of parameters, batches and noise')
  steps_per_call: int = declare(10, int_range(1), 'steps per call of the jitted train step')
  log_every: int = declare(100, int_range(1), 'steps between log lines', free=True)
  checkpoint_every: int = declare(1000, int_range(1), 'steps between checkpoints', free=True)
  preview_every: int = declare(2500, int_range(1), 'steps between preview images', free=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
  """Inference and evaluation."""

  camera: str = declare('', TEXT, "camera to evaluate; '' = the first of data.cameras", free=True)
  chunk_rays: int = declare(8192, int_range(1), 'rays per chunk of a rendered image', free=True)
  num_panels: int = declare(8, int_range(0), 'frames with a picture in the report', free=True)
  label_field: str = declare(
    'learned', choice('learned', 'fixed'), 'semantic field that gives the labels', free=True
  )
  confidence_coefficients: tuple[float, ...] = declare(
    (0.11, 0.525, 0.133, 0.708, 0.148, 0.881),
    spec.sequence_of(
      float_range(-1e38, 1e38), '6 numbers, as printed by launch/calibrate.py', (6,)
    ),
    'bias, learned, fixed, label agreement, boundary distance, imputed agreement',
    free=True,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """The config of a field's run."""

  data: DataConfig
  scene: SceneConfig
  model: ModelConfig
  loss: LossConfig
  optim: OptimConfig
  train: TrainConfig
  eval: EvalConfig


def default_config() -> ml_collections.ConfigDict:
  """Return the default config, mutable."""
  return spec.defaults(Config)


def parse_config(config: Config | Mapping[str, Any], source: str = '') -> Config:
  """Check a config, field by field and across fields, and return it typed.

  Args:
    config: groups of fields.
    source: 'FILE: ' if the config was read from a file.

  Raises:
    InputError: a field is unknown, absent, of the wrong type, out of range, or contradicts another.
  """
  parsed = spec.parse(Config, config, source)
  _check_train(parsed.train, source)
  _check_loss(parsed.loss, source)
  _check_paper_form(parsed, source)
  _check_volume(parsed.scene, parsed.model, source)
  return parsed


def _check_train(train: TrainConfig, source: str) -> None:
  for name in ('steps', 'log_every', 'checkpoint_every', 'preview_every'):
    if getattr(train, name) % train.steps_per_call:
      raise InputError(
        f'{source}config.train.{name}: {getattr(train, name)} is not a multiple of'
        f' config.train.steps_per_call ({train.steps_per_call}). Make it one.'
      )
  rays_per_pixel = train.refine_supersampling**2
  if train.refine_fraction and train.batch_rays % rays_per_pixel:
    raise InputError(
      f'{source}config.train.batch_rays: {train.batch_rays} are not whole pixels of'
      f' config.train.refine_supersampling ({train.refine_supersampling}) squared. Make it a'
      f' multiple of {rays_per_pixel}.'
    )


def _check_loss(loss: LossConfig, source: str) -> None:
  weights = {name: getattr(loss, name) for name in LOSS_TERMS}
  if not any(weights.values()):
    raise InputError(
      f'{source}config.loss: the weights of all terms ({", ".join(weights)}) are 0, so nothing'
      ' would be trained. Set --config.loss.rgb=1.'
    )


def _check_paper_form(config: Config, source: str) -> None:
  """Raise InputError if the fields that the forms of the paper depend on contradict them."""
  if config.train.rays_from == 'image' and config.train.importance_fraction:
    raise InputError(
      f'{source}config.train.importance_fraction: {config.train.importance_fraction}, but'
      " config.train.rays_from='image' draws uniformly. Set --config.train.importance_fraction=0."
    )
  if config.loss.form == 'default':
    return
  slots = config.scene.max_intervals_per_ray
  needed = {
    'model.field': (config.model.field == 'paper', config.model.field, "'paper'"),
    'train.refine_fraction': (
      not config.train.refine_fraction,
      config.train.refine_fraction,
      '0, since it has one stage',
    ),
    'scene.unannotated_space': (
      config.scene.unannotated_space == 'empty',
      config.scene.unannotated_space,
      "'empty'",
    ),
    **{
      f'model.{name}': (
        getattr(config.model, name) > 2 * slots,
        getattr(config.model, name),
        f'more than 2 * config.scene.max_intervals_per_ray = {2 * slots}',
      )
      for name in ('num_samples', 'num_render_samples')
    },
  }
  for name, (is_right, value, needs) in needed.items():
    if not is_right:
      raise InputError(
        f'{source}config.{name}: {value!r}, but config.loss.form={config.loss.form!r} needs'
        f' {needs}. Set it, or use --config=configs/kitti360.py:paper.'
      )


def _check_volume(scene: SceneConfig, model: ModelConfig, source: str) -> None:
  if scene.far and not scene.near < scene.far:
    raise InputError(
      f'{source}config.scene.near: {scene.near} is not below config.scene.far ({scene.far}).'
      ' Lower it.'
    )
  if scene.bounds and not all(
    low < high for low, high in zip(scene.bounds[:3], scene.bounds[3:], strict=True)
  ):
    raise InputError(
      f'{source}config.scene.bounds: {scene.bounds} is not x, y, z low, then high.'
      ' Put the lower corner first.'
    )
  if model.grid_min_cell > model.grid_max_cell:
    raise InputError(
      f'{source}config.model.grid_min_cell: {model.grid_min_cell} is above config.model.'
      f'grid_max_cell ({model.grid_max_cell}). Lower it.'
    )
