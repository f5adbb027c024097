"""What there is on disk to compare one image with: photo, labels, pseudo labels, LiDAR, stereo.

Letters: H, W size of the source images, N points. All positions are recentred world metres.
"""
from collections.abc import Sequence
import dataclasses
from pathlib import Path

import numpy as np

from pnerf_jax.data import kitti360, png
from pnerf_jax.data.footage import Footage
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import frames, visibility


@dataclasses.dataclass(frozen=True)
class Truth:
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
    return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
            if field.name != 'stereo_uvz'}


def frames_with_truth(footage: Footage, camera: str) -> list[int]:
  """Frames of the window that have a true semantic map."""
  folder = kitti360.truth_folder(footage.root, footage.sequence, camera, 'semantic')
  return sorted(set(kitti360.frames_in(folder)) & set(footage.frames))


def frames_to_score(footage: Footage, camera: str, asked: Sequence[int]) -> list[int]:
  """The frames that are asked for, else those with truth, else all.

  Args:
    footage: of the window.
    camera: config.eval.camera.
    asked: config.data.eval_frames.

  Raises:
    InputError: a camera or a frame that the window does not have.
  """
  if camera not in footage.cameras:
    raise InputError(f'config.eval.camera: {camera} is not among config.data.cameras '
                     f'{footage.cameras}. Choose one of them.')
  absent = sorted(set(asked) - set(footage.frames))
  if absent:
    raise InputError(f'config.data.eval_frames: {absent} are not frames of the window '
                     f'({footage.frames[0]}-{footage.frames[-1]}). Leave them out.')
  return sorted(asked) or frames_with_truth(footage, camera) or list(footage.frames)


def read_truth(footage: Footage, camera: str, frame: int, world_from_cam: np.ndarray,
               intrinsics: np.ndarray) -> Truth:
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
  size, name = footage.size, kitti360.frame_name(frame) + '.png'

  def read(folder: Path | None, reader, **options):
    path = None if folder is None else folder / name
    return reader(path, size, **options) if path is not None and path.exists() else None

  truth = lambda kind: kitti360.truth_folder(footage.root, footage.sequence, camera, kind)
  depth = read(footage.folder(kitti360.pseudo_depth_folder, camera), png.read_depth)
  uvz, world, seen = _lidar(footage, camera, frame, world_from_cam, intrinsics)
  return Truth(
      photo=png.read_rgb(kitti360.rgb_folder(footage.root, footage.sequence, camera) / name, size),
      truth_semantic=read(truth('semantic'), png.read_label, unknown_allowed=True),
      truth_instance=read(truth('instance'), png.read_instance),
      truth_confidence=read(truth('confidence'), png.read_confidence),
      pseudo=read(footage.folder(kitti360.pseudo_label_folder, camera), png.read_label,
                  unknown_allowed=True),
      lidar_uvz=uvz, lidar_world=world, lidar_visible=seen,
      stereo_uvz=None if depth is None else frames.unproject_depth(
          depth, world_from_cam, intrinsics)[0])


def _lidar(footage: Footage, camera: str, frame: int, world_from_cam: np.ndarray,
           intrinsics: np.ndarray) -> tuple[np.ndarray | None, ...]:
  """Points inside the image, in pixels and in the world, and which of them it sees.

  They are of accumulated LiDAR depth if there is any, else of the frame's scan.
  """
  accumulated = footage.folder(kitti360.lidar_depth_folder, camera)
  if accumulated is not None and (accumulated / f'{kitti360.frame_name(frame)}.png').exists():
    depth = png.read_depth(accumulated / f'{kitti360.frame_name(frame)}.png', footage.size)
    uvz, world = frames.unproject_depth(depth, world_from_cam, intrinsics)
    points = _in_camera(world, world_from_cam)
    return uvz, world, visibility.visible(points, points)
  scan = kitti360.velodyne_path(footage.root, footage.sequence, frame)
  if not scan.exists():
    return None, None, None
  points = kitti360.read_velodyne(scan)[:, :3]
  in_camera = kitti360.transform(footage.calibration.cam_from_velo(camera), points)
  world = kitti360.transform(np.asarray(world_from_cam, np.float64), in_camera)
  uvz, world = frames.project_points(world, world_from_cam, intrinsics, *footage.size)
  return uvz, world, visibility.visible(_in_camera(world, world_from_cam), in_camera)


def _in_camera(world: np.ndarray, world_from_cam: np.ndarray) -> np.ndarray:
  return (world - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
