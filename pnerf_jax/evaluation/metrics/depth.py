"""Rendered depth against LiDAR points from 0 to 100 m.

Letters: `z` planar depth in metres along the camera's z axis. A pixel without rendered depth (0)
counts as 100 m in the RMSE and as wrong in delta; rendered depth beyond 100 m counts as 100 m in
the RMSE, as the truth ends there too, but as it is in delta.
"""

import dataclasses

import numpy as np

from pnerf_jax.evaluation.frame_result import sample_at

MAX_Z = 100.0  # metres
_RATIO = 1.25


@dataclasses.dataclass(frozen=True)
class DepthCounts:
  """Sums over LiDAR points: how many, squared error in m^2, how many within a ratio of 1.25."""

  points: int = 0
  squared: float = 0.0
  close: int = 0

  def merge(self, other: 'DepthCounts') -> 'DepthCounts':
    return DepthCounts(
      self.points + other.points, self.squared + other.squared, self.close + other.close
    )

  def rmse(self) -> float | None:
    """Metres."""
    return float(np.sqrt(self.squared / self.points)) if self.points else None

  def delta1(self) -> float | None:
    """Share of points with max(rendered / true, true / rendered) < 1.25."""
    return self.close / self.points if self.points else None


def count(depth: np.ndarray, uvz: np.ndarray) -> DepthCounts:
  """Sums of one image.

  Args:
    depth: [H, W] rendered z, metres, 0 = none.
    uvz: [N, 3] pixel column, row and true z of LiDAR points inside the image.
  """
  uvz = uvz[(uvz[:, 2] > 0) & (uvz[:, 2] <= MAX_Z)]
  true_z = uvz[:, 2].astype(np.float64)
  z = sample_at(depth, uvz).astype(np.float64)
  z = np.where(z > 0, z, np.inf)
  error = np.minimum(z, MAX_Z) - true_z
  close = (z < _RATIO * true_z) & (true_z < _RATIO * z)
  return DepthCounts(len(uvz), float(np.sum(error**2)), int(close.sum()))
