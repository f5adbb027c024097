"""Label transfer on one KITTI-360 window.

    python -m pnerf_jax.train --config=configs/kitti360.py --workdir=RUN \\
        --config.data.root=KITTI360 --config.data.sequence=2013_05_28_drive_0000_sync \\
        --config.data.start=3353

Variants, after a colon: `cpu` (a few minutes on 2 cores), `paper` (the published program), `tiny`
(seconds, for tests). docs/configuration.md lists all fields with their defaults, ranges and
meaning.
"""

import ml_collections

from pnerf_jax.config.schema import default_config
from pnerf_jax.errors import InputError


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """Return the config of a variant: 'default', 'cpu', 'paper' or 'tiny'."""
  config = default_config()
  apply = {'default': lambda c: None, 'cpu': _cpu, 'paper': _paper, 'tiny': _tiny}
  if variant not in apply:
    hint = 'It is now called paper. ' if variant == 'published' else ''
    raise InputError(
      f'--config=configs/kitti360.py:{variant}: no such variant. {hint}Use one of {sorted(apply)}.'
    )
  apply[variant](config)
  return config


def _cpu(config: ml_collections.ConfigDict) -> None:
  """Fit training into a few minutes on two cores."""
  config.model.compute_dtype = 'float32'  # bfloat16 gains nothing in XLA's backward pass on CPU
  config.model.num_samples = config.model.num_coarse_samples = 16
  config.model.num_render_samples = 32
  config.model.grid_levels = 7
  config.model.log2_hashmap_size = 18
  config.eval.chunk_rays = 512
  config.train.batch_rays = 1024
  config.train.steps = 8000
  config.train.log_every = 50
  config.train.checkpoint_every = 500
  config.train.preview_every = 1000


def _paper(config: ml_collections.ConfigDict) -> None:
  """Use the network, losses, quadrature, schedule and labels of the paper's program."""
  config.data.image_scale = 0.5
  config.data.pixel_origin = 'corner'
  config.model.field = 'paper'
  config.model.compute_dtype = 'float32'
  config.model.num_samples = 148
  config.model.num_coarse_samples = 0
  config.model.num_render_samples = 148
  config.scene.max_intervals_per_ray = 10
  config.loss.form = 'paper'
  config.loss.label_cameras = ('image_00',)
  config.eval.chunk_rays = 2048
  config.loss.rgb = 1.0
  config.loss.depth = 0.1
  config.loss.semantic_2d_fixed = 0.01
  config.loss.semantic_2d = 0.01
  config.loss.semantic_3d = 0.01
  config.loss.depth_classes = (9, 12, 35)
  config.loss.label_noise = 'label_sets'
  config.optim.learning_rate = 5e-4
  config.optim.final_lr_fraction = 0.5
  config.optim.warmup_steps = 0
  config.optim.decay_every = 1000
  config.optim.clip_value = 40.0
  config.optim.adam_b2 = 0.999
  config.optim.adam_eps = 1e-8
  config.train.batch_rays = 2048
  config.train.steps = 80000
  config.train.rays_from = 'image'
  config.train.importance_fraction = 0.0
  config.train.refine_fraction = 0.0


def _tiny(config: ml_collections.ConfigDict) -> None:
  """Fit training into seconds, for tests."""
  _cpu(config)
  config.model.num_samples = config.model.num_coarse_samples = 8
  config.model.num_render_samples = 8
  config.model.grid_levels = 3
  config.model.log2_hashmap_size = 12
  config.model.hidden_dim = 16
  config.train.batch_rays = 64
  config.train.steps = 4
  config.train.steps_per_call = 2
  config.train.log_every = 2
  config.train.checkpoint_every = 2
  config.train.preview_every = 4
