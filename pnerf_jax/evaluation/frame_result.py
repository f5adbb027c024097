"""The input of the evaluation: one rendered image, and the ground truth to compare it with.

Letters: `H, W` image size, `N` LiDAR points inside the image. Label maps hold ids 0..44, instance
maps id * 1000 + instanceId (formats of KITTI-360). Integer pixel coordinates are pixel centres.
LiDAR positions may be in any metric frame that all images of one evaluation share.
"""

import dataclasses

import numpy as np

_MIN_Z = 0.1  # metres; nearer points lie on the camera rig


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GroundTruth:
  """The ground truth of one image; all but `photo` may be absent (None).

  Attributes:
    photo: [H, W, 3] uint8, the recorded image.
    truth_semantic: [H, W] uint8, true id (0 and 255 = void, not scored).
    truth_instance: [H, W] uint16, true id * 1000 + instanceId.
    truth_confidence: [H, W] float32 in [0, 1], weight of each pixel in the official score; None
      weights all pixels equally.
    pseudo: [H, W] uint8, id of the 2D pseudo-label (0 and 255 = unknown).
    lidar_uvz: [N, 3] float64, pixel column, pixel row and planar depth (metres) of the LiDAR points
      inside the image, at most one per pixel.
    lidar_world: [N, 3] float64, metres, positions of the points of `lidar_uvz`.
    lidar_pixel_world: [N, 3] float64, metres, the same moved to the centres of their pixels, at
      equal depth.
    lidar_visible: [N] bool, points that are visible to the camera (`visibility.visible`).
    stereo_uvz: [N', 3] float64, as `lidar_uvz`, from the stereo pseudo depth.
  """

  photo: np.ndarray
  truth_semantic: np.ndarray | None = None
  truth_instance: np.ndarray | None = None
  truth_confidence: np.ndarray | None = None
  pseudo: np.ndarray | None = None
  lidar_uvz: np.ndarray | None = None
  lidar_world: np.ndarray | None = None
  lidar_pixel_world: np.ndarray | None = None
  lidar_visible: np.ndarray | None = None
  stereo_uvz: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameResult(GroundTruth):
  """A rendered image with its ground truth; metrics skip an image that lacks their input.

  Attributes:
    frame: frame number of the sequence.
    camera: folder name of the camera, such as 'image_00'.
    semantic: [H, W] uint8, predicted id.
    instance: [H, W] uint16, predicted id * 1000 + instanceId, with the ids of `semantic`.
    rgb: [H, W, 3] uint8, rendered colour, or None.
    depth: [H, W] float32, rendered planar depth, metres, 0 = none; or None.
    confidence: [H, W] float32 in [0, 1], of `semantic`, or None.
    unsupported: [H, W] bool, pixels whose label is not supported by a primitive, or None.
    fixed: [H, W] uint8, id predicted by the fixed semantic field, or None.
    seconds: rendering time, or None.
  """

  frame: int
  camera: str
  semantic: np.ndarray
  instance: np.ndarray
  rgb: np.ndarray | None
  depth: np.ndarray | None
  confidence: np.ndarray | None = None
  unsupported: np.ndarray | None = None
  fixed: np.ndarray | None = None
  seconds: float | None = None

  def __post_init__(self):
    """Raise ValueError if sizes disagree."""
    name, size = f'{self.camera} {self.frame}', self.semantic.shape
    for field, value in vars(self).items():
      if not isinstance(value, np.ndarray) or field.startswith(('lidar', 'stereo')):
        continue
      expected = (*size, 3) if field in ('rgb', 'photo') else size
      if value.shape != expected:
        raise ValueError(f'{name}: {field} has shape {value.shape}, expected {expected}.')
    if not np.array_equal(self.instance // 1000, self.semantic):
      raise ValueError(f'{name}: instance // 1000 differs from semantic.')
    shape, world_shape, pixel_shape = (
      None if x is None else x.shape
      for x in (self.lidar_uvz, self.lidar_world, self.lidar_pixel_world)
    )
    if shape != world_shape or pixel_shape not in (None, shape):
      raise ValueError(f'{name}: all lidar arrays must hold the same points.')
    visible = self.lidar_visible
    if visible is not None and (shape is None or visible.shape != shape[:1]):
      raise ValueError(f'{name}: lidar_visible must have one entry per point of lidar_uvz.')


def project_points(
  points_world: np.ndarray,
  world_from_cam: np.ndarray,
  intrinsics: np.ndarray,
  width: int,
  height: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Project points into an image and keep the nearest one of each pixel.

  Args:
    points_world: [P, 3], metres.
    world_from_cam: [4, 4] rigid, camera axes x right, y down, z forward.
    intrinsics: [4] fx, fy, cx, cy in pixels.
    width: of the image in pixels.
    height: of the image in pixels.

  Returns:
    `lidar_uvz` [N, 3] and `lidar_world` [N, 3] of `GroundTruth`, sorted by pixel.
  """
  points_world = np.asarray(points_world, np.float64)
  rotation, translation = world_from_cam[:3, :3], world_from_cam[:3, 3]
  points = (points_world - translation) @ rotation
  fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
  kept = points[:, 2] > _MIN_Z
  points, points_world = points[kept], points_world[kept]
  uvz = np.stack(
    [fx * points[:, 0] / points[:, 2] + cx, fy * points[:, 1] / points[:, 2] + cy, points[:, 2]],
    axis=-1,
  )
  column, row = np.rint(uvz[:, 0]), np.rint(uvz[:, 1])
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  uvz, points_world = uvz[inside], points_world[inside]
  pixel = (row * width + column)[inside].astype(np.int64)
  order = np.argsort(uvz[:, 2], kind='stable')
  _, first = np.unique(pixel[order], return_index=True)
  nearest = order[first]
  return uvz[nearest], points_world[nearest]


def unproject_depth(
  depth: np.ndarray, world_from_cam: np.ndarray, intrinsics: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Convert a depth image to points.

  Args:
    depth: [H, W] planar depth, metres, 0 = none.
    world_from_cam: [4, 4] rigid.
    intrinsics: [4] fx, fy, cx, cy in pixels of this image.

  Returns:
    `lidar_uvz` [N, 3] and `lidar_world` [N, 3] of `GroundTruth`.
  """
  row, column = np.nonzero(depth > 0)
  uvz = np.stack([column, row, depth[row, column].astype(np.float64)], axis=-1)
  return uvz, unproject(uvz, world_from_cam, intrinsics)


def unproject(uvz: np.ndarray, world_from_cam: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
  """Return the world positions [N, 3] of pixel columns, rows and planar depths [N, 3], metres.

  Args:
    uvz: [N, 3]; fractions of pixels are allowed.
    world_from_cam: [4, 4] rigid.
    intrinsics: [4] fx, fy, cx, cy in pixels.
  """
  column, row, z = uvz.T
  fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
  points = np.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], axis=-1)
  return points @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]


def at_pixel_centers(uvz: np.ndarray) -> np.ndarray:
  """Return points [N, 3] moved to the centres of their pixels, at equal depth."""
  return np.concatenate([np.rint(uvz[:, :2]), uvz[:, 2:]], axis=-1)


def sample_at(image: np.ndarray, uvz: np.ndarray) -> np.ndarray:
  """Return the values [N, ...] of an image [H, W, ...] at the pixels nearest to points [N, 3]."""
  column, row = np.rint(uvz[:, 0]).astype(np.int64), np.rint(uvz[:, 1]).astype(np.int64)
  return image[row, column]
