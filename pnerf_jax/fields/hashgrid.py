"""Multiresolution hash grid (Mueller et al., Instant-NGP, 2022, section 3), dense where a level fits.

Letters: L levels, F features a level, B points, N nodes along an axis of one level.
"""
import dataclasses
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


def _row_index(level: Level, node: jax.Array) -> jax.Array:
  """Table row of integer nodes. node: [..., 3] int32 -> [...] int32."""
  if level.is_dense:
    _, ny, nz = level.nodes
    return (node[..., 0] * ny + node[..., 1]) * nz + node[..., 2]
  unsigned = node.astype(jnp.uint32)
  mixed = unsigned[..., 0] * jnp.uint32(_PRIMES[0])
  mixed ^= unsigned[..., 1] * jnp.uint32(_PRIMES[1])
  mixed ^= unsigned[..., 2] * jnp.uint32(_PRIMES[2])
  return (mixed & jnp.uint32(level.rows - 1)).astype(jnp.int32)


def lookup(level: Level, table: jax.Array, points: jax.Array) -> jax.Array:
  """Trilinear features of one level.

  Args:
    level: its geometry.
    table: [rows, F].
    points: [B, 3] metres from the box's lower corner; clipped to the box.

  Returns:
    [B, F].
  """
  position = points / level.cell
  position = jnp.clip(position, 0.0, jnp.asarray(level.nodes, jnp.float32) - 1.0)
  low = jnp.minimum(jnp.floor(position), jnp.asarray(level.nodes, jnp.float32) - 2.0)
  frac = position - low
  low = low.astype(jnp.int32)
  offsets = jnp.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], jnp.int32)  # [8, 3]
  rows = _row_index(level, low[:, None, :] + offsets)  # [B, 8]
  corner = jnp.where(offsets == 1, frac[:, None, :], 1.0 - frac[:, None, :])  # [B, 8, 3]
  weight = corner[..., 0] * corner[..., 1] * corner[..., 2]
  return jnp.sum(table[rows] * weight[..., None], axis=1)
