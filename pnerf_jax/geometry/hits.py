"""Where a ray crosses the faces of a closed mesh, and the intervals between the crossings.

The ray is the third axis of a frame of its own, in which a face's corner lies at (x, y); the ray
crosses the face if the triangle of the three (x, y) surrounds the origin (Woop, Benthin and Wald,
Watertight Ray/Triangle Intersection, JCGT 2013). The side on which an edge passes the origin is
exact for these numbers, ties included, and the numbers are the same in every face: rounding moves
vertices by some micrometres but neither makes nor loses a crossing, so that every line crosses a
closed mesh an even number of times.

Letters: `t` distance along the ray in metres, `H` crossings kept, sorted, `inf` where there are
fewer.
"""

import jax
import jax.numpy as jnp

# An interval shorter than 0.1 mm is rounding, as where two coplanar faces overlap.
_SHORTEST = 1e-4
MAX_HITS = 16  # crossings kept per ray and primitive


def _rounding(a: jax.Array, b: jax.Array, product: jax.Array) -> jax.Array:
  """What the float32 product of a and b lacks, exactly (Dekker 1971)."""
  halves = []
  for x in (a, b):
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFFF000)
    high = jax.lax.bitcast_convert_type(bits, jnp.float32)
    halves.append((high, x - high))
  (a_high, a_low), (b_high, b_low) = halves
  return (a_high * b_high - product) + a_high * b_low + a_low * b_high + a_low * b_low


def _passes_left(ax: jax.Array, ay: jax.Array, bx: jax.Array, by: jax.Array) -> jax.Array:
  """Whether the edge from a to b has the origin on its left, the sign of ax * by - ay * bx.

  Products are compared, for rounding keeps their order; equal ones by what rounding took from them.
  An origin on the edge counts as if it were moved by (e, e^2) for an infinitesimal e (Edelsbrunner
  and Muecke, Simulation of Simplicity, 1990). Two corners at one place go by the order of their
  vertices, which is that of the arguments.
  """
  ab, ba = ax * by, bx * ay
  ab_rest, ba_rest = _rounding(ax, by, ab), _rounding(bx, ay, ba)
  moved = (ay > by) | ((ay == by) & (bx >= ax))
  rest = (ab_rest > ba_rest) | ((ab_rest == ba_rest) & moved)
  return (ab > ba) | ((ab == ba) & rest)


def crosses_face(
  a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array], c: tuple[jax.Array, jax.Array]
) -> jax.Array:
  """Whether a line crosses a face.

  Args:
    a: x and y, [...] each, of the face's first corner in the line's frame.
    b: the same of the second corner.
    c: the same of the third; corners come in ascending order of their vertex index.

  Returns:
    [...] bool.
  """
  edges = (*a, *b), (*b, *c), (*a, *c)
  products = [(ax * by, bx * ay) for ax, ay, bx, by in edges]
  ties = [ab == ba for ab, ba in products]
  # Ties are rare, and breaking them costs more than all the rest.
  ab, bc, ac = jax.lax.cond(
    jnp.any(ties[0] | ties[1] | ties[2]),
    lambda: tuple(_passes_left(*edge) for edge in edges),
    lambda: tuple(p > q for p, q in products),
  )
  return (ab == bc) & (ab != ac)


def plane_depth(
  offset: jax.Array, slope: jax.Array, nearest: jax.Array, farthest: jax.Array
) -> jax.Array:
  """Depth at which a line meets a face's plane, kept within the face's own depths.

  Args:
    offset: [...], distance of the plane from the ray's origin along the plane's normal, metres.
    slope: [...], the normal times the direction; near 0 for a face seen edge-on.
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
  """Inserts one entry into lists sorted by key; the largest falls out, equal keys keep their order.

  Args:
    keys: [H, ...], ascending along the first axis, inf where there is no entry.
    key: [...], inf inserts nothing.
    values: arrays [H, ...] that travel with the keys.
    value: arrays [...], those of the new entry.

  Returns:
    The new keys and values.
  """
  shifted = jnp.concatenate([jnp.full_like(keys[:1], -jnp.inf), keys[:-1]])
  stays, lands = keys <= key, shifted <= key
  new_values = tuple(
    jnp.where(stays, v, jnp.where(lands, new, jnp.concatenate([v[:1], v[:-1]])))
    for v, new in zip(values, value, strict=True)
  )
  return jnp.minimum(keys, jnp.maximum(shifted, key)), new_values


def empty_hits(num_hits: int, *shape: int) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The account of a primitive before its first face, for record_hit: hits, count, odd."""
  return jnp.full((num_hits, *shape), jnp.inf), jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)


def add_hit(
  hits: jax.Array,
  count: jax.Array,
  odd: jax.Array,
  crossed: jax.Array,
  t: jax.Array,
  near: jax.Array,
  far: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Notes one face's crossing in the ray's account of a primitive.

  What lies before `near` need not be known: the parity of what lies beyond says whether the ray is
  inside there.

  Args:
    hits: [H, ...], the nearest crossings in (near, far), sorted.
    count: [...] int32, number of crossings in (near, far).
    odd: [...] bool, whether the number of crossings beyond near is odd.
    crossed: [...] bool.
    t: [...], metres.
    near: metres, broadcasts.
    far: metres, broadcasts.

  Returns:
    hits, count, odd with this crossing.
  """
  beyond = crossed & (t > near)
  within = beyond & (t < far)
  hits, _ = insert(hits, jnp.where(within, t, jnp.inf))
  return hits, count + within, odd ^ beyond


def hits_to_intervals(
  hits: jax.Array, count: jax.Array, odd: jax.Array, near: jax.Array, far: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Pairs one primitive's crossings along each ray: inside between an odd and the next even one.

  Args:
    hits: [H, ...], as record_hit leaves them; H is even.
    count: [...] int32.
    odd: [...] bool, the ray is inside at near.
    near: metres, broadcasts.
    far: metres, broadcasts.

  Returns:
    enter, exit [H / 2, ...], metres, sorted, inf where there is no interval, and the number [...]
    of intervals that did not fit.
  """
  inside = jnp.concatenate([jnp.broadcast_to(near, hits[:1].shape), hits[:-1]])
  ends = jnp.where(odd, inside, hits)
  enter, leave = ends[0::2], jnp.minimum(ends[1::2], far)
  exists = leave - enter > _SHORTEST
  intervals = (count + odd + 1) // 2
  return (
    jnp.where(exists, enter, jnp.inf),
    jnp.where(exists, leave, jnp.inf),
    jnp.maximum(intervals - len(enter), 0),
  )
