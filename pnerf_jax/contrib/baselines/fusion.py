"""2D-3D-2D fusion: pseudo-labels of all views, accumulated over a known depth.

Every pixel of an image is unprojected by its depth and projected into every other view; a view in
which the point is visible votes with its pseudo-label. Pixels of the sky are directions, projected
into the other views' sky. Primitives are not used, so things have no instances.

Letters: H, W image size, P pixels of the image.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.geometry.cameras import Camera


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LabelledView:
  """A view that votes.

  Attributes:
    camera: of size h, w; its pose is recentred.
    depth: [h, w], planar metres, 0 = sky.
    pseudo_label: [h, w] uint8 ids.
    confidence: [h, w] in [0, 1], or None = 1.
  """

  camera: Camera
  depth: np.ndarray
  pseudo_label: np.ndarray
  confidence: np.ndarray | None


def fuse(
  depth: np.ndarray, camera: Camera, views: Sequence[LabelledView], tolerance: float
) -> np.ndarray:
  """Accumulate the votes of all views at the pixels of one image.

  Args:
    depth: [H, W], planar metres, 0 = sky.
    camera: of the image.
    views: views that vote, possibly including the image itself.
    tolerance: relative difference to the depth of the view up to which a point is visible in it.

  Returns:
    [H, W] uint8 id with the largest sum of votes, 0 without votes.
  """
  fx, fy, cx, cy = np.asarray(camera.intrinsics, np.float64)
  v, u = np.indices(depth.shape)
  rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(depth.shape)], -1).reshape(-1, 3)
  rays = rays @ np.asarray(camera.world_from_cam[:3, :3], np.float64).T
  is_sky = depth.ravel() <= 0
  points = rays * depth.reshape(-1, 1) + camera.world_from_cam[:3, 3]
  votes = np.zeros((depth.size, labels.NUM_IDS), np.float32)
  for view in views:
    pose = view.camera.world_from_cam
    rotation = np.asarray(pose[:3, :3], np.float64)
    in_camera = np.where(is_sky[:, None], rays, points - pose[:3, 3]) @ rotation
    pixel, row, column = _project(in_camera, view.camera)
    view_depth = view.depth[row, column]
    z = in_camera[pixel, 2]
    visible = np.where(
      is_sky[pixel],
      view_depth <= 0,
      (view_depth > 0) & (np.abs(view_depth - z) <= tolerance * z),
    )
    pseudo_label = view.pseudo_label[row, column]
    visible &= ~np.isin(pseudo_label, labels.UNKNOWN)
    weight = 1.0 if view.confidence is None else view.confidence[row, column][visible]
    votes[pixel[visible], pseudo_label[visible]] += weight  # each pixel occurs once per view
  best = votes.argmax(axis=1).astype(np.uint8)
  return np.where(votes.max(axis=1) > 0, best, labels.VOID).reshape(depth.shape)


def _project(in_camera: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return index, row and column of the points [P, 3] in camera coordinates inside its image."""
  fx, fy, cx, cy = np.asarray(camera.intrinsics, np.float64)
  in_front = np.flatnonzero(in_camera[:, 2] > 1e-6)
  x, y, z = in_camera[in_front].T
  column, row = np.rint(fx * x / z + cx), np.rint(fy * y / z + cy)
  inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
  return in_front[inside], row[inside].astype(np.int64), column[inside].astype(np.int64)
