"""Pixels, rays and planar depth against closed forms and OpenCV."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import transform

from pnerf_jax.geometry import cameras

INTRINSICS = np.array([552.55, 550.1, 682.05, 238.77], np.float32)


def _pose(seed: int) -> np.ndarray:
  world_from_cam = np.eye(4, dtype=np.float32)
  world_from_cam[:3, :3] = transform.Rotation.random(random_state=seed).as_matrix()
  world_from_cam[:3, 3] = np.random.default_rng(seed).normal(size=3) * 20
  return world_from_cam


def test_pixel_grid_is_integer_pixel_centres():
  grid = np.asarray(cameras.pixel_grid(3, 2))
  assert grid.dtype == np.float32
  np.testing.assert_array_equal(grid, [[[0, 0], [1, 0], [2, 0]], [[0, 1], [1, 1], [2, 1]]])


def test_pixel_rays_principal_point_is_the_z_axis():
  pose = _pose(0)
  rays = cameras.pixel_rays(INTRINSICS, pose, INTRINSICS[2:], 5)
  np.testing.assert_allclose(rays.directions, pose[:3, 2], atol=1e-6)
  np.testing.assert_allclose(rays.origins, pose[:3, 3])
  np.testing.assert_allclose(rays.depth_per_t, 1.0, atol=1e-6)
  assert rays.image == 5 and rays.image.dtype == jnp.int32


def test_pixel_rays_project_to_their_pixels():
  pose = _pose(1)
  pixels = np.random.default_rng(1).uniform(0, [1408, 376], (200, 2)).astype(np.float32)
  rays = cameras.pixel_rays(INTRINSICS, pose, pixels, 0)
  t = np.random.default_rng(2).uniform(1, 80, 200)
  points = np.asarray(rays.origins) + np.asarray(rays.directions) * t[:, None]
  cam_from_world = np.linalg.inv(pose.astype(np.float64))
  matrix = np.array(
    [[INTRINSICS[0], 0, INTRINSICS[2]], [0, INTRINSICS[1], INTRINSICS[3]], [0, 0, 1]], np.float64
  )
  projected, _ = cv2.projectPoints(
    points.astype(np.float64),
    cv2.Rodrigues(cam_from_world[:3, :3])[0],
    cam_from_world[:3, 3],
    matrix,
    None,
  )
  np.testing.assert_allclose(projected[:, 0], pixels, atol=5e-3)
  depth = (points @ cam_from_world[:3, :3].T + cam_from_world[:3, 3])[:, 2]
  np.testing.assert_allclose(t * np.asarray(rays.depth_per_t), depth, atol=1e-4)
  np.testing.assert_allclose(np.linalg.norm(rays.directions, axis=-1), 1.0, atol=1e-6)


def test_camera_rays_are_those_of_all_pixel_centres():
  camera = cameras.Camera(
    intrinsics=INTRINSICS, world_from_cam=_pose(2), width=5, height=4, image=3
  )
  rays = cameras.camera_rays(camera)
  expected = cameras.pixel_rays(INTRINSICS, _pose(2), cameras.pixel_grid(5, 4), 3)
  for a, b in zip(jax.tree.leaves(rays), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_allclose(cameras.t_per_depth(camera) * rays.depth_per_t, 1.0, rtol=1e-6)


def test_camera_is_a_pytree_of_static_size():
  camera = cameras.Camera(intrinsics=INTRINSICS, world_from_cam=_pose(2), width=5, height=4)
  assert len(jax.tree.leaves(camera)) == 4
  assert jax.jit(cameras.camera_rays)(camera).origins.shape == (4, 5, 3)


def test_pixel_rays_broadcast_leading_dimensions():
  poses = np.stack([_pose(3), _pose(4)])
  grid = cameras.pixel_grid(4, 3)
  rays = cameras.pixel_rays(
    INTRINSICS, poses[:, None, None], grid, jnp.array([7, 8])[:, None, None]
  )
  assert rays.origins.shape == rays.directions.shape == (2, 3, 4, 3)
  assert rays.depth_per_t.shape == rays.image.shape == (2, 3, 4)
  for i in range(2):
    one = cameras.pixel_rays(INTRINSICS, poses[i], grid, 7 + i)
    np.testing.assert_array_equal(one.directions, rays.directions[i])
    np.testing.assert_array_equal(one.image, rays.image[i])
