"""Which frames of which drive a config names, and where their files lie.

Letters: F frames.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, image_io, kitti360, transforms
from pnerf_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class DatasetIndex:
  """Which frames of which drive a config names, and where what belongs to them lies.

  Attributes:
    root, derived: dataset folder (a path, or packed.PackedPath with the same methods), folder of
      what was derived from it (often the same).
    sequence, frames, cameras, skipped_frames, notes: as in Window.
    sizes: [V, 2] int (width, height) of the images, views in the order of `views`.
    intrinsics: [V, 4] float64 (fx, fy, cx, cy) at that size.
    world_from_cam: [V, 4, 4] float64, the data's own world.
    world_from_pose: [F, 4, 4] float64 of the vehicle, or of the first camera where none is known.
    pose_from_velo: [4, 4] float64 of the LiDAR on the vehicle, or None.
    stereo: (left, right), the cameras of the rectified pair; () where none is known.
    beside: (kind, path inside root) of the files that belong to no view, there or not.
    named: path inside root by (kind, frame, camera), of files that transforms.json names.
    boxes: path inside root of the primitives that transforms.json names; None in KITTI-360's
      layout.
  """

  root: Path
  derived: Path
  sequence: str
  frames: tuple[int, ...]
  cameras: tuple[str, ...]
  sizes: np.ndarray
  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  world_from_pose: np.ndarray
  pose_from_velo: np.ndarray | None
  stereo: tuple[str, ...]
  shared_files: list[tuple[str, str]]
  skipped_frames: int
  notes: list[str]
  explicit_paths: dict[tuple[str, int, str], str] = dataclasses.field(default_factory=dict)
  boxes: str | None = None

  def views(self) -> list[tuple[int, str]]:
    """(frame, camera) of every view, in the order of all arrays."""
    return [(frame, camera) for frame in self.frames for camera in self.cameras]

  def view_index(self, frame: int, camera: str) -> int:
    """Which of `views` a frame of a camera is."""
    return self.frames.index(frame) * len(self.cameras) + self.cameras.index(camera)

  def size(self, frame: int, camera: str) -> tuple[int, int]:
    """(width, height) of an image."""
    width, height = self.sizes[self.view_index(frame, camera)]
    return int(width), int(height)

  def folder_of(self, kind: str, camera: str) -> Path:
    """The folder of a camera's files of a kind, in KITTI-360's layout, there or not."""
    if kind in kitti360.RECORDED:
      return kitti360.RECORDED[kind](self.root, self.sequence, camera)
    return kitti360.DERIVED[kind](self.derived, self.sequence, camera)

  def path_of(self, kind: str, frame: int, camera: str) -> Path | None:
    """Where a file of a view lies or should lie; None where the camera has none of the kind.

    A folder below `derived` goes before one below `root`, and that before what is named, so that
    what was derived is found beside any description. Photos are where they are named to be.
    """
    inside = self.explicit_paths.get((kind, frame, camera))
    if inside is None or kind != 'rgb':
      for root in (self.derived, self.root) if kind in kitti360.DERIVED else (self.root,):
        folder = (kitti360.DERIVED | kitti360.RECORDED)[kind](root, self.sequence, camera)
        if folder.is_dir():
          return folder / f'{kitti360.frame_name(frame)}.png'
    return None if inside is None else files.join(self.root, *inside.split('/'))

  def image_path(self, frame: int, camera: str) -> Path:
    """The photo of one view."""
    return self.path_of('rgb', frame, camera)

  def scan_path(self, frame: int) -> Path | None:
    """The LiDAR scan of a frame, None where there is none."""
    path = kitti360.velodyne_path(self.root, self.sequence, frame)
    return path if self.pose_from_velo is not None and path.exists() else None

  def world_from_velo(self, frame: int) -> np.ndarray:
    """[4, 4] of the LiDAR at a frame that has a scan, the data's own world."""
    return self.world_from_pose[self.frames.index(frame)] @ self.pose_from_velo

  def primitives_paths(self, split: str) -> list[Path]:
    """The files of primitives that config.data.primitives names."""
    if self.boxes is None:
      return primitives_paths(self.root, self.sequence, split)
    if split != 'auto':
      raise InputError(
        f"config.data.primitives is {split!r}. Use 'auto', the file that"
        f" {transforms.NAME} names, or 'none'."
      )
    if not self.boxes:
      raise InputError(
        f'{files.join(self.root, transforms.NAME)}: names no primitives (boxes_path).'
        ' Add them, or train without: --config.data.primitives=none'
        ' --config.scene.unannotated_space=void.'
      )
    return [files.join(self.root, *self.boxes.split('/'))]


def open_dataset(data: Any, stereo: bool = False) -> DatasetIndex:
  """Finds the frames that `config.data` names: those of the range with a pose and all images.

  Args:
    data: config.data.
    stereo: of the cameras of the rectified pair instead of config.data.cameras.

  Raises:
    InputError: a file that is missing or damaged; no frame; no such camera or no such pair.
  """
  root = _root(data)
  if data.frames < 1:
    raise InputError(f'config.data.frames is {data.frames}. Use 1 or more.')
  if data.start < -1:
    raise InputError(f'config.data.start is {data.start}. Use a frame number, or -1.')
  described = data.source == 'transforms' or (
    data.source == 'tfds' and files.join(root, transforms.NAME).exists()
  )
  return (_index_transforms if described else _index_kitti360)(root, data, stereo)


def _index_kitti360(root: Path, data: Any, stereo: bool) -> DatasetIndex:
  """Frames of a folder in KITTI-360's layout."""
  sequence = _sequence(root, data.sequence)
  cameras = kitti360.PERSPECTIVE_CAMERAS if stereo else tuple(data.cameras)
  wrong = [camera for camera in cameras if camera not in kitti360.PERSPECTIVE_CAMERAS]
  if wrong or not cameras or len(set(cameras)) < len(cameras):
    raise InputError(f'config.data.cameras is {cameras}. Use image_00, image_01 or both.')
  images = {}
  for camera in cameras:
    folder = kitti360.rgb_folder(root, sequence, camera)
    images[camera] = set(kitti360.frames_in(folder))
    if not images[camera]:
      others = [
        c
        for c in kitti360.PERSPECTIVE_CAMERAS
        if kitti360.frames_in(kitti360.rgb_folder(root, sequence, c))
      ]
      remedy = f' or use --config.data.cameras={",".join(others)}' if others else ''
      raise InputError(f'{folder}: holds no image of {camera}. Download it{remedy}.')
  calibration = kitti360.read_calibration(root)
  poses = kitti360.read_poses(root, sequence, calibration)
  place = files.join(root, 'data_2d_raw', sequence)
  frames, skipped, notes = _frames(place, data, images, poses.keys())
  first = kitti360.rgb_folder(root, sequence, cameras[0]) / f'{kitti360.frame_name(frames[0])}.png'
  size = image_io.read_size(first)  # of all: a photo of another size is refused when it is read
  beside = [
    ('calibration', f'calibration/{name}.txt')
    for name in ('perspective', 'calib_cam_to_pose', 'calib_cam_to_velo')
  ]
  beside += [('poses', f'data_poses/{sequence}/{name}.txt') for name in ('poses', 'cam0_to_world')]
  beside += [
    ('primitives', kitti360.boxes_path(Path(), sequence, split).as_posix())
    for split in ('train', 'train_full')
  ]
  return DatasetIndex(
    root=root,
    derived=Path(data.derived_root) if data.derived_root else root,
    sequence=sequence,
    frames=frames,
    cameras=cameras,
    sizes=np.tile(size, (len(frames) * len(cameras), 1)),
    intrinsics=np.stack(
      [calibration.resized_intrinsics(camera, *size) for _ in frames for camera in cameras]
    ),
    world_from_cam=np.stack(
      [poses[frame] @ calibration.pose_from_cam[camera] for frame in frames for camera in cameras]
    ),
    world_from_pose=np.stack([poses[frame] for frame in frames]),
    pose_from_velo=calibration.pose_from_velo,
    stereo=kitti360.PERSPECTIVE_CAMERAS,
    shared_files=beside,
    skipped_frames=skipped,
    notes=notes,
  )


def _index_transforms(root: Path, data: Any, stereo: bool) -> DatasetIndex:
  """Frames of what transforms.json describes."""
  found = transforms.read(root)
  path = files.join(root, transforms.NAME)
  if data.sequence not in ('', found.sequence):
    raise InputError(
      f'{path}: is of sequence {found.sequence!r}; config.data.sequence is'
      f' {data.sequence!r}. Leave it out or name this one.'
    )
  if stereo and not found.stereo:
    raise InputError(
      f'{path}: names no rectified stereo pair ("stereo": [left, right]), without'
      ' which no depth can be made. Name it if two cameras are one, or write depth'
      ' of another source and name it (depth_file_path).'
    )
  cameras = found.stereo if stereo else tuple(data.cameras) or found.cameras
  wrong = [camera for camera in cameras if camera not in found.cameras]
  if wrong or len(set(cameras)) < len(cameras):
    raise InputError(
      f'config.data.cameras is {cameras}; {path} has {found.cameras}. Use some of'
      ' these, each once, or () for all.'
    )
  images = {camera: set() for camera in cameras}
  for (frame, camera), shot in found.shots.items():
    # A packed window has the images of its own frames alone.
    if camera in images and (
      data.source != 'tfds' or files.join(root, *shot.files['rgb'].split('/')).exists()
    ):
      images[camera].add(frame)
  frames, skipped, notes = _frames(path, data, images, set.union(*images.values()))
  shots = [found.shots[frame, camera] for frame in frames for camera in cameras]
  named = {
    (kind, shot.frame, shot.camera): inside for shot in shots for kind, inside in shot.files.items()
  }
  for inside in (*named.values(), found.boxes):
    if inside and not files.join(root, *inside.split('/')).exists():
      raise InputError(
        f'{files.join(root, *inside.split("/"))}: no such file, but {path} names it.'
        ' Correct the path or add the file.'
      )
  world_from_cam = np.stack([shot.world_from_cam for shot in shots])
  return DatasetIndex(
    root=root,
    derived=Path(data.derived_root) if data.derived_root else root,
    sequence=found.sequence,
    frames=frames,
    cameras=cameras,
    sizes=np.array([shot.size for shot in shots]),
    intrinsics=np.stack([shot.intrinsics for shot in shots]),
    world_from_cam=world_from_cam,
    world_from_pose=world_from_cam[:: len(cameras)],
    pose_from_velo=None,
    stereo=found.stereo,
    shared_files=[('transforms', transforms.NAME)]
    + [('primitives', found.boxes)] * bool(found.boxes),
    skipped_frames=skipped,
    notes=notes,
    explicit_paths=named,
    boxes=found.boxes,
  )


def _root(data: Any) -> Any:
  """The dataset's folder: on disk, or inside a packed window."""
  if data.source == 'tfds':
    from pnerf_jax.data.tfds import builder  # tensorflow_datasets takes seconds to import

    return builder.open_packed(data.root)
  return Path(data.root)


def _sequence(root: Path, sequence: str) -> str:
  """The named sequence, or the only one that there is."""
  folder = root / 'data_2d_raw'
  if not folder.is_dir():
    raise InputError(
      f"{folder}: no such folder. Point --config.data.root at a folder in KITTI-360's layout."
    )
  there = sorted(f.name for f in folder.iterdir() if f.is_dir())
  if sequence in there:
    return sequence
  if sequence or len(there) != 1:
    raise InputError(
      f'{folder}: holds {", ".join(there) or "no sequence"}; config.data.sequence is'
      f' {sequence!r}. Name one of these with --config.data.sequence.'
    )
  return there[0]


def primitives_paths(root: Path, sequence: str, split: str) -> list[Path]:
  """The XML files in KITTI-360's layout that config.data.primitives names."""
  full, train = (kitti360.boxes_path(root, sequence, s) for s in ('train_full', 'train'))
  if split == 'auto':
    return [full if full.exists() else train]
  if split == 'union':
    return [path for path in (full, train) if path.exists()] or [full]
  if split in ('train', 'train_full'):
    return [full if split == 'train_full' else train]
  raise InputError(
    f"config.data.primitives is {split!r}. Use 'auto', 'train', 'train_full', 'union' or 'none'."
  )


def _frames(
  place: Path, data: Any, images: dict[str, set[int]], poses: Collection[int]
) -> tuple[tuple[int, ...], int, list[str]]:
  """Frames of the range with a pose and all images; how many lack a pose; notes."""
  some = set.union(*images.values())
  every = set.intersection(*images.values()) & set(poses)
  start = data.start if data.start >= 0 else min(every, default=0)
  span = range(start, start + data.frames)
  frames = tuple(sorted(frame for frame in every if frame in span))
  if not frames:
    there = (
      f'{ranges(every)} have both'
      if every
      else (f'images {ranges(some)} and poses {ranges(poses)} do not meet')
    )
    raise InputError(
      f'{place}: no frame of {span[0]}-{span[-1]} has an image of every camera and'
      f' a pose; {there}. Set --config.data.start and --config.data.frames.'
    )
  notes = []
  poseless = [frame for frame in some if frame in span and frame not in poses]
  if poseless:
    notes.append(f'{len(poseless)} frames have no pose and are skipped: {ranges(poseless)}')
  imageless = [frame for frame in poses if frame in span and frame not in every]
  if imageless:
    notes.append(f'{len(imageless)} frames lack an image and are skipped: {ranges(imageless)}')
  return frames, len(poseless), notes


def ranges(frames: Any, most: int = 8) -> str:
  """Frame numbers as text, runs joined: '4-6, 9'."""
  frames = sorted(frames)
  runs = [[frame, frame] for frame in frames[:1]]
  for frame in frames[1:]:
    if frame == runs[-1][1] + 1:
      runs[-1][1] = frame
    else:
      runs.append([frame, frame])
  words = [str(a) if a == b else f'{a}-{b}' for a, b in runs]
  return ', '.join(words[:most] + (['...'] if len(words) > most else []))
