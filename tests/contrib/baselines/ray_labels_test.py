"""Labels along rays that are written down by hand."""

import numpy as np
import pytest

from pnerf_jax.contrib.baselines import ray_labels
from pnerf_jax.geometry.intervals import Intervals

_ROAD, _BUILDING, _SKY, _CAR, _BOX = 7, 11, 23, 26, 41
# Primitives: 0 road, 1 car 4, 2 building 9, 3 a second part of car 4, 4 car 8 that moves, 5 void.
_SEMANTIC = np.array([_ROAD, _CAR, _BUILDING, _CAR, _CAR, 0])
_INSTANCE = np.array([0, 4, 9, 4, 8, 0])
_CLASSES = (_ROAD, _BUILDING, _BOX, _SKY)


def met_of(*rays, moving=None):
  """An image of one row; each ray lists (enter, primitive), `moving` the same of one that moves."""
  slots = max(map(len, rays))
  enter = np.full((1, len(rays), slots), np.inf, np.float32)
  primitive = np.full((1, len(rays), slots), -1, np.int32)
  for i, ray in enumerate(rays):
    for k, (t, m) in enumerate(ray):
      enter[0, i, k], primitive[0, i, k] = t, m
  moving_enter = np.full((1, len(rays)), np.inf, np.float32)
  moving_primitive = np.full((1, len(rays)), -1, np.int32)
  for i, (t, m) in (moving or {}).items():
    moving_enter[0, i], moving_primitive[0, i] = t, m
  intervals = Intervals(enter, enter + 1, primitive, np.zeros((1, len(rays)), np.int32))
  return ray_labels.ray_labels(
    intervals, moving_enter, moving_primitive, _SEMANTIC, _INSTANCE, _CLASSES
  )


def test_labels_are_objects_and_stuff_classes():
  found = met_of([(1, 0), (5, 1), (9, 3)], [(2, 2)], [])
  assert list(zip(found.semantic, found.instance)) == [
    (_ROAD, 0),
    (_BUILDING, 9),
    (_CAR, 4),
    (_SKY, 0),
  ]
  assert found.sky == 3
  np.testing.assert_array_equal(found.label[0, :, :3], [[0, 2, 2], [1, -1, -1], [-1, -1, -1]])
  np.testing.assert_array_equal(found.of_primitive, [0, 2, 1, 2, -1, -1])


def test_what_moves_takes_its_place_among_the_intervals():
  found = met_of([(1, 0), (5, 2)], [(1, 0)], moving={0: (3, 4), 1: (0.5, 4)})
  assert list(zip(found.semantic, found.instance)) == [
    (_ROAD, 0),
    (_BUILDING, 9),
    (_CAR, 8),
    (_SKY, 0),
  ]
  np.testing.assert_array_equal(found.label[0], [[0, 2, 1], [2, 0, -1]])
  np.testing.assert_array_equal(found.enter[0], [[1, 3, 5], [0.5, 1, np.inf]])


def test_prior_by_hand():
  found = met_of([(1, 0), (5, 1), (9, 3)], [(2, 2)], [])
  # Mass before dividing by the sum: road 1, car 0.5 + 0.25, sky 0.125; building 1, sky 0.5; sky 1.
  want = np.array([[1, 0, 0.75, 0.125], [0, 1, 0, 0.5], [0, 0, 0, 1]])
  np.testing.assert_allclose(
    ray_labels.prior(found, 0.5)[0], want / want.sum(1, keepdims=True), atol=1e-6
  )


def test_void_space_may_be_any_class_but_no_object():
  found = met_of([(1, 5), (5, 1)], [(1, 5)])
  assert list(zip(found.semantic, found.instance)) == [
    (_ROAD, 0),
    (_BUILDING, 0),
    (_CAR, 4),
    (_BOX, 0),
    (_SKY, 0),
  ]
  want = np.array([[0.5, 0.5, 1, 0.5, 0.5], [0.5, 0.5, 0, 0.5, 0.5]])
  np.testing.assert_allclose(
    ray_labels.prior(found, 0.5)[0], want / want.sum(1, keepdims=True), atol=1e-6
  )


def test_words_are_as_plausible_as_their_class_makes_them():
  found = met_of([(1, 5), (5, 1)], [(1, 5)], [(1, 5)], [(1, 5)])
  assert found.semantic.tolist() == [_ROAD, _BUILDING, _CAR, _BOX, _SKY]
  word = np.array([[_ROAD, _CAR, 255, _SKY]], np.uint8)
  # The 2D network has no word for a box, so that any but sky will do.
  assert ray_labels.label_likelihood(found, word, 0.1)[0] == pytest.approx(
    np.array([[1, 0.1, 0.1, 1, 0.1], [0.1, 0.1, 1, 1, 0.1], [1] * 5, [0.1, 0.1, 0.1, 0.1, 1]])
  )
