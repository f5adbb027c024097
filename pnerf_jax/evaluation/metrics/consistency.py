"""Multi-view consistency (MC): agreement of the predicted classes of two frames in 3D.

The LiDAR points of consecutive frames take the class predicted at their pixel and are matched
across the frames; MC is the fraction of matches with equal classes. It needs no labels, and does
not measure correctness. Variants: all points inside the image, and only the points visible to the
camera (visibility.py); `paper_consistency` counts as the paper's program. Both are also computed
for the true labels, as an upper bound: these do not reach 1 because of pixel quantisation at object
edges, occluded points, and objects closer than the matching radius.

References:
  Fu et al., Panoptic NeRF, 3DV 2022.
"""

import dataclasses

import numpy as np
import scipy.spatial

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics.counts import Counts

RADIUS = 0.1  # metres


@dataclasses.dataclass(frozen=True)
class MatchCounts(Counts):
  """Counts over pairs of frames.

  Attributes:
    matched: number of matched points.
    equal: number of matches with equal classes.
  """

  matched: int = 0
  equal: int = 0

  def mc(self) -> float | None:
    return self.equal / self.matched if self.matched else None


def count(
  points: np.ndarray, classes: np.ndarray, other_points: np.ndarray, other_classes: np.ndarray
) -> MatchCounts:
  """Match each point to the nearest point of the other image within 0.1 m.

  Args:
    points: [N, 3], metres.
    classes: [N] ids.
    other_points: [M, 3] of the other image, in the same coordinates.
    other_classes: [M] ids.
  """
  if not len(points) or not len(other_points):
    return MatchCounts()
  tree = scipy.spatial.cKDTree(other_points)
  distance, nearest = tree.query(points, distance_upper_bound=RADIUS)
  matched = np.isfinite(distance)
  equal = classes[matched] == other_classes[nearest[matched]]
  return MatchCounts(int(matched.sum()), int(equal.sum()))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FramePoints:
  """The labelled LiDAR points of one frame.

  Attributes:
    points: [N, 3], metres, in coordinates that all frames share.
    classes: [N] predicted ids.
    visible: [N] bool, points visible to the camera, or None.
    truth: [N] true ids, or None.
  """

  points: np.ndarray
  classes: np.ndarray
  visible: np.ndarray | None
  truth: np.ndarray | None


def count_track(track: dict[int, FramePoints], visible: bool, truth: bool) -> MatchCounts:
  """Count matches over consecutive frames.

  Args:
    track: by frame number, of one camera.
    visible: use only points visible to the camera; skip frames without visibility.
    truth: compare true instead of predicted classes, without void.
  """
  frames = [_select(track[frame], visible, truth) for frame in sorted(track)]
  total = MatchCounts()
  for earlier, later in zip(frames, frames[1:]):
    total = total.merge(count(*later, *earlier))
  return total


def _select(frame: FramePoints, visible: bool, truth: bool) -> tuple[np.ndarray, np.ndarray]:
  """Return the points [N, 3] and classes [N] to count."""
  classes = frame.truth if truth else frame.classes
  keep = frame.visible if visible else np.ones(len(frame.points), bool)
  if classes is None or keep is None:
    return frame.points[:0], frame.classes[:0]
  if truth:
    keep = keep & ~np.isin(classes, labels.UNKNOWN)
  return frame.points[keep], classes[keep]
