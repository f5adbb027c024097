"""The frames and cameras that a config selects from a dataset, and the paths of their files.

Letters: F frames, V views (frame-major, cameras inner).
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.data import files, kitti360, transforms
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
    notes: lines for the log.
    explicit_paths: files that transforms.json names, by (kind, frame, camera).
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
  notes: list[str]
  explicit_paths: dict[tuple[str, int, str], ReadableFile] = dataclasses.field(default_factory=dict)
  primitives: str | None = None

  def check_eval_frames(self, requested: Collection[int]) -> None:
    """Raise InputError if config.data.eval_frames has frames that are not in the window."""
    absent = sorted(set(requested) - set(self.frames))
    if absent:
      raise InputError(
        f'config.data.eval_frames: {absent} are not frames of the window '
        f'({self.frames[0]}-{self.frames[-1]}). Remove them.'
      )

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

    A file below derived_root has precedence over one below root, and that over an explicit path,
    so that derived files replace described ones. An image is always at its explicit path.
    """
    explicit = self.explicit_paths.get((kind, frame, camera))
    if explicit is not None and kind == 'rgb':
      return explicit
    roots = (self.derived_root, self.root) if kind in kitti360.DERIVED else (self.root,)
    folders = [kitti360.camera_folder(root, self.sequence, camera, kind) for root in roots]
    paths = [folder / f'{kitti360.frame_name(frame)}.png' for folder in folders]
    present = next((path for path in paths if files.exists(path)), explicit)
    return present or next((path for path in paths if path.parent.is_dir()), None)

  def image_path(self, frame: int, camera: str) -> ReadableFile:
    """Return the path of the image of a view."""
    path = self.path_of('rgb', frame, camera)
    assert path is not None  # only views with an image are in the index
    return path

  def scan_path(self, frame: int) -> ReadableFile | None:
    """Return the path of the LiDAR scan of a frame, None if there is none."""
    path = kitti360.velodyne_path(self.root, self.sequence, frame)
    return path if self.pose_from_velo is not None and files.exists(path) else None

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
  present = [path for path in (full, train) if files.exists(path)]
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
  where: Path | str,
  data: DataConfig,
  images: dict[str, set[int]],
  poses: Collection[int],
  unselected: Mapping[str, int] | None = None,
) -> tuple[tuple[int, ...], list[str]]:
  """Select the first config.data.frames frames from config.data.start that have all files.

  Args:
    where: of the images, for error messages.
    data: config.data.
    images: frames with an image, by camera.
    poses: frames with a pose.
    unselected: number of images of the cameras that are not in config.data.cameras.

  Returns:
    The frames, ascending, and a line for the log on unused images, if there are any.

  Raises:
    InputError: there is no such frame.
  """
  others = unselected or {}
  complete = set.intersection(*images.values()) & set(poses)
  frames = tuple(sorted(frame for frame in complete if frame >= data.start)[: data.frames])
  if not frames:
    raise InputError(f'{where}: {_no_frames(data, images, poses, complete)}')
  last = frames[-1] if len(frames) == data.frames else kitti360.MAX_FRAME
  some = set.union(*images.values())
  span = {frame for frame in some if data.start <= frame <= last} - set(frames)
  without_pose = span - set(poses)
  incomplete = span - without_pose
  left_out = (
    ({f for f in some if f < data.start}, f'precede config.data.start={data.start}'),
    ({f for f in some if f > last}, f'follow the {data.frames} frames of config.data.frames'),
    (without_pose, 'have no pose'),
    (incomplete, f'lack an image of {" or ".join(c for c, f in images.items() if incomplete - f)}'),
  )
  reasons = [
    f'{sum(len(f & which) for f in images.values())} {reason} (frames {format_ranges(which)})'
    for which, reason in left_out
    if which
  ] + [f'{count} are of {camera}, which is not selected' for camera, count in others.items()]
  used = len(frames) * len(images)
  total = sum(map(len, images.values())) + sum(others.values())
  notes = [f'{used} of {total} images used, because {"; ".join(reasons)}'] if reasons else []
  return frames, notes


def _no_frames(
  data: DataConfig, images: dict[str, set[int]], poses: Collection[int], complete: set[int]
) -> str:
  """Return why no frame can be used, and the remedy."""
  if complete:
    return (
      f'no frame from {data.start} on has an image of every camera and a pose;'
      f' {format_ranges(complete)} have both. Set --config.data.start.'
    )
  some = set.union(*images.values())
  if set.intersection(*images.values()):
    return (
      f'images {format_ranges(some)} and poses {format_ranges(poses)} do not overlap. Use the poses'
      ' of these images.'
    )
  most = max(1, min(4, 12 // len(images)))  # ranges of each camera
  lacks = '; '.join(f'{c} lacks {format_ranges(some - f, most)}' for c, f in images.items())
  return (
    f'no frame has an image of every camera: {lacks}. Give images of one instant the same number'
    ' (the key "frame" of transforms.json), or select cameras with --config.data.cameras.'
  )


def format_ranges(frames: Iterable[int], max_ranges: int = 8) -> str:
  """Return frame numbers as text with runs merged: '4-6, 9'."""
  frames = sorted(frames)
  if not frames:
    return ''
  runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
  texts = [f'{run[0]}-{run[-1]}' if len(run) > 1 else f'{run[0]}' for run in runs]
  return ', '.join(texts[:max_ranges] + ['...'] * (len(texts) > max_ranges))
