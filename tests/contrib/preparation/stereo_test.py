"""Tests of stereo depth on pairs of known disparity, and on real pairs against LiDAR scans."""

import cv2
import numpy as np
import pytest

from pnerf_jax.contrib.preparation import stereo
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.evaluation import frame_result

FX, BASELINE = 100.0, 0.5


def texture(height, width, seed=0):
  """Return a random texture [H, W, 3] uint8 with detail at several scales."""
  rng = np.random.default_rng(seed)
  image = sum(
    cv2.resize(
      rng.uniform(-1, 1, (height // s + 2, width // s + 2, 3)),
      (width, height),
      interpolation=cv2.INTER_CUBIC,
    )
    for s in (2, 5, 11)
  )
  return np.clip(128 + 45 * image, 0, 240).astype(np.uint8)


def shifted(image, disparity):
  """Return the right image of a fronto-parallel plane with the left image `image`."""
  rows, columns = np.indices(image.shape[:2], dtype=np.float32)
  return cv2.remap(image, columns + np.float32(disparity), rows, cv2.INTER_CUBIC)


@pytest.mark.parametrize('width', [704, 176])  # unchanged; upsampled for matching
@pytest.mark.parametrize('disparity', [2.0, 5.25, 10.5, 14.0])
def test_stereo_depth_of_a_plane(width, disparity):
  wide = texture(96, width + 40)
  left, right = wide[:, :width], shifted(wide, disparity)[:, :width]
  depths = stereo.stereo_depth(left, right, FX, BASELINE, min_depth=2.5)
  inner = np.s_[8:-8, 24:-24]  # the strips at the sides are visible to one camera only
  for depth in depths:
    found = depth[inner][depth[inner] > 0]
    assert depth.dtype == np.float32 and found.size > 0.9 * depth[inner].size
    error = np.abs(FX * BASELINE / found - disparity)
    # OpenCV's sub-pixel parabola is biased towards whole pixels, by at most a quarter.
    assert np.median(error) < (0.3 if disparity % 1 else 0.05) and np.quantile(error, 0.99) < 0.5


def test_pixels_visible_to_one_camera_are_invalid():
  # A square at disparity 24 in front of a plane at 4 occludes 20 columns for each camera.
  back, front = texture(120, 700, 1), texture(40, 60, 2)
  left, right = back[:, :640].copy(), shifted(back, 4)[:, :640]
  left[40:80, 300:360] = front
  right[40:80, 276:336] = front
  depth_left, depth_right = stereo.stereo_depth(left, right, FX, BASELINE, min_depth=1.8)
  near, far = FX * BASELINE / 24, FX * BASELINE / 4
  assert np.median(depth_left[45:75, 306:354]) == pytest.approx(near, rel=0.02)
  assert np.median(depth_right[45:75, 282:330]) == pytest.approx(near, rel=0.02)
  hidden = depth_left[45:75, 284:296], depth_right[45:75, 340:352]
  for part in hidden:  # left of the square for the left camera, right of it for the right
    assert (part == 0).mean() > 0.8
  visible = depth_left[45:75, 368:400], depth_right[45:75, 236:268]
  for part in visible:
    assert (np.abs(part - far) < 0.5).mean() > 0.8


@pytest.mark.parametrize('sky', [(120, 170, 230), (255, 255, 255)])
def test_uniform_sky_has_no_depth(sky):
  rng = np.random.default_rng(0)
  wide = texture(120, 740)
  left, right = wide[:, :640].copy(), shifted(wide, 12)[:, :640].copy()
  for image in (left, right):
    noise = rng.normal(0, 1.5, (60, 200, 3))
    image[:60, 200:400] = np.clip(np.array(sky) + noise, 0, 255)
  for depth in stereo.stereo_depth(left, right, FX, BASELINE, min_depth=2.5):
    assert (depth[8:45, 230:370] > 0).mean() < 0.1
    assert (depth[70:112, 230:370] > 0).mean() > 0.9


def test_disparity_range_covers_the_smallest_depth():
  assert stereo.disparity_range(1408, 552.554261, 0.594183, 3.0) == 112  # 109.4
  assert stereo.disparity_range(1408, 552.554261, 0.594183, 100.0) == 16
  assert stereo.disparity_range(64, 552.554261, 0.594183, 0.5) == 48  # half the image and one


def unoccluded(points, width, height):
  """Remove LiDAR points (u, v, z) next to nearer ones, which occlude them for the camera."""
  nearest = np.full((height, width), np.inf, np.float32)
  u, v = points[:, :2].astype(int).T
  nearest[v, u] = points[:, 2]
  around = cv2.erode(nearest, np.ones((max(height // 29, 3), max(width // 156, 3)), np.uint8))
  return points[points[:, 2] < 1.05 * around[v, u]]


@pytest.mark.parametrize(
  'where, sequence, frame',
  [
    ('kitti360_real', '2013_05_28_drive_0000_sync', 729),
    ('kitti360_real', '2013_05_28_drive_0000_sync', 644),
    ('streets/street_a', '2013_05_28_drive_0001_sync', 1247),
  ],
)
@pytest.mark.slow
def test_stereo_depth_against_lidar(shared, where, sequence, frame):
  root = shared / where
  calibration = kitti360.read_calibration(root)
  left, right = (
    image_io.read_rgb(kitti360.rgb_folder(root, sequence, camera) / f'{frame:010d}.png')
    for camera in kitti360.PERSPECTIVE_CAMERAS
  )
  height, width = left.shape[:2]
  intrinsics = kitti360.resize_intrinsics(
    calibration.intrinsics['image_00'], calibration.size, (width, height)
  )
  cam_from_pose = [np.linalg.inv(pose) for pose in calibration.pose_from_cam.values()]
  baseline = (cam_from_pose[0] @ calibration.pose_from_cam['image_01'])[0, 3]
  scan = kitti360.read_velodyne(kitti360.velodyne_path(root, sequence, frame))[:, :3]
  depths = stereo.stereo_depth(left, right, intrinsics[0], baseline)
  for inverse_pose, depth in zip(cam_from_pose, depths):
    points, _ = frame_result.project_points(
      kitti360.transform(inverse_pose @ calibration.pose_from_velo, scan),
      np.eye(4),
      intrinsics,
      width,
      height,
    )
    points[:, :2] = np.rint(points[:, :2])
    points = unoccluded(points[points[:, 2] < 80], width, height)
    u, v = points[:, :2].astype(int).T
    found = depth[v, u] > 0
    error = np.abs(depth[v, u][found] / points[found, 2] - 1)
    assert found.mean() > 0.8  # measured: 0.82 to 0.89
    assert np.median(error) < 0.025  # 0.015 to 0.018
    assert (error > 0.25).mean() < 0.035  # 0.011 to 0.024
