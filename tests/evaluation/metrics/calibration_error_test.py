"""Calibration and risk-coverage against loops over pixels and values by hand."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import calibration_error
from pnerf_jax.evaluation.metrics.calibration_error import Reliability


def _random(seed, pixels=400, levels=9):
  """Confidences with many ties, labels and truth of which some is void."""
  rng = np.random.default_rng(seed)
  p = rng.integers(0, levels + 1, pixels) / levels
  truth = rng.choice([0, 255, 7, 8, 11], pixels, p=[0.05, 0.05, 0.3, 0.3, 0.3]).astype(np.uint8)
  prediction = np.where(rng.random(pixels) < 0.3 + 0.6 * p, truth, 26).astype(np.uint8)
  return p.reshape(20, -1), prediction.reshape(20, -1), truth.reshape(20, -1)


def _loop_ece(p, correct):
  """Guo et al., equation 3, with bins (m - 1, m] / 15."""
  total = 0.0
  for m in range(1, 16):
    chosen = [
      i
      for i in range(len(p))
      if (m - 1) / 15 < round(p[i] * 65535) / 65535 <= m / 15 or (m == 1 and p[i] == 0)
    ]
    if chosen:
      total += abs(sum(correct[i] for i in chosen) - sum(p[i] for i in chosen))
  return total / len(p)


def test_ece_agrees_with_a_loop():
  p, prediction, truth = _random(0)
  known = ~np.isin(truth, (0, 255))
  got = calibration_error.count(p, prediction, truth, None)
  assert got.pixels.sum() == known.sum()
  expected = _loop_ece(p[known], (prediction == truth)[known])
  assert got.ece() == pytest.approx(expected, abs=1e-5) and expected > 0.1


def test_ece_by_hand():
  # 0.9 confident and 3 of 4 correct: 0.15; 0.3 confident and 1 of 1 correct: 0.7.
  got = calibration_error.count(
    np.array([[0.9, 0.9, 0.9, 0.9, 0.3]]), np.array([[7, 7, 7, 8, 7]]), np.full((1, 5), 7), None
  )
  assert got.ece() == pytest.approx((4 * 0.15 + 0.7) / 5, abs=1e-5)


def test_aurc_is_the_mean_over_random_orders_of_ties():
  p, prediction, truth = _random(1, pixels=120, levels=4)
  known = ~np.isin(truth, (0, 255))
  conf, wrong = p[known], (prediction != truth)[known]
  rng = np.random.default_rng(2)
  areas = []
  for _ in range(4000):
    order = np.lexsort((rng.random(len(conf)), -conf))
    areas.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, len(conf) + 1)))
  got = calibration_error.count(p, prediction, truth, None)
  assert got.aurc() == pytest.approx(np.mean(areas), abs=4 * np.std(areas) / np.sqrt(len(areas)))
  best = np.mean(np.cumsum(np.sort(wrong)) / np.arange(1, len(conf) + 1))
  assert got.oracle_aurc() == pytest.approx(best, abs=1e-12)
  assert got.oracle_aurc() < got.aurc()


def test_aurc_of_distinct_confidences_by_hand():
  # In the order of confidence: correct, wrong, correct, wrong: risks 0, 1/2, 1/3, 1/2.
  got = calibration_error.count(
    np.array([[0.8, 0.7, 0.6, 0.5]]), np.array([[7, 8, 7, 8]]), np.full((1, 4), 7), None
  )
  assert got.aurc() == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
  assert got.oracle_aurc() == pytest.approx((1 / 3 + 1 / 2) / 4)
  coverage, risk = got.risk_coverage()
  np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
  np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 1 / 2])


def test_merge_adds_images_and_missing_is_none():
  p, prediction, truth = _random(3)
  unsupported = p < 0.3
  merged_at_once = calibration_error.count(p, prediction, truth, unsupported)
  halves = [
    calibration_error.count(p[i::2], prediction[i::2], truth[i::2], unsupported[i::2])
    for i in (0, 1)
  ]
  merged = Reliability.empty().merge(halves[0]).merge(halves[1])
  assert merged.ece() == pytest.approx(merged_at_once.ece(), rel=1e-12)
  assert merged.aurc() == pytest.approx(merged_at_once.aurc(), rel=1e-12)
  assert merged.unsupported_mean() == pytest.approx(p[unsupported].mean(), abs=1e-5)
  empty = Reliability.empty()
  for score in (empty.ece, empty.aurc, empty.oracle_aurc, empty.unsupported_mean):
    assert score() is None
  assert empty.risk_coverage()[0].size == 0
  without = calibration_error.count(p, prediction, None, unsupported)
  assert without.ece() is None and without.unsupported_mean() == merged_at_once.unsupported_mean()
