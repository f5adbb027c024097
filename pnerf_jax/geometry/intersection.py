"""Intersection of rays with primitives: the intervals in which a ray is inside a primitive.

`view_intervals` intersects all pixels of a pinhole camera and is what training and inference use:
the rays share their origin, so that only the faces which an image tile can see are tested.
`intersect` takes arbitrary rays and tests every face of every primitive near them; it is for rays
that do not belong to an image, and a second implementation against which the first is tested.

Letters: `R` rays, `K` intervals kept per ray, `H`, `W` image size.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry import hits as hits_lib
from pnerf_jax.geometry import tile_intersection, tiles
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.geometry.intervals import Intervals, add_interval, empty_intervals
from pnerf_jax.geometry.primitives import Primitives


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """Return the scalar product over the first axis, without a matrix unit, which has fewer bits."""
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _primitive_intervals(
  primitives: Primitives,
  m: jax.Array,
  origins: jax.Array,
  axes: tuple[jax.Array, jax.Array, jax.Array],
  bounds: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Return the intervals of all rays with primitive m, as hits_lib.hits_to_intervals does.

  Args:
    primitives: metres, recentred world.
    m: index of the primitive.
    origins: [3, R], metres.
    axes: [3, R] each, the right and down axes of the ray's frame, and its direction.
    bounds: near and far, metres.
  """
  right, down, forward = axes

  def add_face(face, hits):
    """Add the crossings of all rays with a face to the hit buffer."""
    corners = primitives.vertices[primitives.faces[face]][..., None] - origins
    planar = [(_dot(corner, right), _dot(corner, down)) for corner in corners]
    a, b, c = (_dot(corner, forward) for corner in corners)
    nearest, farthest = jnp.minimum(jnp.minimum(a, b), c), jnp.maximum(jnp.maximum(a, b), c)
    normal = primitives.normals[face]
    offset, slope = _dot(normal, corners[0]), _dot(normal, forward)
    t = hits_lib.plane_depth(offset, slope, nearest, farthest)
    crossed = hits_lib.crosses_face(*planar)
    return jax.lax.cond(
      jnp.any(crossed),
      lambda hits: hits_lib.add_hit(hits, crossed, t, *bounds),
      lambda hits: hits,
      hits,
    )

  centre = primitives.spheres[m, :3, None] - origins
  off_axis = _dot(centre, right) ** 2 + _dot(centre, down) ** 2
  is_near_ray = jnp.any(off_axis < primitives.spheres[m, 3] ** 2)
  is_tested = primitives.valid[m] & (primitives.timestamp[m] < 0) & is_near_ray
  first, last = primitives.face_start[m], primitives.face_start[m + 1]
  hits = hits_lib.empty_hits(hits_lib.MAX_HITS, origins.shape[1])
  hits = jax.lax.fori_loop(first, jnp.where(is_tested, last, first), add_face, hits)
  return hits_lib.hits_to_intervals(hits, *bounds)


@functools.partial(jax.jit, static_argnames='num_intervals')
def intersect(
  primitives: Primitives,
  origins: jax.Array,
  directions: jax.Array,
  near: jax.Array,
  far: jax.Array,
  *,
  num_intervals: int = 16,
) -> Intervals:
  """Intersect arbitrary rays with the static primitives.

  A ray that starts inside a primitive is inside from `near`. Intervals shorter than 0.1 mm are left
  out. Primitives whose bounding sphere no ray intersects are skipped, so pass rays that are close
  to each other together, some thousands at a time.

  Args:
    primitives: metres, recentred world.
    origins: [R, 3], metres.
    directions: [R, 3], unit length.
    near: metres.
    far: metres.
    num_intervals: K.

  Returns:
    Intervals [R, K]; `num_truncated` includes those beyond 16 crossings of one primitive.
  """
  # The axis of the smallest component is never parallel to the direction.
  right = jnp.cross(directions, jax.nn.one_hot(jnp.argmin(jnp.abs(directions), axis=-1), 3))
  right = right / jnp.linalg.norm(right, axis=-1, keepdims=True)
  axes = (right.T, jnp.cross(directions, right).T, directions.T)

  def add_primitive(m, intervals):
    """Add the intervals of all rays inside primitive m."""
    enter, leave, num_truncated = _primitive_intervals(primitives, m, origins.T, axes, (near, far))
    intervals = dataclasses.replace(
      intervals, num_truncated=intervals.num_truncated + num_truncated
    )
    num_used = jnp.sum(jnp.any(jnp.isfinite(enter), axis=-1))
    return jax.lax.fori_loop(
      0, num_used, lambda i, found: add_interval(found, enter[i], leave[i], m), intervals
    )

  intervals = empty_intervals(num_intervals, directions.shape[0])
  intervals = jax.lax.fori_loop(0, primitives.valid.shape[0], add_primitive, intervals)
  return Intervals(
    intervals.enter.T, intervals.exit.T, intervals.primitive.T, intervals.num_truncated
  )


def view_intervals(
  primitives: Primitives, camera: Camera, near: float, far: float, num_intervals: int = 16
) -> tuple[Intervals, jax.Array, jax.Array]:
  """Intersect the rays of all pixels of a camera with the primitives; not for use inside jit.

  Args:
    primitives: metres, recentred world.
    camera: its pose is in the world of the primitives.
    near: metres along the ray.
    far: metres along the ray.
    num_intervals: K.

  Returns:
    Intervals [H, W, K] with the static primitives, as of `intersect`; the entry [H, W] into the
    nearest moving primitive of the camera's frame, metres along the ray, inf for none; and the
    index [H, W] int32 of that primitive, -1 for none.
  """
  candidates = tiles.find_candidates(primitives, camera, near, far)
  is_moving = (np.asarray(primitives.timestamp) >= 0)[candidates.primitive]
  across, down = tiles.tiles_of(camera.width, camera.height)
  static = empty_intervals(num_intervals, across * down, tile_intersection.PIXELS)
  moving = empty_intervals(1, across * down, tile_intersection.PIXELS)
  num_truncated = np.zeros(static.num_truncated.shape, np.int32)
  for found in tile_intersection.intersect_pairs(candidates):
    static = tile_intersection.merge_pairs(static, found, candidates, ~is_moving[found.pair])
    moving = tile_intersection.merge_pairs(moving, found, candidates, is_moving[found.pair])
    is_static = ~is_moving[found.overflow_pairs]
    np.add.at(
      num_truncated,
      candidates.tile[found.overflow_pairs[is_static]],
      found.num_truncated[is_static],
    )
  static = dataclasses.replace(static, num_truncated=static.num_truncated + num_truncated)
  static = tile_intersection.image_from_tiles(static, camera.width, camera.height)
  moving = tile_intersection.image_from_tiles(moving, camera.width, camera.height)
  return static, moving.enter[..., 0], moving.primitive[..., 0]
