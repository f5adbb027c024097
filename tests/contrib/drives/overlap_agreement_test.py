"""Tests of the overlap agreement against counts by hand."""

import numpy as np

from pnerf_jax.contrib.drives import overlap_agreement

_CAR, _ROAD, _BUILDING = 26, 7, 11


def test_compare_matches_counts_by_hand():
  semantic = (
    np.array([[_ROAD, _ROAD, _CAR, _CAR, _CAR, _BUILDING]], np.uint8),
    np.array([[_ROAD, _CAR, _CAR, _CAR, _ROAD, _CAR]], np.uint8),
  )
  instance = (
    np.array([[7000, 7000, 26001, 26001, 26002, 11001]], np.uint16),
    np.array([[7000, 26001, 26001, 26002, 7000, 26001]], np.uint16),
  )
  found = overlap_agreement.compare(semantic, instance)
  # Equal classes in pixels 0, 2 and 3; things in 1 to 5, with one instance only in 2.
  assert found.compute() == {'images': 1, 'semantic': 3 / 6, 'instance': 1 / 5}
  total = found.merge(overlap_agreement.compare((semantic[0],) * 2, (instance[0],) * 2))
  assert total.compute() == {'images': 2, 'semantic': 9 / 12, 'instance': 5 / 9}


def test_compute_returns_none_without_pixels():
  road = np.full((2, 2), _ROAD, np.uint8)
  assert overlap_agreement.OverlapAgreement().compute() == {
    'images': 0,
    'semantic': None,
    'instance': None,
  }
  assert overlap_agreement.compare((road, road), (road * 0, road * 0)).compute()['instance'] is None
