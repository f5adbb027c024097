"""The hash grid against scipy's interpolation and a hash computed with Python integers."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates

from pnerf_jax.fields import hash_grid

_FEATURES = 3
_EXTENT = (4.0, 2.0, 3.0)
_LOOKUP = jax.jit(hash_grid.lookup, static_argnums=0)


def _level(cell: float, hashmap_size: int) -> hash_grid.Level:
  (level,) = hash_grid.make_levels(
    _EXTENT, max_cell=cell, min_cell=cell, num_levels=1, hashmap_size=hashmap_size
  )
  return level


def _dense() -> hash_grid.Level:
  level = _level(0.5, 2**12)
  assert level.is_dense
  return level


def _hashed() -> hash_grid.Level:
  level = _level(0.125, 2**9)
  assert not level.is_dense
  return level


def _table(level: hash_grid.Level, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=(level.rows, _FEATURES)).astype(np.float32)


def _points(count: int, seed: int = 1) -> np.ndarray:
  return np.random.default_rng(seed).uniform(0, _EXTENT, (count, 3)).astype(np.float32)


def test_make_levels_shrinks_cells_geometrically_and_covers_the_box():
  levels = hash_grid.make_levels(
    (100.0, 20.0, 60.0), max_cell=4.0, min_cell=0.25, num_levels=5, hashmap_size=2**15
  )
  np.testing.assert_allclose([level.cell for level in levels], [4, 2, 1, 0.5, 0.25])
  assert levels[0].nodes == (26, 6, 16)
  for level in levels:
    for size, nodes in zip((100.0, 20.0, 60.0), level.nodes):
      assert (nodes - 2) * level.cell < size <= (nodes - 1) * level.cell + 1e-9
    assert level.rows == min(math.prod(level.nodes), 2**15)
  assert [level.is_dense for level in levels] == [True, True, False, False, False]


def test_make_levels_rejects_a_hashmap_size_that_is_not_a_power_of_two():
  with pytest.raises(ValueError, match='3000'):
    _level(0.5, 3000)


def test_lookup_of_a_dense_level_is_trilinear_interpolation():
  level = _dense()
  table = _table(level)
  points = _points(500)
  got = np.asarray(_LOOKUP(level, table, points))
  lattice = table.reshape(*level.nodes, _FEATURES)
  axes = [np.arange(nodes) * level.cell for nodes in level.nodes]
  np.testing.assert_allclose(got, RegularGridInterpolator(axes, lattice)(points), atol=1e-5)
  position = (points / level.cell).T
  want = [map_coordinates(lattice[..., f], position, order=1) for f in range(_FEATURES)]
  np.testing.assert_allclose(got, np.stack(want, axis=-1), atol=1e-5)


def test_lookup_reproduces_node_values_exactly():
  level = _dense()
  table = _table(level)
  nodes = np.array(list(np.ndindex(level.nodes)), np.float32)  # the cell is a power of two
  np.testing.assert_array_equal(_LOOKUP(level, table, nodes * np.float32(level.cell)), table)


def _hash_row(level: hash_grid.Level, node) -> int:
  """Hash a node by equation 4 of Mueller et al. with integers of any size."""
  mixed = 0
  for coordinate, prime in zip(node, (1, 2654435761, 805459861)):
    mixed ^= (int(coordinate) * prime) % 2**32
  return mixed % level.rows


def test_lookup_of_a_hashed_level_agrees_with_a_loop():
  level = _hashed()
  table = _table(level)
  points = _points(60)
  got = np.asarray(_LOOKUP(level, table, points))
  for point, features in zip(points.astype(np.float64), got):
    want = np.zeros(_FEATURES)
    low = np.floor(point / level.cell).astype(int)
    for offset in itertools.product((0, 1), repeat=3):
      node = low + offset
      weight = np.prod(1 - np.abs(point / level.cell - node))
      want += weight * table[_hash_row(level, node)]
    np.testing.assert_allclose(features, want, atol=1e-5)


def test_hash_is_nearly_uniform_over_the_rows():
  level = _hashed()
  nodes = np.array(list(np.ndindex(level.nodes)), np.float32)
  rows = np.arange(level.rows, dtype=np.float32)[:, None]
  hit = np.asarray(_LOOKUP(level, rows, nodes * np.float32(level.cell)))[:, 0]
  counts = np.bincount(hit.astype(int), minlength=level.rows)
  assert counts.min() > 0 and counts.max() < 3 * counts.mean()


@pytest.mark.parametrize('make', [_dense, _hashed])
def test_lookup_is_continuous_across_cell_faces(make):
  level = make()
  table = _table(level)
  rng = np.random.default_rng(2)
  faces = _points(300, seed=3)
  axis = rng.integers(0, 3, 300)
  number = [rng.integers(1, level.nodes[a] - 1) for a in axis]
  faces[np.arange(300), axis] = np.float32(level.cell) * np.array(number, np.float32)
  step = np.zeros_like(faces)
  step[np.arange(300), axis] = 1e-4
  before, after = _LOOKUP(level, table, faces - step), _LOOKUP(level, table, faces + step)
  # Neighbouring nodes differ by less than 10: the bound of the change over 2e-4 m.
  np.testing.assert_allclose(before, after, atol=2e-4 / level.cell * 10)
  np.testing.assert_allclose(before, _LOOKUP(level, table, faces), atol=2e-4 / level.cell * 10)


@pytest.mark.parametrize('make', [_dense, _hashed])
def test_lookup_clips_points_to_the_box(make):
  level = make()  # the extent is a multiple of the cell
  table = _table(level)
  points = np.random.default_rng(4).uniform(-50, 50, (400, 3)).astype(np.float32)
  got = np.asarray(_LOOKUP(level, table, points))
  clipped = np.clip(points, 0, np.array(_EXTENT, np.float32))
  np.testing.assert_allclose(got, _LOOKUP(level, table, clipped), atol=1e-6)
  corners = np.array([[-1e6, -1e6, -1e6], [1e6, 1e6, 1e6]], np.float32)
  assert np.isfinite(_LOOKUP(level, table, corners)).all()


def test_lookup_gradient_is_the_corner_weight():
  level = _dense()
  point = np.array([[0.5 * 0.5, 0.5 * 1.25, 0.5 * 2.0]], np.float32)  # nodes 0.5, 1.25, 2
  gradient = np.asarray(
    jax.grad(lambda table: jnp.sum(_LOOKUP(level, table, point)))(_table(level))
  ).reshape(*level.nodes, _FEATURES)
  want = np.zeros_like(gradient)
  for x, y in itertools.product((0, 1), (1, 2)):
    want[x, y, 2] = 0.5 * (0.75 if y == 1 else 0.25)
  np.testing.assert_allclose(gradient, want, atol=1e-6)


@pytest.mark.parametrize('make', [_dense, _hashed])
def test_lookup_gradient_is_the_transpose_of_the_lookup(make):
  # The lookup is linear in the table: <g, lookup(table)> = <gradient, table> for any table.
  level = make()
  points = _points(400) * 1.2 - 0.3  # some are outside
  g = np.random.default_rng(5).normal(size=(400, _FEATURES)).astype(np.float32)
  loss = lambda table: jnp.sum(g * _LOOKUP(level, table, points))
  gradient = np.float64(jax.jit(jax.grad(loss))(_table(level)))
  for seed in range(6, 10):
    other = _table(level, seed)
    want = float(np.sum(np.float64(g) * np.float64(_LOOKUP(level, other, points))))
    assert float(np.sum(gradient * other)) == pytest.approx(want, abs=2e-3)


@pytest.mark.parametrize('make', [_dense, _hashed])
def test_lookup_gradients_are_finite(make):
  level = make()
  points = np.concatenate(
    [
      _points(50),
      np.zeros((1, 3)),
      [_EXTENT],
      [[-1e6, 1e6, 0.5]],
      [[0.5, 1.0, 1.5]],
    ]
  ).astype(np.float32)
  total = lambda table, x: jnp.sum(_LOOKUP(level, table, x) ** 2)
  gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(_table(level), points)
  for gradient in gradients:
    assert np.isfinite(gradient).all()
