"""Evaluator: keys, missing ground truth, sums over images, reference scores of a street."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.evaluation import evaluator
from pnerf_jax.evaluation.frame_result import FrameResult

SHARED = Path(os.environ.get('PNERF_SHARED', Path(__file__).resolve().parents[2].parent / 'shared'))
STREET = SHARED / 'streets' / 'street_a'


def _result(frame, semantic, **changes):
  semantic = np.asarray(semantic, np.uint8)
  rgb = np.full((*semantic.shape, 3), 100, np.uint8)
  fields = {
    'frame': frame,
    'camera': 'image_00',
    'semantic': semantic,
    'instance': semantic.astype(np.uint16) * 1000,
    'rgb': rgb,
    'photo': rgb,
    'depth': np.full(semantic.shape, 10, np.float32),
  }
  return FrameResult(**{**fields, **changes})


def test_usable_ground_truth_is_counted_per_kind():
  scores = evaluator.Evaluator()
  truth = np.array([[7, 255, 26, 26], [0, 8, 8, 44]], np.uint8)
  instance = np.array([[7000, 0, 3, 26004], [0, 8000, 8, 44000]], np.uint16)  # 2 of another form
  points = np.array([[0.0, 0, 5], [1, 1, 9], [2, 1, 120]])  # one beyond the range
  for frame in (3, 4):
    scores.add(
      _result(
        frame,
        np.full((2, 4), 7),
        truth_semantic=truth,
        truth_instance=instance,
        lidar_uvz=points,
        lidar_world=points,
      )
    )
  metrics = scores.compute()
  assert metrics['truth.semantic_pixels'] == 12 and metrics['truth.instance_pixels'] == 8
  assert evaluator.usable_truth(metrics) == (
    'semantic 12 of 16 pixels, instance 8 of 16 pixels; 4 LiDAR points'
  )
  assert evaluator.usable_truth({'truth.pixels': 8}) == (
    'semantic 0 of 8 pixels, instance 0 of 8 pixels; 0 LiDAR points'
  )


def test_compute_without_ground_truth_has_what_is_known():
  scores = evaluator.Evaluator()
  semantic = np.array([[7, 7, 7, 26], [0, 26, 26, 8]])
  scores.add(
    _result(
      3,
      semantic,
      pseudo=np.array([[7, 26, 255, 26], [7, 26, 0, 11]], np.uint8),
      confidence=np.array([[1, 1, 1, 1], [0.05, 0.95, 0.55, 0.45]], np.float32),
    )
  )
  metrics = scores.compute()
  assert metrics == {
    'frames': 1,
    'labels.scale': 1.0,
    'truth.pixels': 8,
    'agreement.pixels': 3 / 6,
    'confidence.mean': pytest.approx(6 / 8),
    'image.psnr': 100.0,
    'agreement.iou.road': 1 / 3,
    'agreement.iou.car': 2 / 3,
    'agreement.iou.building': 0,
    'semantic.share.unlabeled': 1 / 8,
    'semantic.share.road': 3 / 8,
    'semantic.share.sidewalk': 1 / 8,
    'semantic.share.car': 3 / 8,
  }
  assert scores.confidence_histogram.tolist() == [1, 0, 0, 0, 1, 1, 0, 0, 0, 5]
  assert evaluator.not_scored(metrics) == (
    'labels (no usable ground truth); panoptic quality (no usable instance ground truth); depth'
    ' (no LiDAR); depth against stereo (there is none); multi-view consistency (no LiDAR points'
    ' that two frames share)'
  )


def test_metrics_of_what_a_method_does_not_render_are_absent():
  point = np.array([[0.0, 0, 10]])
  scores = evaluator.Evaluator()
  scores.add(
    _result(
      3,
      np.full((2, 3), 7),
      rgb=None,
      depth=None,
      lidar_uvz=point,
      lidar_world=point,
      stereo_uvz=point,
      truth_semantic=np.full((2, 3), 7, np.uint8),
    )
  )
  metrics = scores.compute()
  assert metrics['semantic.miou'] == 1
  assert not [name for name in metrics if name.startswith(('depth', 'image', 'confidence'))]


def test_compute_sums_over_images_before_dividing():
  truth = np.array([[7, 7, 7, 7]])
  scores = evaluator.Evaluator()
  points = np.array([[0.0, 0, 10], [1, 0, 20]])
  for frame, semantic in ((1, [[7, 7, 7, 7]]), (2, [[7, 26, 26, 26]])):
    scores.add(
      _result(
        frame,
        semantic,
        truth_semantic=truth.astype(np.uint8),
        seconds=float(frame),
        truth_instance=(truth * 1000).astype(np.uint16),
        fixed=truth.astype(np.uint8),
        pseudo=np.full((1, 4), 255, np.uint8),
        lidar_uvz=points,
        lidar_world=points,
        lidar_visible=np.array([True, False]),
        stereo_uvz=points + [0, 0, 5],
        unsupported=np.array([[True, False, False, False]]),
        confidence=np.full((1, 4), frame / 2, np.float32),
      )
    )
  metrics = scores.compute(step=500)
  assert metrics['step'] == 500 and metrics['frames'] == 2
  assert metrics['semantic.accuracy'] == 5 / 8
  assert metrics['semantic.miou'] == metrics['semantic.iou.road'] == 5 / 8
  assert metrics['fixed.miou'] == metrics['fixed.accuracy'] == 1
  assert metrics['pseudo.miou'] == metrics['pseudo.accuracy'] == 0
  assert metrics['panoptic.stuff.pq'] == metrics['panoptic.pq.road'] == 1 / 2
  assert 'panoptic.things.pq' not in metrics  # the ground truth has no thing
  assert evaluator.not_scored(metrics) == 'agreement with pseudo-labels (there are none)'
  assert metrics['consistency.mc'] == 1 / 2
  assert metrics['consistency.mc_visible'] == metrics['consistency.mc_truth'] == 1
  assert metrics['consistency.mc_visible_truth'] == 1
  # All 4 pixels of confidence 1/2 are right, and 1 of the 4 of confidence 1.
  assert metrics['confidence.ece'] == pytest.approx((4 * 1 / 2 + 4 * 3 / 4) / 8, abs=1e-4)
  assert metrics['confidence.unsupported_mean'] == pytest.approx(3 / 4, abs=1e-4)
  assert metrics['confidence.aurc'] > metrics['confidence.aurc_oracle'] > 0
  assert metrics['depth.rmse'] == pytest.approx(np.sqrt(50))
  assert metrics['depth.delta1'] == 1 / 2
  assert metrics['depth.rmse_visible'] == 0 and metrics['depth.delta1_visible'] == 1
  assert metrics['depth.stereo_rmse'] == pytest.approx(np.sqrt((25 + 225) / 2))
  assert metrics['depth.stereo_delta1'] == 0
  assert metrics['timing.seconds_per_frame'] == 1.5


def test_consistency_compares_images_of_one_camera():
  scores = evaluator.Evaluator()
  point = np.array([[0.0, 0, 10]])
  for camera, semantic in (('image_00', 7), ('image_01', 8)):
    for frame in (1, 2):
      scores.add(_result(frame, [[semantic]], camera=camera, lidar_uvz=point, lidar_world=point))
  assert scores.compute()['consistency.mc'] == 1


def test_metrics_as_in_the_paper_are_named_apart_from_the_plain_ones():
  scores = evaluator.Evaluator(label_scale=0.5)
  for frame, z in ((5, 20.0), (15, 20.0), (16, 200.0)):
    points = np.array([[0, 0, z]])
    truth = np.repeat([[7, 26, 17, 20]], [150, 150, 50, 100], axis=1).astype(np.uint8)
    semantic = np.repeat([[7, 0, 26, 20]], [150, 50, 150, 100], axis=1)
    scores.add(
      _result(
        frame,
        semantic,
        truth_semantic=truth,
        truth_instance=truth.astype(np.uint16) * 1000 + (truth == 26),
        instance=semantic.astype(np.uint16) * 1000 + (semantic == 26),
        lidar_uvz=points,
        lidar_world=points + [0, frame, 0],
        lidar_pixel_world=points,
      )
    )
  metrics = scores.compute()
  assert metrics['labels.scale'] == 0.5
  # Of 450 pixels 350 are right; 50 have no predicted class and 50 are poles.
  assert metrics['semantic.accuracy'] == 350 / 450 and metrics['paper.accuracy'] == 1
  assert metrics['semantic.miou'] == pytest.approx((1 + 100 / 200 + 0 + 1) / 4)
  assert [metrics[f'paper.{name}'] for name in ('miou', 'iou.car')] == pytest.approx([1, 1])
  # The pole is void there: the car has 100 pixels of 150 in common.
  assert metrics['panoptic.pq.car'] == 0
  assert metrics['paper.things.pq'] == metrics['paper.pq.car'] == pytest.approx(100 / 150)
  assert metrics['paper.stuff.pq'] == metrics['paper.stuff.rq'] == 1
  assert metrics['paper.pq'] == metrics['paper.sq'] == pytest.approx((1 + 100 / 150) / 2)
  assert metrics['paper.pq_before_2022_12'] == metrics['paper.pq'] and metrics['paper.rq'] == 1
  assert 'paper.pq.traffic sign' not in metrics and 'paper.iou.traffic sign' in metrics
  assert 'consistency.mc' not in metrics and metrics['paper.mc'] == 1


def test_add_rejects_an_image_twice():
  scores = evaluator.Evaluator()
  scores.add(_result(1, [[7]]))
  scores.add(_result(1, [[7]], camera='image_01'))
  with pytest.raises(ValueError, match='image_00 1 was added twice'):
    scores.add(_result(1, [[7]]))


def test_write_metrics_is_atomic(tmp_path):
  path = tmp_path / 'eval' / 'metrics.json'
  evaluator.write_metrics(path, {'semantic.miou': 0.5, 'frames': 2})
  assert json.loads(path.read_text()) == {'semantic.miou': 0.5, 'frames': 2}
  with pytest.raises(ValueError):
    evaluator.write_metrics(path, {'semantic.miou': float('nan')})
  assert json.loads(path.read_text())['semantic.miou'] == 0.5
  assert [p.name for p in path.parent.iterdir()] == ['metrics.json']


def test_read_metrics_drops_the_nulls_of_earlier_versions(tmp_path):
  path = tmp_path / 'metrics.json'
  path.write_text('{"step": 4, "depth.rmse": null}')
  assert evaluator.read_metrics(path) == {'step': 4}


def test_read_metrics_keeps_names_of_earlier_versions(tmp_path):
  path, old = tmp_path / 'metrics.json', {'semantic.miou_published': 0.5, 'step': 4}
  path.write_text(json.dumps(old))
  assert evaluator.read_metrics(path) == old


@pytest.mark.skipif(not STREET.exists(), reason='needs the shared streets')
def test_pseudo_labels_of_street_a_have_reference_scores():
  sequence = Path('train', '2013_05_28_drive_0001_sync', 'image_00')
  read = lambda *parts: np.array(Image.open(STREET.joinpath(*parts)))
  scores = evaluator.Evaluator()
  for path in sorted((STREET / 'data_2d_semantics' / sequence / 'semantic').glob('*.png')):
    truth = np.array(Image.open(path))
    instance = read('data_2d_semantics', sequence, 'instance', path.name)
    scores.add(
      _result(
        int(path.stem),
        truth,
        instance=instance,
        truth_semantic=truth,
        truth_instance=instance,
        pseudo=read('data_2d_pseudo_semantics', sequence, 'semantic', path.name),
      )
    )
  metrics = scores.compute()
  assert metrics['frames'] == 24
  assert round(100 * metrics['pseudo.accuracy'], 1) == 83.3
  assert round(100 * metrics['pseudo.miou'], 1) == 37.4
  for key in (
    'semantic.miou',
    'semantic.accuracy',
    'semantic.miou_official',
    'panoptic.all.pq',
    'panoptic.things.sq',
    'panoptic.stuff.rq',
  ):
    assert metrics[key] == 1  # the truth against itself
