"""Multi-view consistency (MC): do two images call the same point of the world alike?

LiDAR points that two images see, each point carrying the class that its image predicts there, are
matched across the images; MC is the share of matches with equal classes. It needs no labels, and
says nothing of whether the classes are right.
Source: Fu et al., Panoptic NeRF, 3DV 2022.
"""
import dataclasses

import numpy as np
import scipy.spatial

RADIUS = 0.1  # metres


@dataclasses.dataclass(frozen=True)
class MatchCounts:
  """Matched points and how many of them have equal classes."""
  matched: int = 0
  equal: int = 0

  def merge(self, other: 'MatchCounts') -> 'MatchCounts':
    return MatchCounts(self.matched + other.matched, self.equal + other.equal)

  def mc(self) -> float | None:
    return self.equal / self.matched if self.matched else None


def count(points: np.ndarray, classes: np.ndarray, other_points: np.ndarray,
          other_classes: np.ndarray) -> MatchCounts:
  """Matches each point to the other image's nearest point, if that is nearer than 0.1 m.

  Args:
    points: [N, 3], metres.
    classes: [N], id predicted at each point.
    other_points: [M, 3] of the other image, in the same frame.
    other_classes: [M].
  """
  if not len(points) or not len(other_points):
    return MatchCounts()
  tree = scipy.spatial.cKDTree(other_points)
  distance, nearest = tree.query(points, distance_upper_bound=RADIUS)
  found = np.isfinite(distance)
  equal = classes[found] == other_classes[nearest[found]]
  return MatchCounts(int(found.sum()), int(equal.sum()))


def count_track(track: dict[int, tuple[np.ndarray, np.ndarray]]) -> MatchCounts:
  """Counts over consecutive frames; track: frame number -> (points [N, 3], classes [N])."""
  frames = sorted(track)
  total = MatchCounts()
  for earlier, later in zip(frames, frames[1:]):
    total = total.merge(count(*track[later], *track[earlier]))
  return total
