"""Multi-view consistency (MC): do two images call the same point of the world alike?

LiDAR points of two images, each point carrying the class that its image predicts there, are
matched across the images; MC is the share of matches with equal classes. It needs no labels, and
says nothing of whether the classes are right. Reported in two forms:

- plain, as published: every scanned point inside the image counts;
- visible: only points that their camera sees (visibility.py), on the scans' own testimony.

Not even the truth reaches 1, so it is scored in both forms too, as the ceiling. Of the pairs of
true labels on three synthetic streets of 352 x 94 pixels, 4.5 to 6.7 % differ: 2.6 to 4.2 % since
a label is that of its pixel's centre, which a point near the edge of a thing may miss by half a
pixel (a quarter of that in images of full size); 1.1 to 1.6 % since one of the points is hidden
from its camera, which the visible form leaves out; 0.6 to 0.9 % since two things are nearer to each
other than 0.1 m.
Source: Fu et al., Panoptic NeRF, 3DV 2022.
"""

import dataclasses

import numpy as np
import scipy.spatial

from pnerf_jax.data import labels

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


def count(
  points: np.ndarray, classes: np.ndarray, other_points: np.ndarray, other_classes: np.ndarray
) -> MatchCounts:
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


@dataclasses.dataclass(frozen=True, eq=False)
class Sighting:
  """LiDAR points of one image.

  points: [N, 3] in a frame that all images share, metres.   classes: [N] predicted there.
  visible: [N] bool, whether the camera sees them, or None.   truth: [N] true classes, or None.
  """

  points: np.ndarray
  classes: np.ndarray
  visible: np.ndarray | None
  truth: np.ndarray | None


def count_track(track: dict[int, Sighting], visible: bool, truth: bool) -> MatchCounts:
  """Counts over consecutive frames.

  Args:
    track: by frame number, of one camera.
    visible: only points that the camera sees; frames where that is unknown are left out.
    truth: of true classes rather than predicted ones; void is left out.
  """
  chosen = [_chosen(track[frame], visible, truth) for frame in sorted(track)]
  total = MatchCounts()
  for earlier, later in zip(chosen, chosen[1:]):
    total = total.merge(count(*later, *earlier))
  return total


def _chosen(sighting: Sighting, visible: bool, truth: bool) -> tuple[np.ndarray, np.ndarray]:
  """Points [N, 3] and classes [N] that are to be counted."""
  classes = sighting.truth if truth else sighting.classes
  if classes is None or (visible and sighting.visible is None):
    return sighting.points[:0], sighting.classes[:0]
  keep = sighting.visible if visible else np.ones(len(classes), bool)
  if truth:
    keep = keep & ~np.isin(classes, labels.UNKNOWN)
  return sighting.points[keep], classes[keep]
