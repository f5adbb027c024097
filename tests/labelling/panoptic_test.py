"""Labels of rays whose class and instance weights are given by hand.

Letters: K intervals of a ray, C classes present.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.geometry.primitives import Primitives
from pnerf_jax.labelling import panoptic
from pnerf_jax.rendering.rays import Pixels

_ROAD, _BUILDING, _SKY, _CAR = 7, 11, 23, 26
_CLASS_IDS = (_ROAD, _BUILDING, _CAR, _SKY)
_K = 4
_UNUSED = np.zeros(())
# Primitive: 0 road, 1 and 2 two parts of car 5, 3 car 9, 4 building 5, 5 void.
_PRIMITIVES = Primitives(
  semantic=np.array([_ROAD, _CAR, _CAR, _CAR, _BUILDING, labels.VOID], np.int32),
  instance=np.array([0, 5, 5, 9, 5, 0], np.int32),
  valid=_UNUSED,
  timestamp=_UNUSED,
  vertices=_UNUSED,
  faces=_UNUSED,
  normals=_UNUSED,
  spheres=_UNUSED,
  face_start=_UNUSED,
)


def _pixel_labels(
  primitive,
  interval_weights,
  semantics,
  fixed=None,
  num_truncated=0,
  label_field='learned',
):
  """Return the labels of one ray.

  Args:
    primitive: of the intervals, up to K.
    interval_weights: of the intervals, up to K.
    semantics: [C], learned class distribution.
    fixed: [C], fixed class distribution; as `semantics` by default.
    num_truncated: number of truncated intervals.
    label_field: 'learned' or 'fixed'.
  """
  semantics = np.array([semantics], np.float32)
  fixed = semantics if fixed is None else np.array([fixed], np.float32)
  empty = _K - len(primitive)
  primitive = np.array([[*primitive, *[-1] * empty]], np.int32)
  interval_weights = np.array([[*interval_weights, *[0.0] * empty]], np.float32)
  enter = np.where(primitive >= 0, np.arange(_K), np.inf).astype(np.float32)
  intervals = Intervals(
    enter=enter, exit=enter + 1, primitive=primitive, num_truncated=np.array([num_truncated])
  )
  rendered = Pixels(
    rgb=_UNUSED,
    depth=_UNUSED,
    median_depth=_UNUSED,
    opacity=_UNUSED,
    fixed_semantics=fixed,
    semantics=semantics,
    interval_weights=interval_weights,
  )
  got = jax.jit(panoptic.label_pixels, static_argnames='label_field')(
    rendered,
    intervals,
    _PRIMITIVES,
    jnp.asarray(_CLASS_IDS),
    label_field=label_field,
  )
  return jax.tree.map(lambda x: np.asarray(x)[0].item(), got)


def _label(*args, **options):
  """Return semantic, fixed and instance id of one ray, and the probability of its label."""
  got = _pixel_labels(*args, **options)
  return got.semantic, got.fixed, got.instance, got.mass


def test_instance_is_the_heaviest_of_the_class():
  # Car 9 has weight 0.5, car 5 has 0.2; building 5 is not of the class car.
  got = _label([1, 3, 4, -1], [0.2, 0.5, 0.0, 0.0], [0.1, 0.0, 0.7, 0.2])
  assert got[:3] == (_CAR, _CAR, 9)
  assert got[3] == pytest.approx(0.7)


def test_weights_of_the_intervals_of_an_instance_add_up():
  # Car 5: 0.2 + 0.15 from its parts, more than the 0.3 of car 9.
  assert _label([1, 3, 2, -1], [0.2, 0.3, 0.15, 0.0], [0.1, 0.0, 0.7, 0.2])[2] == 5
  # Two intervals of the same, concave primitive.
  assert _label([1, 3, 1, -1], [0.2, 0.3, 0.15, 0.0], [0.1, 0.0, 0.7, 0.2])[2] == 5


def test_weights_of_instances_of_different_classes_do_not_add_up():
  # Building 5 has weight 0.4, but car 5 only 0.1 and car 9 has 0.3.
  assert _label([1, 3, 4], [0.1, 0.3, 0.4], [0.0, 0.4, 0.6, 0.0])[:3] == (_CAR, _CAR, 9)


def test_instance_ignores_the_weight_of_other_classes():
  # The road has the largest interval weight; the class of the pixel is car.
  assert _label([0, 3, -1], [0.6, 0.3, 0.0], [0.3, 0.0, 0.6, 0.1])[:3] == (_CAR, _CAR, 9)


def test_stuff_is_packed_with_instance_zero():
  semantic, _, instance, _ = _label([0, 3, -1], [0.6, 0.3, 0.0], [0.6, 0.0, 0.3, 0.1])
  assert semantic == _ROAD
  assert labels.pack_instance(np.array(semantic), np.array(instance)) == _ROAD * 1000


@pytest.mark.parametrize('primitive', [[-1, -1], [0, -1], [5, 4]])
def test_thing_without_primitive_of_its_class_has_instance_zero(primitive):
  # A learned car in void: no primitive of the ray is a car.
  assert _label(primitive, [0.6, 0.3], [0.1, 0.0, 0.8, 0.1])[2] == 0


def test_sky_without_primitive():
  assert _label([-1, -1], [0.0, 0.0], [0.0, 0.0, 0.0, 1.0])[:3] == (_SKY, _SKY, 0)


def test_fixed_label_is_void_where_free_space_is_most_probable():
  learned = [0.1, 0.0, 0.8, 0.1]
  # Free space has 1 - 0.2 - 0.1 - 0.1 = 0.6.
  assert _label([5, 0], [0.6, 0.3], learned, [0.2, 0.1, 0.0, 0.1])[:2] == (_CAR, 0)
  # Free space has 0.3, the road 0.5.
  assert _label([5, 0], [0.3, 0.6], learned, [0.5, 0.1, 0.0, 0.1])[:2] == (_CAR, _ROAD)


def test_mass_and_support_of_a_label():
  # The learned label is car, which is less probable in the fixed field.
  got = _pixel_labels([0, 3], [0.6, 0.3], [0.1, 0.0, 0.8, 0.1], [0.5, 0.0, 0.4, 0.1])
  assert (got.mass, got.fixed_mass) == pytest.approx((0.8, 0.4))
  assert not (got.truncated or got.mostly_free_space or got.no_primitive_hit)
  assert _pixel_labels([1], [0.9], [0.0, 0.0, 0.9, 0.1], num_truncated=2).truncated
  # Void has 0.6 of the weight, or is the only primitive on the ray.
  assert _pixel_labels(
    [5, 0], [0.6, 0.3], [0.1, 0.0, 0.8, 0.1], [0.3, 0.0, 0.0, 0.1]
  ).mostly_free_space
  assert _pixel_labels([5], [0.1], [0.0, 0.0, 0.1, 0.9], [0.0, 0.0, 0.0, 0.9]).no_primitive_hit
  assert _pixel_labels([-1], [0.0], [0.0, 0.0, 0.0, 1.0]).no_primitive_hit


def test_label_field_fixed_gives_the_labels():
  # Learned: car; fixed: road.
  options = {'semantics': [0.1, 0.0, 0.8, 0.1], 'fixed': [0.5, 0.0, 0.4, 0.1]}
  got = _pixel_labels([0, 3], [0.6, 0.3], label_field='fixed', **options)
  assert (got.semantic, got.fixed) == (_ROAD, _ROAD)
  assert (got.mass, got.fixed_mass) == pytest.approx((0.5, 0.5))
  # A car of the fixed field has the instance of its primitive; void has none.
  assert (
    _pixel_labels(
      [0, 3], [0.3, 0.6], [0.8, 0.0, 0.1, 0.1], [0.3, 0.0, 0.6, 0.1], label_field='fixed'
    ).instance
    == 9
  )
  got = _pixel_labels(
    [5, 0], [0.6, 0.3], [0.1, 0.0, 0.8, 0.1], [0.3, 0.0, 0.0, 0.1], label_field='fixed'
  )
  assert (got.semantic, got.instance) == (labels.VOID, 0)
