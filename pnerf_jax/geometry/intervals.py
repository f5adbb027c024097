"""The table of a ray's intervals: the nearest K of all primitives, sorted by where they begin.

Letters: `K` intervals kept per ray; `t` distance along the ray in metres.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.geometry import hits as hits_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Intervals:
  """Where rays are inside primitives, clipped to [near, far].

  Attributes:
    enter: [..., K] float32, metres along the ray, ascending; inf where there is none.
    exit: [..., K] float32, metres; inf where there is none.
    primitive: [..., K] int32, index into Primitives; -1 where there is none.
    dropped: [...] int32, intervals beyond the nearest K, which did not fit.
  """

  enter: jax.Array
  exit: jax.Array
  primitive: jax.Array
  num_truncated: jax.Array


def empty_table(num_intervals: int, *shape: int) -> Intervals:
  """Intervals [K, ...] without entries: while a table is filled, K comes first."""
  return Intervals(
    enter=jnp.full((num_intervals, *shape), jnp.inf),
    exit=jnp.full((num_intervals, *shape), jnp.inf),
    primitive=jnp.full((num_intervals, *shape), -1, jnp.int32),
    num_truncated=jnp.zeros(shape, jnp.int32),
  )


def add_interval(
  table: Intervals, enter: jax.Array, leave: jax.Array, primitive: jax.Array
) -> Intervals:
  """Adds at most one interval per ray; if the list is full, the farthest is dropped.

  Args:
    table: [K, ...].
    enter: [...], metres, inf for none.
    leave: [...], metres.
    primitive: index, broadcasts to [...].

  Returns:
    The new table; of intervals that begin together the first added comes first.
  """
  full = jnp.isfinite(table.enter[-1]) & jnp.isfinite(enter)
  enters, (exits, owners) = hits_lib.insert(
    table.enter, enter, (table.exit, table.primitive), (leave, primitive)
  )
  return Intervals(enters, exits, owners, table.num_truncated + full)
