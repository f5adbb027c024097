"""The nearest primitive against trimesh's first hit."""

import numpy as np
import trimesh

from pnerf_jax.contrib.baselines import nearest, ray_labels
from pnerf_jax.geometry.intersection import view_intervals


def test_agrees_with_the_first_hit_of_trimesh(shapes):
  width, height = shapes.width, shapes.height
  intervals, moving, moving_primitive = view_intervals(
    shapes.primitives, shapes.intrinsics, np.eye(4, dtype=np.float32), width, height, 0.3, 100.0
  )
  found = ray_labels.ray_labels(
    intervals, moving, moving_primitive, shapes.semantic, shapes.instance, (7, 11, 17, 26, 23)
  )
  fx, fy, cx, cy = shapes.intrinsics
  u, v = np.meshgrid(np.arange(width), np.arange(height))
  rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(u.shape)], -1).reshape(-1, 3)
  rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
  label, depth = nearest.nearest(found, rays[:, 2].reshape(height, width))
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
