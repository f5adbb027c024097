"""Mean IoU and accuracy of the paper against its evaluator, and cases computed by hand."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import paper_semantic, semantic

ROAD, POLE, SMALL_POLE, CAR, LAMP, TRASH_BIN, BOX = 7, 17, 37, 26, 38, 39, 41


def _row(values, lengths):
  return np.repeat(values, lengths)[None].astype(np.uint8)


def test_scores_equal_the_evaluator_of_the_paper(golden):
  arrays = golden('evaluation')
  for case in arrays['cases']:
    confusion = semantic.Confusion.empty()
    for prediction, truth in zip(arrays[f'{case}.prediction'], arrays[f'{case}.truth']):
      full = prediction.repeat(2, axis=0).repeat(2, axis=1)
      maps = ((x // 1000).astype(np.uint8) for x in (full, truth))
      confusion = confusion.merge(paper_semantic.count(*maps))
    expected = lambda name, case=case: pytest.approx(arrays[f'{case}.{name}'], abs=1e-12)
    assert paper_semantic.miou(confusion) == expected('miou'), case
    assert confusion.accuracy() == expected('accuracy'), case
    assert paper_semantic.iou(confusion) == expected('iou'), case
    averaged = paper_semantic.averaged(confusion)
    np.testing.assert_array_equal(averaged, arrays[f'{case}.miou_averaged'], case)
    assert averaged.sum() == arrays[f'{case}.miou_classes']


def test_miou_excludes_low_iou_classes_poles_and_lamps():
  truth = _row([ROAD, CAR, POLE, LAMP, SMALL_POLE], [1000, 1000, 300, 300, 300])
  # 900 of the road and 100 of the car are correct.
  prediction = _row([ROAD, CAR, CAR, ROAD, CAR], [900, 100, 100, 900, 900])
  confusion = paper_semantic.count(prediction, truth)
  # Road: 900 of 1000 + 900. Car: 100 of 1000 + 100 + 300 (small pole) = 1/14, at most 0.1.
  # Small pole has 0; pole and lamp are not scored.
  iou = paper_semantic.iou(confusion)
  assert iou[ROAD] == pytest.approx(900 / 1900)
  assert iou[CAR] == pytest.approx(100 / 1400)
  assert iou[SMALL_POLE] == 0 and not confusion.present()[[POLE, LAMP]].any()
  assert paper_semantic.miou(confusion) == pytest.approx(900 / 1900)
  assert confusion.accuracy() == 1000 / 2300


def test_pixels_without_a_predicted_class_are_no_errors():
  truth = _row([ROAD, CAR], [4, 4])
  confusion = paper_semantic.count(_row([ROAD, 0, 255, CAR], [3, 1, 2, 2]), truth)
  assert confusion.accuracy() == 1 and semantic.count(_row([0, CAR], [4, 4]), truth).accuracy() < 1


def test_predicted_trash_bins_count_as_boxes_and_true_ones_are_never_right():
  truth = _row([BOX, TRASH_BIN], [6, 2])
  confusion = paper_semantic.count(_row([TRASH_BIN], [8]), truth)
  iou = paper_semantic.iou(confusion)
  assert iou[BOX] == pytest.approx(6 / 8) and iou[TRASH_BIN] == 0
  assert confusion.accuracy() == 6 / 8


def test_count_rejects_other_sizes_and_ids():
  with pytest.raises(ValueError, match='differ in size'):
    paper_semantic.count(_row([7], [4]), _row([7], [5]))
  with pytest.raises(ValueError, match='ids'):
    paper_semantic.count(_row([45], [4]), _row([7], [4]))


def test_scores_are_none_without_classes():
  assert paper_semantic.miou(semantic.Confusion.empty()) is None
