"""Ray batches as a pure function of a key, gathered on the devices from one table of all rays.

Letters: N pixels of the window (views x height x width), V views, P pixels of a batch, R rays per
pixel, B = P R rays, K intervals of a ray.
"""

import dataclasses
import logging
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.data.window import Window
from pnerf_jax.distributed import processes, sharding
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.errors import SharedInputError
from pnerf_jax.geometry import cameras
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.runs.experiment import Experiment
from pnerf_jax.training import interval_cache

_LOG = logging.getLogger(__name__)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class RayTable:
  """Every training pixel of a window with its supervision and the intervals of its ray.

  Attributes:
    rgb: [N, 3] uint8.
    label: [N] uint8, pseudo-label id, 0 = none, or of a view that is not supervised.
    label_weight: [N] float32, confidence of the pseudo-label.
    depth: [N] float32, planar metres, 0 = none, or of a view that is not supervised.
    intervals: [N, K].
    world_from_cam: [V, 4, 4].
    intrinsics: [V, 4], fx, fy, cx, cy in pixels.
    supervised: [V] bool, views whose pseudo-labels and stereo depth are used.
    uniform: [U] int32, pixels that may be drawn, ascending; those of moving objects are excluded.
    view_start: [V + 1] int32, first entry of `uniform` of each view.
    importance: [U] int32, the same pixels resampled by inverse primitive size.
    width: of all views, pixels.
    height: of all views, pixels.
  """

  rgb: jax.Array
  label: jax.Array
  label_weight: jax.Array
  depth: jax.Array
  intervals: Intervals
  world_from_cam: jax.Array
  intrinsics: jax.Array
  supervised: jax.Array
  uniform: jax.Array
  view_start: jax.Array
  importance: jax.Array
  width: int = dataclasses.field(metadata={'static': True})
  height: int = dataclasses.field(metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  """P pixels with their supervision, and B = P R rays, those of a pixel consecutive.

  Attributes:
    rays: [B].
    intervals: [B, K].
    rgb: [P, 3], in [0, 1].
    label: [P] int32, pseudo-label id, 0 = none.
    label_weight: [P].
    depth: [P], planar metres, 0 = none.
    supervised: [P] bool, of a view whose pseudo-labels and stereo depth are used.
  """

  rays: cameras.Rays
  intervals: Intervals
  rgb: jax.Array
  label: jax.Array
  label_weight: jax.Array
  depth: jax.Array
  supervised: jax.Array


def build_ray_table(run: Experiment, cache: pathlib.Path | None = None) -> RayTable:
  """Build the table of all training pixels, replicated on the devices.

  Each process intersects its shard of the views; the whole table is on every device, since every
  device draws its rays of a step from the whole window.

  Args:
    run: with the window.
    cache: folder of interval_cache; None recomputes the intervals.

  Raises:
    InputError: config.loss.label_cameras or config.train.batch_rays do not fit the window, or a
      moving object is in front of every pixel.
  """
  _check_fields(run)
  intervals, usable = _intersect_views(run, cache)
  window, label_cameras = run.scene.window, run.config.loss.label_cameras
  assert window.rgb is not None  # loaded with supervision
  count, num_views = len(usable), len(window.view_frame)
  supervised = np.array(
    [not label_cameras or window.cameras[camera] in label_cameras for camera in window.view_camera]
  )
  uniform = np.flatnonzero(usable).astype(np.int32)
  pixels_before = np.arange(num_views + 1) * (count // num_views)
  of_supervised = lambda x: np.where(supervised[:, None, None], x, 0).astype(x.dtype).ravel()
  label, confidence, depth = window.pseudo_label, window.pseudo_confidence, window.pseudo_depth
  table = RayTable(
    rgb=jnp.asarray(window.rgb.reshape(-1, 3)),
    label=jnp.zeros(count, jnp.uint8) if label is None else jnp.asarray(of_supervised(label)),
    label_weight=(
      jnp.ones(count) if confidence is None else jnp.asarray(confidence.ravel(), jnp.float32)
    ),
    depth=jnp.zeros(count, jnp.float32) if depth is None else jnp.asarray(of_supervised(depth)),
    intervals=jax.tree.map(jnp.asarray, intervals),
    world_from_cam=jnp.asarray(window.world_from_cam, jnp.float32),
    intrinsics=jnp.asarray(window.intrinsics, jnp.float32),
    supervised=jnp.asarray(supervised),
    uniform=jnp.asarray(uniform),
    view_start=jnp.asarray(np.searchsorted(uniform, pixels_before).astype(np.int32)),
    importance=jnp.asarray(
      importance_pixels(intervals.primitive, usable, num_views, run.config.train.seed)
    ),
    width=window.width,
    height=window.height,
  )
  return sharding.replicate(table, run.mesh)


def _check_fields(run: Experiment) -> None:
  """Raise InputError if config fields do not fit the window."""
  window, label_cameras = run.scene.window, run.config.loss.label_cameras
  if unknown := sorted(set(label_cameras) - set(window.cameras)):
    raise SharedInputError(
      f'config.loss.label_cameras: {", ".join(unknown)} not among the cameras of the window'
      f' ({", ".join(window.cameras)}). Name some of these.'
    )
  batch_rays, image_pixels = run.config.train.batch_rays, window.width * window.height
  if run.config.train.rays_from == 'image' and batch_rays > image_pixels:
    raise SharedInputError(
      f"config.train.batch_rays: {batch_rays}, but config.train.rays_from='image' and an image has"
      f' {image_pixels} pixels. Lower it.'
    )


def _intersect_views(run: Experiment, cache: pathlib.Path | None) -> tuple[Intervals, np.ndarray]:
  """Return the intervals [N, K] of all rays and which of them may be drawn, [N] bool; numpy."""
  window, start = run.scene.window, time.perf_counter()
  intervals, moving = jax.tree.map(
    processes.all_gather_rows,
    interval_cache.view_intervals(
      run.scene,
      processes.range_of(len(window.view_frame)),
      run.config.scene.max_intervals_per_ray,
      cache,
    ),
  )
  usable = ~moving & window.valid_pixels().ravel()
  _LOG.info(
    'intervals of %d rays in %.1f s; rays excluded because of moving objects: %d; '
    'rays beyond scene.max_intervals_per_ray: %d (intervals truncated: %d)',
    len(usable),
    time.perf_counter() - start,
    int(moving.sum()),
    int(np.sum(intervals.num_truncated > 0)),
    int(np.sum(intervals.num_truncated)),
  )
  if not usable.any():
    raise SharedInputError(
      f'{window.sequence}: every ray of the window intersects a moving object. '
      'Choose other frames with --config.data.start.'
    )
  return intervals, usable


def num_table_bytes(window: Window, num_intervals: int) -> int:
  """Return the bytes of the table of a window on a device. num_intervals: K."""
  per_interval, per_pixel = 3 * 4, 3 + 1 + 4 + 4 + 4 + 2 * 4  # in the order of RayTable
  num_pixels = len(window.view_frame) * window.width * window.height
  return num_pixels * (per_pixel + num_intervals * per_interval)


def importance_pixels(
  primitive: np.ndarray, usable: np.ndarray, num_views: int, seed: int
) -> np.ndarray:
  """Resample pixels with weights that favour small primitives.

  The weight of a ray is 1 / sqrt(n), where n is the number of pixels of the smallest primitive that
  it intersects in its view: a pole of 50 pixels is drawn ten times as often per pixel as a road of
  5000, without a list of small classes.

  Args:
    primitive: [N, K] int, primitive indices of the rays, -1 = none.
    usable: [N] bool.
    num_views: V.
    seed: of the systematic resampling.

  Returns:
    [sum(usable)] int32, pixel indices.
  """
  per_view = primitive.reshape(num_views, -1, primitive.shape[-1])
  weight = np.concatenate(map_threads(_importance_weights, per_view)) * usable
  total = weight.sum()
  if total == 0:
    return np.flatnonzero(usable).astype(np.int32)
  count = int(usable.sum())
  start = np.random.default_rng(seed).uniform()
  position = (np.arange(count) + start) / count * total
  index = np.searchsorted(np.cumsum(weight), position, side='right')
  return np.minimum(index, len(weight) - 1).astype(np.int32)


def _importance_weights(primitive: np.ndarray) -> np.ndarray:
  """Return the weights [n] float64 of a view's rays with primitives [n, K]."""
  # Count each primitive once per ray. Index 0 counts unused slots, as many as the view has pixels.
  ordered = np.sort(primitive, axis=-1)
  first = np.ones(ordered.shape, bool)
  first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
  counts = np.bincount(ordered[first] + 1, minlength=primitive.max(initial=0) + 2)
  counts[0] = len(primitive)
  return 1.0 / np.sqrt(np.maximum(counts, 1)[primitive + 1].min(axis=-1))


def draw_pixels(
  table: RayTable, key: jax.Array, count: int, importance_fraction: float
) -> jax.Array:
  """Draw pixels with replacement, a pure function of the key.

  Args:
    table: of the window.
    key: of the draw.
    count: P.
    importance_fraction: fraction of the pixels that are importance-sampled for small primitives.

  Returns:
    [P] int32, pixel indices.
  """
  num_importance = round(count * importance_fraction)
  position = jax.random.randint(key, (count,), 0, table.uniform.shape[0])
  return jnp.where(
    jnp.arange(count) < num_importance, table.importance[position], table.uniform[position]
  )


def draw_pixels_of_image(table: RayTable, key: jax.Array, step: jax.Array, count: int) -> jax.Array:
  """Draw the pixels of a step from one image without replacement, as the paper's program does.

  Every image is drawn once in as many steps as there are images, in an order that is drawn anew
  each time. An image with fewer usable pixels than `count` gives some of them repeatedly.

  Args:
    table: of the window.
    key: of the run.
    step: [] int32.
    count: P, at most the pixels of an image.

  Returns:
    [P] int32, pixel indices.
  """
  views = table.view_start.shape[0] - 1
  key_order, key_pixels = jax.random.split(key)
  order = jax.random.permutation(jax.random.fold_in(key_order, step // views), views)
  view = order[step % views]
  start, end = table.view_start[view], table.view_start[view + 1]
  score = jax.random.uniform(jax.random.fold_in(key_pixels, step), (table.width * table.height,))
  usable = jnp.arange(score.shape[0]) < end - start
  _, index = jax.lax.top_k(jnp.where(usable, score, -1.0), count)
  return table.uniform[start + index % jnp.maximum(end - start, 1)]


def gather_batch(table: RayTable, index: jax.Array, supersampling: int) -> Batch:
  """Gather the supervision of pixels and the rays through them.

  Args:
    table: of the window.
    index: [P] int32.
    supersampling: a pixel is divided into supersampling^2 = R squares with a ray through the centre
      of each. All have the intervals of the pixel's centre.
  """
  pixels = table.width * table.height
  view, pixel = index // pixels, index % pixels
  uv = jnp.stack([pixel % table.width, pixel // table.width], axis=-1).astype(jnp.float32)
  offset = cameras.pixel_grid(supersampling, supersampling).reshape(-1, 2) / supersampling
  offset = offset - 0.5 * (1 - 1 / supersampling)
  uv = (uv[:, None] + offset).reshape(-1, 2)
  per_ray = lambda x: jnp.repeat(x, supersampling * supersampling, axis=0)
  view = per_ray(view)
  return Batch(
    rays=cameras.pixel_rays(table.intrinsics[view], table.world_from_cam[view], uv, view),
    intervals=jax.tree.map(lambda x: per_ray(x[index]), table.intervals),
    rgb=table.rgb[index].astype(jnp.float32) / 255.0,
    label=table.label[index].astype(jnp.int32),
    label_weight=table.label_weight[index],
    depth=table.depth[index],
    supervised=table.supervised[index // pixels],
  )
