"""Labels along hand-made rays; the nearest primitive against trimesh's first hit."""

import numpy as np
import pytest
import trimesh

from pnerf_jax.contrib.baselines import ray_labels
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.geometry.intervals import Intervals

_ROAD, _BUILDING, _SKY, _CAR, _BOX = 7, 11, 23, 26, 41
# Primitives: 0 road, 1 car 4, 2 building 9, 3 a second part of car 4, 4 moving car 8, 5 free space.
_SEMANTIC = np.array([_ROAD, _CAR, _BUILDING, _CAR, _CAR, 0])
_INSTANCE = np.array([0, 4, 9, 4, 8, 0])
_CLASSES = (_ROAD, _BUILDING, _BOX, _SKY)


def make_rays(*rays, moving=None):
  """Labels of an image of one row; rays list (enter, primitive), `moving` has one by ray."""
  num_intervals = max(map(len, rays))
  enter = np.full((1, len(rays), num_intervals), np.inf, np.float32)
  primitive = np.full((1, len(rays), num_intervals), -1, np.int32)
  for i, ray in enumerate(rays):
    for k, (t, m) in enumerate(ray):
      enter[0, i, k], primitive[0, i, k] = t, m
  moving_enter = np.full((1, len(rays)), np.inf, np.float32)
  moving_primitive = np.full((1, len(rays)), -1, np.int32)
  for i, (t, m) in (moving or {}).items():
    moving_enter[0, i], moving_primitive[0, i] = t, m
  intervals = Intervals(enter, enter + 1, primitive, np.zeros((1, len(rays)), np.int32))
  return ray_labels.ray_labels(
    intervals, (moving_enter, moving_primitive), _SEMANTIC, _INSTANCE, _CLASSES
  )


def test_ray_labels_are_objects_and_stuff_classes():
  rays = make_rays([(1, 0), (5, 1), (9, 3)], [(2, 2)], [])
  assert list(zip(rays.semantic, rays.instance)) == [
    (_ROAD, 0),
    (_BUILDING, 9),
    (_CAR, 4),
    (_SKY, 0),
  ]
  assert rays.sky == 3
  np.testing.assert_array_equal(rays.label[0, :, :3], [[0, 2, 2], [1, -1, -1], [-1, -1, -1]])
  np.testing.assert_array_equal(rays.label_of_primitive, [0, 2, 1, 2, -1, -1])


def test_ray_labels_sort_moving_primitives_into_the_intervals():
  rays = make_rays([(1, 0), (5, 2)], [(1, 0)], moving={0: (3, 4), 1: (0.5, 4)})
  assert list(zip(rays.semantic, rays.instance)) == [
    (_ROAD, 0),
    (_BUILDING, 9),
    (_CAR, 8),
    (_SKY, 0),
  ]
  np.testing.assert_array_equal(rays.label[0], [[0, 2, 1], [2, 0, -1]])
  np.testing.assert_array_equal(rays.enter[0], [[1, 3, 5], [0.5, 1, np.inf]])


def test_label_prior_by_hand():
  rays = make_rays([(1, 0), (5, 1), (9, 3)], [(2, 2)], [])
  # Mass before dividing by the sum: road 1, car 0.5 + 0.25, sky 0.125; building 1, sky 0.5; sky 1.
  want = np.array([[1, 0, 0.75, 0.125], [0, 1, 0, 0.5], [0, 0, 0, 1]])
  np.testing.assert_allclose(
    ray_labels.label_prior(rays, 0.5)[0], want / want.sum(1, keepdims=True), atol=1e-6
  )


def test_label_prior_of_free_space_covers_classes_but_no_objects():
  rays = make_rays([(1, 5), (5, 1)], [(1, 5)])
  assert list(zip(rays.semantic, rays.instance)) == [
    (_ROAD, 0),
    (_BUILDING, 0),
    (_CAR, 4),
    (_BOX, 0),
    (_SKY, 0),
  ]
  want = np.array([[0.5, 0.5, 1, 0.5, 0.5], [0.5, 0.5, 0, 0.5, 0.5]])
  np.testing.assert_allclose(
    ray_labels.label_prior(rays, 0.5)[0], want / want.sum(1, keepdims=True), atol=1e-6
  )


def test_label_likelihood_by_hand():
  rays = make_rays([(1, 5), (5, 1)], [(1, 5)], [(1, 5)], [(1, 5)])
  assert rays.semantic.tolist() == [_ROAD, _BUILDING, _CAR, _BOX, _SKY]
  pseudo_label = np.array([[_ROAD, _CAR, 255, _SKY]], np.uint8)
  # The 2D network has no class box, so any label except sky is compatible.
  assert ray_labels.label_likelihood(rays, pseudo_label, 0.1)[0] == pytest.approx(
    np.array([[1, 0.1, 0.1, 1, 0.1], [0.1, 0.1, 1, 1, 0.1], [1] * 5, [0.1, 0.1, 0.1, 0.1, 1]])
  )


def test_nearest_label_agrees_with_the_first_hit_of_trimesh(shapes):
  width, height = shapes.width, shapes.height
  intervals, *moving = view_intervals(
    shapes.primitives,
    Camera(
      intrinsics=shapes.intrinsics,
      world_from_cam=np.eye(4, dtype=np.float32),
      width=width,
      height=height,
    ),
    0.3,
    100.0,
  )
  found = ray_labels.ray_labels(
    intervals, moving, shapes.semantic, shapes.instance, (7, 11, 17, 26, 23)
  )
  fx, fy, cx, cy = shapes.intrinsics
  u, v = np.meshgrid(np.arange(width), np.arange(height))
  rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(u.shape)], -1).reshape(-1, 3)
  rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
  label, depth = ray_labels.nearest_label(found, rays[:, 2].reshape(height, width))
  scene = trimesh.util.concatenate(shapes.meshes)
  owner = np.repeat(np.arange(6), [len(m.faces) for m in shapes.meshes])
  places, ray, face = trimesh.ray.ray_triangle.RayMeshIntersector(scene).intersects_location(
    np.zeros_like(rays), rays, multiple_hits=True
  )
  first_depth, first_owner = np.full(len(rays), np.inf), np.full(len(rays), -1)
  for place, i, f in zip(places, ray, face):
    if place[2] < first_depth[i]:
      first_depth[i], first_owner[i] = place[2], owner[f]
  hit = first_owner >= 0
  assert 0.2 < hit.mean() < 0.95
  same = found.semantic[label.ravel()] == np.where(hit, shapes.semantic[first_owner], 23)
  same &= found.instance[label.ravel()] == np.where(hit, shapes.instance[first_owner], 0)
  assert same.mean() > 0.998  # a ray that grazes an edge may go either way
  near = np.isclose(depth.ravel(), np.where(hit, first_depth, 0), atol=1e-3)
  assert near.mean() > 0.998 and depth.dtype == np.float32
