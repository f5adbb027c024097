"""Points in primitives against trimesh; downsampling and label costs by hand."""

import numpy as np
import pytest

from pnerf_jax.contrib.baselines import lidar, ray_labels


def test_containing_primitives_agrees_with_trimesh(shapes):
  rng = np.random.default_rng(0)
  low = np.min([m.bounds[0] for m in shapes.meshes], axis=0)
  high = np.max([m.bounds[1] for m in shapes.meshes], axis=0)
  points = rng.uniform(low, high, (6000, 3))
  found = lidar.containing_primitives(shapes.primitives, points, np.ones(6, bool))
  assert found.shape == (6000, 8) and found.dtype == np.int32
  for m, mesh in enumerate(shapes.meshes):
    inside = (found == m).any(axis=1)
    assert inside.sum() > 10
    assert np.mean(inside == mesh.contains(points)) > 0.9995
  only = lidar.containing_primitives(shapes.primitives, points[:4096], np.arange(6) == 2)
  np.testing.assert_array_equal((only == 2).any(axis=1), (found[:4096] == 2).any(axis=1))
  assert set(np.unique(only)) == {-1, 2}
  assert lidar.containing_primitives(shapes.primitives, points[:0], np.ones(6, bool)).shape == (
    0,
    8,
  )


def test_voxel_downsample_keeps_one_point_per_voxel():
  points = np.array([[0.01, 0, 0], [0.09, 0.05, 0], [0.11, 0, 0], [-0.01, 0, 0], [5, 5, 5.0]])
  np.testing.assert_array_equal(lidar.voxel_downsample(points, 0.1), [0, 2, 3, 4])
  assert lidar.voxel_downsample(points[:0], 0.1).shape == (0,)


def test_point_labels_and_pixel_costs_by_hand():
  # Labels 0, 1 and the sky; primitive 0 is label 1, primitive 1 label 0, primitive 2 is on no ray.
  rays = ray_labels.RayLabels(
    enter=np.zeros((2, 2, 1)),
    label=np.zeros((2, 2, 1), int),
    semantic=np.array([7, 26, 23]),
    instance=np.array([0, 4, 0]),
    label_of_primitive=np.array([1, 0, -1]),
  )
  primitive = np.array([[0, -1], [0, 1], [2, -1], [-1, -1]])
  possible = lidar.point_labels(rays, primitive)
  np.testing.assert_array_equal(possible, [[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
  pixel = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
  cost = lidar.pixel_costs(possible, pixel, (2, 2), 0.3)
  assert not cost[0, 0].any() and not cost[1, 1].any()
  assert np.exp(-cost[0, 1]) == pytest.approx(np.array([0.1, 0.8, 0.1]))
  assert np.exp(-cost[1, 0]) == pytest.approx(np.array([0.45, 0.45, 0.1]))
