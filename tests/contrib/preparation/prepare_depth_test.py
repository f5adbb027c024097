"""Tests of stereo depth of a window: files, resuming, errors."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.contrib.preparation import prepare_depth
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

SEQUENCE = '2013_05_28_drive_0007_sync'
DISPARITY = 10


@pytest.fixture
def data(tmp_path):
  """config.data of a dataset with three stereo pairs of a plane at disparity 10, depth 2.5 m."""
  root = tmp_path / 'root'
  calibration = root / 'calibration'
  calibration.mkdir(parents=True)
  (calibration / 'perspective.txt').write_text(
    ''.join(
      f'S_rect_{c}: 640 80\nR_rect_{c}: 1 0 0 0 1 0 0 0 1\n'
      f'P_rect_{c}: 50 0 319.5 {x} 0 50 39.5 0 0 0 1 0\n'
      for c, x in (('00', 0), ('01', -25))
    )
  )
  (calibration / 'calib_cam_to_pose.txt').write_text(
    ''.join(f'image_0{i}: 0 0 1 0 -1 0 0 {y} 0 -1 0 0\n' for i, y in enumerate((0, -0.5, 0, 0)))
  )
  (calibration / 'calib_cam_to_velo.txt').write_text('0 0 1 0 -1 0 0 0 0 -1 0 0\n')
  poses = root / 'data_poses' / SEQUENCE / 'poses.txt'
  poses.parent.mkdir(parents=True)
  poses.write_text(''.join(f'{f} 1 0 0 {f} 0 1 0 0 0 0 1 0\n' for f in range(3)))
  rng = np.random.default_rng(0)
  for frame in range(3):
    wide = rng.integers(0, 240, (80, 640 + DISPARITY, 3)).astype(np.uint8)
    for camera, first in (('image_00', 0), ('image_01', DISPARITY)):
      image_io.write_rgb(
        kitti360.rgb_folder(root, SEQUENCE, camera) / f'{frame:010d}.png',
        wide[:, first : first + 640],
      )
  return DataConfig(root=str(root), derived_root=str(tmp_path / 'derived'), cameras=('image_00',))


def written(data):
  return sorted(pathlib.Path(data.derived_root).rglob('*.png'))


def test_prepare_depth_writes_both_cameras(data):
  before = sorted(pathlib.Path(data.root).rglob('*'))
  assert prepare_depth.prepare_depth(data, min_depth=1.0) == {'written': 6, 'kept': 0}
  paths = written(data)
  assert [p.relative_to(data.derived_root).as_posix() for p in paths] == [
    f'data_2d_pseudo_depth/{SEQUENCE}/image_0{c}/{f:010d}.png' for c in (0, 1) for f in range(3)
  ]
  for path in paths:
    depth = image_io.read_depth(path, (640, 80))[8:-8, 40:-40]
    assert (depth > 0).mean() > 0.95
    assert np.median(depth[depth > 0]) == pytest.approx(50 * 0.5 / DISPARITY, abs=0.02)
  assert sorted(pathlib.Path(data.root).rglob('*')) == before


def test_complete_files_are_kept_and_damaged_ones_rewritten(data):
  prepare_depth.prepare_depth(data, min_depth=1.0)
  paths = written(data)
  first = [path.read_bytes() for path in paths]
  times = [path.stat().st_mtime_ns for path in paths]
  paths[0].write_bytes(first[0][:100])  # frame 0 of image_00
  paths[4].unlink()  # frame 1 of image_01
  assert prepare_depth.prepare_depth(data, min_depth=1.0) == {'written': 4, 'kept': 2}
  assert [path.read_bytes() for path in written(data)] == first
  assert [paths[i].stat().st_mtime_ns for i in (2, 5)] == [times[i] for i in (2, 5)]
  assert prepare_depth.prepare_depth(data, min_depth=1.0, overwrite=True) == {
    'written': 6,
    'kept': 0,
  }


def test_a_missing_camera_is_named(data):
  folder = kitti360.rgb_folder(data.root, SEQUENCE, 'image_01')
  for path in folder.iterdir():
    path.unlink()
  with pytest.raises(InputError, match='image_01'):
    prepare_depth.prepare_depth(data)
  assert not pathlib.Path(data.derived_root).exists()


def test_a_damaged_image_is_named(data):
  path = kitti360.rgb_folder(data.root, SEQUENCE, 'image_01') / '0000000001.png'
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(InputError, match='0000000001.png: damaged'):
    prepare_depth.prepare_depth(data, min_depth=1.0)
  assert len(written(data)) == 2  # complete files of frame 0, kept by the next call


def test_a_read_only_root_is_not_written(data):
  data = dataclasses.replace(data, derived_root='')
  os.chmod(data.root, 0o555)
  try:
    with pytest.raises(InputError, match='cannot be written .*--config.data.derived_root'):
      prepare_depth.prepare_depth(data)
    assert not (pathlib.Path(data.root) / 'data_2d_pseudo_depth').exists()
  finally:
    os.chmod(data.root, 0o755)
