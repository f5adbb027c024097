"""Which ground is taken: rectangles that things stand on, and whether two of them overlap.

Letters: `M` rectangles [M, 4, 2] of street coordinates x, y in metres, corners in order.
"""

import numpy as np

from pnerf_jax.contrib.street import solids, things

_REACH = 1.9  # metres above the ground up to which things are in each other's way


def rectangles(group: list[things.Thing], margin: float = 0.06) -> np.ndarray:
  """[M, 4, 2] rectangles, turned like their things, around what is near the ground.

  Buildings claim nothing.

  Args:
    group: things in street coordinates.
    margin: metres added on every side.
  """
  out = []
  for thing in group:
    if thing.name == 'building':  # its doorsteps would claim the whole front
      continue
    turn = solids.rotation_z(thing.yaw)[:2, :2]
    for part in thing.parts:
      points = part.solid.vertices
      points = points[points[:, 2] < thing.foot + _REACH, :2] @ turn
      if part.shape in ('slab', 'none') or not len(points):
        continue
      (x0, y0), (x1, y1) = points.min(0) - margin, points.max(0) + margin
      out.append(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ turn.T)
  return np.array(out).reshape(-1, 4, 2)


def overlap(one: np.ndarray, many: np.ndarray) -> bool:
  """Whether rectangle [4, 2] meets any of [M, 4, 2] (separating axes)."""
  if not len(many):
    return False
  apart = np.zeros(len(many), bool)
  for edges in (np.broadcast_to(one, many.shape), many):
    for k in (0, 1):
      axis = edges[:, k + 1] - edges[:, k]
      mine, theirs = one @ axis.T, np.einsum('mij,mj->mi', many, axis)
      apart |= (mine.max(0) <= theirs.min(1)) | (theirs.max(1) <= mine.min(0))
  return not apart.all()
