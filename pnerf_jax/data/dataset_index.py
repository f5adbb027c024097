"""The frames and cameras that a config selects from a dataset, and the paths of their files.

Letters: F frames, V views (frame-major, cameras inner).
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.data import kitti360, transforms
from pnerf_jax.data.files import ReadableFile
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.primitives_json import read_primitives
from pnerf_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetIndex:
  """The selected frames and cameras of a dataset.

  Attributes:
    root: dataset folder.
    derived_root: folder of derived files (pseudo-labels, pseudo depth); often the same.
    sequence: name of the drive.
    frames: F frame numbers, ascending.
    cameras: names.
    sizes: [V, 2] int, (width, height) of the images.
    intrinsics: [V, 4] float64 (fx, fy, cx, cy) at that size.
    world_from_cam: [V, 4, 4] float64, the dataset's world.
    world_from_pose: [F, 4, 4] float64, of the vehicle, or of the first camera if that is unknown.
    pose_from_velo: [4, 4] float64 of the LiDAR on the vehicle, or None.
    stereo: (left, right) camera of the rectified pair, or ().
    skipped_frames: number of frames in the range that have no pose.
    notes: lines for the log.
    explicit_paths: path below root by (kind, frame, camera), of files that transforms.json names.
    primitives: path below root of the primitives that transforms.json names, or ''; None in
      KITTI-360's layout.
  """

  root: Path
  derived_root: Path
  sequence: str
  frames: tuple[int, ...]
  cameras: tuple[str, ...]
  sizes: np.ndarray
  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  world_from_pose: np.ndarray
  pose_from_velo: np.ndarray | None
  stereo: tuple[str, ...]
  skipped_frames: int
  notes: list[str]
  explicit_paths: dict[tuple[str, int, str], str] = dataclasses.field(default_factory=dict)
  primitives: str | None = None

  def views(self) -> list[tuple[int, str]]:
    """Return (frame, camera) of every view."""
    return [(frame, camera) for frame in self.frames for camera in self.cameras]

  def view_index(self, frame: int, camera: str) -> int:
    """Return the index of a view."""
    return self.frames.index(frame) * len(self.cameras) + self.cameras.index(camera)

  def size(self, frame: int, camera: str) -> tuple[int, int]:
    """Return (width, height) of an image."""
    width, height = self.sizes[self.view_index(frame, camera)]
    return int(width), int(height)

  def folder_of(self, kind: str, camera: str) -> Path:
    """Return the folder of a camera's files of a kind in KITTI-360's layout; it may be absent."""
    root = self.derived_root if kind in kitti360.DERIVED else self.root
    return kitti360.camera_folder(root, self.sequence, camera, kind)

  def path_of(self, kind: str, frame: int, camera: str) -> ReadableFile | None:
    """Return the path of a view's file, which may be absent; None if the camera has no such kind.

    A folder below derived_root has precedence over one below root, and that over an explicit path,
    so that derived files replace described ones. An image is always at its explicit path.
    """
    explicit = self.explicit_paths.get((kind, frame, camera))
    if explicit is None or kind != 'rgb':
      for root in (self.derived_root, self.root) if kind in kitti360.DERIVED else (self.root,):
        folder = kitti360.camera_folder(root, self.sequence, camera, kind)
        if folder.is_dir():
          return folder / f'{kitti360.frame_name(frame)}.png'
    return None if explicit is None else Path(self.root, explicit)

  def image_path(self, frame: int, camera: str) -> ReadableFile:
    """Return the path of the image of a view."""
    path = self.path_of('rgb', frame, camera)
    assert path is not None  # only views with an image are in the index
    return path

  def scan_path(self, frame: int) -> ReadableFile | None:
    """Return the path of the LiDAR scan of a frame, None if there is none."""
    path = kitti360.velodyne_path(self.root, self.sequence, frame)
    return path if self.pose_from_velo is not None and path.exists() else None

  def world_from_velo(self, frame: int) -> np.ndarray:
    """Return [4, 4] of the LiDAR at a frame that has a scan, the dataset's world."""
    return self.world_from_pose[self.frames.index(frame)] @ self.pose_from_velo

  def primitives_paths(self, split: str) -> list[Path]:
    """Return the primitive files that config.data.primitives selects."""
    if self.primitives is None:
      return primitives_paths(self.root, self.sequence, split)
    if split != 'auto' or not self.primitives:
      raise InputError(
        f'config.data.primitives is {split!r} and boxes_path of {Path(self.root, transforms.NAME)}'
        f" is {self.primitives!r}. Name a file there and use 'auto', or train without:"
        ' --config.data.primitives=none --config.scene.unannotated_space=void.'
      )
    return [Path(self.root, self.primitives)]

  def primitives_names(self, split: str) -> list[str]:
    """Return the names of these files, for messages."""
    return [str(path) for path in self.primitives_paths(split)]

  def read_primitives(
    self, split: str, predicate: Callable[[int, int, int], bool] = lambda *_: True
  ) -> list[PrimitiveRecord]:
    """Read the primitives for which `predicate(start_frame, end_frame, timestamp)` holds."""
    return [r for path in self.primitives_paths(split) for r in read_primitives(path, predicate)]


def check_cameras(cameras: Sequence[str], available: Collection[str], where: str) -> None:
  """Raise InputError unless config.data.cameras are distinct available cameras."""
  if not cameras or not set(cameras) <= set(available) or len(set(cameras)) < len(cameras):
    raise InputError(
      f'config.data.cameras is {cameras}; {where} has {available}. Use some of these, each once.'
    )


def primitives_paths(root: Path, sequence: str, split: str) -> list[Path]:
  """Return the XML files in KITTI-360's layout that config.data.primitives selects."""
  full, train = (kitti360.primitives_path(root, sequence, s) for s in ('train_full', 'train'))
  present = [path for path in (full, train) if path.exists()]
  choices = {
    'auto': [full if full in present else train],
    'train': [train],
    'train_full': [full],
    'union': present or [full],
  }
  if split not in choices:
    raise InputError(
      f"config.data.primitives is {split!r}. Use 'auto', 'train', 'train_full', 'union' or 'none'."
    )
  return choices[split]


def select_frames(
  where: Path | str, data: DataConfig, images: dict[str, set[int]], poses: Collection[int]
) -> tuple[tuple[int, ...], int, list[str]]:
  """Select the frames of the configured range that have a pose and all images.

  Args:
    where: of the images, for error messages.
    data: config.data.
    images: frames with an image, by camera.
    poses: frames with a pose.

  Returns:
    The frames, the number of frames of the range without a pose, and lines for the log.
  """
  some = set.union(*images.values())
  complete = set.intersection(*images.values()) & set(poses)
  start = data.start if data.start >= 0 else min(complete, default=0)
  span = range(start, start + data.frames)
  frames = tuple(sorted(frame for frame in complete if frame in span))
  if not frames:
    available = (
      f'{format_ranges(complete)} have both'
      if complete
      else f'images {format_ranges(some)} and poses {format_ranges(poses)} do not overlap'
    )
    raise InputError(
      f'{where}: no frame of {span[0]}-{span[-1]} has an image of every camera and a pose;'
      f' {available}. Set --config.data.start and --config.data.frames.'
    )
  without_pose = [frame for frame in some if frame in span and frame not in poses]
  without_image = [frame for frame in poses if frame in span and frame not in complete]
  notes = [
    f'skipping {len(skipped)} frames without {what}: {format_ranges(skipped)}'
    for skipped, what in ((without_pose, 'a pose'), (without_image, 'an image'))
    if skipped
  ]
  return frames, len(without_pose), notes


def format_ranges(frames: Iterable[int], max_ranges: int = 8) -> str:
  """Return frame numbers as text with runs merged: '4-6, 9'."""
  frames = sorted(frames)
  if not frames:
    return ''
  runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
  texts = [f'{run[0]}-{run[-1]}' if len(run) > 1 else f'{run[0]}' for run in runs]
  return ', '.join(texts[:max_ranges] + ['...'] * (len(texts) > max_ranges))
