"""Rendered depth against LiDAR points from 0 to 100 m.

Letters: `z` planar depth in metres. Rendered depth that is absent (0) counts as 100 m in the RMSE
and as wrong in delta; rendered depth is clipped to 100 m in the RMSE, but not in delta.

References:
  Eigen et al., Depth Map Prediction from a Single Image, NIPS 2014 (RMSE, delta < 1.25).
"""

import dataclasses

import numpy as np

from pnerf_jax.evaluation.frame_result import sample_at
from pnerf_jax.evaluation.metrics.counts import Counts

MAX_Z = 100.0  # metres
_RATIO = 1.25


@dataclasses.dataclass(frozen=True)
class DepthCounts(Counts):
  """Sums over LiDAR points.

  Attributes:
    points: number of points.
    squared_error: sum in m^2.
    close: number of points within a ratio of 1.25.
  """

  points: int = 0
  squared_error: float = 0.0
  close: int = 0

  def rmse(self) -> float | None:
    """Return the root mean squared error in metres."""
    return float(np.sqrt(self.squared_error / self.points)) if self.points else None

  def delta1(self) -> float | None:
    """Return the fraction of points with max(rendered / true, true / rendered) < 1.25."""
    return self.close / self.points if self.points else None


def count(depth: np.ndarray, uvz: np.ndarray) -> DepthCounts:
  """Return the sums of one image.

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
