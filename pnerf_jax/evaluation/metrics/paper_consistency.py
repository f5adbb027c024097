"""Multi-view consistency (MC) as the paper's program counts it, separate from `consistency`.

Differences to consistency.mc: points lie at the centres of their pixels instead of where the LiDAR
hit, points beyond 100 m are dropped, and only frames at most 10 apart are compared. Void is a class
as any other.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, and its published evaluation.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from pnerf_jax.evaluation.metrics import consistency

_MAX_DEPTH = 100.0  # metres
_MAX_FRAMES = 10  # between the two frames of a pair


@dataclasses.dataclass(frozen=True, eq=False)
class PixelPoints:
  """The labelled LiDAR points of one frame.

  Attributes:
    points: [N, 3], metres, unprojected at integer pixel coordinates, in coordinates that all frames
      share.
    depth: [N], planar, metres.
    classes: [N] predicted ids.
  """

  points: np.ndarray
  depth: np.ndarray
  classes: np.ndarray


def count_pair(earlier: PixelPoints, later: PixelPoints) -> consistency.MatchCounts:
  """Match each point of the later frame to the nearest point of the earlier one."""
  kept = [frame.depth <= _MAX_DEPTH for frame in (later, earlier)]
  return consistency.count(
    later.points[kept[0]],
    later.classes[kept[0]],
    earlier.points[kept[1]],
    earlier.classes[kept[1]],
  )


def count_track(track: Mapping[int, PixelPoints | None]) -> consistency.MatchCounts:
  """Count matches over neighbours in the list of evaluated frames.

  Args:
    track: by number of all evaluated frames of one camera; None = without LiDAR.
  """
  frames, total = sorted(track), consistency.MatchCounts()
  for first, second in zip(frames, frames[1:]):
    earlier, later = track[first], track[second]
    if second - first <= _MAX_FRAMES and earlier is not None and later is not None:
      total = total.merge(count_pair(earlier, later))
  return total
