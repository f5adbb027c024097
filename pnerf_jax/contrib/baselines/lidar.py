"""LiDAR points that carry the labels of the primitives which contain them.

Letters: N points, M primitives, B primitives that contain a point (at most), H, W image size,
L labels of the image.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from pnerf_jax.contrib.baselines.ray_labels import RayLabels
from pnerf_jax.geometry.intersection import intersect
from pnerf_jax.geometry.primitives import Primitives

_MOST = 8  # B; no street heaps more primitives on one point
_CHUNK = 4096  # points that are looked up together
_TILE = 8.0  # metres; points of one tile go together, so that far primitives are passed over
_REACH = 1e4  # metres, beyond any primitive


def containing(primitives: Primitives, points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
  """Primitives that contain points.

  Args:
    primitives: of the window.
    points: [N, 3], recentred metres.
    chosen: [M] bool, which primitives count; one that moves stands where it is annotated.

  Returns:
    [N, B] int32, indices, -1 behind the last.
  """
  there = dataclasses.replace(
    primitives,
    timestamp=jnp.full_like(primitives.timestamp, -1),
    valid=primitives.valid & jnp.asarray(chosen),
  )
  points = np.asarray(points, np.float32)
  found = np.full((len(points), _MOST), -1, np.int32)
  order = np.lexsort(np.floor(points[:, :2] / _TILE).T)
  # A ray from the point is inside from its very start; upwards it soon leaves most primitives.
  up = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (_CHUNK, 3))
  for start in range(0, len(points), _CHUNK):
    part = order[start : start + _CHUNK]
    origins = points[np.pad(part, (0, _CHUNK - len(part)), mode='edge')]
    met = intersect(there, jnp.asarray(origins), up, 0.0, _REACH, _MOST)
    inside = np.where(np.asarray(met.enter) == 0, np.asarray(met.primitive), -1)
    found[part] = inside[: len(part)]
  return found


def thin(points: np.ndarray, cell: float) -> np.ndarray:
  """Indices of one point for every cube of edge `cell` metres; points [N, 3]."""
  if not len(points):
    return np.zeros(0, np.int64)
  cubes = np.floor(points / cell).astype(np.int64)
  cubes -= cubes.min(axis=0)
  return np.sort(
    np.unique(np.ravel_multi_index(cubes.T, cubes.max(axis=0) + 1), return_index=True)[1]
  )


def point_labels(met: RayLabels, primitive: np.ndarray) -> np.ndarray:
  """Which labels of an image points may have: [N, L] bool, all False for one in no primitive.

  Args:
    met: of the image.
    primitive: [N, B] of `containing`.
  """
  table = np.append(met.of_primitive, -1)  # index -1: no primitive
  label = table[primitive]
  may = np.zeros((len(primitive), len(met.semantic)), bool)
  point, slot = np.nonzero(label >= 0)
  may[point, label[point, slot]] = True
  return may


def evidence(
  may: np.ndarray, pixel: np.ndarray, shape: tuple[int, int], wrong: float
) -> np.ndarray:
  """Costs of labels at the pixels on which labelled points fall, 0 elsewhere.

  A point is evenly any of its labels, and none of them with probability `wrong`.

  Args:
    may: [N, L] bool, of point_labels; points without a label say nothing.
    pixel: [N, 2] row and column, each pixel at most once.
    shape: (H, W).
    wrong: in (0, 1).

  Returns:
    [H, W, L] float32.
  """
  cost = np.zeros((*shape, may.shape[1]), np.float32)
  some = may.any(axis=1)
  share = may[some] / may[some].sum(axis=1, keepdims=True)
  cost[tuple(pixel[some].T)] = -np.log(wrong / may.shape[1] + (1 - wrong) * share)
  return cost
