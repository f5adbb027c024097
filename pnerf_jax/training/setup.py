"""From a config to everything that a run needs: scene, field, options, table of rays.

Letters: V views, N rays of the window, K intervals of a ray, C classes present.
"""
from collections.abc import Callable
import dataclasses
import json
import logging
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from pnerf_jax.data import batches, labels, words
from pnerf_jax.data.files import read_json, write_bytes
from pnerf_jax.data.threads import in_threads
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError, SharedInputError
from pnerf_jax.geometry import cameras
from pnerf_jax.rendering.rays import RenderOptions
from pnerf_jax.rendering.scene import Scene, init_params, make_field, make_scene
from pnerf_jax.training import checks, intersections, losses, processes, sharding
from pnerf_jax.training import state as states
from pnerf_jax.training.step import LossOptions, make_dispatch

_LOG = logging.getLogger(__name__)

_MAX_CONFIG = 2**20  # bytes
_WORDS_RATE = 0.005  # the moving average of what classes are called spans 200 steps
LOSS_TERMS = ('rgb', 'depth', 'fixed', 'semantic_2d', 'semantic_3d')


@dataclasses.dataclass(frozen=True)
class Run:
  """What train, eval and render share. mesh: ('data',). module: the field (linen)."""
  config: ml_collections.ConfigDict
  mesh: jax.sharding.Mesh
  scene: Scene
  module: Any


def set_up(config: ml_collections.ConfigDict) -> Run:
  """Loads the window and builds scene and field. Raises InputError for bad input."""
  mesh = sharding.make_mesh()
  with processes.together():
    checks.check(config, mesh.devices.size)
    window = load_window(config.data, config.scene, share=processes.share())
  for note in window.notes:
    _LOG.info('%s', note)
  scene = make_scene(window)
  _LOG.info(
      '%s: frames %d-%d, %d views of at most %dx%d, %d primitives, far %.0f m, classes %s',
      window.sequence, window.frames[0], window.frames[-1], len(window.view_frame), window.width,
      window.height, len(window.boxes), window.far, scene.class_ids)
  return Run(config, mesh, scene, make_field(config.model, scene))


def train_options(model: Any, finish: bool = False) -> RenderOptions:
  """Options of rendering in training from `config.model`, before the finish of a run or in it.

  Labels have put things in their places by then, but are too wide: in the finish they shape no
  density any more (so that L_fix asks nothing), and the photo says where edges are.
  """
  return RenderOptions(
      model.samples, model.first_samples, model.blind, model.share, model.restrict,
      labels_move=not finish)


def make_optimizer(config: ml_collections.ConfigDict) -> states.Optimizer:
  """The optimiser of `config.optim` over `config.train.steps`."""
  optim = config.optim
  return states.make_optimizer(
      optim.learning_rate, optim.final, config.train.steps, optim.warmup, optim.epsilon)


def loss_options(loss: Any, class_ids: tuple[int, ...], finish: bool = False) -> LossOptions:
  """Options of the loss from `config.loss`, before the finish of a run or in it.

  class_ids: the C ids present.
  """
  weights = {name: float(loss[name]) for name in LOSS_TERMS}
  if finish:  # these two are fat at edges, unlike the photo
    weights['depth'] *= loss.finish_depth
    weights['semantic_2d'] *= loss.finish_semantic_2d
  acts = tuple(column for column, i in enumerate(class_ids) if i in loss.depth_classes)
  return LossOptions(
      weights=tuple(weights.items()),
      depth_form=loss.depth_form, depth_max=loss.depth_max,
      depth_columns=acts if loss.depth_classes else None, depth_spread=loss.depth_spread,
      depth_outliers=loss.depth_outliers, words_prior=loss.words_prior,
      label_floor=loss.label_floor, words_after=loss.words_after,
      posterior_first=loss.posterior_first, posterior=loss.posterior,
      words_rate=_WORDS_RATE if loss.words == 'estimated' else 0.0,
      reachable_only=loss.reachable_only)


def make_steps(run: Run, optimizer: states.Optimizer, steps: int, finish: bool = False
               ) -> Callable[..., Any]:
  """step.make_dispatch of a run: `steps` optimiser steps a call, before its finish or of it."""
  train, loss = run.config.train, run.config.loss
  return make_dispatch(
      run.module, optimizer, train_options(run.config.model, finish),
      loss_options(loss, run.scene.class_ids, finish), run.mesh, train.rays,
      train.finish_side if finish else 1, train.focus, steps)


def finish_begins(train: Any) -> int:
  """The step at which the finish of a run begins, a multiple of train.steps_per_dispatch.

  train: config.train.
  """
  calls = train.steps // train.steps_per_dispatch
  return (calls - round(train.finish * calls)) * train.steps_per_dispatch


def make_ray_table(run: Run, folder: pathlib.Path | None = None) -> batches.RayTable:
  """Intervals of all training views and their supervision, as one table on the devices.

  Each process intersects its share of the views; the whole table is on every device, since every
  device draws its rays of a step from all of the window.

  Args:
    run: of set_up.
    folder: where the intervals are kept between calls; None makes them anew.
  """
  scene, window = run.scene, run.scene.window
  start = time.perf_counter()
  intervals, moving = jax.tree.map(processes.join, intersections.of_views(
      scene, processes.share().of(len(window.view_frame)), run.config.scene.intervals, folder))
  usable = ~moving & window.within().ravel()
  _LOG.info(
      'intervals of %d rays in %.1f s; rays left out because of moving objects: %d; '
      'rays whose table overflowed: %d (intervals dropped: %d)', len(usable),
      time.perf_counter() - start, int(moving.sum()), int(np.sum(intervals.dropped > 0)),
      int(np.sum(intervals.dropped)))
  if not usable.any():
    raise SharedInputError(f'{window.sequence}: every ray of the window passes a moving object. '
                           'Choose other frames with --config.data.start.')
  count = len(usable)
  absent = lambda dtype: jnp.zeros(count, dtype)
  label, confidence, depth = window.pseudo_label, window.pseudo_confidence, window.pseudo_depth
  table = batches.RayTable(
      rgb=jnp.asarray(window.rgb.reshape(-1, 3)),
      label=absent(jnp.uint8) if label is None else jnp.asarray(label.ravel()),
      label_weight=(jnp.ones(count) if confidence is None else
                    jnp.asarray(confidence.ravel(), jnp.float32)),
      depth=absent(jnp.float32) if depth is None else jnp.asarray(depth.ravel()),
      intervals=jax.tree.map(jnp.asarray, intervals),
      world_from_cam=jnp.asarray(window.world_from_cam, jnp.float32),
      intrinsics=jnp.asarray(window.intrinsics, jnp.float32),
      uniform=jnp.asarray(np.flatnonzero(usable).astype(np.int32)),
      focused=jnp.asarray(batches.focus_list(
          intervals.primitive, usable, len(window.view_frame), run.config.train.seed)),
      width=window.width, height=window.height)
  return sharding.replicate(table, run.mesh)


def _count_words(run: Run, table: batches.RayTable) -> np.ndarray:
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
        window.intrinsics[view], window.world_from_cam[view], grid, np.int32(view))
    depth = planar[view] / np.asarray(rays.z_per_t)
    return words.count(
        intervals.primitive[view], intervals.enter[view], intervals.exit[view], depth,
        losses.depth_tolerance(depth, loss.depth_spread), label[view], semantic, scene.class_ids)

  return sum(in_threads(count_view, range(views)))


def make_words(run: Run, table: batches.RayTable) -> losses.Words:
  """What the window's classes are called by its pseudo labels, replicated on the devices.

  Args:
    run: of set_up.
    table: of make_ray_table; rays that it leaves out are not counted.
  """
  loss, class_ids = run.config.loss, run.scene.class_ids
  if loss.words == 'estimated':
    counts = _count_words(run, table)
    called = words.estimate(counts, class_ids, loss.words_prior * counts.sum(), loss.label_floor)
    trust = words.trust(counts, class_ids)
    _LOG.info('the pseudo labels are trusted to %.2f', trust)
  else:
    called = words.from_sets(class_ids, loss.words == 'merged', loss.label_floor)
    trust = 1.0
  anything = called.max(axis=0) > 0
  found = losses.Words(jnp.asarray(called),
                       jnp.asarray(anything / anything.sum(), jnp.float32),
                       jnp.asarray(labels.label_sets(class_ids, loss.words == 'merged')),
                       jnp.asarray(words.class_odds(run.scene.window.boxes, class_ids)),
                       jnp.asarray(trust, jnp.float32))
  return sharding.replicate(found, run.mesh)


def fresh_params(run: Run) -> Any:
  """Parameters of the field before training, from the config's seed."""
  return init_params(run.module, jax.random.key(run.config.train.seed))


def save_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes RUN/config.json, or checks that the one there says the same.

  Raises:
    InputError: the folder belongs to another config; the first differing field is named.
  """
  path = workdir / 'config.json'
  ours = json.loads(config.to_json_best_effort())
  if not path.exists():
    write_bytes(path, json.dumps(ours, indent=2).encode())
    return
  theirs = _read_json(path)
  for group in ours:
    for field in ours[group]:
      old = theirs.get(group, {}).get(field, 'absent')
      if old != ours[group][field]:
        raise InputError(
            f'{path}: config.{group}.{field} is {old!r} there but {ours[group][field]!r} now. '
            'Use another folder, or the same config to resume.')


def load_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The config of a run. Raises InputError where there is none, or none that could be trained."""
  path = workdir / 'config.json'
  config = ml_collections.ConfigDict(_read_json(path))
  checks.check(config, jax.device_count(), f'{path}: ')
  return config


def _read_json(path: pathlib.Path) -> dict:
  found = read_json(path, _MAX_CONFIG, f'Is {path.parent} a workdir that train wrote? If so, train'
                    ' anew.')
  if not isinstance(found, dict) or not all(isinstance(group, dict) for group in found.values()):
    raise InputError(f'{path}: holds no groups of fields ({found!r:.60}). Remove the run and train'
                     ' anew.')
  return found
