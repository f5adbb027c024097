"""Semantic scores: a hand-computed toy, a slow loop, and the official KITTI-360 script."""

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics import semantic

ROAD, CAR, SKY, GARAGE, BUILDING = 7, 26, 23, 34, 11


def test_scores_by_hand():
  truth = np.array([[ROAD, ROAD, ROAD, CAR, CAR, 0, 255, SKY]], np.uint8)
  prediction = np.array([[ROAD, ROAD, CAR, CAR, 255, CAR, SKY, 0]], np.uint8)
  confusion = semantic.count(prediction, truth)
  iou = confusion.iou()
  assert iou[ROAD] == pytest.approx(2 / 3)  # 2 hit, 1 missed
  assert iou[CAR] == pytest.approx(1 / 3)  # 1 hit, 1 missed, 1 wrong; not the one on void
  assert iou[SKY] == 0
  assert np.isnan(np.delete(iou, [ROAD, CAR, SKY])).all()
  assert confusion.miou() == pytest.approx((2 / 3 + 1 / 3) / 3)
  assert confusion.accuracy() == pytest.approx(3 / 6)


def test_miou_ignores_classes_that_are_only_predicted():
  truth = np.full((2, 2), ROAD, np.uint8)
  prediction = np.array([[ROAD, ROAD], [ROAD, CAR]], np.uint8)
  assert semantic.count(prediction, truth).miou() == pytest.approx(3 / 4)


def test_merged_scores_agree_with_sets_of_pixels():
  rng = np.random.default_rng(0)
  total = semantic.Confusion.empty()
  pixels = []
  for frame in range(3):
    truth = rng.choice([0, 255, ROAD, CAR, SKY, 1, 44], (9, 13)).astype(np.uint8)
    prediction = np.where(rng.random((9, 13)) < 0.6, truth, rng.integers(0, 45, (9, 13)))
    total = total.merge(semantic.count(prediction.astype(np.uint8), truth))
    pixels += [
      (frame, i, t, p)
      for i, (t, p) in enumerate(zip(truth.flat, prediction.flat))
      if t not in (0, 255)
    ]
  ious = []
  for c in (ROAD, CAR, SKY, 1, 44):
    true = {(f, i) for f, i, t, _ in pixels if t == c}
    called = {(f, i) for f, i, _, p in pixels if p == c}
    ious.append(len(true & called) / len(true | called))
    assert total.iou()[c] == pytest.approx(ious[-1])
  assert total.miou() == pytest.approx(np.mean(ious))
  assert total.accuracy() == pytest.approx(np.mean([t == p for _, _, t, p in pixels]))


def test_scores_are_none_without_ground_truth():
  empty = semantic.count(np.full((2, 2), ROAD, np.uint8), np.array([[0, 255], [0, 0]], np.uint8))
  assert empty.miou() is None and empty.accuracy() is None
  assert semantic.official_miou(semantic.Confusion.empty()) is None


def test_count_rejects_invalid_ids():
  with pytest.raises(ValueError, match='0..44'):
    semantic.count(np.full((2, 2), 45, np.uint8), np.full((2, 2), ROAD, np.uint8))


def test_official_miou_merges_garage_into_building():
  truth = np.full((1, 4), BUILDING, np.uint8)
  prediction = np.array([[BUILDING, GARAGE, GARAGE, 9]], np.uint8)
  assert semantic.official_miou(semantic.count(prediction, truth)) == pytest.approx(3 / 4)


def test_official_miou_agrees_with_kitti360scripts(tmp_path, monkeypatch):
  official = pytest.importorskip(
    'kitti360scripts.evaluation.semantic_2d.evalPixelLevelSemanticLabeling'
  )
  monkeypatch.setattr(np, 'in1d', np.isin, raising=False)  # gone from numpy 2
  rng = np.random.default_rng(0)
  total = semantic.Confusion.empty()
  predictions, truths = [], []
  for frame in range(3):
    truth = rng.integers(0, labels.NUM_IDS, (40, 60)).astype(np.uint8)
    noise = rng.integers(0, labels.NUM_IDS, (40, 60))
    prediction = np.where(rng.random((40, 60)) < 0.3 + 0.2 * frame, truth, noise).astype(np.uint8)
    prediction[prediction == labels.BY_NAME['rider'].id] = labels.BY_NAME['person'].id
    confidence = rng.integers(0, 65536, (40, 60)).astype(np.uint16)
    total = total.merge(semantic.count(prediction, truth, confidence / 65535))
    folder = tmp_path / '2013_05_28_drive_0000_sync' / 'image_00'
    paths = [
      tmp_path / 'predictions' / f'0000_{frame:010d}.png',
      folder / 'semantic' / f'{frame:010d}.png',
      folder / 'confidence' / f'{frame:010d}.png',
    ]
    for path, pixels in zip(paths, (prediction, truth, confidence)):
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(pixels).save(path)
    predictions.append(str(paths[0]))
    truths.append([str(path) for path in paths[1:]])
  monkeypatch.setattr(official, 'writeDict2JSON', lambda *_: None)
  monkeypatch.setattr(official.args, 'exportFile', str(tmp_path / 'result.json'))
  monkeypatch.setattr(official.args, 'quiet', True)
  result = official.evaluateImgLists(predictions, truths, official.args)
  assert semantic.official_miou(total) == pytest.approx(result['averageScoreClasses'], abs=1e-12)
  assert 0.2 < result['averageScoreClasses'] < 0.6
