"""Panoptic quality: a toy by hand, and a definition-by-definition search over sets of pixels."""

import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics import panoptic

ROAD, CAR, BUILDING, SKY = 7, 26, 11, 23
ALL = np.ones(labels.NUM_IDS, bool)


def test_quality_by_hand():
  # One row: 10 road, 8 of car 1, 4 of car 2, 2 void, 6 sky.
  truth = np.repeat([7000, 26001, 26002, 0, 23000], [10, 8, 4, 2, 6])[None].astype(np.uint16)
  # Road takes 2 of car 1; car 9 has 6 of car 1; car 5 has 2 of car 2 and the void; a bus has 2 of
  # car 2 and 1 of sky.
  prediction = np.repeat([7000, 26009, 26005, 28001, 26005, 28001, 23000], [12, 6, 2, 2, 2, 1, 5])[
    None
  ].astype(np.uint16)
  counts = panoptic.count(prediction, truth)
  quality, segmentation, recognition = counts.quality()
  # Road 10 of 12. Car 1: 6 of 8, matched; car 2: 2 of 2 + 4 - 2 = 4, not above one half.
  assert quality[ROAD] == pytest.approx(10 / 12)
  assert segmentation[CAR] == pytest.approx(6 / 8)
  # Car 5 lies with 2 of its 4 pixels in void, which is not mostly: a false positive.
  assert recognition[CAR] == pytest.approx(1 / (1 + 0.5 + 0.5))
  assert quality[CAR] == pytest.approx(6 / 8 / 2)
  assert quality[SKY] == pytest.approx(5 / 6)
  # The bus is not in the truth and so in no mean.
  assert counts.false_positives[28] == 1 and np.isnan(quality[28])
  assert counts.mean(ALL)[0] == pytest.approx((10 / 12 + 6 / 16 + 5 / 6) / 3)
  assert counts.mean(labels.IS_THING)[0] == pytest.approx(6 / 16)
  assert counts.mean(~labels.IS_THING)[1] == pytest.approx((10 / 12 + 5 / 6) / 2)


def _brute_force(prediction, truth):
  """Per class (sum of IoU, TP, FP, FN), from sets of pixels and the published definition."""

  def segments(instance):
    found = {}
    for pixel, value in enumerate(instance.ravel().tolist()):
      semantic, number = divmod(value, 1000)
      if semantic:
        key = (semantic, number if labels.BY_ID[semantic].has_instances else 0)
        found.setdefault(key, set()).add(pixel)
    return found

  true, called = segments(truth), segments(prediction)
  void = {pixel for pixel, value in enumerate(truth.ravel().tolist()) if value < 1000}
  result = {c: [0.0, 0, 0, 0] for c in range(labels.NUM_IDS)}
  used = set()
  for key, pixels in true.items():
    partners = []
    for other, area in called.items():
      iou = len(pixels & area) / len(pixels | (area - void))
      if other[0] == key[0] and iou > 0.5:
        partners.append((iou, other))
    assert len(partners) < 2
    if partners:
      result[key[0]][0] += partners[0][0]
      result[key[0]][1] += 1
      used.add(partners[0][1])
    else:
      result[key[0]][3] += 1
  for key, pixels in called.items():
    if key not in used and len(pixels & void) / len(pixels) <= 0.5:
      result[key[0]][2] += 1
  return result


@pytest.mark.parametrize('seed', range(8))
def test_count_agrees_with_sets_of_pixels(seed):
  rng = np.random.default_rng(seed)
  values = np.array(
    [0, 0, 7000, 7003, 8000, 23000, 26000, 26001, 26002, 26003, 11001, 11002, 17005, 44000, 4000]
  )
  coarse = rng.choice(values, (6, 8))
  truth = np.kron(coarse, np.ones((4, 8), int))
  changed = np.where(rng.random((6, 8)) < 0.25, rng.choice(values, (6, 8)), coarse)
  prediction = np.roll(np.kron(changed, np.ones((4, 8), int)), rng.integers(-2, 3), 1)
  prediction = np.where(rng.random(prediction.shape) < 0.05, rng.choice(values), prediction)
  counts = panoptic.count(prediction.astype(np.uint16), truth.astype(np.uint16))
  expected = _brute_force(prediction, truth)
  np.testing.assert_allclose(counts.iou, [expected[c][0] for c in expected], atol=1e-12)
  np.testing.assert_array_equal(counts.true_positives, [expected[c][1] for c in expected])
  np.testing.assert_array_equal(counts.false_positives, [expected[c][2] for c in expected])
  np.testing.assert_array_equal(counts.false_negatives, [expected[c][3] for c in expected])
  assert (
    counts.true_positives.sum() and counts.false_positives.sum() and counts.false_negatives.sum()
  )


def test_count_ignores_predictions_mostly_in_void():
  truth = np.repeat([0, 7000], [6, 10])[None].astype(np.uint16)
  prediction = np.repeat([26001, 7000], [8, 8])[None].astype(np.uint16)
  assert panoptic.count(prediction, truth).false_positives.sum() == 0
  assert panoptic.count(prediction, truth).quality()[0][ROAD] == pytest.approx(8 / 10)


def test_mean_is_one_for_the_truth_and_none_without_truth():
  truth = np.repeat([7000, 26001, 26000], [5, 5, 5])[None].astype(np.uint16)
  assert panoptic.count(truth, truth).mean(ALL) == (1.0, 1.0, 1.0)
  assert panoptic.count(truth, np.zeros_like(truth)).mean(ALL) is None
