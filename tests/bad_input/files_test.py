"""Tests of the error lines for damaged files of a dataset: file, problem and remedy.

A damage is a function of the path of the file; every case uses its own copy of the street.
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from pnerf_jax import cli
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.evaluation import ground_truth

TINY = '--config=configs/kitti360.py:tiny'


def replace_text(old, new, count=1):
  """Return a damage that replaces text."""

  def damage(path):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, count))

  return damage


def overwrite(value):
  """Return a damage that overwrites the file."""
  return lambda path: path.write_bytes(value if isinstance(value, bytes) else value.encode())


def edit_line(key, change):
  """Return a damage that changes the fields of the first line that starts with `key`."""

  def damage(path):
    lines = path.read_text().splitlines()
    index = next(i for i, each in enumerate(lines) if each.startswith(key))
    fields = lines[index].split()
    change(fields)
    lines[index] = ' '.join(fields)
    path.write_text('\n'.join(lines) + '\n')

  return damage


def put(index, value):
  """Return a change of one field of a line."""
  return lambda fields: fields.__setitem__(index, value)


def write_png(array):
  """Return a damage that writes other pixels."""
  return lambda path: Image.fromarray(array).save(path, format='PNG')


def truncate(path):
  """Delete the last bytes of a file."""
  path.write_bytes(path.read_bytes()[:-40])


def replace_by_folder(path):
  """Replace a file by a folder."""
  path.unlink()
  path.mkdir()


def set_png_size(width, height):
  """Return a damage that sets another size in the PNG header, with a valid checksum."""

  def damage(path):
    old = path.read_bytes()
    chunk = b'IHDR' + struct.pack('>II', width, height) + old[24:29]
    path.write_bytes(old[:12] + chunk + struct.pack('>I', zlib.crc32(chunk)) + old[33:])

  return damage


XML = 'data_3d_bboxes/train/*.xml'
FULL = 'data_3d_bboxes/train_full/*.xml'
POSES = 'data_poses/*/poses.txt'
PERSPECTIVE = 'calibration/perspective.txt'
CAM = 'calibration/calib_cam_to_pose.txt'
VELO = 'calibration/calib_cam_to_velo.txt'
IMAGE = 'data_2d_raw/*/image_00/data_rect/*.png'
LABEL = 'data_2d_pseudo_semantics/train/*/image_00/semantic/*.png'
DEPTH = 'data_2d_pseudo_depth/*/image_00/*.png'
TRUTH = 'data_2d_semantics/train/*/image_00/'
SCAN = 'data_3d_raw/*/velodyne_points/data/*.bin'

READ_BY_TRAIN = [
  (FULL, overwrite(''), 'well-formed'),
  (FULL, truncate, 'well-formed'),
  (FULL, overwrite(b'\xff\xfe\x00'), 'well-formed'),
  (FULL, overwrite('<?xml version="1.0" encoding="no-such"?><a/>'), 'well-formed'),
  (FULL, overwrite('<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'), 'refused'),
  (FULL, overwrite('<opencv_storage></opencv_storage>'), 'no primitive'),
  (FULL, replace_by_folder, 'not a regular file'),
  (FULL, replace_text('<rows>4</rows>', '<rows>four</rows>'), "'four'"),
  (FULL, replace_text('<rows>4</rows>', '<rows>99999999999999</rows>'), '99999999999999'),
  (FULL, replace_text('<cols>4</cols>', '<cols>5</cols>'), '4x5'),
  (FULL, replace_text('<transform', '<transfer'), 'well-formed'),
  (POSES, overwrite(''), 'no pose'),
  (POSES, overwrite(b'\x80'), 'not a text file'),
  (POSES, edit_line('', put(3, 'nan')), 'nan is not finite'),
  (POSES, edit_line('', put(4, '-inf')), '-inf is not finite'),
  (POSES, edit_line('', put(1, '1e300')), 'no rotation'),
  (POSES, edit_line('', put(4, '1e30')), 'farther than'),
  (POSES, edit_line('', put(0, '7.5')), '7.5 is no frame'),
  (POSES, edit_line('', put(0, '-3')), '-3 is no frame'),
  (POSES, edit_line('', put(2, 'x')), "'x'"),
  (POSES, edit_line('', lambda fields: fields.pop()), '12 numbers, expected 13'),
  (POSES, replace_by_folder, 'not a regular file'),
  (PERSPECTIVE, edit_line('P_rect_00', put(1, 'nan')), 'nan is not finite'),
  (PERSPECTIVE, edit_line('P_rect_00', put(1, '-5')), '-5'),
  (PERSPECTIVE, edit_line('P_rect_01', put(1, '1e200')), '1e+200'),
  (PERSPECTIVE, edit_line('S_rect_00', put(1, '1e200')), '1e+200'),
  (PERSPECTIVE, edit_line('S_rect_00', put(1, '0')), '0 x'),
  (PERSPECTIVE, edit_line('R_rect_00', put(1, '0')), 'no rotation'),
  (PERSPECTIVE, edit_line('R_rect_01', put(0, 'R_rectangle:')), 'no line R_rect_01'),
  (CAM, edit_line('image_00', put(1, 'inf')), 'inf is not finite'),
  (CAM, edit_line('image_00', put(1, '9')), 'no rotation'),
  (CAM, lambda path: path.unlink(), 'no such file'),
  (VELO, edit_line('', put(0, 'nan')), 'nan is not finite'),
  (VELO, overwrite('\n'), 'empty'),
  (IMAGE, overwrite(b''), 'PNG'),
  (IMAGE, overwrite('a page that says 404'), 'PNG'),
  (IMAGE, truncate, 'damaged'),
  (IMAGE, set_png_size(60000, 60000), 'PNG'),
  (IMAGE, set_png_size(0, 5), ''),
  (IMAGE, write_png(np.zeros((20, 30, 3), np.uint8)), '30 x 20 pixels, another shape'),
  (IMAGE, write_png(np.zeros((30, 113), np.uint8)), 'pixel type L'),
  (LABEL, write_png(np.zeros((5, 5), np.uint8)), '5x5'),
  (LABEL, set_png_size(113, 500000), '113x500000'),
  (LABEL, truncate, 'damaged'),
  (DEPTH, write_png(np.zeros((5, 5), np.uint16)), '5x5'),
  (DEPTH, overwrite(b'\x89PNG\r\n\x1a\n'), 'PNG'),
  (DEPTH, replace_by_folder, 'PNG'),
]


def damage_first(root, pattern, damage):
  """Damage the first file that matches a pattern; return its path."""
  path = sorted(root.glob(pattern))[0]
  damage(path)
  return str(path)


@pytest.mark.parametrize('pattern, damage, expected', READ_BY_TRAIN)
def test_train_reports_damaged_files(binary, check_line, data, tmp_path, pattern, damage, expected):
  path = damage_first(data, pattern, damage)
  code, err = binary('train', TINY, f'--config.data.root={data}', f'--workdir={tmp_path / "run"}')
  check_line(code, err, path, expected)
  assert not (tmp_path / 'run').exists()


READ_BY_EVAL = [
  (TRUTH + 'semantic/*.png', write_png(np.full((30, 113), 45, np.uint8)), ''),
  (TRUTH + 'semantic/*.png', truncate, 'damaged'),
  (TRUTH + 'instance/*.png', overwrite(b''), 'PNG'),
  (TRUTH + 'instance/*.png', write_png(np.zeros((5, 5), np.uint8)), '5x5'),
  (TRUTH + 'confidence/*.png', write_png(np.zeros((5, 5), np.uint16)), '5x5'),
  (SCAN, overwrite(b'\0' * 17), '17 bytes'),
  (SCAN, overwrite(struct.pack('<4f', 0, float('nan'), 0, 0)), 'nan'),
  (SCAN, overwrite(struct.pack('<4f', 0, 0, float('-inf'), 0)), '-inf'),
  (SCAN, overwrite(struct.pack('<4f', 1e30, 0, 0, 0)), 'farther than'),
  (SCAN, replace_by_folder, 'not a regular file'),
]


@pytest.mark.parametrize('pattern, damage, expected', READ_BY_EVAL)
def test_eval_reports_damaged_files(check_line, data, pattern, damage, expected):
  path = damage_first(data, pattern, damage)
  config = configs.get_config('tiny')
  config.data.root = str(data)
  dataset = open_dataset(config.data)
  with pytest.raises(Exception) as error:
    ground_truth.read_ground_truth(dataset, 'image_00', dataset.frames[0], np.eye(4), np.ones(4))
  check_line(1, cli.error_line(error.value) or '', path, expected)
