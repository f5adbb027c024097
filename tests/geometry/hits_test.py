"""Crossings against rational arithmetic, their parity in degenerate cases, and pairs by hand."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.geometry import hits

INF = np.inf
crosses = jax.jit(hits.crosses_face)


def _exact_left(a, b):
  """The exact rule: sign of a x b; ties by the perturbed origin, then by the order of arguments."""
  (ax, ay), (bx, by) = (tuple(map(Fraction, map(float, p))) for p in (a, b))
  cross = ax * by - ay * bx
  return cross > 0 if cross else (ay > by if ay != by else bx >= ax)


def _exact_crosses(a, b, c):
  ab, bc, ac = _exact_left(a, b), _exact_left(b, c), _exact_left(a, c)
  return ab == bc != ac


def _near_lines_through_origin(rng, count):
  """Corners nearly collinear with the origin, whose products are equal in float32."""
  along = rng.normal(size=(count, 1, 2)) * rng.uniform(-50, 50, (count, 3, 1))
  return (along + rng.normal(size=(count, 3, 2)) * 1e-6).astype(np.float32)


@pytest.mark.parametrize('kind', ['random', 'small integers', 'collinear'])
def test_crosses_face_agrees_with_rational_arithmetic(kind):
  rng = np.random.default_rng(0)
  corners = {
    'random': lambda: rng.normal(size=(400, 3, 2)).astype(np.float32),
    'small integers': lambda: rng.integers(-2, 3, (400, 3, 2)).astype(np.float32),
    'collinear': lambda: _near_lines_through_origin(rng, 400),
  }[kind]()
  found = np.asarray(
    crosses(*([jnp.asarray(corners[:, i, 0]), jnp.asarray(corners[:, i, 1])] for i in range(3)))
  )
  assert found.tolist() == [_exact_crosses(*face) for face in corners]


@pytest.mark.parametrize('kind', ['grid', 'collinear', 'coincident'])
def test_crosses_face_parity_is_even_for_closed_surfaces(kind):
  # The four faces of a tetrahedron, with its corners anywhere around the line.
  rng = np.random.default_rng(1)
  corners = {
    'grid': lambda: rng.integers(-1, 2, (5000, 4, 2)),
    'collinear': lambda: np.concatenate(
      [_near_lines_through_origin(rng, 5000), rng.normal(size=(5000, 1, 2))], axis=1
    ),
    'coincident': lambda: np.repeat(rng.integers(-1, 2, (5000, 2, 2)), 2, axis=1),
  }[kind]().astype(np.float32)
  places = [(jnp.asarray(corners[:, i, 0]), jnp.asarray(corners[:, i, 1])) for i in range(4)]
  number = sum(np.asarray(crosses(*face)).astype(int) for face in itertools.combinations(places, 3))
  assert np.all(number % 2 == 0)
  assert kind == 'coincident' or number.max() == 2


def test_plane_depth_is_clipped_to_the_face():
  depth = hits.plane_depth(
    jnp.array([6.0, 6.0, 6.0, 0.0]),
    jnp.array([2.0, 1e-9, 0.0, 0.0]),
    jnp.full(4, 1.0),
    jnp.array([10.0, 10.0, 10.0, 5.0]),
  )
  np.testing.assert_allclose(depth, [3.0, 10.0, 1.0, 1.0])


def test_insert_keeps_the_smallest_in_order():
  rng = np.random.default_rng(2)
  entries = rng.integers(0, 6, (9, 50)).astype(np.float32)  # many equal keys
  entries[rng.random(entries.shape) < 0.2] = INF
  keys, (names,) = jnp.full((4, 50), INF), (jnp.full((4, 50), -1),)
  for name, key in enumerate(entries):
    keys, (names,) = hits.insert(keys, jnp.asarray(key), (names,), (jnp.int32(name),))
  for column in range(50):
    kept = sorted((key, name) for name, key in enumerate(entries[:, column]) if np.isfinite(key))[
      :4
    ]
    expected = kept + [(INF, -1)] * (4 - len(kept))
    assert list(zip(np.asarray(keys[:, column]), np.asarray(names[:, column]))) == expected


@pytest.mark.parametrize(
  'depths, enter, leave, num_truncated',
  [
    ([], [INF, INF], [INF, INF], 0),
    ([2, 5], [2, INF], [5, INF], 0),
    ([5], [1, INF], [5, INF], 0),  # starts inside
    ([0.5, 5], [1, INF], [5, INF], 0),  # entered before near
    ([0.2, 0.5], [INF, INF], [INF, INF], 0),  # left before near
    ([-9, -5, 0.5, 3, 4, 6], [1, 4], [3, 6], 0),
    ([2, 50], [2, INF], [10, INF], 0),  # left beyond far
    ([50], [1, INF], [10, INF], 0),  # near to far
    ([40, 50], [INF, INF], [INF, INF], 0),
    ([8, 3, 2, 5], [2, 5], [3, 8], 0),
    ([3, 3, 2, 5], [2, 3], [3, 5], 0),
    ([2, 5, 5, 5.00005], [2, INF], [5, INF], 0),  # 0.05 mm is too short
    ([2, 3, 4, 5, 6, 7], [2, 4], [3, 5], 1),
    ([2, 3, 4, 5, 6, 7, 8], [1, 3], [2, 4], 2),
    ([2, 3, 4, 5, 6, 70], [2, 4], [3, 5], 1),
    ([2, 3, 4, 5, 60, 70], [2, 4], [3, 5], 0),
  ],
)
def test_hits_to_intervals_by_hand(depths, enter, leave, num_truncated):
  near, far = jnp.float32(1), jnp.float32(10)
  buffer = hits.empty_hits(4, 1)
  for t in depths:
    buffer = hits.add_hit(buffer, jnp.array([True]), jnp.array([t], jnp.float32), near, far)
    missed = hits.add_hit(buffer, jnp.array([False]), jnp.array([3.3]), near, far)
    for old, new in zip(jax.tree.leaves(buffer), jax.tree.leaves(missed), strict=True):
      np.testing.assert_array_equal(old, new)
  found_enter, found_leave, found_truncated = hits.hits_to_intervals(buffer, near, far)
  np.testing.assert_allclose(found_enter[:, 0], enter)
  np.testing.assert_allclose(found_leave[:, 0], leave)
  assert found_truncated[0] == num_truncated
