"""Crossings of rays with the faces of a closed mesh, and the intervals between them.

A ray is the third axis of its own frame, in which the corners of a face are projected to (x, y);
the ray crosses the face if the projected triangle contains the origin. The side of an edge on which
the origin lies is decided exactly in float32, ties included, and an edge has the same coordinates
in all faces that share it. Rounding therefore moves vertices by micrometres but never adds or loses
a crossing: every line crosses a closed mesh an even number of times.

Letters: `t` distance along the ray in metres, `H` crossings kept per ray and primitive.

References:
  Woop, Benthin and Wald, Watertight Ray/Triangle Intersection, JCGT 2013.
  Dekker, A Floating-Point Technique for Extending the Available Precision, 1971.
  Edelsbrunner and Muecke, Simulation of Simplicity, ACM Transactions on Graphics 1990.
"""

import dataclasses

import jax
import jax.numpy as jnp

MIN_LENGTH = 1e-4  # metres; shorter intervals are rounding, as where two coplanar faces overlap
MAX_HITS = 16  # crossings kept per ray and primitive


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HitBuffer:
  """Crossings of rays with the faces of one primitive.

  Attributes:
    t: [H, ...], the nearest crossings in (near, far), ascending, metres; inf in unused entries.
    count: [...] int32, number of crossings in (near, far), also of those not kept.
    odd: [...] bool, the number of crossings beyond near is odd: the ray is inside at near.
  """

  t: jax.Array
  count: jax.Array
  odd: jax.Array


def _rounding_error(a: jax.Array, b: jax.Array, product: jax.Array) -> jax.Array:
  """Return a * b - product exactly, for the float32 product of a and b (Dekker 1971)."""
  halves = []
  for x in (a, b):
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFFF000)
    high = jax.lax.bitcast_convert_type(bits, jnp.float32)
    halves.append((high, x - high))
  (a_high, a_low), (b_high, b_low) = halves
  return (a_high * b_high - product) + a_high * b_low + a_low * b_high + a_low * b_low


def _is_left(ax: jax.Array, ay: jax.Array, bx: jax.Array, by: jax.Array) -> jax.Array:
  """Return whether the origin lies left of the edge from a to b: the sign of ax * by - ay * bx.

  The products are compared, since rounding is monotonic; equal products are compared by their
  rounding errors. An origin on the edge counts as if moved by (e, e^2) for an infinitesimal e
  (Edelsbrunner and Muecke 1990). Coincident corners are ordered as the arguments are.
  """
  ab, ba = ax * by, bx * ay
  ab_error, ba_error = _rounding_error(ax, by, ab), _rounding_error(bx, ay, ba)
  moved = (ay > by) | ((ay == by) & (bx >= ax))
  tie = (ab_error > ba_error) | ((ab_error == ba_error) & moved)
  return (ab > ba) | ((ab == ba) & tie)


def crosses_face(
  a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array], c: tuple[jax.Array, jax.Array]
) -> jax.Array:
  """Return whether lines cross a face.

  Args:
    a: x and y, [...] each, of the first corner in the line's frame.
    b: x and y of the second corner.
    c: x and y of the third corner; corners are in ascending order of their vertex index.

  Returns:
    [...] bool.
  """
  edges = (*a, *b), (*b, *c), (*a, *c)
  products = [(ax * by, bx * ay) for ax, ay, bx, by in edges]
  ties = [ab == ba for ab, ba in products]
  # Ties are rare, and breaking them costs more than the rest of the test.
  ab, bc, ac = jax.lax.cond(
    jnp.any(ties[0] | ties[1] | ties[2]),
    lambda: tuple(_is_left(*edge) for edge in edges),
    lambda: tuple(p > q for p, q in products),
  )
  return (ab == bc) & (ab != ac)


def plane_depth(
  offset: jax.Array, slope: jax.Array, nearest: jax.Array, farthest: jax.Array
) -> jax.Array:
  """Return the depth at which lines intersect the plane of a face, clipped to the face's depths.

  Args:
    offset: [...], distance of the plane from the ray's origin along the plane's normal, metres.
    slope: [...], scalar product of normal and direction; near 0 for a face seen edge-on.
    nearest: [...], smallest depth of the face's corners, metres.
    farthest: [...], largest depth of the face's corners, metres.

  Returns:
    [...], metres.
  """
  edge_on = slope == 0
  depth = offset / jnp.where(edge_on, 1.0, slope)
  return jnp.where(edge_on, nearest, jnp.clip(depth, nearest, farthest))


def insert(
  keys: jax.Array,
  key: jax.Array,
  values: tuple[jax.Array, ...] = (),
  value: tuple[jax.Array, ...] = (),
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Insert one entry into sorted lists; the largest entry is dropped, equal keys keep their order.

  Args:
    keys: [H, ...], ascending along the first axis, inf in unused entries.
    key: [...], inf inserts nothing.
    values: arrays [H, ...], sorted with the keys.
    value: arrays [...], the values of the new entry.

  Returns:
    The new keys and values.
  """
  shifted = jnp.concatenate([jnp.full_like(keys[:1], -jnp.inf), keys[:-1]])
  is_before, is_new = keys <= key, shifted <= key
  new_values = tuple(
    jnp.where(is_before, v, jnp.where(is_new, new, jnp.concatenate([v[:1], v[:-1]])))
    for v, new in zip(values, value, strict=True)
  )
  return jnp.minimum(keys, jnp.maximum(shifted, key)), new_values


def empty_hits(num_hits: int, *shape: int) -> HitBuffer:
  """Return a buffer without crossings, H = num_hits, for rays of the given shape."""
  return HitBuffer(
    jnp.full((num_hits, *shape), jnp.inf), jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
  )


def add_hit(
  hits: HitBuffer, crossed: jax.Array, t: jax.Array, near: jax.Array, far: jax.Array
) -> HitBuffer:
  """Add the crossings of rays with one face.

  Crossings before `near` are not needed: the parity of those beyond it gives whether the ray is
  inside at `near`.

  Args:
    hits: the crossings with the faces before.
    crossed: [...] bool, the ray crosses the face.
    t: [...], metres.
    near: metres, broadcasts.
    far: metres, broadcasts.

  Returns:
    The buffer with these crossings.
  """
  beyond_near = crossed & (t > near)
  in_range = beyond_near & (t < far)
  kept, _ = insert(hits.t, jnp.where(in_range, t, jnp.inf))
  return HitBuffer(kept, hits.count + in_range, hits.odd ^ beyond_near)


def hits_to_intervals(
  hits: HitBuffer, near: jax.Array, far: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Pair the crossings of one primitive along each ray: entry, exit, entry, exit, ...

  Args:
    hits: the crossings with all faces of the primitive; H is even.
    near: metres, broadcasts.
    far: metres, broadcasts.

  Returns:
    enter, exit [H / 2, ...], metres, ascending, inf in unused entries, and the number [...] of
    intervals that exceed the H crossings kept.
  """
  from_near = jnp.concatenate([jnp.broadcast_to(near, hits.t[:1].shape), hits.t[:-1]])
  ends = jnp.where(hits.odd, from_near, hits.t)
  enter, leave = ends[0::2], jnp.minimum(ends[1::2], far)
  exists = leave - enter > MIN_LENGTH
  num_intervals = (hits.count + hits.odd + 1) // 2
  return (
    jnp.where(exists, enter, jnp.inf),
    jnp.where(exists, leave, jnp.inf),
    jnp.maximum(num_intervals - len(enter), 0),
  )
