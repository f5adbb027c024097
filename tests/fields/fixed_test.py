"""The fixed semantic and instance fields against loops over samples and intervals.

Letters: S samples of a ray, K intervals of a ray.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields import fixed
from pnerf_jax.geometry.intervals import Intervals

_ROAD, _SIDEWALK, _BUILDING, _SKY = 7, 8, 11, 23
_CLASS_IDS = (_ROAD, _SIDEWALK, _BUILDING, _SKY)


_FIND_MEMBERSHIP = jax.jit(fixed.find_membership)


def _membership(t, intervals, table) -> fixed.Membership:
  """Return the membership of samples as numpy arrays."""
  return jax.device_get(_FIND_MEMBERSHIP(jnp.asarray(t, jnp.float32), intervals, table))


def _intervals(enter, leave, primitive) -> Intervals:
  primitive = jnp.asarray(primitive)
  return Intervals(
    enter=jnp.asarray(enter, jnp.float32),
    exit=jnp.asarray(leave, jnp.float32),
    primitive=primitive,
    num_truncated=jnp.zeros(primitive.shape[:-1], jnp.int32),
  )


def _lookup(t, spans, semantic, class_ids=_CLASS_IDS):
  """Return the membership on one ray. spans: a list of (enter, exit, primitive)."""
  enter, leave, primitive = (list(column) for column in zip(*spans))
  table = fixed.make_class_table(np.array(semantic), class_ids, _SKY)
  intervals = _intervals(enter + [np.inf], leave + [np.inf], primitive + [-1])
  return _membership(t, intervals, table)


def test_fixed_field_is_one_hot_in_one_class_and_zero_outside():
  got = _lookup([0.5, 1.5, 2.5, 3.5], [(1, 3, 0), (2, 3, 1)], [_BUILDING, _BUILDING])
  np.testing.assert_array_equal(got.occupied, [False, True, True, False])
  want = [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
  np.testing.assert_array_equal(got.fixed, want)
  np.testing.assert_array_equal(got.class_mask, np.array(want, bool))


def test_fixed_field_is_uniform_over_distinct_classes():
  # Two road primitives and one sidewalk at 2.5: 1/2 each, not 2/3 and 1/3.
  got = _lookup([2.5], [(1, 4, 0), (2, 4, 1), (2, 3, 2)], [_ROAD, _ROAD, _SIDEWALK])
  np.testing.assert_array_equal(got.fixed, [[0.5, 0.5, 0, 0]])
  # Three classes: a third each.
  got = _lookup([2.5], [(1, 4, 0), (2, 4, 1), (2, 3, 2)], [_ROAD, _BUILDING, _SIDEWALK])
  np.testing.assert_allclose(got.fixed, [[1 / 3, 1 / 3, 1 / 3, 0]], rtol=1e-6)


def test_intervals_include_their_ends():
  got = _lookup([1.0, 2.0, np.nextafter(np.float32(2.0), np.float32(3.0))], [(1, 2, 0)], [_ROAD])
  np.testing.assert_array_equal(got.occupied, [True, True, False])


def test_void_primitive_allows_all_classes_but_the_sky():
  # Void from 1 to 9 m, a building from 3 to 5 m inside it.
  got = _lookup([0.5, 2.0, 4.0, 8.0], [(1, 9, 0), (3, 5, 1)], [0, _BUILDING])
  np.testing.assert_array_equal(got.occupied, [False, True, True, True])
  np.testing.assert_array_equal(got.fixed, [[0] * 4, [0] * 4, [0, 0, 1, 0], [0] * 4])
  free = [True, True, True, False]
  np.testing.assert_array_equal(
    got.class_mask, [[False] * 4, free, [False, False, True, False], free]
  )


def test_more_than_32_classes():
  class_ids = (*(i for i in range(1, 45) if i != _SKY), _SKY)  # 44 classes
  semantic = list(class_ids[:-1]) + [0]
  spans = [(2 * i, 2 * i + 1, i) for i in range(len(semantic))]
  got = _lookup([2 * i + 0.5 for i in range(len(semantic))], spans, semantic, class_ids)
  np.testing.assert_array_equal(got.fixed[:-1], np.eye(44)[:43])
  np.testing.assert_array_equal(got.fixed[-1], 0.0)
  np.testing.assert_array_equal(got.class_mask[-1], [True] * 43 + [False])


def _loop(t, spans, semantic, class_ids):
  """Return the class mask and the fixed field of one sample by definition."""
  containing = [
    semantic[index] for enter, leave, index in spans if index >= 0 and enter <= t <= leave
  ]
  voting = {label for label in containing if label != 0}
  class_mask = [label in voting for label in class_ids]
  fixed_field = [1 / len(voting) if label in voting else 0.0 for label in class_ids]
  if containing and not voting:
    class_mask = [label != _SKY for label in class_ids]
  return class_mask, fixed_field


@pytest.mark.parametrize('num_classes, index_type', [(4, np.int32), (32, np.int16), (40, np.int32)])
def test_find_membership_agrees_with_a_loop(num_classes, index_type):
  rng = np.random.default_rng(num_classes)
  shape, num_intervals, num_primitives = (2, 12), 6, 30
  others = rng.permutation([i for i in range(1, 45) if i != _SKY])[: num_classes - 1]
  class_ids = (*(int(i) for i in sorted(others)), _SKY)
  semantic = rng.choice([0, 0, *class_ids[:3], *class_ids[-5:-1]], num_primitives)
  primitive = rng.integers(-1, num_primitives, (*shape, num_intervals)).astype(index_type)
  enter = np.where(primitive < 0, np.inf, rng.uniform(0, 10, primitive.shape)).astype(np.float32)
  leave = (enter + rng.uniform(0, 6, enter.shape)).astype(np.float32)
  t = np.sort(rng.uniform(0, 14, (*shape, 20)), axis=-1).astype(np.float32)
  t[..., :num_intervals] = np.where(np.isfinite(enter), enter, 0.0)  # some exactly at the ends
  table = fixed.make_class_table(semantic, class_ids, _SKY)
  got = _membership(t, _intervals(enter, leave, primitive), table)
  assert got.inside.shape == (*t.shape, num_intervals)
  assert got.class_mask.shape == got.fixed.shape == (*t.shape, num_classes)
  for index in np.ndindex(t.shape):
    spans = list(zip(enter[index[:-1]], leave[index[:-1]], primitive[index[:-1]]))
    inside = [p >= 0 and low <= t[index] <= high for low, high, p in spans]
    np.testing.assert_array_equal(got.inside[index], inside)
    assert bool(got.occupied[index]) == any(inside)
    class_mask, fixed_field = _loop(t[index], spans, semantic, class_ids)
    np.testing.assert_array_equal(got.class_mask[index], class_mask)
    np.testing.assert_allclose(got.fixed[index], fixed_field, rtol=1e-6)


def test_unused_intervals_contain_no_sample():
  table = fixed.make_class_table(np.array([_ROAD, _BUILDING]), _CLASS_IDS, _SKY)
  intervals = _intervals([[0.0, 100.0]], [[9.0, 100.0]], [[-1, -1]])
  got = _membership([[0.0, 5.0, 100.0]], intervals, table)
  assert not got.occupied.any() and not got.inside.any() and not got.class_mask.any()
  np.testing.assert_array_equal(got.fixed, 0.0)


def test_interval_responsibilities_are_uniform_over_the_containing_intervals():
  inside = np.random.default_rng(0).uniform(size=(5, 7, 4)) > 0.5
  inside[0, 0] = False
  got = np.asarray(fixed.interval_responsibilities(jnp.asarray(inside)))
  for ray, sample, k in np.ndindex(inside.shape):
    containing = sum(bool(x) for x in inside[ray, sample])
    want = 1 / containing if inside[ray, sample, k] else 0.0
    assert got[ray, sample, k] == pytest.approx(want)
