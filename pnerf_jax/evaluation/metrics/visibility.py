"""Which points of a LiDAR scan does a camera see? Answered by the scan itself.

The scanner stands above the camera and beside it, so it sees over things that hide the street from
the camera. A point is hidden where a markedly nearer point of the same scan lies in almost the same
direction from the camera. One scan is enough, and better than many: its points are of one moment,
so nothing that moves leaves a trail that would hide what stands behind it.

The test knows no label and no rendered image, and works in angles, so the size of the images does
not matter. It cannot know what the scanner did not hit (glass, what returns no light). Measured
against exact visibility on three synthetic streets: of the hidden points (1.4 to 2.3 % of those
inside the image) 81 to 90 % are found, of the others 1.9 to 3.1 % are dropped, at the edges of
nearer things.
"""

import numpy as np
import scipy.ndimage

# Neighbouring beams of a 64-beam scanner are 0.33 to 0.5 degrees apart: a cell and its neighbours
# reach 0.2 to 0.4 degrees to each side, so a nearer surface has a point among them.
_CELL = np.deg2rad(0.2)
_SLACK = 0.1  # metres by which, and
_SHARE = 0.1  # share of its distance by which, a point may lie behind its neighbours; the road
# seen at a grazing angle needs it


def visible(points: np.ndarray, scan: np.ndarray) -> np.ndarray:
  """Whether the camera sees points past a scan.

  Args:
    points: [N, 3] before the camera, in its frame (x right, y down, z forward), metres.
    scan: [P, 3] what may hide them, in the same frame; may hold the points themselves.

  Returns:
    [N] bool.
  """
  scan = scan[scan[:, 2] > 0]
  if not len(points) or not len(scan):
    return np.ones(len(points), bool)
  cells, distance = _cells(points)
  others, other_distance = _cells(scan)
  low = cells.min(axis=0) - 1  # a border of one cell for the neighbours
  size = tuple(cells.max(axis=0) - low + 2)
  others = others - low
  inside = ((others >= 0) & (others < size)).all(axis=1)
  nearest = np.full(size, np.inf)
  np.minimum.at(nearest, tuple(others[inside].T), other_distance[inside])
  nearest = scipy.ndimage.minimum_filter(nearest, size=3, mode='nearest')
  return nearest[tuple((cells - low).T)] >= distance * (1 - _SHARE) - _SLACK


def _cells(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Cell of azimuth and elevation [N, 2] int and distance [N] of points in the camera's frame."""
  distance = np.linalg.norm(points, axis=1)
  angles = np.stack(
    [np.arctan2(points[:, 0], points[:, 2]), np.arcsin(points[:, 1] / np.maximum(distance, 1e-9))],
    axis=1,
  )
  return np.floor(angles / _CELL).astype(np.int64), distance
