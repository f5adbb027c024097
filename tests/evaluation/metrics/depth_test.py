"""Depth scores on points computed by hand and by a loop."""

import math

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import depth


def test_count_of_missing_and_far_depth_by_hand():
  rendered = np.array([[10.0, 0.0, 250.0, 50.0]], np.float32)
  uvz = np.array([[0.2, 0, 12.0], [1.4, 0, 40.0], [2, 0, 90.0], [3, 0, 100.5], [3, 0, 0.0]])
  counts = depth.count(rendered, uvz)
  # 10 for 12 m is right; a hole for 40 m costs 60 m; 250 for 90 m costs 10 m and is wrong;
  # 100.5 m and 0 m are not scored.
  assert counts.points == 3
  assert counts.rmse() == pytest.approx(math.sqrt((2**2 + 60**2 + 10**2) / 3))
  assert counts.delta1() == pytest.approx(1 / 3)


def test_merged_scores_agree_with_a_loop():
  rng = np.random.default_rng(0)
  total, errors, close = depth.DepthCounts(), [], []
  for _ in range(3):
    rendered = rng.uniform(1, 90, (7, 9)).astype(np.float32)
    uvz = np.stack([rng.uniform(0, 8, 40), rng.uniform(0, 6, 40), rng.uniform(1, 90, 40)], -1)
    total = total.merge(depth.count(rendered, uvz))
    for u, v, z in uvz:
      z_hat = float(rendered[round(v), round(u)])
      errors.append((z_hat - z) ** 2)
      close.append(max(z_hat / z, z / z_hat) < 1.25)
  assert total.rmse() == pytest.approx(math.sqrt(np.mean(errors)))
  assert total.delta1() == pytest.approx(np.mean(close))


def test_scores_are_none_without_points():
  counts = depth.count(np.ones((2, 2), np.float32), np.zeros((0, 3)))
  assert counts.rmse() is None and counts.delta1() is None
