"""What there is on disk to compare one image with: photo, labels, pseudo labels, LiDAR, stereo.

Letters: H, W size of the source images, N points. All positions are recentred world metres.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import DatasetIndex
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import frame_result
from pnerf_jax.evaluation.metrics import visibility


@dataclasses.dataclass(frozen=True)
class GroundTruth:
  """Fields of frames.FrameResult that come from files, and `stereo_uvz` [N, 3] (u, v, z) of the
  pseudo depth, or None."""

  photo: np.ndarray
  truth_semantic: np.ndarray | None
  truth_instance: np.ndarray | None
  truth_confidence: np.ndarray | None
  pseudo: np.ndarray | None
  lidar_uvz: np.ndarray | None
  lidar_world: np.ndarray | None
  lidar_visible: np.ndarray | None
  stereo_uvz: np.ndarray | None

  def fields(self) -> dict[str, np.ndarray | None]:
    """All but the stereo depth, by name, for FrameResult."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name != 'stereo_uvz'
    }


def frames_with_ground_truth(dataset: DatasetIndex, camera: str) -> list[int]:
  """Frames of the window that have a true semantic map."""
  paths = {frame: dataset.path_of('true_semantic', frame, camera) for frame in dataset.frames}
  return [frame for frame, path in paths.items() if path is not None and path.exists()]


def camera_to_score(dataset: DatasetIndex, asked: str) -> str:
  """The camera that is asked for (config.eval.camera), the first one of the window for ''."""
  if asked and asked not in dataset.cameras:
    raise InputError(
      f'config.eval.camera: {asked} is not among config.data.cameras '
      f"{dataset.cameras}. Choose one of them, or '' for the first."
    )
  return asked or dataset.cameras[0]


def frames_to_score(dataset: DatasetIndex, camera: str, asked: Sequence[int]) -> list[int]:
  """The frames that are asked for, else those with truth, else all.

  Args:
    footage: of the window.
    camera: of camera_to_score.
    asked: config.data.eval_frames.

  Raises:
    InputError: a frame that the window does not have.
  """
  absent = sorted(set(asked) - set(dataset.frames))
  if absent:
    raise InputError(
      f'config.data.eval_frames: {absent} are not frames of the window '
      f'({dataset.frames[0]}-{dataset.frames[-1]}). Leave them out.'
    )
  return sorted(asked) or frames_with_ground_truth(dataset, camera) or list(dataset.frames)


def read_ground_truth(
  dataset: DatasetIndex, camera: str, frame: int, world_from_cam: np.ndarray, intrinsics: np.ndarray
) -> GroundTruth:
  """Reads what there is for one image.

  Args:
    footage: of the window.
    camera: e.g. 'image_00'.
    frame: its number.
    world_from_cam: [4, 4] recentred.
    intrinsics: [4] at the size of the source images.

  Raises:
    InputError: a file that is there but cannot be used.
  """
  size = dataset.size(frame, camera)

  def read(kind: str, reader: Callable[..., np.ndarray], **options) -> np.ndarray | None:
    path = dataset.path_of(kind, frame, camera)
    return reader(path, size, **options) if path is not None and path.exists() else None

  depth = read('pseudo_depth', image_io.read_depth)
  uvz, world, seen = _lidar(dataset, camera, frame, world_from_cam, intrinsics)
  return GroundTruth(
    photo=image_io.read_rgb(dataset.image_path(frame, camera), size),
    truth_semantic=read('true_semantic', image_io.read_label, unknown_allowed=True),
    truth_instance=read('true_instance', image_io.read_instance),
    truth_confidence=read('true_confidence', image_io.read_confidence),
    pseudo=read('pseudo_label', image_io.read_label, unknown_allowed=True),
    lidar_uvz=uvz,
    lidar_world=world,
    lidar_visible=seen,
    stereo_uvz=None
    if depth is None
    else frame_result.unproject_depth(depth, world_from_cam, intrinsics)[0],
  )


def _lidar(
  dataset: DatasetIndex, camera: str, frame: int, world_from_cam: np.ndarray, intrinsics: np.ndarray
) -> tuple[np.ndarray | None, ...]:
  """Points inside the image, in pixels and in the world, and which of them it sees.

  They are of accumulated LiDAR depth if there is any, else of the frame's scan.
  """
  size = dataset.size(frame, camera)
  accumulated = dataset.path_of('lidar_depth', frame, camera)
  if accumulated is not None and accumulated.exists():
    depth = image_io.read_depth(accumulated, size)
    uvz, world = frame_result.unproject_depth(depth, world_from_cam, intrinsics)
    points = _in_camera(world, world_from_cam)
    return uvz, world, visibility.visible(points, points)
  scan = dataset.scan_path(frame)
  if scan is None:
    return None, None, None
  points = kitti360.read_velodyne(scan)[:, :3]
  cam_from_velo = np.linalg.inv(
    dataset.world_from_cam[dataset.view_index(frame, camera)]
  ) @ dataset.world_from_velo(frame)
  in_camera = kitti360.transform(cam_from_velo, points)
  world = kitti360.transform(np.asarray(world_from_cam, np.float64), in_camera)
  uvz, world = frame_result.project_points(world, world_from_cam, intrinsics, *size)
  return uvz, world, visibility.visible(_in_camera(world, world_from_cam), in_camera)


def _in_camera(world: np.ndarray, world_from_cam: np.ndarray) -> np.ndarray:
  return (world - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
