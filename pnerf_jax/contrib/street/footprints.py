"""Footprints of objects on the ground, as rectangles, and their overlap test.

Letters: `M` rectangles [M, 4, 2] of street coordinates x, y in metres, corners in order.
"""

import numpy as np

from pnerf_jax.contrib.street import objects, solids

_REACH = 1.9  # metres above the ground; parts above it do not collide


def rectangles(group: list[objects.SceneObject], margin: float = 0.06) -> np.ndarray:
  """Return the rectangles [M, 4, 2], aligned with their objects, of all parts near the ground.

  Args:
    group: objects in street coordinates; buildings have no footprint.
    margin: metres added on every side.
  """
  out = []
  for obj in group:
    if obj.name == 'building':  # the doorsteps would block the whole front
      continue
    turn = solids.rotation_z(obj.yaw)[:2, :2]
    for part in obj.parts:
      points = part.solid.vertices
      points = points[points[:, 2] < obj.ground_z + _REACH, :2] @ turn
      if part.shape in ('slab', 'none') or not len(points):
        continue
      (x0, y0), (x1, y1) = points.min(0) - margin, points.max(0) + margin
      out.append(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ turn.T)
  return np.array(out).reshape(-1, 4, 2)


def overlap(one: np.ndarray, many: np.ndarray) -> bool:
  """Return whether rectangle [4, 2] overlaps any of [M, 4, 2] (separating axis theorem)."""
  if not len(many):
    return False
  apart = np.zeros(len(many), bool)
  for edges in (np.broadcast_to(one, many.shape), many):
    for k in (0, 1):
      axis = edges[:, k + 1] - edges[:, k]
      one_range, many_range = one @ axis.T, np.einsum('mij,mj->mi', many, axis)
      apart |= one_range.max(0) <= many_range.min(1)
      apart |= many_range.max(1) <= one_range.min(0)
  return not apart.all()
