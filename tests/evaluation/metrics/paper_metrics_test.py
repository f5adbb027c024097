"""The rules of the paper's evaluation, each on a case computed by hand."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import panoptic, paper_metrics, semantic

ROAD, POLE, SIGN, SKY, CAR, SMALL_POLE, LAMP = 7, 17, 20, 23, 26, 37, 38


def _row(values, lengths):
  return np.repeat(values, lengths)[None].astype(np.uint16)


def test_small_segments_to_sky_by_hand():
  instance = _row([7000, 26001, 7000, 26002], [60, 99, 40, 100])
  np.testing.assert_array_equal(
    paper_metrics.small_segments_to_sky(instance),
    _row([7000, 23000, 7000, 26002], [60, 99, 40, 100]),
  )


def test_miou_excludes_low_iou_classes_poles_and_lamps():
  truth = _row([ROAD, CAR, POLE, LAMP, SMALL_POLE], [1000, 1000, 300, 300, 300]).astype(np.uint8)
  # 900 of the road and 100 of the car are correct.
  instance = _row([7000, 26001, 26001, 7000, 26001], [900, 100, 100, 900, 900])
  confusion = paper_metrics.count_semantic(instance, truth)
  # Road: 900 of 1000 + 900. Car: 100 of 1000 + 100 + 300 (small pole) = 1/14, at most 0.1.
  # Small pole has 0; pole and lamp are not scored.
  iou = confusion.iou()
  assert iou[ROAD] == pytest.approx(900 / 1900)
  assert iou[CAR] == pytest.approx(100 / 1400)
  assert np.isnan(iou[[POLE, LAMP]]).all() and iou[SMALL_POLE] == 0
  assert paper_metrics.miou(confusion) == pytest.approx(900 / 1900)


def test_miou_counts_small_segments_as_sky():
  truth = _row([ROAD, SIGN], [900, 99]).astype(np.uint8)
  confusion = paper_metrics.count_semantic(_row([7000, 20001], [900, 99]), truth)
  assert confusion.iou()[SIGN] == 0
  assert paper_metrics.miou(confusion) == 1.0


def test_pq_excludes_classes_without_a_match_poles_and_lamps():
  truth = _row([7000, 26001, 17001, 38001, 20001], [1000, 500, 200, 200, 300])
  # Road 900 of 1000. The car is missed. The pole's pixels are void, so the car there is no FP.
  prediction = _row([7000, 23000, 26007, 17003, 20001], [900, 600, 200, 200, 300])
  counts = paper_metrics.count_panoptic(prediction, truth)
  assert counts.true_positives[ROAD] == counts.true_positives[SIGN] == 1
  assert counts.false_negatives[CAR] == 1 and counts.false_positives[CAR] == 0
  assert (
    counts.false_negatives[[POLE, LAMP]].sum() == counts.false_positives[[POLE, LAMP]].sum() == 0
  )
  assert paper_metrics.pq(counts) == pytest.approx((0.9 + 1) / 2)


def test_scores_are_none_without_classes():
  assert paper_metrics.miou(semantic.Confusion.empty()) is None
  assert paper_metrics.pq(panoptic.SegmentCounts.empty()) is None
