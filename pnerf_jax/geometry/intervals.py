"""Rays x primitives: the intervals in which a ray is inside a primitive.

Two forms of the same test: `intersect` takes any rays and looks at every face; `view_intervals`
takes a pinhole view, in which the rays share their origin, and looks only at the faces that an
image tile can meet.

Letters: `R` rays, `K` intervals kept per ray, `H` crossings kept per ray and primitive, `t` distance
along the ray in metres.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from pnerf_jax.geometry import hits as hits_lib
from pnerf_jax.geometry import table as table_lib
from pnerf_jax.geometry import tile_rows
from pnerf_jax.geometry import tiles as tiles_lib
from pnerf_jax.geometry.primitives import Primitives
from pnerf_jax.geometry.table import Intervals


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """Scalar product over the last axis, not left to a matrix unit of fewer bits."""
  return jnp.sum(a * b, axis=-1)


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
  absent.

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
  near, far = jnp.asarray(near, jnp.float32), jnp.asarray(far, jnp.float32)
  rays = directions.shape[0]
  # Two axes that complete the direction; the smallest component keeps the product away from 0.
  helper = jax.nn.one_hot(jnp.argmin(jnp.abs(directions), axis=-1), 3)
  right = jnp.cross(directions, helper)
  right = right / jnp.linalg.norm(right, axis=-1, keepdims=True)
  down = jnp.cross(directions, right)

  def add_face(face, account):
    corners = [primitives.vertices[primitives.faces[face, i]] - origins for i in range(3)]
    planar = [(_dot(corner, right), _dot(corner, down)) for corner in corners]
    depths = jnp.stack([_dot(corner, directions) for corner in corners])
    normal = primitives.normals[face]
    t = hits_lib.plane_depth(
        _dot(corners[0], normal), _dot(directions, normal), depths.min(axis=0), depths.max(axis=0)
    )
    return hits_lib.record_hit(*account, hits_lib.crosses_face(*planar), t, near, far)

  def add_primitive(m, table):
    account = (
        jnp.full((hits_lib.MAX_HITS, rays), jnp.inf), jnp.zeros(rays, jnp.int32),
        jnp.zeros(rays, bool),
    )
    first, last = primitives.face_start[m], primitives.face_start[m + 1]
    wanted = primitives.valid[m] & (primitives.timestamp[m] < 0)
    account = jax.lax.fori_loop(first, jnp.where(wanted, last, first), add_face, account)
    enter, leave, lost = hits_lib.pair_hits(*account, near, far)
    table = dataclasses.replace(table, dropped=table.dropped + lost)
    used = jnp.sum(jnp.any(jnp.isfinite(enter), axis=-1))
    return jax.lax.fori_loop(
        0, used, lambda i, table: table_lib.add_interval(table, enter[i], leave[i], m), table
    )

  table = table_lib.empty_table(num_intervals, rays)
  table = jax.lax.fori_loop(0, primitives.valid.shape[0], add_primitive, table)
  return Intervals(table.enter.T, table.exit.T, table.primitive.T, table.dropped)


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
  static = table_lib.empty_table(num_intervals, across * down, tile_rows.PIXELS)
  moving = table_lib.empty_table(1, across * down, tile_rows.PIXELS)
  too_many = np.zeros(static.dropped.shape, np.int32)
  corners = jnp.asarray(candidates.corners)
  intrinsics = jnp.asarray(intrinsics, jnp.float32)
  bounds = jnp.asarray([near, far], jnp.float32)
  rows = tile_rows.empty_rows(candidates)
  for group in tile_rows.groups_of(candidates):
    rows, filled, pair, crowded, lost = tile_rows.intersect_group(
        rows, candidates, group, across, corners, intrinsics, bounds
    )
    primitive = candidates.primitive[pair]
    by_kind = lambda kind: (rows, filled[kind], candidates.tile[pair[kind]], primitive[kind])
    static = tile_rows.merge_group(static, *by_kind(~moves[primitive]))
    moving = tile_rows.merge_group(moving, *by_kind(moves[primitive]))
    stands = ~moves[candidates.primitive[crowded]]
    np.add.at(too_many, candidates.tile[crowded[stands]], lost[stands])
  static = dataclasses.replace(static, dropped=static.dropped + too_many)
  static = tile_rows.image_from_tiles(static, width, height)
  moving = tile_rows.image_from_tiles(moving, width, height)
  return static, moving.enter[..., 0], moving.primitive[..., 0]
