"""Multiresolution hash grid; a level is dense where its nodes fit into the table.

Letters: L levels, F features per level, R table rows of a level, B points.

References:
  Mueller et al., Instant neural graphics primitives with a multiresolution hash encoding,
  SIGGRAPH 2022, section 3.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp

_PRIMES = (1, 2654435761, 805459861)


@dataclasses.dataclass(frozen=True)
class Level:
  """Geometry of one level.

  Attributes:
    cell: distance between nodes, metres.
    nodes: number of nodes along each axis.
    rows: R.
  """

  cell: float
  nodes: tuple[int, int, int]
  rows: int

  @property
  def is_dense(self) -> bool:
    """Return whether every node has its own row."""
    return math.prod(self.nodes) <= self.rows


def make_levels(
  extent: tuple[float, float, float],
  *,
  max_cell: float,
  min_cell: float,
  num_levels: int,
  hashmap_size: int,
) -> tuple[Level, ...]:
  """Build levels whose cells shrink geometrically, coarsest first.

  Args:
    extent: size of the box along each axis, metres.
    max_cell: cell size of the first level, metres.
    min_cell: cell size of the last level, metres.
    num_levels: L.
    hashmap_size: maximum R; a power of two, as hashing wraps with a bit mask.
  """
  if hashmap_size & (hashmap_size - 1):
    raise ValueError(f'hashmap_size must be a power of two, got {hashmap_size}')
  levels = []
  for i in range(num_levels):
    cell = max_cell * (min_cell / max_cell) ** (i / max(num_levels - 1, 1))
    x, y, z = (int(math.ceil(size / cell)) + 1 for size in extent)
    levels.append(Level(cell, (x, y, z), min(x * y * z, hashmap_size)))
  return tuple(levels)


def _corners(level: Level, points: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Return table rows and trilinear weights [8, B] of the 8 nodes around points.

  points: [B, 3] metres from the box's lower corner; clipped to the box.
  """
  last = jnp.asarray(level.nodes, jnp.float32) - 1.0
  position = jnp.clip(points / level.cell, 0.0, last)
  low = jnp.minimum(jnp.floor(position), last - 1.0)
  frac = position - low
  low = low.astype(jnp.uint32)
  # Per axis, the contribution of the low and the high node's coordinate to the row index.
  factors = _PRIMES if not level.is_dense else (level.nodes[1] * level.nodes[2], level.nodes[2], 1)
  terms = [
    [(low[:, axis] + jnp.uint32(i)) * jnp.uint32(factor) for i in (0, 1)]
    for axis, factor in enumerate(factors)
  ]
  axis_weights = [[1.0 - frac[:, axis], frac[:, axis]] for axis in range(3)]
  rows, weights = [], []
  for i, j, k in itertools.product((0, 1), repeat=3):
    if level.is_dense:
      rows.append(terms[0][i] + terms[1][j] + terms[2][k])
    else:
      rows.append((terms[0][i] ^ terms[1][j] ^ terms[2][k]) & jnp.uint32(level.rows - 1))
    weights.append(axis_weights[0][i] * axis_weights[1][j] * axis_weights[2][k])
  return jnp.stack(rows).astype(jnp.int32), jnp.stack(weights)


@jax.custom_vjp
def _interpolate(table: jax.Array, rows: jax.Array, weights: jax.Array) -> jax.Array:
  """Return the weighted sum of table rows, [B, F]. table: [R, F]; rows, weights: [8, B].

  The loop over corners and the custom backward pass keep XLA on CPU from fusing the hashing into
  the gather and the scatter, where it is repeated for every feature (ten times slower).
  """
  total = 0.0
  for corner in range(8):
    gathered = table.at[rows[corner]].get(mode='promise_in_bounds')
    total = total + gathered * weights[corner][:, None]
  return total


def _interpolate_forward(table, rows, weights):
  return _interpolate(table, rows, weights), (rows, weights, table.shape[0])


def _interpolate_backward(saved, grads):
  rows, weights, num_rows = saved
  updates = grads[None] * weights[..., None]
  table = (
    jnp.zeros((num_rows, grads.shape[-1]))
    .at[rows.reshape(-1)]
    .add(updates.reshape(-1, grads.shape[-1]), mode='promise_in_bounds')
  )
  return table, None, None  # sample positions are not learned


_interpolate.defvjp(_interpolate_forward, _interpolate_backward)


def lookup(level: Level, table: jax.Array, points: jax.Array) -> jax.Array:
  """Interpolate the features of one level; gradients reach the table, not the points.

  Args:
    level: its geometry.
    table: [R, F].
    points: [B, 3] metres from the box's lower corner; clipped to the box.

  Returns:
    [B, F].
  """
  return _interpolate(table, *_corners(level, points))
