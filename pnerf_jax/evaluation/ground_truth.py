"""Selects the frames to score and reads their ground truth: labels, pseudo-labels, LiDAR, stereo.

All positions are recentred world metres.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import frame_result
from pnerf_jax.evaluation.frame_result import GroundTruth
from pnerf_jax.evaluation.metrics import visibility

READERS: dict[str, Callable[..., np.ndarray]] = {  # of a path and a (width, height), by kind
  'rgb': image_io.read_rgb,
  'true_semantic': functools.partial(image_io.read_label, unknown_allowed=True),
  'true_instance': image_io.read_instance,
  'true_confidence': image_io.read_confidence,
  'pseudo_label': functools.partial(image_io.read_label, unknown_allowed=True),
  'pseudo_confidence': image_io.read_confidence,
  'pseudo_depth': image_io.read_depth,
  'lidar_depth': image_io.read_depth,
}
_TRUTH = ('true_semantic', 'true_instance')
_NUM_CHECKED = 4  # frames


def frames_with_ground_truth(dataset: DatasetIndex, camera: str) -> list[int]:
  """Return the frames of the window that have a true semantic map."""
  paths = {frame: dataset.path_of('true_semantic', frame, camera) for frame in dataset.frames}
  return [frame for frame, path in paths.items() if path is not None and path.exists()]


def camera_to_score(dataset: DatasetIndex, requested: str) -> str:
  """Return the requested camera (config.eval.camera), or the first of the window for ''."""
  if requested and requested not in dataset.cameras:
    raise InputError(
      f'config.eval.camera: {requested} is not among config.data.cameras '
      f"{dataset.cameras}. Choose one of them, or '' for the first."
    )
  return requested or dataset.cameras[0]


def frames_to_score(dataset: DatasetIndex, camera: str, requested: Sequence[int]) -> list[int]:
  """Return the requested frames, else those with ground truth, else all.

  Args:
    dataset: the window's files.
    camera: as returned by camera_to_score.
    requested: config.data.eval_frames.

  Raises:
    InputError: a requested frame is not in the window.
  """
  dataset.check_eval_frames(requested)
  return sorted(set(requested)) or frames_with_ground_truth(dataset, camera) or list(dataset.frames)


def check_ground_truth(dataset: DatasetIndex, camera: str, frames: Sequence[int]) -> None:
  """Check that the true labels of some frames are ids, and their instances of the same classes.

  Args:
    dataset: the window's files.
    camera: e.g. 'image_00'.
    frames: to score.

  Raises:
    InputError: train ids, or instances in another form than id * 1000 + instanceId.
  """
  pixels, num_known, num_other = np.zeros(256, np.int64), 0, 0
  semantic_path = instance_path = None
  for frame in frames[:: len(frames) // _NUM_CHECKED + 1]:
    semantic, instance = (_read(dataset, kind, frame, camera) for kind in _TRUTH)
    if semantic is None:
      continue
    semantic_path = dataset.path_of('true_semantic', frame, camera)
    pixels += np.bincount(semantic.ravel(), minlength=256)
    if instance is not None:
      instance_path = dataset.path_of('true_instance', frame, camera)
      known = ~np.isin(semantic, labels.UNKNOWN)
      num_known += known.sum()
      num_other += (instance // 1000 != semantic)[known].sum()
  if labels.are_train_ids(pixels):
    values = format_ranges(np.flatnonzero(pixels), 12)
    raise InputError(
      f'{semantic_path}: the true labels are train ids (values {values}). Write ids: 7 = road, not'
      ' 0; 26 = car, not 13.'
    )
  if num_other > num_known / 2:
    raise InputError(
      f'{instance_path}: {num_other / num_known:.0%} of the pixels have another class than in'
      f' {semantic_path}. Write id * 1000 + instanceId (26003 = car 3), or remove the instances.'
    )


def read_ground_truth(
  dataset: DatasetIndex, camera: str, frame: int, world_from_cam: np.ndarray, intrinsics: np.ndarray
) -> GroundTruth:
  """Read the available ground truth of one image.

  Args:
    dataset: the window's files.
    camera: e.g. 'image_00'.
    frame: frame number.
    world_from_cam: [4, 4] recentred.
    intrinsics: [4] fx, fy, cx, cy in pixels of the source images.

  Raises:
    InputError: a file exists but cannot be used.
  """
  read = functools.partial(_read, dataset, frame=frame, camera=camera)
  photo, depth = read('rgb'), read('pseudo_depth')
  assert photo is not None  # only views with an image are in the index
  stereo = None
  if depth is not None:
    stereo, _ = frame_result.unproject_depth(depth, world_from_cam, intrinsics)
  uvz, world, visible = _lidar(dataset, camera, frame, world_from_cam, intrinsics)
  pixel_world = None
  if uvz is not None:
    centers = frame_result.at_pixel_centers(uvz)
    pixel_world = frame_result.unproject(centers, world_from_cam, intrinsics)
  return GroundTruth(
    photo=photo,
    truth_semantic=read('true_semantic'),
    truth_instance=read('true_instance'),
    truth_confidence=read('true_confidence'),
    pseudo=read('pseudo_label'),
    lidar_uvz=uvz,
    lidar_world=world,
    lidar_pixel_world=pixel_world,
    lidar_visible=visible,
    stereo_uvz=stereo,
  )


def _read(dataset: DatasetIndex, kind: str, frame: int, camera: str) -> np.ndarray | None:
  """Read the file of a kind of one image, [H, W]; None if there is none."""
  path = dataset.path_of(kind, frame, camera)
  if path is None or not path.exists():
    return None
  return READERS[kind](path, dataset.size(frame, camera))


def _lidar(
  dataset: DatasetIndex, camera: str, frame: int, world_from_cam: np.ndarray, intrinsics: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
  """Return `lidar_uvz`, `lidar_world` and `lidar_visible` of `GroundTruth`.

  Use the accumulated LiDAR depth if there is one, else the scan of the frame.
  """
  depth = _read(dataset, 'lidar_depth', frame, camera)
  if depth is not None:
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
  uvz, world = frame_result.project_points(
    world, world_from_cam, intrinsics, *dataset.size(frame, camera)
  )
  return uvz, world, visibility.visible(_in_camera(world, world_from_cam), in_camera)


def _in_camera(world: np.ndarray, world_from_cam: np.ndarray) -> np.ndarray:
  return (world - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
