"""LiDAR points labelled by the primitives that contain them.

Letters: N points, M primitives, B primitives that contain a point (at most), H, W image size,
L labels of the image.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from pnerf_jax.contrib.baselines.ray_labels import RayLabels
from pnerf_jax.geometry.intersection import intersect
from pnerf_jax.geometry.primitives import Primitives

MAX_PRIMITIVES = 8  # B; more than contain any point of a street
_CHUNK = 4096  # points per call
_TILE = 8.0  # metres; points of one tile are processed together, to skip distant primitives
_FAR = 1e4  # metres, beyond any primitive


def containing_primitives(
  primitives: Primitives, points: np.ndarray, selected: np.ndarray
) -> np.ndarray:
  """Find the primitives that contain points.

  Args:
    primitives: of the window.
    points: [N, 3], recentred metres.
    selected: [M] bool, primitives to consider; moving ones at their annotated pose.

  Returns:
    [N, B] int32 indices, -1 in unused entries.
  """
  static = dataclasses.replace(
    primitives,
    timestamp=jnp.full_like(primitives.timestamp, -1),
    valid=primitives.valid & jnp.asarray(selected),
  )
  points = np.asarray(points, np.float32)
  containing = np.full((len(points), MAX_PRIMITIVES), -1, np.int32)
  order = np.lexsort(np.floor(points[:, :2] / _TILE).T)
  # An interval that starts at t = 0 contains the point; upward rays soon leave most primitives.
  up = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (_CHUNK, 3))
  for start in range(0, len(points), _CHUNK):
    part = order[start : start + _CHUNK]
    origins = points[np.pad(part, (0, _CHUNK - len(part)), mode='edge')]
    intervals = intersect(static, jnp.asarray(origins), up, 0.0, _FAR, num_intervals=MAX_PRIMITIVES)
    inside = np.where(np.asarray(intervals.enter) == 0, np.asarray(intervals.primitive), -1)
    containing[part] = inside[: len(part)]
  return containing


def voxel_downsample(points: np.ndarray, size: float) -> np.ndarray:
  """Return the indices of one point [N, 3] per voxel of `size` metres."""
  if not len(points):
    return np.zeros(0, np.int64)
  voxels = np.floor(points / size).astype(np.int64)
  voxels -= voxels.min(axis=0)
  codes = np.ravel_multi_index(voxels.T, voxels.max(axis=0) + 1)
  return np.sort(np.unique(codes, return_index=True)[1])


def point_labels(rays: RayLabels, primitive: np.ndarray) -> np.ndarray:
  """Return the possible labels of points, [N, L] bool, none for a point in no primitive.

  Args:
    rays: labels of the image.
    primitive: [N, B] of `containing_primitives`.
  """
  label = np.append(rays.label_of_primitive, -1)[primitive]  # index -1: no primitive
  possible = np.zeros((len(primitive), len(rays.semantic)), bool)
  point, slot = np.nonzero(label >= 0)
  possible[point, label[point, slot]] = True
  return possible


def label_costs(possible: np.ndarray, error_prob: float) -> np.ndarray:
  """Return -log of the probability of each label of points.

  Args:
    possible: [N, L] bool, at least one per point.
    error_prob: probability, in (0, 1), that none of them is true.

  Returns:
    [N, L] float64.
  """
  uniform = possible / possible.sum(axis=1, keepdims=True)
  return -np.log(error_prob / possible.shape[1] + (1 - error_prob) * uniform)


def pixel_costs(
  possible: np.ndarray, pixel: np.ndarray, shape: tuple[int, int], error_prob: float
) -> np.ndarray:
  """Return the label costs at the pixels of labelled points, 0 elsewhere.

  Args:
    possible: [N, L] bool, of point_labels; points without a label are ignored.
    pixel: [N, 2] row and column, each pixel at most once.
    shape: (H, W).
    error_prob: of label_costs.

  Returns:
    [H, W, L] float32.
  """
  cost = np.zeros((*shape, possible.shape[1]), np.float32)
  labelled = possible.any(axis=1)
  cost[tuple(pixel[labelled].T)] = label_costs(possible[labelled], error_prob)
  return cost
