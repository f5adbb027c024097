"""Cuts drives into windows that overlap.

A frame is usable if it has a pose and an image of every camera, as in training, and, unless space
outside the primitives may be void, a static primitive of its own stretch of the drive near by.
Usable frames form stretches; every stretch is cut into windows of one length, spread evenly.
"""
from collections.abc import Iterator, Sequence
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from pnerf_jax.data import boxes as boxes_lib
from pnerf_jax.data import extent, kitti360
from pnerf_jax.data.boxes import Box
from pnerf_jax.data.footage import Footage, boxes_paths, find_footage, ranges
from pnerf_jax.drive.table import Entry
from pnerf_jax.errors import InputError

# Metres between usable frames behind which a new stretch begins. Vehicles drive 1 to 2 m a frame;
# where they stand still KITTI-360 has no poses, so a gap in the numbers alone means nothing.
MAX_STEP = 10.0


@dataclasses.dataclass(frozen=True)
class Cut:
  """entries: the windows. comments: what was left out and why, a line each."""
  entries: list[Entry]
  comments: list[str]


def cut(config: Any, overlap: int) -> Cut:
  """Cuts the drive that `config.data` names, or every drive of its root.

  Args:
    config: of training; config.data.frames is the number of usable frames of a window.
    overlap: usable frames that neighbouring windows share at least.

  Raises:
    InputError: a config that means one window only, unreadable input, or no window at all.
  """
  _check(config, overlap)
  root = Path(config.data.root)
  sequences = [config.data.sequence] if config.data.sequence else sequences_in(root)
  entries, comments = [], []
  for sequence in sequences:
    data = config.data.copy_and_resolve_references()
    data.sequence, data.start, data.frames = sequence, -1, kitti360.MAX_FRAME
    if len(sequences) > 1:
      lacking = _lacking(root, sequence, data)
      if lacking:
        comments.append(f'{sequence} is left out: {lacking}')
        continue
    footage = find_footage(data)
    found, notes = _cut_drive(config, footage, overlap)
    entries += [dataclasses.replace(entry, index=len(entries) + i) for i, entry in enumerate(found)]
    comments += [f'{sequence}: {note}' for note in footage.notes + notes]
  if not entries:
    raise InputError(f'{root}: no window can be cut; {"; ".join(comments)}. Check'
                     ' --config.data.root and --config.data.sequence, or use'
                     ' --config.scene.outside=void.')
  return Cut(entries, comments)


def sequences_in(root: Path) -> list[str]:
  """The drives of a dataset."""
  folder = Path(root) / 'data_2d_raw'
  if not folder.is_dir():
    raise InputError(f'{folder}: no such folder. Point --config.data.root at a folder in'
                     " KITTI-360's layout.")
  return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _check(config: Any, overlap: int) -> None:
  length = config.data.frames
  if config.data.source != 'folder':
    raise InputError(f"config.data.source is {config.data.source!r}; only drives of a 'folder' in"
                     " KITTI-360's layout are cut. Train others window by window, with"
                     ' --config.data.start and --config.data.frames.')
  if length < 1:
    raise InputError(f'config.data.frames is {length}. Use 1 or more.')
  if not 0 <= overlap < length:
    raise InputError(f'--overlap={overlap}: is not in 0..{length - 1}, below the length of a window'
                     ' (config.data.frames). Change one of them.')
  for group, field, free in (('data', 'start', -1), ('data', 'eval_frames', ()),
                             ('scene', 'center', ()), ('scene', 'bounds', ())):
    value = config[group][field]
    if (tuple(value) if isinstance(free, tuple) else value) != free:
      raise InputError(f'config.{group}.{field} is {value}, which holds for one window only.'
                       ' Leave it out when cutting drives.')


def _lacking(root: Path, sequence: str, data: Any) -> str:
  """Why a drive among others cannot be used; '' if it can."""
  for camera in data.cameras:
    if not kitti360.frames_in(kitti360.rgb_folder(root, sequence, camera)):
      return f'it has no image of {camera}'
  if not (root / 'data_poses' / sequence).is_dir():
    return 'it has no poses'
  if data.boxes != 'none' and not any(
      path.exists() for path in boxes_paths(root, sequence, data.boxes)):
    return 'it has no primitives'
  return ''


def _cut_drive(config: Any, footage: Footage, overlap: int) -> tuple[list[Entry], list[str]]:
  """Windows of one drive, and notes on what they leave out."""
  margin, notes = config.scene.frame_margin, []
  boxes = [] if config.data.boxes == 'none' else [
      box for path in footage.boxes_paths(config.data.boxes)
      for box in boxes_lib.read_boxes(path)]
  usable = np.ones(len(footage.frames), bool)
  if config.scene.outside == 'empty':
    usable = annotated(boxes, footage.frames, footage.world_from_pose[:, :3, 3], margin)
    if not usable.all():
      bare = [frame for frame, has in zip(footage.frames, usable) if not has]
      notes.append(f'{len(bare)} frames have no primitive near by and are left out: {ranges(bare)}')
  spans = [span for stretch in stretches(footage.world_from_pose[:, :3, 3], usable)
           for span in windows_of(stretch, config.data.frames, overlap)]
  entries = []
  for first, last in tqdm.tqdm(spans, desc=footage.sequence, unit='window', mininterval=1.0):
    seen = _in_view(boxes, footage, range(first, last + 1), config.scene)
    still = sum(box.timestamp < 0 for box in seen)
    start, end = footage.frames[first], footage.frames[last] + 1
    if not still and config.scene.outside == 'empty':
      notes.append(f'frames {start}-{end - 1} see no primitive and are left out')
      continue
    moving = {(box.semantic, box.instance) for box in seen if box.timestamp >= 0}
    entries.append(Entry(0, footage.sequence, start, end, last - first + 1, still, len(moving)))
  return entries, notes


def annotated(boxes: Sequence[Box], frames: Sequence[int], positions: np.ndarray,
              margin: int) -> np.ndarray:
  """[F] whether a static primitive that belongs to a frame is within sight of it.

  Args:
    boxes: of the drive, world coordinates.
    frames: F frame numbers.
    positions: [F, 3] of the vehicle, metres, world.
    margin: config.scene.frame_margin.
  """
  found = np.zeros(len(frames), bool)
  still = sorted((box for box in boxes if box.timestamp < 0), key=_annotation)
  for (start, end), group in itertools.groupby(still, _annotation):
    here = np.array([boxes_lib.belongs(start, end, -1, (frame,), margin) for frame in frames])
    for box in group:
      found[here] |= extent.hull_distance(box, positions[here]) <= extent.MAX_FAR
  return found


def _annotation(box: Box) -> tuple[int, int]:
  return box.start_frame, box.end_frame


def stretches(positions: np.ndarray, usable: np.ndarray) -> Iterator[tuple[int, int]]:
  """First and last index of every run of usable frames without a jump.

  Args:
    positions: [F, 3] of the vehicle, metres.
    usable: [F] bool.
  """
  steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
  first = None
  for i, good in enumerate(usable):
    if good and first is None:
      first = i
    ends = i + 1 == len(usable) or not usable[i + 1] or steps[i] > MAX_STEP
    if good and ends:
      yield first, i
      first = None


def windows_of(stretch: tuple[int, int], length: int, overlap: int) -> list[tuple[int, int]]:
  """First and last index of the fewest windows that cover a stretch.

  Neighbours share `overlap` frames or, where the windows do not fill the stretch exactly, more; no
  window is shorter than `length` unless the stretch is.
  """
  first, last = stretch
  count = last - first + 1
  if count <= length:
    return [stretch]
  windows = -(-(count - overlap) // (length - overlap))
  starts = np.linspace(0, count - length, windows).round().astype(int)
  return [(first + int(start), first + int(start) + length - 1) for start in starts]


def _in_view(boxes: list[Box], footage: Footage, window: range, scene: Any) -> list[Box]:
  """The primitives that training on these frames (indices) would use."""
  frames = tuple(footage.frames[i] for i in window)
  here = boxes_lib.without_repeats(
      [box for box in boxes if boxes_lib.belongs(
          box.start_frame, box.end_frame, box.timestamp, frames, scene.frame_margin)])
  part = slice(window.start * len(footage.cameras), window.stop * len(footage.cameras))
  views = extent.Views(
      footage.world_from_cam[part], footage.intrinsics[part], footage.sizes[part])
  return extent.in_view(here, views, float(scene.far))[0]
