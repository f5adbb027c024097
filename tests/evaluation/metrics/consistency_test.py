"""Multi-view consistency against a double loop."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import consistency


def _double_loop(points, classes, others, other_classes):
  matched = equal = 0
  for point, c in zip(points, classes):
    distances = [np.sqrt(sum((a - b) ** 2 for a, b in zip(point, other))) for other in others]
    nearest = int(np.argmin(distances))
    if distances[nearest] < 0.1:
      matched += 1
      equal += int(c == other_classes[nearest])
  return matched, equal


def test_count_agrees_with_a_double_loop():
  rng = np.random.default_rng(0)
  points = rng.uniform(0, 1, (150, 3))
  others = rng.uniform(0, 1, (180, 3))
  classes, other_classes = rng.integers(0, 3, 150), rng.integers(0, 3, 180)
  counts = consistency.count(points, classes, others, other_classes)
  assert (counts.matched, counts.equal) == _double_loop(points, classes, others, other_classes)
  assert 0 < counts.equal < counts.matched < 150


def _frame_points(points, classes, visible=None, truth=None):
  optional = lambda values, dtype: None if values is None else np.array(values, dtype)
  return consistency.FramePoints(
    points=np.array(points, float),
    classes=np.array(classes),
    visible=optional(visible, bool),
    truth=optional(truth, np.uint8),
  )


def test_count_track_matches_consecutive_frames():
  track = {frame: _frame_points([[0, 0, 0]], [c]) for frame, c in ((9, 7), (3, 7), (5, 8), (7, 7))}
  counts = consistency.count_track(track, False, False)  # 3-5 differ, 5-7 differ, 7-9 agree
  assert (counts.matched, counts.equal) == (3, 1)
  assert counts.mc() == pytest.approx(1 / 3)


def test_count_track_selects_visible_points_and_true_classes():
  # Four points seen twice: equal; different but occluded in one image; of void truth; different.
  points = np.eye(4)[:, :3]
  track = {
    1: _frame_points(points, [7, 7, 7, 7], [1, 1, 1, 1], [7, 11, 0, 8]),
    2: _frame_points(points + 0.01, [7, 8, 7, 8], [1, 0, 1, 1], [7, 11, 7, 7]),
  }
  count = lambda *options: consistency.count_track(track, *options)
  assert count(False, False) == consistency.MatchCounts(4, 2)
  assert count(True, False) == consistency.MatchCounts(3, 2)
  assert count(False, True) == consistency.MatchCounts(3, 2)
  assert count(True, True) == consistency.MatchCounts(2, 1)


def test_count_track_skips_frames_without_the_requested_input():
  known = _frame_points([[0, 0, 0]], [7], [True], [7])
  for other, options in (
    (_frame_points([[0, 0, 0]], [7], None, [7]), (True, False)),
    (_frame_points([[0, 0, 0]], [7], [True], None), (False, True)),
  ):
    track = {1: known, 2: other, 3: known, 4: known}
    assert consistency.count_track(track, *options).matched == 1
    assert consistency.count_track(track, False, False).matched == 3


def test_mc_is_none_without_matches():
  far = consistency.count(np.zeros((2, 3)), np.zeros(2), np.ones((2, 3)), np.zeros(2))
  assert far.mc() is None
  assert consistency.count(np.zeros((0, 3)), np.zeros(0), np.ones((2, 3)), np.zeros(2)).matched == 0
  assert consistency.count_track({4: _frame_points([[0, 0, 0]], [7])}, False, False).mc() is None
