"""The transition matrix before training: anchor pixels by a slow search, counts and estimates by
hand, and the class prior by the formulas of cuboids."""

import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.data.primitives import CUBE_FACES, CUBE_VERTICES, MIN_EXTENT, PrimitiveRecord
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.label_noise import transition

_ROAD, _BUILDING, _FENCE, _POLE, _SIGN, _SKY, _CAR, _TRUCK = 7, 11, 13, 17, 20, 23, 26, 27
_SMALLPOLE, _BOX, _UNKNOWN_OBJECT = 37, 41, 44
_CLASS_IDS = (_ROAD, _BUILDING, _POLE, _BOX, _SKY)


def _view(height: int, width: int, slots: list[tuple[tuple[slice, slice], int, float, float]]):
  """Intervals [H, W, K] of rectangles (where, primitive, enter, exit), sorted by entry."""
  primitive = np.full((height, width, len(slots)), -1, np.int16)
  enter = np.full(primitive.shape, np.inf, np.float32)
  exit_ = enter.copy()
  for k, (where, index, near, far) in enumerate(slots):
    primitive[*where, k], enter[*where, k], exit_[*where, k] = index, near, far
  order = np.argsort(enter, axis=-1, kind='stable')
  sort = lambda x: np.take_along_axis(x, order, axis=-1)
  truncated = np.zeros((height, width), np.int32)
  return Intervals(sort(enter), sort(exit_), sort(primitive), truncated)


def _anchors(intervals: Intervals) -> np.ndarray:
  return transition.anchor_pixels(intervals.primitive, intervals.enter, intervals.exit)


def _unknown(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Return unknown depth and its tolerance."""
  return np.zeros((height, width), np.float32), np.ones((height, width), np.float32)


def _slow_anchor_pixels(seen: np.ndarray) -> np.ndarray:
  """Pixels at least half as far from another primitive's pixels as the one farthest inside."""
  spots = [(v, u) for v in range(seen.shape[0]) for u in range(seen.shape[1])]
  touches = {
    (v, u): any(
      0 <= v + dv < seen.shape[0]
      and 0 <= u + du < seen.shape[1]
      and seen[v + dv, u + du] != seen[v, u]
      for dv, du in ((0, 1), (1, 0), (0, -1), (-1, 0))
    )
    for v, u in spots
  }
  edges = [spot for spot in spots if touches[spot]]
  depth = {s: min(np.hypot(s[0] - e[0], s[1] - e[1]) for e in edges) for s in spots}
  deepest = {i: max(depth[s] for s in spots if seen[s] == i) for i in np.unique(seen)}
  return np.array(
    [
      [seen[v, u] if depth[v, u] >= 0.5 * deepest[seen[v, u]] else -1 for u in range(seen.shape[1])]
      for v in range(seen.shape[0])
    ]
  )


def test_anchor_pixels_agree_with_a_slow_search():
  everything = (slice(None), slice(None))
  view = _view(
    24,
    40,
    [
      (everything, 0, 30.0, 40.0),
      ((slice(4, 20), slice(6, 26)), 1, 10.0, 12.0),
      ((slice(2, 24), slice(30, 33)), 2, 5.0, 5.3),
    ],
  )
  seen = np.zeros((24, 40), int)
  seen[4:20, 6:26], seen[2:24, 30:33] = 1, 2
  got, want = _anchors(view), _slow_anchor_pixels(seen)
  # OpenCV's 3 x 3 distance is off by up to 9 %, so pixels on the very threshold may differ.
  assert (got == want).mean() > 0.97
  assert (got == 1).sum() > 50 and (got == 2).any() and (got[4:20, 6:26] != 0).all()


def test_anchor_pixels_show_a_sign_on_a_wall_but_not_one_far_behind():
  everything = (slice(None), slice(None))
  middle = (slice(5, 15), slice(5, 15))
  on_wall = _view(20, 20, [(everything, 0, 10.0, 14.0), (middle, 1, 11.0, 11.5)])
  assert _anchors(on_wall)[10, 10] == 1
  behind = _view(20, 20, [(everything, 0, 10.0, 14.0), (middle, 1, 13.0, 13.5)])
  assert _anchors(behind)[10, 10] == 0


def test_count_anchor_labels_by_hand():
  # Left half: building (primitive 0); right half: sky. 3 pixels of the wall are labelled pole.
  view = _view(10, 20, [((slice(None), slice(0, 10)), 0, 10.0, 12.0)])
  label = np.full((10, 20), _SKY, np.uint8)
  label[:, :10] = _BUILDING
  label[4:7, 2] = _POLE
  label[0, 0] = 0
  counts = transition.count_anchor_labels(
    view,
    *_unknown(10, 20),
    label,
    semantic=np.array([_BUILDING]),
    class_ids=_CLASS_IDS,
  )
  core = _anchors(view) == 0
  assert counts[4, _SKY] == 100 and counts[4].sum() == 100
  assert counts[1].sum() == (core & (label > 0)).sum()
  assert counts[1, _POLE] == core[4:7, 2].sum()
  assert counts[[0, 2, 3, 5]].sum() == 0


def test_depth_consistent_primitives_contain_the_depth():
  primitive = np.array([[[4, 7, -1]]])
  enter, exit_ = np.array([[[5.0, 9.0, np.inf]]]), np.array([[[6.0, 12.0, np.inf]]])
  left = lambda depth, tolerance: transition.depth_consistent_primitives(
    Intervals(enter, exit_, primitive, 0), np.array([[depth]]), np.array([[tolerance]])
  )[0, 0].tolist()
  assert left(0.0, 0.1) == [4, 7, -1]  # unknown
  assert left(5.5, 0.1) == [4, -1, -1]
  assert left(10.0, 0.1) == [-1, 7, -1]
  assert left(6.3, 0.5) == [4, -1, -1] and left(6.3, 0.1) == [-1, -1, -1]
  assert left(7.5, 2.0) == [4, 7, -1]


def test_background_seen_through_a_box_is_not_counted():
  """The box around a lamp's arm: a post of 2 of its 20 columns, else the house 20 m behind."""
  everything = (slice(None), slice(None))
  view = _view(30, 40, [(everything, 0, 30.0, 40.0), ((slice(None), slice(10, 30)), 1, 10.0, 12.0)])
  label = np.full((30, 40), _BUILDING, np.uint8)
  depth = np.full((30, 40), 31.0, np.float32)
  label[:, 19:21], depth[:, 19:21] = _POLE, 11.0
  depth[:, 35:] = 2.0  # an unannotated object
  semantic, tolerance = np.array([_BUILDING, _POLE]), np.full((30, 40), 0.5)
  counts = transition.count_anchor_labels(
    view, depth, tolerance, label, semantic=semantic, class_ids=_CLASS_IDS
  )
  assert counts[2, _POLE] > 0 and counts[2].sum() == counts[2, _POLE]
  assert counts[1, _BUILDING] > 0 and counts[1].sum() == counts[1, _BUILDING]
  assert counts[4].sum() == 0  # where depth contradicts the primitives there is no sky either
  without_depth = transition.count_anchor_labels(
    view, *_unknown(30, 40), label, semantic=semantic, class_ids=_CLASS_IDS
  )
  assert without_depth[2, _BUILDING] > without_depth[2, _POLE]


def test_void_is_counted_in_the_last_row():
  everything = (slice(None), slice(None))
  view = _view(6, 6, [(everything, 0, 0.3, 100.0)])
  label = np.full((6, 6), _CAR, np.uint8)
  counts = transition.count_anchor_labels(
    view, *_unknown(6, 6), label, semantic=np.array([0]), class_ids=_CLASS_IDS
  )
  assert counts[-1, _CAR] == counts.sum() > 0


def test_estimate_transition_by_hand():
  counts = np.zeros((6, 45))
  counts[1, _BUILDING], counts[1, _POLE] = 90, 10  # building
  counts[2, _BUILDING], counts[2, _POLE] = 30, 10  # pole: missed three times of four
  counts[4, _SKY] = 50
  found = transition.estimate_transition(counts, _CLASS_IDS, prior_count=10.0, uniform_noise=0.0)
  assert found[1, _BUILDING] == pytest.approx((90 + 10) / 110)
  assert found[1, _POLE] == pytest.approx(10 / 110)
  assert found[2, _BUILDING] == pytest.approx(30 / 50)
  assert found[2, _POLE] == pytest.approx((10 + 10) / 50)
  assert found[3, _BUILDING] == found[3, _POLE] == pytest.approx(1 / 2)  # any predicted label
  assert found[3, _SKY] == 0.0
  assert found[0, _ROAD] == 1.0  # never predicted, but its only label
  np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=1e-6)


def test_uniform_noise_keeps_every_predicted_label_possible():
  counts = np.zeros((6, 45))
  counts[1, _BUILDING], counts[0, _ROAD], counts[4, _SKY] = 5, 5, 5
  found = transition.estimate_transition(counts, _CLASS_IDS, prior_count=1.0, uniform_noise=0.3)
  assert found[1, _ROAD] == pytest.approx(0.1) and found[1, _BUILDING] == pytest.approx(0.8)
  assert found[1, 0] == 0.0


def test_label_reliability_by_hand():
  counts = np.zeros((6, 45))
  assert transition.label_reliability(counts, _CLASS_IDS) == 1.0  # no anchor pixels
  counts[1, _BUILDING], counts[2, _BUILDING] = 600, 400
  counts[5, _CAR] = 999  # the row of void does not count
  assert (
    transition.label_reliability(counts, _CLASS_IDS) == 1.0
  )  # 'building' is right with odds 0.6 to 0.4
  counts[0, _POLE], counts[2, _POLE] = 7, 3
  counts[1, _CAR] = 5
  # The mean of 0.6, 0.3 and 0: every label counts once, whatever its number of pixels.
  assert transition.label_reliability(counts, _CLASS_IDS) == pytest.approx(0.3 / 0.7)
  counts[3, _CAR] = 5  # any label is compatible with a box
  assert transition.label_reliability(counts, _CLASS_IDS) == pytest.approx(1.4 / 1.6)


def test_label_reliability_of_partial_annotations_leaves_out_labels_of_unknown_precision():
  class_ids = (_ROAD, _BUILDING, _CAR, _TRUCK, _UNKNOWN_OBJECT, _SKY)
  counts = np.zeros((7, 45))
  counts[2, [_CAR, _TRUCK, _ROAD, _BUILDING, _SKY]] = 880, 40, 60, 15, 5
  counts[6, _ROAD] = 5000  # void
  things = {_CAR, _UNKNOWN_OBJECT}  # the latter is compatible with any label
  assert transition.label_reliability(counts, class_ids) == pytest.approx(0.2 / 0.8)
  assert transition.label_reliability(counts, class_ids, things) == 1.0
  # A truck without an anchor pixel tells no more of the label 'truck' than no truck.
  assert transition.label_reliability(counts, class_ids, {*things, _TRUCK}) == 1.0
  counts[3, _CAR], counts[3, _TRUCK] = 1320, 10
  expected = np.mean([880 / 2200, 10 / 50])
  found = transition.label_reliability(counts, class_ids, {*things, _TRUCK})
  assert found == pytest.approx(expected / (1 - expected))
  # Train ids: no car has a label that is compatible with it.
  wrong = np.zeros((7, 45))
  wrong[2, [_FENCE, _ROAD]] = 900, 100
  assert transition.label_reliability(wrong, class_ids, things) == 0.0
  # Anchor pixels of the unspecific class alone tell nothing.
  unspecific = np.zeros((7, 45))
  unspecific[4, [_CAR, _ROAD]] = 5, 7
  assert transition.label_reliability(unspecific, class_ids, things) == 1.0


def test_label_reliability_of_complete_annotations_is_unchanged_to_the_bit():
  """Also if the space outside may hold geometry, and whatever labels are predicted."""
  rng = np.random.default_rng(0)
  class_ids = (_ROAD, _BUILDING, _POLE, _CAR, _SMALLPOLE, _SKY)
  compatible = labels.compatibility_matrix(class_ids)
  possible = np.flatnonzero(compatible.any(axis=0))
  for _ in range(50):
    counts = np.zeros((7, 45))
    counts[:, possible] = rng.integers(0, 1000, (7, len(possible)))
    counts[rng.integers(0, 6)] = 0  # a class without anchor pixels
    right, total = (counts[:-1] * compatible).sum(axis=0), counts[:-1].sum(axis=0)
    precision = np.mean(right[total > 0] / total[total > 0])
    expected = float(min(1.0, precision / max(1.0 - precision, 1e-6)))
    assert transition.label_reliability(counts, class_ids) == expected
    assert transition.label_reliability(counts, class_ids, set(class_ids[:-1])) == expected


def test_estimate_transition_is_finite_without_counts():
  found = transition.estimate_transition(
    np.zeros((6, 45)), _CLASS_IDS, prior_count=0.0, uniform_noise=0.05
  )
  assert np.isfinite(found).all() and (found >= 0).all()


def test_a_class_with_few_correct_labels_wins_by_its_likelihood():
  """Bayes by hand: one label 'pole' in four views is more likely for a pole than for a wall."""
  counts = np.zeros((6, 45))
  counts[1, _BUILDING], counts[1, _POLE] = 9900, 100
  counts[2, _BUILDING], counts[2, _POLE] = 75, 25
  matrix = transition.estimate_transition(counts, _CLASS_IDS, prior_count=1.0, uniform_noise=0.01)
  observed = [_BUILDING, _BUILDING, _BUILDING, _POLE]
  assert np.log(matrix[2, observed]).sum() > np.log(matrix[1, observed]).sum()


def test_transition_from_label_sets():
  found = transition.transition_from_label_sets(_CLASS_IDS, uniform_noise=0.1)
  assert found[1, _BUILDING] == pytest.approx(1.0)
  assert found[1, _CAR] == pytest.approx(0.1)
  assert found[-1, _CAR] == pytest.approx(1.0)
  assert found[-1, _SKY] == pytest.approx(0.1)


def _cuboid(semantic: int, size: tuple[float, float, float]) -> PrimitiveRecord:
  """A turned cuboid far from the origin, in metres."""
  turn, _ = np.linalg.qr(np.random.default_rng(semantic).normal(size=(3, 3)))
  vertices = CUBE_VERTICES * size @ turn + [1200.0, 3500.0, 115.0]
  return PrimitiveRecord(0, 1, '', semantic, 0, -1, -1, -1, vertices, CUBE_FACES)


def test_class_prior_is_the_surface_to_volume_ratio():
  surface = lambda a, b, c: 2 / a + 2 / b + 2 / c
  bins, walls = [(0.6, 0.6, 1.0), (0.5, 0.8, 1.2)], [(10.0, 12.0, 8.0)]
  prior = transition.class_prior(
    [
      *(_cuboid(_BOX, size) for size in bins),
      *(_cuboid(_BUILDING, size) for size in walls),
      _cuboid(_CAR, (4.0, 2.0, 1.5)),
    ],
    _CLASS_IDS,
  )
  assert prior.dtype == np.float32
  want = [1.0, surface(*walls[0]), 1.0, np.sqrt(surface(*bins[0]) * surface(*bins[1])), 1.0]
  np.testing.assert_allclose(prior, want, rtol=1e-5)  # of a class without primitives: 1


def test_class_prior_of_the_thinnest_allowed_primitive():
  prior = transition.class_prior([_cuboid(_ROAD, (80.0, 60.0, MIN_EXTENT))], _CLASS_IDS)
  np.testing.assert_allclose(prior[0], 2 / MIN_EXTENT, rtol=1e-3)
