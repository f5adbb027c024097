"""Multi-view consistency against a double loop."""
import numpy as np
import pytest

from pnerf_jax.evaluation import consistency


def _double_loop(points, classes, others, other_classes):
  matched = equal = 0
  for point, c in zip(points, classes):
    distances = [np.sqrt(sum((a - b)**2 for a, b in zip(point, other))) for other in others]
    nearest = int(np.argmin(distances))
    if distances[nearest] < 0.1:
      matched += 1
      equal += int(c == other_classes[nearest])
  return matched, equal


def test_matches_agree_with_a_double_loop():
  rng = np.random.default_rng(0)
  points = rng.uniform(0, 1, (150, 3))
  others = rng.uniform(0, 1, (180, 3))
  classes, other_classes = rng.integers(0, 3, 150), rng.integers(0, 3, 180)
  counts = consistency.count(points, classes, others, other_classes)
  assert (counts.matched, counts.equal) == _double_loop(points, classes, others, other_classes)
  assert 0 < counts.equal < counts.matched < 150


def test_a_track_counts_consecutive_frames_in_their_order():
  point = np.zeros((1, 3))
  track = {frame: (point, np.array([c])) for frame, c in ((9, 7), (3, 7), (5, 8), (7, 7))}
  counts = consistency.count_track(track)  # 3-5 differ, 5-7 differ, 7-9 agree
  assert (counts.matched, counts.equal) == (3, 1)
  assert counts.mc() == pytest.approx(1 / 3)


def test_no_match_has_no_score():
  far = consistency.count(np.zeros((2, 3)), np.zeros(2), np.ones((2, 3)), np.zeros(2))
  assert far.mc() is None
  assert consistency.count(np.zeros((0, 3)), np.zeros(0), np.ones((2, 3)), np.zeros(2)).matched == 0
  assert consistency.count_track({4: (np.zeros((1, 3)), np.zeros(1))}).mc() is None
