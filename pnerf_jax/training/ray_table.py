"""Ray batches as a pure function of a key, gathered on the device from one table of all rays.

Letters: N pixels of the window (views x height x width), V views, P pixels of a batch, B its rays,
R of them a pixel, K intervals.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.geometry import cameras
from pnerf_jax.geometry.intervals import Intervals


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RayTable:
  """Every training ray of a window with its supervision and its intervals.

  rgb: [N, 3] uint8.   label: [N] uint8 id, 0 = no supervision.   label_weight: [N] float32.
  depth: [N] float32 planar metres, 0 = none.   intervals: [N, K].
  world_from_cam: [V, 4, 4].   intrinsics: [V, 4].
  uniform: [U] int32 rays that may be drawn (those through moving objects are not among them).
  focused: [U] int32 the same rays drawn again, more often where a primitive looks small.
  """

  rgb: jax.Array
  label: jax.Array
  label_weight: jax.Array
  depth: jax.Array
  intervals: Intervals
  world_from_cam: jax.Array
  intrinsics: jax.Array
  uniform: jax.Array
  focused: jax.Array
  width: int = dataclasses.field(metadata={'static': True})
  height: int = dataclasses.field(metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """P pixels and B = P R rays, those of a pixel one after the other.

  rays: [B].   intervals: [B, K].   rgb: [P, 3] in [0, 1].   label: [P] int32, 0 = none.
  label_weight: [P].   depth: [P] planar metres, 0 = none.
  """

  rays: cameras.Rays
  intervals: Intervals
  rgb: jax.Array
  label: jax.Array
  label_weight: jax.Array
  depth: jax.Array


def importance_pixels(
  primitive: np.ndarray, usable: np.ndarray, views: int, seed: int
) -> np.ndarray:
  """Draws rays more often where they meet a primitive that few rays of their view meet.

  A ray's weight is 1 / sqrt(pixels of the smallest primitive that it meets in its view): a pole
  of 50 pixels is aimed at ten times as often as a road of 5000, without a list of small classes.

  Args:
    primitive: [N, K] int, -1 = none; N is views x pixels.
    usable: [N] bool.
    views: V.
    seed: of the drawing.

  Returns:
    [sum(usable)] int32 ray indices, systematically resampled.
  """
  per_view = primitive.reshape(views, -1, primitive.shape[-1])
  weight = np.concatenate(map_threads(_view_weight, per_view)) * usable
  total = weight.sum()
  if total == 0:
    return np.flatnonzero(usable).astype(np.int32)
  count = int(usable.sum())
  start = np.random.default_rng(seed).uniform()
  position = (np.arange(count) + start) / count * total
  picked = np.searchsorted(np.cumsum(weight), position, side='right')
  return np.minimum(picked, len(weight) - 1).astype(np.int32)


def _view_weight(slots: np.ndarray) -> np.ndarray:
  """[n] float64 weights of a view's rays by the primitives [n, K] that they meet; of focus_list."""
  # Each primitive once a ray. Index 0 counts the empty slots: they weigh as the whole view.
  ordered = np.sort(slots, axis=-1)
  once = np.ones(ordered.shape, bool)
  once[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
  counts = np.bincount(ordered[once] + 1, minlength=slots.max(initial=0) + 2)
  counts[0] = len(slots)
  return 1.0 / np.sqrt(np.maximum(counts, 1)[slots + 1].min(axis=-1))


def gather(table: RayTable, index: jax.Array, side: int) -> Batch:
  """Pixels with their supervision, and the rays through them.

  Args:
    table: of the window.
    index: [P] int32.
    side: a pixel is cut into side x side squares with a ray through the middle of each, R in all;
      1 = through the middle of the pixel. All have the intervals of the pixel's middle.
  """
  pixels = table.width * table.height
  view, pixel = index // pixels, index % pixels
  uv = jnp.stack([pixel % table.width, pixel // table.width], axis=-1).astype(jnp.float32)
  offset = cameras.pixel_grid(side, side).reshape(-1, 2) / side - 0.5 * (1 - 1 / side)
  uv = (uv[:, None] + offset).reshape(-1, 2)
  each = lambda x: jnp.repeat(x, side * side, axis=0)
  view = each(view)
  rays = cameras.pixel_rays(table.intrinsics[view], table.world_from_cam[view], uv, view)
  return Batch(
    rays=rays,
    intervals=jax.tree.map(lambda x: each(x[index]), table.intervals),
    rgb=table.rgb[index].astype(jnp.float32) / 255.0,
    label=table.label[index].astype(jnp.int32),
    label_weight=table.label_weight[index],
    depth=table.depth[index],
  )


def draw(table: RayTable, key: jax.Array, count: int, focus: float) -> jax.Array:
  """Indices of `count` pixels, a pure function of the key; `focus`: share of the aimed ones."""
  aimed = round(count * focus)
  position = jax.random.randint(key, (count,), 0, table.uniform.shape[0])
  return jnp.where(jnp.arange(count) < aimed, table.focused[position], table.uniform[position])
