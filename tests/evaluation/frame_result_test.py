"""Projection of points against a slow loop; checks of FrameResult."""

import dataclasses

import numpy as np
import pytest

from pnerf_jax.evaluation import frame_result


def _camera(rng):
  """A random rigid world_from_cam [4, 4] and intrinsics [4] of a 20 x 12 image."""
  q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
  world_from_cam = np.eye(4)
  world_from_cam[:3, :3] = q * np.sign(np.linalg.det(q))
  world_from_cam[:3, 3] = rng.normal(scale=50, size=3)
  return world_from_cam, np.array([11.0, 12.0, 9.7, 5.2])


def test_project_points_agrees_with_a_slow_loop():
  rng = np.random.default_rng(0)
  world_from_cam, (fx, fy, cx, cy) = _camera(rng)
  points = world_from_cam[:3, 3] + rng.normal(scale=10, size=(3000, 3))
  nearest = {}
  for point in points:
    x, y, z = np.linalg.solve(world_from_cam, np.append(point, 1))[:3]
    if z <= 0.1:
      continue
    u, v = fx * x / z + cx, fy * y / z + cy
    pixel = (round(v), round(u))
    if 0 <= pixel[0] < 12 and 0 <= pixel[1] < 20:
      if pixel not in nearest or z < nearest[pixel][0][2]:
        nearest[pixel] = ((u, v, z), point)
  uvz, world = frame_result.project_points(
    points, world_from_cam, np.array([fx, fy, cx, cy]), 20, 12
  )
  assert len(uvz) == len(nearest) > 150
  np.testing.assert_allclose(uvz, [nearest[pixel][0] for pixel in sorted(nearest)], rtol=1e-9)
  np.testing.assert_array_equal(world, [nearest[pixel][1] for pixel in sorted(nearest)])


def test_unproject_depth_is_inverse_to_project_points():
  rng = np.random.default_rng(1)
  world_from_cam, intrinsics = _camera(rng)
  depth = rng.uniform(2, 80, (12, 20)) * (rng.random((12, 20)) < 0.5)
  uvz, world = frame_result.unproject_depth(depth, world_from_cam, intrinsics)
  again, same = frame_result.project_points(world, world_from_cam, intrinsics, 20, 12)
  np.testing.assert_allclose(again, uvz, atol=1e-9)
  np.testing.assert_array_equal(same, world)
  np.testing.assert_array_equal(frame_result.sample_at(depth, uvz), depth[depth > 0])


def test_project_points_accepts_no_points():
  uvz, world = frame_result.project_points(np.zeros((0, 3)), np.eye(4), np.ones(4), 20, 12)
  assert uvz.shape == world.shape == (0, 3)


def _result(**changes):
  shape = (4, 6)
  fields = {
    'frame': 1,
    'camera': 'image_00',
    'semantic': np.full(shape, 26, np.uint8),
    'instance': np.full(shape, 26003, np.uint16),
    'depth': np.ones(shape, np.float32),
    'rgb': np.zeros((*shape, 3), np.uint8),
    'photo': np.zeros((*shape, 3), np.uint8),
  }
  return frame_result.FrameResult(**{**fields, **changes})


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'truth_semantic': np.zeros((4, 5), np.uint8)}, 'truth_semantic has shape'),
    ({'photo': np.zeros((8, 12, 3), np.uint8)}, 'photo has shape'),
    ({'instance': np.full((4, 6), 11003, np.uint16)}, 'differs from semantic'),
    ({'lidar_uvz': np.ones((3, 3))}, 'same points'),
    ({'lidar_uvz': np.ones((3, 3)), 'lidar_world': np.ones((4, 3))}, 'same points'),
    ({'lidar_visible': np.ones(3, bool)}, 'one entry per point'),
    (
      {
        'lidar_uvz': np.ones((3, 3)),
        'lidar_world': np.ones((3, 3)),
        'lidar_visible': np.ones(4, bool),
      },
      'one entry per point',
    ),
  ],
)
def test_frame_result_rejects_inconsistent_fields(changes, message):
  with pytest.raises(ValueError, match=message):
    _result(**changes)


def test_frame_result_is_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    _result().frame = 2
