"""What of the annotated world a window sees: the primitives that matter, far bound, extent.

Letters: V views, N vertices of a primitive; metres, float64, in any one world frame.
"""

import dataclasses

import numpy as np

from pnerf_jax.data.primitives import PrimitiveRecord

MAX_FAR = 250.0  # metres; the published windows use 210 to 270
_MIN_FAR = 30.0
_FAR_WITHOUT_BOXES = 100.0
_COVERED = 0.98  # share of the visible primitives that the far bound covers whole
_MIN_DEPTH = 5.0  # metres of every visible primitive within the far bound


@dataclasses.dataclass(frozen=True)
class CameraArray:
  """Pinhole views. world_from_cam [V, 4, 4], intrinsics [V, 4] at sizes [V, 2] (width, height)."""

  world_from_cam: np.ndarray
  intrinsics: np.ndarray
  sizes: np.ndarray

  @property
  def origins(self) -> np.ndarray:
    """Camera positions [V, 3]."""
    return self.world_from_cam[:, :3, 3]

  def rays(self, columns: int, rows: int) -> np.ndarray:
    """Rays [V, rows, columns, 3], camera frame, z = 1, spread from outer edge to outer edge."""
    fx, fy, cx, cy = self.intrinsics.T[..., None, None]
    u = np.linspace(-0.5, self.sizes[:, 0] - 0.5, columns, axis=-1)[:, None]
    v = np.linspace(-0.5, self.sizes[:, 1] - 0.5, rows, axis=-1)[..., None]
    x, y = np.broadcast_arrays((u - cx) / fx, (v - cy) / fy)
    return np.stack([x, y, np.ones_like(x)], -1)


def visible(box: PrimitiveRecord, views: CameraArray, far: float) -> np.ndarray:
  """[V] whether a view may see the primitive within `far`; errs only towards True.

  A view is ruled out only where all vertices lie beyond one plane of its pyramid, or the axis
  aligned hull of the primitive is farther than `far`. A camera inside is never ruled out.
  """
  cam_from_world = np.linalg.inv(views.world_from_cam)
  points = (
    np.einsum('vij,nj->vni', cam_from_world[:, :3, :3], box.vertices)
    + cam_from_world[:, None, :3, 3]
  )  # [V, N, 3]
  rays = views.rays(2, 2).reshape(-1, 4, 3)[:, [0, 1, 3, 2]]  # corners, clockwise
  planes = np.cross(rays, np.roll(rays, -1, axis=1))  # inward normals [V, 4, 3]
  outside = (np.einsum('vni,vki->vnk', points, planes) < 0).all(1).any(-1)
  outside |= (points[..., 2] < 0).all(1)
  return ~outside & (hull_distance(box, views.origins) <= far)


def hull_distance(box: PrimitiveRecord, origins: np.ndarray) -> np.ndarray:
  """[V] distance from cameras to the axis-aligned hull of a primitive, 0 inside."""
  low, high = box.vertices.min(0), box.vertices.max(0)
  return np.linalg.norm(np.maximum(np.maximum(low - origins, origins - high), 0), axis=-1)


def cull_invisible(
  boxes: list[PrimitiveRecord], views: CameraArray, far: float = 0.0
) -> tuple[list[PrimitiveRecord], float]:
  """The primitives that the views may see, and the far bound; far 0 = derived from the static."""
  far = far or far_bound([box for box in boxes if box.timestamp < 0], views)
  return [box for box in boxes if visible(box, views, far).any()], far


def far_bound(boxes: list[PrimitiveRecord], views: CameraArray) -> float:
  """Far bound in metres: 98 % of the visible primitives lie within it, the others begin within.

  A primitive reaches from the nearest point of its hull to its farthest vertex, as seen from the
  farthest camera that may see it within MAX_FAR: what the last frames show at a street's end must
  not be sky in the first ones. One kilometre-wide terrain moves nothing.
  """
  starts, reaches = [], []
  for box in boxes:
    seen = visible(box, views, MAX_FAR)
    if seen.any():
      offsets = box.vertices[None] - views.origins[seen][:, None]
      starts.append(hull_distance(box, views.origins[seen]).max())
      reaches.append(np.linalg.norm(offsets, axis=-1).max())
  if not reaches:
    return _FAR_WITHOUT_BOXES
  reach = max(np.quantile(reaches, _COVERED, method='higher'), max(starts) + _MIN_DEPTH)
  return float(np.clip(10 * np.ceil(reach / 10), _MIN_FAR, MAX_FAR))


def far_from_depth(depth: np.ndarray | None, views: CameraArray) -> float:
  """Far bound in metres where there are no primitives: 98 % of the measured surface lies within.

  Args:
    depth: [V, H, W] planar metres, 0 = unknown; None where there is none at all.
    views: of at most H x W pixels.
  """
  if depth is None or not (depth > 0).any():
    return _FAR_WITHOUT_BOXES
  fx, fy, cx, cy = views.intrinsics.T[..., None, None]
  x = (np.arange(depth.shape[2]) - cx) / fx
  y = (np.arange(depth.shape[1])[:, None] - cy) / fy
  distance = (depth * np.sqrt(1 + x**2 + y**2))[depth > 0]
  return float(np.clip(10 * np.ceil(np.quantile(distance, _COVERED) / 10), _MIN_FAR, MAX_FAR))


def view_bounds(views: CameraArray, far: float) -> np.ndarray:
  """[2, 3] axis-aligned hull of all that the views see within `far`."""
  rays = views.rays(17, 9).reshape(len(views.origins), -1, 3)
  # 1 % more, for the sphere bulges between the rays.
  rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) * (1.01 * far)
  points = np.einsum('vij,vkj->vki', views.world_from_cam[:, :3, :3], rays)
  points = np.concatenate([points, np.zeros_like(points[:, :1])], 1) + views.origins[:, None]
  points = points.reshape(-1, 3)
  return np.stack([points.min(0), points.max(0)])


def primitive_bounds(boxes: list[PrimitiveRecord], views: CameraArray, far: float) -> np.ndarray:
  """[2, 3] axis-aligned box around the parts of the primitives that the views see within `far`."""
  region = view_bounds(views, far)
  lows = np.array([np.maximum(box.vertices.min(0), region[0]) for box in boxes])
  highs = np.array([np.minimum(box.vertices.max(0), region[1]) for box in boxes])
  some = (lows < highs).all(-1)
  if not some.any():
    return region
  return np.stack([lows[some].min(0), highs[some].max(0)])
