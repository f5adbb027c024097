"""Damaged files of a dataset: each ends with one line of file, what is wrong, and remedy.

Every damage is a function of the file's path; every case has a copy of the street of its own.
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


def text(old, new, count=1):
  def damage(path):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, count))

  return damage


def content(value):
  return lambda path: path.write_bytes(value if isinstance(value, bytes) else value.encode())


def line(key, change):
  """Changes the words of the first line that starts with `key`."""

  def damage(path):
    lines = path.read_text().splitlines()
    index = next(i for i, each in enumerate(lines) if each.startswith(key))
    words = lines[index].split()
    change(words)
    lines[index] = ' '.join(words)
    path.write_text('\n'.join(lines) + '\n')

  return damage


def put(index, word):
  return lambda words: words.__setitem__(index, word)


def pixels(array):
  return lambda path: Image.fromarray(array).save(path, format='PNG')


def cut(path):
  path.write_bytes(path.read_bytes()[:-40])


def a_folder(path):
  path.unlink()
  path.mkdir()


def header(width, height):
  """Claims another size in IHDR, whose check sum is made to fit."""

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
PHOTO = 'data_2d_raw/*/image_00/data_rect/*.png'
WORDS = 'data_2d_pseudo_semantics/train/*/image_00/semantic/*.png'
DEPTH = 'data_2d_pseudo_depth/*/image_00/*.png'
TRUTH = 'data_2d_semantics/train/*/image_00/'
SCAN = 'data_3d_raw/*/velodyne_points/data/*.bin'

READ_BY_TRAIN = [
  (FULL, content(''), 'well-formed'),
  (FULL, cut, 'well-formed'),
  (FULL, content(b'\xff\xfe\x00'), 'well-formed'),
  (FULL, content('<?xml version="1.0" encoding="no-such"?><a/>'), 'well-formed'),
  (FULL, content('<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'), 'refused'),
  (FULL, content('<opencv_storage></opencv_storage>'), 'no primitive'),
  (FULL, a_folder, 'not a regular file'),
  (FULL, text('<rows>4</rows>', '<rows>four</rows>'), "'four'"),
  (FULL, text('<rows>4</rows>', '<rows>99999999999999</rows>'), '99999999999999'),
  (FULL, text('<cols>4</cols>', '<cols>5</cols>'), '4x5'),
  (FULL, text('<transform', '<transfer'), 'well-formed'),
  (POSES, content(''), 'no pose'),
  (POSES, content(b'\x80'), 'not a text file'),
  (POSES, line('', put(3, 'nan')), 'nan is not finite'),
  (POSES, line('', put(4, '-inf')), '-inf is not finite'),
  (POSES, line('', put(1, '1e300')), 'no rotation'),
  (POSES, line('', put(4, '1e30')), 'farther than'),
  (POSES, line('', put(0, '7.5')), '7.5 is no frame'),
  (POSES, line('', put(0, '-3')), '-3 is no frame'),
  (POSES, line('', put(2, 'x')), "'x'"),
  (POSES, line('', lambda words: words.pop()), '12 numbers, expected 13'),
  (POSES, a_folder, 'not a regular file'),
  (PERSPECTIVE, line('P_rect_00', put(1, 'nan')), 'nan is not finite'),
  (PERSPECTIVE, line('P_rect_00', put(1, '-5')), '-5'),
  (PERSPECTIVE, line('P_rect_01', put(1, '1e200')), '1e+200'),
  (PERSPECTIVE, line('S_rect_00', put(1, '1e200')), '1e+200'),
  (PERSPECTIVE, line('S_rect_00', put(1, '0')), '0 x'),
  (PERSPECTIVE, line('R_rect_00', put(1, '0')), 'no rotation'),
  (PERSPECTIVE, line('R_rect_01', put(0, 'R_rectangle:')), 'no line R_rect_01'),
  (CAM, line('image_00', put(1, 'inf')), 'inf is not finite'),
  (CAM, line('image_00', put(1, '9')), 'no rotation'),
  (CAM, lambda path: path.unlink(), 'no such file'),
  (VELO, line('', put(0, 'nan')), 'nan is not finite'),
  (VELO, content('\n'), 'empty'),
  (PHOTO, content(b''), 'PNG'),
  (PHOTO, content('a page that says 404'), 'PNG'),
  (PHOTO, cut, 'damaged'),
  (PHOTO, header(60000, 60000), 'PNG'),
  (PHOTO, header(0, 5), ''),
  (PHOTO, pixels(np.zeros((20, 30, 3), np.uint8)), 'expected 30x20'),
  (PHOTO, pixels(np.zeros((30, 113), np.uint8)), 'pixel type L'),
  (WORDS, pixels(np.zeros((5, 5), np.uint8)), '5x5'),
  (WORDS, header(113, 500000), '113x500000'),
  (WORDS, cut, 'damaged'),
  (DEPTH, pixels(np.zeros((5, 5), np.uint16)), '5x5'),
  (DEPTH, content(b'\x89PNG\r\n\x1a\n'), 'PNG'),
  (DEPTH, a_folder, 'PNG'),
]


def spoil(root, pattern, damage):
  path = sorted(root.glob(pattern))[0]
  damage(path)
  return str(path)


@pytest.mark.parametrize('pattern, damage, word', READ_BY_TRAIN)
def test_files_that_train_reads(binary, check_line, data, tmp_path, pattern, damage, word):
  path = spoil(data, pattern, damage)
  if word == 'expected 30x20':  # the first photo fixes the size of all: another is named
    path = str(data)
  code, err = binary('train', TINY, f'--config.data.root={data}', f'--workdir={tmp_path / "run"}')
  check_line(code, err, path, word)
  assert not (tmp_path / 'run').exists()


READ_BY_EVAL = [
  (TRUTH + 'semantic/*.png', pixels(np.full((30, 113), 45, np.uint8)), ''),
  (TRUTH + 'semantic/*.png', cut, 'damaged'),
  (TRUTH + 'instance/*.png', content(b''), 'PNG'),
  (TRUTH + 'instance/*.png', pixels(np.zeros((5, 5), np.uint8)), '5x5'),
  (TRUTH + 'confidence/*.png', pixels(np.zeros((5, 5), np.uint16)), '5x5'),
  (SCAN, content(b'\0' * 17), '17 bytes'),
  (SCAN, content(struct.pack('<4f', 0, float('nan'), 0, 0)), 'nan'),
  (SCAN, content(struct.pack('<4f', 0, 0, float('-inf'), 0)), '-inf'),
  (SCAN, content(struct.pack('<4f', 1e30, 0, 0, 0)), 'farther than'),
  (SCAN, a_folder, 'not a regular file'),
]


@pytest.mark.parametrize('pattern, damage, word', READ_BY_EVAL)
def test_files_that_only_eval_reads(check_line, data, pattern, damage, word):
  path = spoil(data, pattern, damage)
  config = configs.get_config('tiny')
  config.data.root = str(data)
  dataset = open_dataset(config.data)
  with pytest.raises(Exception) as error:
    ground_truth.read_ground_truth(dataset, 'image_00', dataset.frames[0], np.eye(4), np.ones(4))
  check_line(1, cli.error_line(error.value) or '', path, word)
