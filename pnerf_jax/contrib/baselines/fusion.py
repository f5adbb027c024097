"""2D to 3D to 2D: pseudo labels of all views, fused over a known depth.

Every pixel of an image is carried into space by its depth and from there into every other view; a
view in which the point is not hidden votes with its pseudo label. A pixel of the sky is a direction
and is carried into other views' sky. No primitive takes part: the labels are the words of the 2D
network, things have no instances.

Letters: H, W image size, P pixels of the image, V views.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pnerf_jax.data import labels


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledView:
  """A view that votes; its pose is recentred, depth and word may be of any one size.

  intrinsics: [4] at the size of depth.   world_from_cam: [4, 4].   depth: [h, w] planar metres,
  0 = sky.   word: [h, w] uint8 pseudo label.   confidence: [h, w] in [0, 1], or None = 1.
  """

  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  depth: np.ndarray
  word: np.ndarray
  confidence: np.ndarray | None


def fuse(
  depth: np.ndarray,
  world_from_cam: np.ndarray,
  intrinsics: np.ndarray,
  views: Sequence[LabelledView],
  tolerance: float,
) -> np.ndarray:
  """Votes of all views on the pixels of one image.

  Args:
    depth: [H, W] planar metres, 0 = sky.
    world_from_cam: [4, 4].
    intrinsics: [4] fx, fy, cx, cy in pixels of the image.
    views: that vote; the image's own may be among them.
    tolerance: a point is not hidden where it lies at most this share of its depth behind, or
      before, the view's own depth.

  Returns:
    [H, W] uint8 word with the largest sum of votes, 0 where no view votes.
  """
  height, width = depth.shape
  fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
  v, u = np.indices(depth.shape)
  rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(depth.shape)], -1).reshape(-1, 3)
  rays = rays @ np.asarray(world_from_cam[:3, :3], np.float64).T
  sky = depth.ravel() <= 0
  points = rays * depth.reshape(-1, 1) + world_from_cam[:3, 3]
  votes = np.zeros((height * width, labels.NUM_IDS), np.float32)
  for view in views:
    rotation = np.asarray(view.world_from_cam[:3, :3], np.float64)
    in_view = np.where(sky[:, None], rays, points - view.world_from_cam[:3, 3]) @ rotation
    pixel, row, column = _inside(in_view, view)
    there = view.depth[row, column]
    z = in_view[pixel, 2]
    seen = np.where(sky[pixel], there <= 0, (there > 0) & (np.abs(there - z) <= tolerance * z))
    word = view.word[row, column]
    seen &= ~np.isin(word, labels.UNKNOWN)
    weight = 1.0 if view.confidence is None else view.confidence[row, column][seen]
    votes[pixel[seen], word[seen]] += weight  # a view has one vote on a pixel
  best = votes.argmax(axis=1).astype(np.uint8)
  return np.where(votes.max(axis=1) > 0, best, labels.VOID).reshape(height, width)


def _inside(in_view: np.ndarray, view: LabelledView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Index, row and column of the points [P, 3] of a camera's frame that fall into its image."""
  fx, fy, cx, cy = np.asarray(view.intrinsics, np.float64)
  ahead = np.flatnonzero(in_view[:, 2] > 1e-6)
  x, y, z = in_view[ahead].T
  column, row = np.rint(fx * x / z + cx), np.rint(fy * y / z + cy)
  height, width = view.depth.shape
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  return ahead[inside], row[inside].astype(np.int64), column[inside].astype(np.int64)
