"""Panoptic quality of the paper against its evaluator, and cases computed by hand."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import panoptic, paper_panoptic

ROAD, BUILDING, SIGN, CAR, GARAGE = 7, 11, 20, 26, 34


def _row(values, lengths):
  return np.repeat(values, lengths)[None].astype(np.uint16)


def test_scores_equal_the_evaluator_of_the_paper(golden):
  arrays = golden('evaluation')
  for case in arrays['cases']:
    counts = panoptic.SegmentCounts.empty()
    for prediction, truth in zip(arrays[f'{case}.prediction'], arrays[f'{case}.truth']):
      full = prediction.repeat(2, axis=0).repeat(2, axis=1)
      counts = counts.merge(paper_panoptic.count(full, truth))
    expected = lambda name, case=case: arrays[f'{case}.{name}']
    np.testing.assert_array_equal(counts.true_positives, expected('class_tp'), case)
    np.testing.assert_array_equal(counts.false_positives, expected('class_fp'), case)
    np.testing.assert_array_equal(counts.false_negatives, expected('class_fn'), case)
    np.testing.assert_allclose(counts.iou, expected('class_iou_sum'), 0, 1e-12, err_msg=case)
    for key, values in zip(('pq', 'sq', 'rq'), paper_panoptic.quality(counts)):
      np.testing.assert_allclose(values, expected(f'class_{key}'), 0, 1e-12, err_msg=case)
    averaged, things = paper_panoptic.averaged(counts), paper_panoptic.THINGS
    for form, classes in (
      ('', averaged),
      ('things.', averaged & things),
      ('stuff.', averaged & ~things),
      ('before.', paper_panoptic.averaged(counts, before_2022_12=True)),
    ):
      assert classes.sum() == expected(f'{form}pq_classes'), (case, form)
      values = paper_panoptic.mean(counts, classes) or (np.nan,) * 3
      wanted = [float(expected(f'{form}{key}')) for key in ('pq', 'sq', 'rq')]
      assert values == pytest.approx(wanted, abs=1e-12, nan_ok=True), (case, form)


def test_segments_of_predictions_by_hand():
  prediction = _row([7005, 26001, 7000, 26002, 26000, 17001, 34003], [60, 99, 40, 100, 200, 9, 100])
  np.testing.assert_array_equal(
    paper_panoptic.predicted_segments(prediction),
    _row([7000, 23000, 7000, 26002, 0, 34000], [60, 99, 40, 100, 209, 100]),
  )


def test_segments_of_the_truth_by_hand():
  truth = _row([7005, 26000, 7000, 17000, 17001, 33002], [100, 100, 99, 100, 100, 100])
  np.testing.assert_array_equal(
    paper_panoptic.true_segments(truth), _row([7005, 26000, 0, 17001, 0], [100, 100, 199, 100, 100])
  )


def test_pq_excludes_classes_without_a_match_poles_and_lamps():
  truth = _row([7000, 26001, 17000, 38000, 20001], [1000, 500, 200, 200, 300])
  # Road 900 of 1000. The car is missed. The pole's pixels are void, so the car there is no FP.
  prediction = _row([7000, 23000, 26007, 17003, 20001], [900, 600, 200, 200, 300])
  counts = paper_panoptic.count(prediction, truth)
  assert counts.true_positives[ROAD] == 1 and counts.false_negatives[SIGN] == 1
  assert counts.false_negatives[CAR] == 1 and counts.false_positives[CAR] == 0
  assert counts.false_negatives.sum() == 2 and counts.false_positives.sum() == 1  # the sky
  means = lambda **form: paper_panoptic.mean(counts, paper_panoptic.averaged(counts, **form))
  assert means()[0] == pytest.approx(0.9)
  assert means(before_2022_12=True)[0] == pytest.approx(0.9 / 3)  # with the car and the sky


def test_garages_are_buildings_as_segments_of_their_own():
  truth = _row([11001, 34001, 7000], [200, 200, 100])
  counts = paper_panoptic.count(_row([34000, 11002, 7000], [200, 200, 100]), truth)
  assert counts.true_positives[BUILDING] == 2 and counts.true_positives[GARAGE] == 0


def test_mean_is_none_without_classes():
  counts = panoptic.SegmentCounts.empty()
  assert paper_panoptic.mean(counts, paper_panoptic.averaged(counts)) is None
