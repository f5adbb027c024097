"""Tests of the readiness check and its picture."""

import re
import shutil

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.preparation import check, estimate_cost, overlay
from pnerf_jax.data import kitti360
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError


def make_config(root):
  config = configs.get_config('tiny')
  config.data.root = str(root)
  return parse_config(config)


def record(semantic, instance, timestamp):
  return PrimitiveRecord(
    index=0,
    annotation=1,
    label='',
    semantic=semantic,
    instance=instance,
    timestamp=timestamp,
    start_frame=-1,
    end_frame=-1,
    vertices=np.zeros((8, 3)),
    faces=np.zeros((12, 3), np.int32),
  )


def test_primitive_lines_count_every_moving_object_once():
  records = [
    record(26, 1, -1),
    record(26, 2, -1),
    record(11, 1, -1),
    record(26, 3, 5),
    record(26, 3, 6),
    record(24, 3, 5),
  ]
  assert check.primitive_lines(records) == [
    'static primitives: car 2, building 1',
    'moving objects (their pixels are not trained): person 1, car 1',
  ]
  assert check.primitive_lines([])[0] == 'static primitives: none'


@pytest.mark.slow
def test_check_reports_files_and_cost(street, tmp_path, monkeypatch):
  monkeypatch.setattr(estimate_cost, '_MIN_SECONDS', 0.0)  # a single call is measured
  lines = check.check(make_config(street), tmp_path / 'check.png')
  text = '\n'.join(lines)
  assert lines[-1] == 'ready' and (tmp_path / 'check.png').exists()
  assert 'images 113 x 30, trained at 113 x 30' in text
  assert 'pseudo-labels, image_01: 2 of 2 frames' in text and 'LiDAR: 2 of 2 frames' in text
  assert (
    re.search(r'static primitives: .*road \d+', text)
    and 'semantic ground truth, image_00: 2' in text
  )
  milliseconds = float(re.search(r'calls: ([\d.e+]+) ms per step', text).group(1))
  gibibytes = float(re.search(r'computed: ([\d.]+) GiB', text).group(1))
  assert milliseconds > 0 and 0 <= gibibytes < 1


def test_check_warns_of_missing_files(street, tmp_path):
  root = shutil.copytree(street, tmp_path / 'data')
  (sequence,) = (path.name for path in (root / 'data_2d_raw').iterdir())
  shutil.rmtree(kitti360.pseudo_depth_folder(root, sequence, 'image_01'))
  next(kitti360.pseudo_label_folder(root, sequence, 'image_00').iterdir()).unlink()
  shutil.rmtree(root / 'data_3d_raw')
  lines = check.check(make_config(root), tmp_path / 'check.png', estimates_cost=False)
  warnings = [line for line in lines if line.startswith('warning: ')]
  assert len(warnings) == 2 and lines[-1] == 'ready; 2 warnings'
  assert 'pseudo-labels, image_00: 1 of 2' in warnings[0] and 'L_fix and L_2D' in warnings[0]
  assert 'stereo depth, image_01: 0 of 2' in warnings[1] and 'depth loss' in warnings[1]
  assert any('LiDAR: 0 of 2' in line for line in lines)
  assert not any(' ms per step' in line for line in lines)


def test_check_fails_on_input_on_which_training_fails(street, tmp_path):
  root = shutil.copytree(street, tmp_path / 'data')
  path = sorted((root / 'data_2d_raw').rglob('image_01/*/*.png'))[1]
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(InputError, match=path.name):
    check.check(make_config(root), tmp_path / 'check.png', estimates_cost=False)
  for out in ('check.jpg', '', 'check'):
    with pytest.raises(InputError, match='PNG'):
      check.check(make_config(street), tmp_path / out, estimates_cost=False)


def test_overlay_primitives_colours_and_outlines():
  image = np.full((5, 8, 3), 100, np.uint8)
  first = np.array([[-1] * 2 + [0] * 3 + [1] * 3] * 5)
  semantic = np.array([0] * 2 + [7] * 3 + [7] * 3) * np.ones((5, 1), int)
  moving = np.zeros((5, 8), bool)
  moving[0, 0] = True
  picture = overlay.overlay_primitives(image, first, semantic, moving)
  assert (picture[1, 0] == 100).all()  # no primitive
  np.testing.assert_array_equal(picture[1, 3], (0.45 * 100 + 0.55 * np.array([128, 64, 128])) // 1)
  assert (picture[:, 5] == 255).all() and (picture[1, 7] == picture[1, 3]).all()
  np.testing.assert_allclose(picture[0, 0], [185, 45, 185], atol=1)  # magenta


def test_overlay_lidar_draws_nearer_points_over_farther_ones():
  image = np.zeros((9, 9, 3), np.uint8)
  picture = overlay.overlay_lidar(image, np.array([[4.2, 4.0, 3.0], [5.0, 4.0, 100.0]]))
  assert picture[4, 4, 0] > picture[4, 4, 2]  # red, near
  assert picture[4, 6, 2] > picture[4, 6, 0]  # blue, far
  assert not picture[0].any()
