"""What evaluation needs to know of one image: what was rendered, and what there is to compare.

Letters: `H, W` image size, `N` LiDAR points seen in the image. Label maps hold ids 0..44, instance
maps id * 1000 + instanceId (formats of KITTI-360). Integer pixel coordinates are pixel centres.
LiDAR positions may be in any metric frame that all images of one evaluation share.
"""

import dataclasses

import numpy as np

_MIN_Z = 0.1  # metres; nearer points lie on the camera itself


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameResult:
  """One rendered image with its truth; a metric whose truth is None skips the image.

  Attributes:
    frame: frame number of the sequence.
    camera: folder name of the camera, such as 'image_00'.
    semantic: [H, W] uint8, predicted id.
    instance: [H, W] uint16, predicted id * 1000 + instanceId; its ids are those of `semantic`.
    rgb: [H, W, 3] uint8, rendered colour, or None for a method that renders none.
    photo: [H, W, 3] uint8, the image itself.
    depth: [H, W] float32, rendered depth along the camera's z axis, metres, 0 = none; or None.
    confidence: [H, W] float32 in [0, 1], of `semantic`, or None.
    outside: [H, W] bool, pixels that no primitive vouches for: their ray met none and nothing
      calls them sky, or it met more than could be kept; or None.
    fixed: [H, W] uint8, id predicted by the fixed semantic field, or None.
    pseudo: [H, W] uint8, id of the 2D pseudo label (0 and 255 = unknown), or None.
    truth_semantic: [H, W] uint8, true id (0 and 255 = void, not scored), or None.
    truth_instance: [H, W] uint16, true id * 1000 + instanceId, or None.
    truth_confidence: [H, W] float32 in [0, 1], weight of each true pixel in the official score;
      None weights all alike.
    lidar_uvz: [N, 3] float64, pixel column and row and depth along z (metres) of the frame's
      LiDAR points that the image sees, at most one a pixel (`project_points`), or None.
    lidar_world: [N, 3] float64, the positions of exactly the points of `lidar_uvz`, in their
      order, metres, in a frame that all images share; or None.
    lidar_visible: [N] bool, which of these points the camera sees (`visibility.visible`), or None.
    seconds: time that rendering took, or None.
  """

  frame: int
  camera: str
  semantic: np.ndarray
  instance: np.ndarray
  rgb: np.ndarray | None
  photo: np.ndarray
  depth: np.ndarray | None
  confidence: np.ndarray | None = None
  outside: np.ndarray | None = None
  fixed: np.ndarray | None = None
  pseudo: np.ndarray | None = None
  truth_semantic: np.ndarray | None = None
  truth_instance: np.ndarray | None = None
  truth_confidence: np.ndarray | None = None
  lidar_uvz: np.ndarray | None = None
  lidar_world: np.ndarray | None = None
  lidar_visible: np.ndarray | None = None
  seconds: float | None = None

  def __post_init__(self):
    """Raises ValueError where sizes disagree: a wrong size would be scored without a word."""
    size = self.semantic.shape
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if not isinstance(value, np.ndarray) or field.name.startswith('lidar'):
        continue
      expected = (*size, 3) if field.name in ('rgb', 'photo') else size
      if value.shape != expected:
        raise ValueError(
          f'{self.camera} {self.frame}: {field.name} has shape {value.shape}, '
          f'expected {expected} as of semantic.'
        )
    if not np.array_equal(self.instance // 1000, self.semantic):
      raise ValueError(f'{self.camera} {self.frame}: instance // 1000 differs from semantic.')
    if (self.lidar_uvz is None) != (self.lidar_world is None) or (
      self.lidar_uvz is not None and self.lidar_uvz.shape != self.lidar_world.shape
    ):
      raise ValueError(
        f'{self.camera} {self.frame}: lidar_uvz and lidar_world must hold the same points.'
      )
    if self.lidar_visible is not None and (
      self.lidar_uvz is None or self.lidar_visible.shape != self.lidar_uvz.shape[:1]
    ):
      raise ValueError(
        f'{self.camera} {self.frame}: lidar_visible must tell of each point of lidar_uvz.'
      )


def project_points(
  points_world: np.ndarray,
  world_from_cam: np.ndarray,
  intrinsics: np.ndarray,
  width: int,
  height: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Points that fall into an image, only the nearest one of each pixel.

  Args:
    points_world: [P, 3], metres.
    world_from_cam: [4, 4] rigid, camera axes x right, y down, z forward.
    intrinsics: [4] fx, fy, cx, cy in pixels.
    width: of the image in pixels.
    height: of the image in pixels.

  Returns:
    `lidar_uvz` [N, 3] and `lidar_world` [N, 3] of `FrameResult`, sorted by pixel.
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
  """Points of a depth image, for LiDAR that comes accumulated as one depth image a frame.

  Args:
    depth: [H, W], metres along the camera's z axis, 0 = none.
    world_from_cam: [4, 4] rigid.
    intrinsics: [4] fx, fy, cx, cy in pixels of this image.

  Returns:
    `lidar_uvz` [N, 3] and `lidar_world` [N, 3] of `FrameResult`.
  """
  row, column = np.nonzero(depth > 0)
  z = depth[row, column].astype(np.float64)
  fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
  points = np.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], axis=-1)
  world = points @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
  return np.stack([column, row, z], axis=-1), world


def sample_at(image: np.ndarray, uvz: np.ndarray) -> np.ndarray:
  """Values of an image [H, W, ...] at the pixels nearest to points [N, 3] (u, v, z): [N, ...]."""
  column, row = np.rint(uvz[:, 0]).astype(np.int64), np.rint(uvz[:, 1]).astype(np.int64)
  return image[row, column]
