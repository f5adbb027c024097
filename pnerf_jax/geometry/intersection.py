"""Rays x primitives: the intervals in which a ray is inside a primitive.

Two forms of the same test: `intersect` takes any rays and looks at every face; `view_intervals`
takes a pinhole view, in which the rays share their origin, and looks only at the faces that an
image tile can meet.

Letters: `R` rays, `K` intervals kept per ray, `t` distance along the ray in metres.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry import hits as hits_lib
from pnerf_jax.geometry import intervals as table_lib
from pnerf_jax.geometry import tile_intersection
from pnerf_jax.geometry import tiles as tiles_lib
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.geometry.primitives import Primitives


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """Scalar product over the first axis, not left to a matrix unit of fewer bits."""
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross_primitive(
  primitives: Primitives,
  m: jax.Array,
  origins: jax.Array,
  axes: tuple[jax.Array, jax.Array, jax.Array],
  near: jax.Array,
  far: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What pair_hits returns, of all rays with primitive m.

  Args:
    primitives: of the window.
    m: index.
    origins: [3, R].
    axes: [3, R] each, right and down of the ray's frame, and its direction.
    near: metres.
    far: metres.
  """
  right, down, forward = axes

  def add_face(face, account):
    """Adds where the R rays cross face `face` to the account of hits_lib.empty_hits."""
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
      lambda account: hits_lib.add_hit(*account, crossed, t, near, far),
      lambda account: account,
      account,
    )

  centre = primitives.spheres[m, :3, None] - origins
  off_axis = _dot(centre, right) ** 2 + _dot(centre, down) ** 2
  met = jnp.any(off_axis < primitives.spheres[m, 3] ** 2)
  wanted = primitives.valid[m] & (primitives.timestamp[m] < 0) & met
  first, last = primitives.face_start[m], primitives.face_start[m + 1]
  account = hits_lib.empty_hits(hits_lib.MAX_HITS, origins.shape[1])
  account = jax.lax.fori_loop(first, jnp.where(wanted, last, first), add_face, account)
  return hits_lib.hits_to_intervals(*account, near, far)


@functools.partial(jax.jit, static_argnames='num_intervals')
def intersect(
  primitives: Primitives,
  origins: jax.Array,
  directions: jax.Array,
  near: jax.Array,
  far: jax.Array,
  num_intervals: int = 16,
) -> Intervals:
  """Intervals of any rays with the static primitives, face by face.

  A ray that starts inside a primitive is inside from `near`. An interval shorter than 0.1 mm is
  absent. A primitive whose sphere none of the rays meets is passed over: rays that are near each
  other go together, some thousands at a time.

  Args:
    primitives: metres, recentred world.
    origins: [R, 3], metres.
    directions: [R, 3], unit length.
    near: metres.
    far: metres.
    num_intervals: K.

  Returns:
    Intervals [R, K]; `dropped` also counts what exceeds 16 crossings of one primitive.
  """
  # The frame of each ray; the smallest component keeps the product away from 0.
  right = jnp.cross(directions, jax.nn.one_hot(jnp.argmin(jnp.abs(directions), axis=-1), 3))
  right = right / jnp.linalg.norm(right, axis=-1, keepdims=True)
  axes = (right.T, jnp.cross(directions, right).T, directions.T)

  def add_primitive(m, table):
    """Adds the intervals of primitive m to the table [K, R]."""
    enter, leave, lost = _cross_primitive(primitives, m, origins.T, axes, near, far)
    table = dataclasses.replace(table, num_truncated=table.num_truncated + lost)
    used = jnp.sum(jnp.any(jnp.isfinite(enter), axis=-1))
    return jax.lax.fori_loop(
      0, used, lambda i, table: table_lib.add_interval(table, enter[i], leave[i], m), table
    )

  table = table_lib.empty_table(num_intervals, directions.shape[0])
  table = jax.lax.fori_loop(0, primitives.valid.shape[0], add_primitive, table)
  return Intervals(table.enter.T, table.exit.T, table.primitive.T, table.num_truncated)


def view_intervals(
  primitives: Primitives,
  intrinsics: jax.Array,
  world_from_cam: jax.Array,
  width: int,
  height: int,
  near: float,
  far: float,
  num_intervals: int = 16,
  frame: int = -1,
) -> tuple[Intervals, jax.Array, jax.Array]:
  """Intervals of all pixels of one pinhole view; not for use inside jit.

  Args:
    primitives: metres, recentred world.
    intrinsics: [4], fx, fy, cx, cy in pixels.
    world_from_cam: [4, 4], rigid, metres.
    width: of the image, pixels.
    height: of the image, pixels.
    near: metres along the ray.
    far: metres along the ray.
    num_intervals: K.
    frame: of the view; a primitive with this timestamp is where it moves past, -1 for none.

  Returns:
    Intervals [height, width, K] with the static primitives, as `intersect` gives them; where rays
    enter the nearest primitive of that frame [height, width], metres, inf for none; and the index
    of that primitive [height, width] int32, -1 for none.
  """
  across, down = tiles_lib.tiles_of(width, height)
  candidates = tiles_lib.find_candidates(
    primitives, intrinsics, world_from_cam, width, height, near, far, frame
  )
  moves = np.asarray(primitives.timestamp) >= 0
  static = table_lib.empty_table(num_intervals, across * down, tile_intersection.PIXELS)
  moving = table_lib.empty_table(1, across * down, tile_intersection.PIXELS)
  too_many = np.zeros(static.num_truncated.shape, np.int32)
  corners = tile_intersection.upload_corners(candidates)
  intrinsics = jnp.asarray(intrinsics, jnp.float32)
  bounds = jnp.asarray([near, far], jnp.float32)
  rows = tile_intersection.empty_rows(candidates)
  for group in tile_intersection.groups_of(candidates):
    rows, filled, pair, crowded, lost = tile_intersection.intersect_group(
      rows, candidates, group, across, corners, intrinsics, bounds
    )
    primitive = candidates.primitive[pair]
    static, moving = (
      tile_intersection.merge_group(
        table, rows, filled[kind], candidates.tile[pair[kind]], primitive[kind]
      )
      for table, kind in ((static, ~moves[primitive]), (moving, moves[primitive]))
    )
    stands = ~moves[candidates.primitive[crowded]]
    np.add.at(too_many, candidates.tile[crowded[stands]], lost[stands])
  static = dataclasses.replace(static, num_truncated=static.num_truncated + too_many)
  static = tile_intersection.image_from_tiles(static, width, height)
  moving = tile_intersection.image_from_tiles(moving, width, height)
  return static, moving.enter[..., 0], moving.primitive[..., 0]
