"""Which frames of which drive a config names, and where their files lie.

Letters: F frames.
"""
from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import kitti360, png
from pnerf_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Footage:
  """Which frames of which drive a config names.

  Attributes:
    root, derived: dataset folder (a path, or packed.PackedPath with the same methods), folder of
      what was derived from it (often the same).
    sequence, frames, cameras, skipped_frames, notes: as in Window.
    size: (width, height) of the PNGs.
    calibration: of the cameras.
    world_from_pose: [F, 4, 4] float64 of the frames, KITTI-360 world.
  """
  root: Path
  derived: Path
  sequence: str
  frames: tuple[int, ...]
  cameras: tuple[str, ...]
  size: tuple[int, int]
  calibration: kitti360.Calibration
  world_from_pose: np.ndarray
  skipped_frames: int
  notes: list[str]

  def folder(self, folder_of: Callable[..., Path], camera: str) -> Path | None:
    """The first of derived and root that has the folder `folder_of(root, sequence, camera)`."""
    for root in (self.derived, self.root):
      if folder_of(root, self.sequence, camera).is_dir():
        return folder_of(root, self.sequence, camera)
    return None

  def image_path(self, frame: int, camera: str) -> Path:
    """The photo of one view."""
    folder = kitti360.rgb_folder(self.root, self.sequence, camera)
    return folder / f'{kitti360.frame_name(frame)}.png'

  def views(self) -> list[tuple[int, str]]:
    """(frame, camera) of every view, in the order of all arrays."""
    return [(frame, camera) for frame in self.frames for camera in self.cameras]


def find_footage(data: Any, cameras: tuple[str, ...] = ()) -> Footage:
  """Finds the frames that `config.data` names: those of the range with a pose and all images.

  Args:
    data: config.data.
    cameras: instead of config.data.cameras.
  """
  root = _root(data)
  sequence = _sequence(root, data.sequence)
  cameras = tuple(cameras or data.cameras)
  wrong = [camera for camera in cameras if camera not in kitti360.PERSPECTIVE_CAMERAS]
  if wrong or not cameras or len(set(cameras)) < len(cameras):
    raise InputError(f'config.data.cameras is {cameras}. Use image_00, image_01 or both.')
  images = {}
  for camera in cameras:
    folder = kitti360.rgb_folder(root, sequence, camera)
    images[camera] = set(kitti360.frames_in(folder))
    if not images[camera]:
      others = [c for c in kitti360.PERSPECTIVE_CAMERAS
                if kitti360.frames_in(kitti360.rgb_folder(root, sequence, c))]
      remedy = f' or use --config.data.cameras={",".join(others)}' if others else ''
      raise InputError(f'{folder}: holds no image of {camera}. Download it{remedy}.')
  calibration = kitti360.read_calibration(root)
  poses = kitti360.read_poses(root, sequence, calibration)
  frames, skipped, notes = _frames(root, sequence, data, images, poses)
  photos = kitti360.rgb_folder(root, sequence, cameras[0])
  first = photos / f'{kitti360.frame_name(frames[0])}.png'
  return Footage(
      root=root, derived=Path(data.derived) if data.derived else root, sequence=sequence,
      frames=frames, cameras=cameras, size=png.read_size(first), calibration=calibration,
      world_from_pose=np.stack([poses[frame] for frame in frames]), skipped_frames=skipped,
      notes=notes)


def _root(data: Any) -> Any:
  """The dataset's folder: on disk, or inside a packed window."""
  if data.source == 'tfds':
    from pnerf_jax.data import builder  # tensorflow_datasets takes seconds to import
    return builder.open_packed(data.root)
  return Path(data.root)


def _sequence(root: Path, sequence: str) -> str:
  """The named sequence, or the only one that there is."""
  folder = root / 'data_2d_raw'
  if not folder.is_dir():
    raise InputError(f'{folder}: no such folder. Point --config.data.root at a folder in'
                     " KITTI-360's layout.")
  there = sorted(f.name for f in folder.iterdir() if f.is_dir())
  if sequence in there:
    return sequence
  if sequence or len(there) != 1:
    raise InputError(f'{folder}: holds {", ".join(there) or "no sequence"}; config.data.sequence is'
                     f' {sequence!r}. Name one of these with --config.data.sequence.')
  return there[0]


def _frames(root: Path, sequence: str, data: Any, images: dict[str, set[int]],
            poses: dict[int, np.ndarray]) -> tuple[tuple[int, ...], int, list[str]]:
  """Frames of the range with a pose and all images; how many lack a pose; notes."""
  some = set.union(*images.values())
  every = set.intersection(*images.values()) & poses.keys()
  if data.frames < 1:
    raise InputError(f'config.data.frames is {data.frames}. Use 1 or more.')
  if data.start < -1:
    raise InputError(f'config.data.start is {data.start}. Use a frame number, or -1.')
  start = data.start if data.start >= 0 else min(every, default=0)
  span = range(start, start + data.frames)
  frames = tuple(sorted(frame for frame in every if frame in span))
  if not frames:
    folder = root / 'data_2d_raw' / sequence
    there = f'{ranges(every)} have both' if every else (
        f'images {ranges(some)} and poses {ranges(poses)} do not meet')
    raise InputError(f'{folder}: no frame of {span[0]}-{span[-1]} has an image of every camera and'
                     f' a pose; {there}. Set --config.data.start and --config.data.frames.')
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
