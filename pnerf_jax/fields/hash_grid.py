"""Multiresolution hash grid (Mueller et al., Instant-NGP, 2022, section 3); dense where it fits.

Letters: L levels, F features a level, B points, N nodes along an axis of one level.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp

_PRIMES = (1, 2654435761, 805459861)


@dataclasses.dataclass(frozen=True)
class Level:
  """One level: `cell` metres between nodes, `nodes` along each axis, `rows` of the table."""

  cell: float
  nodes: tuple[int, int, int]
  rows: int

  @property
  def is_dense(self) -> bool:
    """Whether every node has a row of its own."""
    return math.prod(self.nodes) <= self.rows


def make_levels(
  extent: tuple[float, float, float], coarse: float, fine: float, num_levels: int, max_rows: int
) -> tuple[Level, ...]:
  """Levels with cells growing geometrically from `fine` to `coarse` metres, coarsest first.

  Args:
    extent: size of the box in metres along each axis.
    coarse: cell size of the first level, metres.
    fine: cell size of the last level, metres.
    num_levels: L.
    max_rows: cap of a level's table; a power of two, since hashing wraps by a bit mask.
  """
  if max_rows & (max_rows - 1):
    raise ValueError(f'max_rows must be a power of two, not {max_rows}')
  levels = []
  for i in range(num_levels):
    cell = coarse * (fine / coarse) ** (i / max(num_levels - 1, 1))
    nodes = tuple(int(math.ceil(size / cell)) + 1 for size in extent)
    levels.append(Level(cell, nodes, min(math.prod(nodes), max_rows)))
  return tuple(levels)


def _corners(level: Level, points: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Table rows and trilinear weights of the 8 nodes around points, [8, B] each.

  points: [B, 3] metres from the box's lower corner; clipped to the box.
  """
  last = jnp.asarray(level.nodes, jnp.float32) - 1.0
  position = jnp.clip(points / level.cell, 0.0, last)
  low = jnp.minimum(jnp.floor(position), last - 1.0)
  frac = position - low
  low = low.astype(jnp.uint32)
  # Per axis, the part that its coordinate adds to the row of the low and of the high node.
  factors = _PRIMES if not level.is_dense else (level.nodes[1] * level.nodes[2], level.nodes[2], 1)
  parts = [
    [(low[:, axis] + jnp.uint32(i)) * jnp.uint32(factor) for i in (0, 1)]
    for axis, factor in enumerate(factors)
  ]
  sides = [[1.0 - frac[:, axis], frac[:, axis]] for axis in range(3)]
  rows, weights = [], []
  for i, j, k in itertools.product((0, 1), repeat=3):
    if level.is_dense:
      rows.append(parts[0][i] + parts[1][j] + parts[2][k])
    else:
      rows.append((parts[0][i] ^ parts[1][j] ^ parts[2][k]) & jnp.uint32(level.rows - 1))
    weights.append(sides[0][i] * sides[1][j] * sides[2][k])
  return jnp.stack(rows).astype(jnp.int32), jnp.stack(weights)


@jax.custom_vjp
def _interpolate(table: jax.Array, rows: jax.Array, weights: jax.Array) -> jax.Array:
  """Sum over the corners of weight times row. table: [R, F]; rows, weights: [8, B] -> [B, F].

  Written corner by corner, and with its own backward pass: left to itself XLA on CPU fuses the
  hashing into the gather and the scatter and repeats it for every feature, ten times slower.
  """
  total = 0.0
  for corner in range(8):
    gathered = table.at[rows[corner]].get(mode='promise_in_bounds')
    total = total + gathered * weights[corner][:, None]
  return total


def _interpolate_forward(table, rows, weights):
  return _interpolate(table, rows, weights), (rows, weights, table.shape[0])


def _interpolate_backward(saved, grads):
  rows, weights, count = saved
  updates = grads[None] * weights[..., None]
  table = (
    jnp.zeros((count, grads.shape[-1]))
    .at[rows.reshape(-1)]
    .add(updates.reshape(-1, grads.shape[-1]), mode='promise_in_bounds')
  )
  return table, None, None  # where samples lie is never learned


_interpolate.defvjp(_interpolate_forward, _interpolate_backward)


def lookup(level: Level, table: jax.Array, points: jax.Array) -> jax.Array:
  """Trilinear features of one level; gradients reach the table, not the points.

  Args:
    level: its geometry.
    table: [rows, F].
    points: [B, 3] metres from the box's lower corner; clipped to the box.

  Returns:
    [B, F].
  """
  return _interpolate(table, *_corners(level, points))
