"""Panels: positions of the pictures, error colours, absent pictures."""

import numpy as np

from pnerf_jax.contrib.report import panels
from pnerf_jax.data import labels
from pnerf_jax.evaluation.frame_result import FrameResult

SHAPE = (22, 88)  # enlarged eightfold to 704 pixels


def _result(**changes):
  semantic = np.full(SHAPE, 26, np.uint8)
  fields = {
    'frame': 1,
    'camera': 'image_00',
    'semantic': semantic,
    'instance': np.full(SHAPE, 26003, np.uint16),
    'depth': np.zeros(SHAPE, np.float32),
    'rgb': np.full((*SHAPE, 3), 77, np.uint8),
    'photo': np.full((*SHAPE, 3), 99, np.uint8),
  }
  return FrameResult(**{**fields, **changes})


def _tile(sheet, row, column):
  """Pixels [176, 704, 3] of one panel."""
  y, x = row * (22 + 176 + 8) + 22, 8 + column * (704 + 8)
  return np.asarray(sheet)[y : y + 176, x : x + 704]


def test_panel_positions():
  truth = np.full(SHAPE, 7, np.uint8)
  sheet = panels.panel(
    _result(
      truth_semantic=truth, lidar_uvz=np.array([[87.2, 3.6, 5.0]]), lidar_world=np.zeros((1, 3))
    )
  )
  assert (_tile(sheet, 0, 0) == 99).all() and (_tile(sheet, 0, 1) == 77).all()
  assert (_tile(sheet, 1, 0) == labels.COLORS[7]).all()
  assert (_tile(sheet, 1, 1) == labels.COLORS[26]).all()
  assert (_tile(sheet, 2, 1) == (225, 40, 40)).all()  # every pixel is wrong; no true instances
  lidar = _tile(sheet, 3, 0)
  assert (lidar[32:40, 696:704] > 0).any(-1).all()  # pixel (87, 4), eight times enlarged
  assert (lidar > 0).any(-1).sum() == 64
  assert (_tile(sheet, 3, 1) == 0).all()  # no depth anywhere


def test_panel_without_ground_truth_compares_with_pseudo_labels():
  pseudo = np.full(SHAPE, 7, np.uint8)
  pseudo[:, 44:] = 255
  stereo = np.array([[0.0, 0, 5.0]])
  sheet = panels.panel(_result(pseudo=pseudo, stereo_uvz=stereo))
  assert (_tile(sheet, 1, 0) == labels.COLORS[26]).all()
  assert (_tile(sheet, 1, 1) == _tile(panels.panel(_result()), 1, 1)).all()  # instances
  differences = _tile(sheet, 2, 0)
  assert (differences[:, :352] == (225, 40, 40)).all()
  assert (differences[:, 352:] == (60, 60, 110)).all()  # no pseudo-label
  assert (_tile(sheet, 2, 1)[:, :352] == labels.COLORS[7]).all()  # no confidence: moves up
  assert (_tile(sheet, 3, 0)[:8, :8] > 0).any(-1).all()  # the stereo point
  assert (_tile(sheet, 3, 0) > 0).any(-1).sum() == 64


def test_sheet_without_some_pictures_has_no_empty_tiles():
  picture = np.full((*SHAPE, 3), 9, np.uint8)
  whole = panels.sheet([('a', picture), ('b', picture)], SHAPE, [], num_photos=1)
  gaps = [('x', None), ('a', picture), ('y', None), ('b', picture), ('z', None)]
  np.testing.assert_array_equal(panels.sheet(gaps, SHAPE, [], num_photos=2), whole)
  for sheet in (panels.panel(_result(rgb=None, depth=None)), panels.panel(_result(depth=None))):
    assert (_tile(sheet, 0, 0) == 99).all() and (_tile(sheet, 0, 1) != 250).any(-1).all()


def test_sheet_smooths_photos_only():
  stripes = np.zeros((10, 1408, 3), np.uint8)
  stripes[:, ::2] = 200
  pictures = [('photo', None), ('colour', stripes), ('labels', stripes)]
  sheet = np.asarray(panels.sheet(pictures, (10, 1408), [], num_photos=2))
  photo, semantic = sheet[23, 50:650, 0], sheet[23, 770:1370, 0]
  assert ((photo > 50) & (photo < 150)).all() and set(semantic) <= {0, 200}


def test_panel_has_the_same_width_for_large_images():
  large = FrameResult(
    frame=1,
    camera='image_00',
    semantic=np.full((376, 1408), 7, np.uint8),
    instance=np.full((376, 1408), 7000, np.uint16),
    depth=np.ones((376, 1408), np.float32),
    rgb=np.zeros((376, 1408, 3), np.uint8),
    photo=np.zeros((376, 1408, 3), np.uint8),
  )
  assert panels.panel(large).width == panels.panel(_result()).width == 1432


def test_accuracy_caption_counts_scored_pixels():
  truth = np.array([[7, 7, 26, 0, 255]], np.uint8)
  prediction = np.array([[7, 11, 26, 26, 26]], np.uint8)
  assert panels.accuracy_caption('labels', prediction, truth) == 'labels (accuracy 66.7 %)'
  for semantic, against in ((None, truth), (prediction, None), (prediction, np.zeros_like(truth))):
    assert panels.accuracy_caption('labels', semantic, against) == 'labels'


def test_error_rgb_distinguishes_errors_from_void():
  truth = np.array([[7, 7, 0, 255]], np.uint8)
  prediction = np.array([[7, 26, 26, 26]], np.uint8)
  picture = panels.error_rgb(prediction, truth, np.full((1, 4, 3), 120, np.uint8))
  np.testing.assert_array_equal(picture[0, 0], [180, 180, 180])
  np.testing.assert_array_equal(picture[0, 1], [225, 40, 40])
  np.testing.assert_array_equal(picture[0, 2], picture[0, 3])
  assert picture[0, 2, 2] > picture[0, 2, 0]
