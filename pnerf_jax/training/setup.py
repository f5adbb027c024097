"""From a config to everything that a run needs: scene, field, options, table of rays.

Letters: V views, N rays of the window, K intervals of a ray, C classes present.
"""

import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.distributed import processes, sharding
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.errors import SharedInputError
from pnerf_jax.geometry import cameras
from pnerf_jax.label_noise import transition
from pnerf_jax.rendering.rays import RenderOptions
from pnerf_jax.runs.experiment import Experiment
from pnerf_jax.training import interval_cache, losses, ray_table
from pnerf_jax.training import train_state as states
from pnerf_jax.training.step import LossOptions, make_train_steps

_LOG = logging.getLogger(__name__)

LOSS_TERMS = ('rgb', 'depth', 'fixed', 'semantic_2d', 'semantic_3d')


def train_options(model: Any, finish: bool = False) -> RenderOptions:
  """Options of rendering in training from `config.model`, before the finish of a run or in it.

  Labels have put things in their places by then, but are too wide: in the finish they shape no
  density any more (so that L_fix asks nothing), and the photo says where edges are.
  """
  return RenderOptions(
    model.num_samples,
    model.num_coarse_samples,
    model.uniform_fraction,
    model.per_interval_fraction,
    model.mask_semantics,
    semantics_grad_to_density=not finish,
  )


def make_optimizer(config: ml_collections.ConfigDict) -> states.Optimizer:
  """The optimiser of `config.optim` over `config.train.steps`."""
  optim = config.optim
  return states.make_optimizer(
    optim.learning_rate,
    optim.final_lr_fraction,
    config.train.steps,
    optim.warmup_steps,
    optim.adam_eps,
  )


def loss_options(loss: Any, class_ids: tuple[int, ...], finish: bool = False) -> LossOptions:
  """Options of the loss from `config.loss`, before the finish of a run or in it.

  class_ids: the C ids present.
  """
  weights = {name: float(loss[name]) for name in LOSS_TERMS}
  if finish:  # these two are fat at edges, unlike the photo
    weights['depth'] *= loss.refine_depth_scale
    weights['semantic_2d'] *= loss.refine_semantic_2d_scale
  acts = tuple(column for column, i in enumerate(class_ids) if i in loss.depth_classes)
  return LossOptions(
    weights=tuple(weights.items()),
    depth_loss=loss.depth_loss,
    depth_max=loss.depth_max,
    depth_columns=acts if loss.depth_classes else None,
    depth_sigma=loss.depth_sigma,
    depth_outlier_prob=loss.depth_outlier_prob,
    transition_prior_mass=loss.transition_prior_mass,
    uniform_label_noise=loss.uniform_label_noise,
    transition_warmup_steps=loss.transition_warmup_steps,
    posterior_weight_warmup=loss.posterior_weight_warmup,
    posterior_weight=loss.posterior_weight,
    transition_ema_rate=loss.transition_ema_rate if loss.label_noise == 'estimated' else 0.0,
    mask_unsupported_labels=loss.mask_unsupported_labels,
  )


def make_steps(
  run: Experiment, optimizer: states.Optimizer, steps: int, finish: bool = False
) -> Callable[..., Any]:
  """step.make_dispatch of a run: `steps` optimiser steps a call, before its finish or of it."""
  train, loss = run.config.train, run.config.loss
  return make_train_steps(
    run.module,
    optimizer,
    train_options(run.config.model, finish),
    loss_options(loss, run.scene.class_ids, finish),
    run.mesh,
    train.batch_rays,
    train.refine_supersampling if finish else 1,
    train.importance_fraction,
    steps,
  )


def refinement_start(train: Any) -> int:
  """The step at which the finish of a run begins, a multiple of train.steps_per_call.

  train: config.train.
  """
  calls = train.steps // train.steps_per_call
  return (calls - round(train.refine_fraction * calls)) * train.steps_per_call


def make_ray_table(run: Experiment, folder: pathlib.Path | None = None) -> ray_table.RayTable:
  """Intervals of all training views and their supervision, as one table on the devices.

  Each process intersects its share of the views; the whole table is on every device, since every
  device draws its rays of a step from all of the window.

  Args:
    run: of set_up.
    folder: where the intervals are kept between calls; None makes them anew.
  """
  scene, window = run.scene, run.scene.window
  start = time.perf_counter()
  intervals, moving = jax.tree.map(
    processes.all_gather_rows,
    interval_cache.of_views(
      scene,
      processes.process_shard().range_of(len(window.view_frame)),
      run.config.scene.max_intervals_per_ray,
      folder,
    ),
  )
  usable = ~moving & window.within().ravel()
  _LOG.info(
    'intervals of %d rays in %.1f s; rays left out because of moving objects: %d; '
    'rays whose table overflowed: %d (intervals dropped: %d)',
    len(usable),
    time.perf_counter() - start,
    int(moving.sum()),
    int(np.sum(intervals.num_truncated > 0)),
    int(np.sum(intervals.num_truncated)),
  )
  if not usable.any():
    raise SharedInputError(
      f'{window.sequence}: every ray of the window passes a moving object. '
      'Choose other frames with --config.data.start.'
    )
  count = len(usable)
  absent = lambda dtype: jnp.zeros(count, dtype)
  label, confidence, depth = window.pseudo_label, window.pseudo_confidence, window.pseudo_depth
  table = ray_table.RayTable(
    rgb=jnp.asarray(window.rgb.reshape(-1, 3)),
    label=absent(jnp.uint8) if label is None else jnp.asarray(label.ravel()),
    label_weight=(
      jnp.ones(count) if confidence is None else jnp.asarray(confidence.ravel(), jnp.float32)
    ),
    depth=absent(jnp.float32) if depth is None else jnp.asarray(depth.ravel()),
    intervals=jax.tree.map(jnp.asarray, intervals),
    world_from_cam=jnp.asarray(window.world_from_cam, jnp.float32),
    intrinsics=jnp.asarray(window.intrinsics, jnp.float32),
    uniform=jnp.asarray(np.flatnonzero(usable).astype(np.int32)),
    focused=jnp.asarray(
      ray_table.importance_pixels(
        intervals.primitive, usable, len(window.view_frame), run.config.train.seed
      )
    ),
    width=window.width,
    height=window.height,
  )
  return sharding.replicate(table, run.mesh)


def _count_words(run: Experiment, table: ray_table.RayTable) -> np.ndarray:
  """words.count of all views together, [C + 1, 45]. Args: of make_words."""
  loss, scene, window = run.config.loss, run.scene, run.scene.window
  views, size = len(window.view_frame), (window.height, window.width)
  usable = np.zeros(len(table.label), bool)
  usable[np.asarray(table.uniform)] = True
  label = np.where(usable, np.asarray(table.label), 0).reshape(views, *size)
  # Where the recipe does without stereo depth, so do the words.
  planar = np.asarray(table.depth) * (loss.depth > 0)
  planar = np.where(planar < loss.depth_max, planar, 0.0).reshape(views, *size)
  of_view = lambda x: x.reshape(views, *size, *x.shape[1:])
  intervals = jax.tree.map(of_view, jax.device_get(table.intervals))
  semantic = np.asarray(scene.primitives.semantic)
  grid = cameras.pixel_grid(window.width, window.height)

  def count_view(view: int) -> np.ndarray:
    """words.count of one view."""
    rays = cameras.pixel_rays(
      window.intrinsics[view], window.world_from_cam[view], grid, np.int32(view)
    )
    depth = planar[view] / np.asarray(rays.depth_per_t)
    return transition.count_anchor_labels(
      intervals.primitive[view],
      intervals.enter[view],
      intervals.exit[view],
      depth,
      losses.depth_tolerance(depth, loss.depth_sigma),
      label[view],
      semantic,
      scene.class_ids,
    )

  return sum(map_threads(count_view, range(views)))


def make_words(run: Experiment, table: ray_table.RayTable) -> losses.LabelNoise:
  """What the window's classes are called by its pseudo labels, replicated on the devices.

  Args:
    run: of set_up.
    table: of make_ray_table; rays that it leaves out are not counted.
  """
  loss, class_ids = run.config.loss, run.scene.class_ids
  if loss.label_noise == 'estimated':
    counts = _count_words(run, table)
    called = transition.estimate_transition(
      counts, class_ids, loss.transition_prior_mass * counts.sum(), loss.uniform_label_noise
    )
    trust = transition.label_reliability(counts, class_ids)
    _LOG.info('the pseudo labels are trusted to %.2f', trust)
  else:
    called = transition.transition_from_label_sets(
      class_ids, loss.label_noise == 'merged', loss.uniform_label_noise
    )
    trust = 1.0
  anything = called.max(axis=0) > 0
  found = losses.LabelNoise(
    jnp.asarray(called),
    jnp.asarray(anything / anything.sum(), jnp.float32),
    jnp.asarray(labels.compatibility_matrix(class_ids, loss.label_noise == 'merged')),
    jnp.asarray(transition.class_prior(run.scene.window.boxes, class_ids)),
    jnp.asarray(trust, jnp.float32),
  )
  return sharding.replicate(found, run.mesh)
