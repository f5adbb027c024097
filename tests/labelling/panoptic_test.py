"""One label a pixel, from rays whose class and instance mass is written down by hand.

Letters: R rays, K interval slots, C classes present.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.labelling import panoptic
from pnerf_jax.rendering.rays import Rendered

_ROAD, _BUILDING, _SKY, _CAR = 7, 11, 23, 26
_CLASS_IDS = (_ROAD, _BUILDING, _CAR, _SKY)
_SLOTS = 4
# Primitive: 0 road, 1 and 2 two parts of car 5, 3 car 9, 4 building 5, 5 void.
_SEMANTIC = np.array([_ROAD, _CAR, _CAR, _CAR, _BUILDING, labels.VOID], np.int32)
_INSTANCE = np.array([0, 5, 5, 9, 5, 0], np.int32)


def _picked(
  primitive,
  slots,
  semantics,
  fixed=None,
  num_truncated=0,
  groups=np.eye(4, dtype=bool),
  source='learned',
):
  """What label_pixels says of one ray. primitive, slots: up to K entries; semantics, fixed: mass of
  the classes."""
  absent = np.zeros(())
  semantics = np.array([semantics], np.float32)
  fixed = semantics if fixed is None else np.array([fixed], np.float32)
  empty = _SLOTS - len(primitive)
  primitive = np.array([[*primitive, *[-1] * empty]], np.int32)
  slots = np.array([[*slots, *[0.0] * empty]], np.float32)
  enter = np.where(primitive >= 0, np.arange(_SLOTS), np.inf).astype(np.float32)
  intervals = Intervals(
    enter=enter, exit=enter + 1, primitive=primitive, num_truncated=np.array([num_truncated])
  )
  rendered = Rendered(
    rgb=absent,
    depth=absent,
    median_depth=absent,
    opacity=absent,
    fixed_semantics=fixed,
    semantics=semantics,
    slots=slots,
    samples=absent,
    weights=absent,
    logits=absent,
    member=absent,
  )
  got = jax.jit(panoptic.label_pixels, static_argnames='source')(
    rendered, intervals, jnp.asarray(_CLASS_IDS), groups, _SEMANTIC, _INSTANCE, source=source
  )
  return jax.tree.map(lambda x: np.asarray(x)[0].item(), got)


def _label(*args, **options):
  """Semantic, fixed and instance id of one ray, and the label's mass."""
  got = _picked(*args, **options)
  return got.semantic, got.fixed, got.instance, got.mass


def test_instance_of_the_class_with_the_largest_mass_wins():
  # Car 9 holds 0.5, car 5 holds 0.2; building 5 holds none of the class car.
  got = _label([1, 3, 4, -1], [0.2, 0.5, 0.0, 0.0], [0.1, 0.0, 0.7, 0.2])
  assert got[:3] == (_CAR, _CAR, 9)
  assert got[3] == pytest.approx(0.7)


def test_several_slots_of_an_instance_add_up():
  # Car 5: 0.2 + 0.15 from its parts, more than the 0.3 of car 9.
  assert _label([1, 3, 2, -1], [0.2, 0.3, 0.15, 0.0], [0.1, 0.0, 0.7, 0.2])[2] == 5
  # The same primitive met twice, as a concave one is.
  assert _label([1, 3, 1, -1], [0.2, 0.3, 0.15, 0.0], [0.1, 0.0, 0.7, 0.2])[2] == 5


def test_equal_instance_ids_of_another_class_do_not_add_up():
  # Building 5 holds 0.4, but car 5 only 0.1 against the 0.3 of car 9.
  assert _label([1, 3, 4], [0.1, 0.3, 0.4], [0.0, 0.4, 0.6, 0.0])[:3] == (_CAR, _CAR, 9)


def test_mass_of_another_class_does_not_decide():
  # The road holds most of the slots' mass; the pixel is called car all the same.
  assert _label([0, 3, -1], [0.6, 0.3, 0.0], [0.3, 0.0, 0.6, 0.1])[:3] == (_CAR, _CAR, 9)


def test_stuff_keeps_its_class_and_packs_as_instance_zero():
  semantic, _, instance, _ = _label([0, 3, -1], [0.6, 0.3, 0.0], [0.6, 0.0, 0.3, 0.1])
  assert semantic == _ROAD
  assert labels.pack_instance(np.array(semantic), np.array(instance)) == _ROAD * 1000


@pytest.mark.parametrize('primitive', [[-1, -1], [0, -1], [5, 4]])
def test_thing_without_an_instance_of_its_class_gets_instance_zero(primitive):
  # A learned car in void: no primitive of the ray is a car.
  assert _label(primitive, [0.6, 0.3], [0.1, 0.0, 0.8, 0.1])[2] == 0


def test_sky_needs_no_primitive():
  assert _label([-1, -1], [0.0, 0.0], [0.0, 0.0, 0.0, 1.0])[:3] == (_SKY, _SKY, 0)


def test_mass_that_only_void_holds_makes_the_fixed_label_void():
  learned = [0.1, 0.0, 0.8, 0.1]
  # 1 - 0.2 - 0.1 - 0.1 = 0.6 is unnamed.
  assert _label([5, 0], [0.6, 0.3], learned, [0.2, 0.1, 0.0, 0.1])[:2] == (_CAR, 0)
  # 0.3 is unnamed, the road has 0.5.
  assert _label([5, 0], [0.3, 0.6], learned, [0.5, 0.1, 0.0, 0.1])[:2] == (_CAR, _ROAD)


def test_what_speaks_for_a_label_and_against_it():
  # The learned field says car, of which the fixed field is less sure.
  got = _picked([0, 3], [0.6, 0.3], [0.1, 0.0, 0.8, 0.1], [0.5, 0.0, 0.4, 0.1])
  assert (got.mass, got.fixed_mass) == pytest.approx((0.8, 0.4))
  assert not (got.overflowed or got.unnamed or got.unmet)
  assert _picked([1], [0.9], [0.0, 0.0, 0.9, 0.1], num_truncated=2).overflowed
  # Void holds 0.6 of what the ray saw, or is all that it met.
  assert _picked([5, 0], [0.6, 0.3], [0.1, 0.0, 0.8, 0.1], [0.3, 0.0, 0.0, 0.1]).unnamed
  assert _picked([5], [0.1], [0.0, 0.0, 0.1, 0.9], [0.0, 0.0, 0.0, 0.9]).unmet
  assert _picked([-1], [0.0], [0.0, 0.0, 0.0, 1.0]).unmet


def test_the_fixed_field_labels_when_asked():
  # Learned: car; fixed: road, for which the building's slots do not count.
  options = {'semantics': [0.1, 0.0, 0.8, 0.1], 'fixed': [0.5, 0.0, 0.4, 0.1]}
  got = _picked([0, 3], [0.6, 0.3], source='fixed', **options)
  assert (got.semantic, got.fixed) == (_ROAD, _ROAD)
  assert (got.mass, got.fixed_mass) == pytest.approx((0.5, 0.5))
  # A car of the fixed field has the instance of its primitive, and void is nobody's.
  assert (
    _picked([0, 3], [0.3, 0.6], [0.8, 0.0, 0.1, 0.1], [0.3, 0.0, 0.6, 0.1], source='fixed').instance
    == 9
  )
  got = _picked([5, 0], [0.6, 0.3], [0.1, 0.0, 0.8, 0.1], [0.3, 0.0, 0.0, 0.1], source='fixed')
  assert (got.semantic, got.instance) == (labels.VOID, 0)


def test_primitives_split_what_training_merged():
  # Road and building were merged: 0.6 together, of which the primitives give the building 3 / 4.
  groups = np.eye(4, dtype=bool)
  groups[0, 1] = groups[1, 0] = True
  got = _label([0, 4], [0.2, 0.6], [0.5, 0.1, 0.4, 0.0], fixed=[0.2, 0.6, 0.2, 0.0], groups=groups)
  assert got[0] == _BUILDING and got[3] == pytest.approx(0.45)
  # A group that no primitive on the ray belongs to keeps its own division.
  split = panoptic.split_merged(
    jnp.array([0.5, 0.1, 0.4, 0.0]), jnp.array([0.0, 0.0, 1.0, 0.0]), jnp.asarray(groups)
  )
  np.testing.assert_allclose(split, [0.5, 0.1, 0.4, 0.0], atol=1e-6)
