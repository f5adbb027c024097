"""The intervals in which a ray is inside primitives: the nearest K, sorted by their entry.

Letters: `K` intervals kept per ray; `t` distance along the ray in metres.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.geometry import hits as hits_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Intervals:
  """Intervals of rays inside primitives, clipped to [near, far].

  Attributes:
    enter: [..., K] float32, metres along the ray, ascending; inf in unused entries.
    exit: [..., K] float32, metres along the ray; inf in unused entries.
    primitive: [..., K] int32, index into Primitives; -1 in unused entries.
    num_truncated: [...] int32, number of intervals beyond those kept.
  """

  enter: jax.Array
  exit: jax.Array
  primitive: jax.Array
  num_truncated: jax.Array


def empty_intervals(num_intervals: int, *shape: int) -> Intervals:
  """Return unused intervals with K as the first axis, [K, *shape], to be filled by add_interval."""
  return Intervals(
    enter=jnp.full((num_intervals, *shape), jnp.inf),
    exit=jnp.full((num_intervals, *shape), jnp.inf),
    primitive=jnp.full((num_intervals, *shape), -1, jnp.int32),
    num_truncated=jnp.zeros(shape, jnp.int32),
  )


def add_interval(
  intervals: Intervals, enter: jax.Array, leave: jax.Array, primitive: jax.Array
) -> Intervals:
  """Add at most one interval per ray; if K are stored already, the farthest is truncated.

  Args:
    intervals: [K, ...].
    enter: [...], metres, inf for none.
    leave: [...], metres.
    primitive: index, broadcasts to [...].

  Returns:
    The new intervals [K, ...]; those with equal entries stay in the order in which they were added.
  """
  is_truncated = jnp.isfinite(intervals.enter[-1]) & jnp.isfinite(enter)
  enters, (exits, primitives) = hits_lib.insert(
    intervals.enter, enter, (intervals.exit, intervals.primitive), (leave, primitive)
  )
  return Intervals(enters, exits, primitives, intervals.num_truncated + is_truncated)
