"""Scene bounds: the primitives that a window sees, its far bound and its sampled volume.

Letters: V views, N vertices of a primitive; metres, float64, in any one world frame.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pnerf_jax.data.primitives import PrimitiveRecord

MAX_FAR = 250.0  # metres; the published windows use 210 to 270
_MIN_FAR = 30.0
_DEFAULT_FAR = 100.0  # where nothing is known
_COVERED = 0.98  # fraction of the visible primitives, or of the depths, within the far bound
_MIN_DEPTH = 5.0  # metres of every visible primitive within the far bound


@dataclasses.dataclass(frozen=True)
class CameraArray:
  """Pinhole views.

  Attributes:
    world_from_cam: [V, 4, 4].
    intrinsics: [V, 4] (fx, fy, cx, cy), pixels.
    sizes: [V, 2] (width, height), pixels.
  """

  world_from_cam: np.ndarray
  intrinsics: np.ndarray
  sizes: np.ndarray

  @property
  def origins(self) -> np.ndarray:
    """Camera positions [V, 3]."""
    return self.world_from_cam[:, :3, 3]

  def rays(self, columns: int, rows: int) -> np.ndarray:
    """Return [V, rows, columns, 3], camera frame, z = 1, from outer edge to outer edge."""
    fx, fy, cx, cy = self.intrinsics.T[..., None, None]
    u = np.linspace(-0.5, self.sizes[:, 0] - 0.5, columns, axis=-1)[:, None]
    v = np.linspace(-0.5, self.sizes[:, 1] - 0.5, rows, axis=-1)[..., None]
    x, y = np.broadcast_arrays((u - cx) / fx, (v - cy) / fy)
    return np.stack([x, y, np.ones_like(x)], -1)


def visible(primitive: PrimitiveRecord, views: CameraArray, far: float) -> np.ndarray:
  """Return [V] bool, whether a view may see the primitive within `far`; never a false negative.

  A view is excluded only if all vertices lie beyond one plane of its frustum, or the axis-aligned
  hull of the primitive is farther than `far`. A camera inside is never excluded.
  """
  cam_from_world = np.linalg.inv(views.world_from_cam)
  points = (
    np.einsum('vij,nj->vni', cam_from_world[:, :3, :3], primitive.vertices)
    + cam_from_world[:, None, :3, 3]
  )  # [V, N, 3]
  rays = views.rays(2, 2).reshape(-1, 4, 3)[:, [0, 1, 3, 2]]  # corners, clockwise
  planes = np.cross(rays, np.roll(rays, -1, axis=1))  # inward normals [V, 4, 3]
  outside = (np.einsum('vni,vki->vnk', points, planes) < 0).all(1).any(-1)
  outside |= (points[..., 2] < 0).all(1)
  return ~outside & (hull_distance(primitive, views.origins) <= far)


def hull_distance(primitive: PrimitiveRecord, origins: np.ndarray) -> np.ndarray:
  """Return [V] the distance from cameras to the axis-aligned hull of a primitive, 0 inside."""
  low, high = primitive.vertices.min(0), primitive.vertices.max(0)
  return np.linalg.norm(np.maximum(np.maximum(low - origins, origins - high), 0), axis=-1)


def cull_invisible(
  primitives: list[PrimitiveRecord], views: CameraArray, far: float
) -> tuple[list[PrimitiveRecord], float]:
  """Return the primitives that the views may see, and the far bound; far 0 = derived."""
  far = far or far_bound([primitive for primitive in primitives if primitive.timestamp < 0], views)
  return [primitive for primitive in primitives if visible(primitive, views, far).any()], far


def pose_warning(primitives: list[PrimitiveRecord], views: CameraArray) -> str:
  """Return a warning if the views see too few primitives, with the usual cause; '' otherwise.

  Args:
    primitives: of the window, the dataset's world, z up.
    views: in the same world.
  """
  sample = primitives[:: len(primitives) // 500 + 1]
  flip = np.diag([1.0, -1.0, -1.0, 1.0])  # between the axes of OpenCV and OpenGL
  poses, flipped = views.world_from_cam, views.world_from_cam @ flip
  inverses = [np.linalg.inv(matrix) for matrix in (poses, flipped)]

  def fraction(world_from_cam: np.ndarray) -> float:
    changed = dataclasses.replace(views, world_from_cam=world_from_cam)
    near = [p for p in sample if hull_distance(p, changed.origins).min() <= _DEFAULT_FAR]
    return sum(visible(p, changed, MAX_FAR).any() for p in near) / max(len(near), 1)

  seen = fraction(poses)
  upside_down = int((poses[:, 2, 1] > 0.5).sum())  # the downward axis points up
  looks_back = seen < 0.1 and fraction(flipped) >= 0.5
  is_inverse = lambda: max(fraction(m) for i in inverses for m in (i, i @ flip)) >= 0.5
  if seen < 0.1 and not looks_back and is_inverse():
    cause = 'transform_matrix may be world to camera: write the inverse.'
  elif upside_down:
    cause = (
      f'{upside_down} of {len(poses)} images are upside down: set the key "camera_axes" (OPENGL or'
      ' OPENCV).'
    )
  elif looks_back:
    cause = 'The cameras look the other way: set the key "camera_axes" (OPENGL or OPENCV).'
  elif seen < 0.1:
    cause = (
      'Check the axes of the cameras, and that poses and boxes are in metres and in one world.'
    )
  else:
    return ''
  return f'{seen:.0%} of the primitives within {_DEFAULT_FAR:g} m are in view. {cause}'


def far_bound(primitives: list[PrimitiveRecord], views: CameraArray) -> float:
  """Return a far bound in metres that holds 98 % of the visible primitives and cuts the others.

  A primitive reaches from the nearest point of its hull to its farthest vertex, as seen from the
  farthest camera that may see it within MAX_FAR: the end of a street in the last frames must not be
  sky in the first ones. A single kilometre-wide terrain has no effect.
  """
  starts, ends = [], []
  for primitive in primitives:
    origins = views.origins[visible(primitive, views, MAX_FAR)]
    if len(origins):
      starts.append(hull_distance(primitive, origins).max())
      ends.append(np.linalg.norm(primitive.vertices[None] - origins[:, None], axis=-1).max())
  if not ends:
    return _DEFAULT_FAR
  return _round_far(max(np.quantile(ends, _COVERED, method='higher'), max(starts) + _MIN_DEPTH))


def far_from_depth(depth: np.ndarray | None, views: CameraArray) -> float:
  """Return a far bound in metres that holds 98 % of the measured surface.

  Args:
    depth: [V, H, W] planar metres, 0 = unknown; None if there is none.
    views: of at most H x W pixels.
  """
  if depth is None or not (depth > 0).any():
    return _DEFAULT_FAR
  distance = distance_of_depth(depth, views.intrinsics)[depth > 0]
  return _round_far(np.quantile(distance, _COVERED))


def distance_of_depth(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
  """Return the distance along the rays [V, H, W] of planar depth [V, H, W].

  Args:
    depth: [V, H, W], planar.
    intrinsics: [V, 4], fx, fy, cx, cy in pixels.
  """
  fx, fy, cx, cy = intrinsics.T[..., None, None]
  x = (np.arange(depth.shape[2]) - cx) / fx
  y = (np.arange(depth.shape[1])[:, None] - cy) / fy
  return depth * np.sqrt(1 + x**2 + y**2)


def _round_far(far: float) -> float:
  return float(np.clip(10 * np.ceil(far / 10), _MIN_FAR, MAX_FAR))


def view_bounds(views: CameraArray, far: float) -> np.ndarray:
  """Return [2, 3], the axis-aligned hull of what the views see within `far`."""
  rays = views.rays(17, 9).reshape(len(views.origins), -1, 3)
  # 1 % more, since the sphere bulges between the rays.
  rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) * (1.01 * far)
  points = np.einsum('vij,vkj->vki', views.world_from_cam[:, :3, :3], rays)
  points = np.concatenate([points, np.zeros_like(points[:, :1])], 1) + views.origins[:, None]
  return _hull(points.reshape(-1, 3))


def _hull(points: np.ndarray) -> np.ndarray:
  return np.stack([points.min(0), points.max(0)])


def primitive_bounds(
  primitives: Sequence[PrimitiveRecord], views: CameraArray, far: float
) -> np.ndarray:
  """Return [2, 3], the axis-aligned hull of the visible parts of primitives within `far`."""
  region = view_bounds(views, far)
  hulls = np.array([np.clip(_hull(primitive.vertices), *region) for primitive in primitives])
  inside = hulls[(hulls[:, 0] < hulls[:, 1]).all(-1)]
  return _hull(inside.reshape(-1, 3)) if len(inside) else region
