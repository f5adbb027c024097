"""The rig read back from its files, against the real calibration and closed forms."""

import numpy as np
import pytest

from pnerf_jax.contrib.street import camera
from pnerf_jax.data import kitti360


@pytest.fixture(name='rig')
def _rig():
  return camera.rig(0.25)


def read(tmp_path, rig):
  folder = tmp_path / 'calibration'
  folder.mkdir()
  for name, text in rig.files.items():
    (folder / name).write_text(text)
  return kitti360.read_calibration(tmp_path)


def test_files_match_the_rig(tmp_path, rig):
  calibration = read(tmp_path, rig)
  assert calibration.size == (352, 94)
  for eye, name in enumerate(kitti360.PERSPECTIVE_CAMERAS):
    np.testing.assert_allclose(calibration.intrinsics[name], rig.intrinsics, atol=1e-6)
    np.testing.assert_allclose(calibration.pose_from_cam[name], rig.pose_from_rect[eye], atol=1e-8)
  np.testing.assert_allclose(calibration.pose_from_velo, rig.pose_from_velo, atol=1e-8)


def test_full_size_matches_the_real_calibration(shared, tmp_path):
  real = kitti360.read_calibration(shared / 'kitti360_real')
  ours = read(tmp_path, camera.rig(1.0))
  assert ours.size == real.size
  for name in kitti360.PERSPECTIVE_CAMERAS:
    np.testing.assert_allclose(ours.intrinsics[name], real.intrinsics[name], atol=1e-6)
    np.testing.assert_allclose(ours.pose_from_cam[name], real.pose_from_cam[name], atol=2e-4)
  np.testing.assert_allclose(ours.pose_from_velo, real.pose_from_velo, atol=1e-6)


def test_right_camera_is_shifted_by_the_baseline(rig):
  right_from_left = np.linalg.inv(rig.pose_from_rect[1]) @ rig.pose_from_rect[0]
  expected = camera.rigid(np.eye(3), (-camera.BASELINE, 0, 0))
  np.testing.assert_allclose(right_from_left, expected, atol=1e-7)


def test_vehicle_pose_is_on_the_road_and_faces_forward(rig):
  pose = camera.vehicle_pose((10.0, 20.0, 3.0), np.pi / 2, 0.05, 0.0)
  np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
  np.testing.assert_allclose(np.linalg.det(pose[:3, :3]), 1.0)
  forward, right, down = pose[:3, :3].T
  np.testing.assert_allclose(forward, [0, np.cos(0.05), np.sin(0.05)], atol=1e-12)
  np.testing.assert_allclose(right, [1, 0, 0], atol=1e-12)
  assert down[2] < -0.99
  level = camera.vehicle_pose((0.0, 0.0, 0.0), 0.0, 0.0, 0.0) @ rig.pose_from_rect[0]
  np.testing.assert_allclose(level[2, 3], camera.CAMERA_HEIGHT, atol=1e-9)
  np.testing.assert_allclose(level[:3, 2], [1, 0, 0], atol=0.15)  # the optical axis
  np.testing.assert_allclose(level[:3, 1], [0, 0, -1], atol=0.15)  # image down


def test_rays_pass_through_their_pixels(rig):
  fx, fy, cx, cy = rig.intrinsics
  pixels = np.array([[cx, cy], [0.0, 0.0], [351.0, 93.0]])
  origins, directions = camera.rays(rig, camera.rigid(np.eye(3), (1, 2, 3)), pixels)
  np.testing.assert_allclose(origins, np.tile([1, 2, 3], (3, 1)))
  np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
  back = directions[:, :2] / directions[:, 2:] * [fx, fy] + [cx, cy]
  np.testing.assert_allclose(back, pixels, atol=1e-9)


def test_pixel_centers_are_symmetric_around_the_pixel():
  grid = camera.pixel_centers(3, 2, 2).reshape(2, 3, 4, 2)
  np.testing.assert_allclose(grid.mean(2)[1, 2], [2, 1])
  np.testing.assert_allclose(
    sorted(map(tuple, grid[0, 0])), [(-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)]
  )
