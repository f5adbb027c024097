"""Cuts drives into windows that overlap.

A frame is usable if it has a pose and an image of every camera, as in training, and, unless space
outside the primitives may be void, a static primitive of its own stretch of the drive near by.
Usable frames form stretches; every stretch is cut into windows of one length, spread evenly.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.data import bounds, kitti360
from pnerf_jax.data import primitives as boxes_lib
from pnerf_jax.data.dataset import DatasetIndex, open_dataset, primitives_paths, ranges
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError

# Metres between usable frames behind which a new stretch begins. Vehicles drive 1 to 2 m a frame;
# where they stand still KITTI-360 has no poses, so a gap in the numbers alone means nothing.
MAX_STEP = 10.0


@dataclasses.dataclass(frozen=True)
class SequenceSplit:
  """entries: the windows. comments: what was left out and why, a line each."""

  entries: list[WindowSpec]
  comments: list[str]


def split_sequence(config: Any, overlap: int) -> SequenceSplit:
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
    dataset = open_dataset(data)
    found, notes = _cut_drive(config, dataset, overlap)
    entries += [dataclasses.replace(entry, index=len(entries) + i) for i, entry in enumerate(found)]
    comments += [f'{sequence}: {note}' for note in dataset.notes + notes]
  if not entries:
    raise InputError(
      f'{root}: no window can be cut; {"; ".join(comments)}. Check'
      ' --config.data.root and --config.data.sequence, or use'
      ' --config.scene.unannotated_space=void.'
    )
  return SequenceSplit(entries, comments)


def sequences_in(root: Path) -> list[str]:
  """The drives of a dataset."""
  folder = Path(root) / 'data_2d_raw'
  if not folder.is_dir():
    raise InputError(
      f"{folder}: no such folder. Point --config.data.root at a folder in KITTI-360's layout."
    )
  return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _check(config: Any, overlap: int) -> None:
  length = config.data.frames
  if config.data.source != 'folder':
    raise InputError(
      f"config.data.source is {config.data.source!r}; only drives of a 'folder' in"
      " KITTI-360's layout are cut. Train others window by window, with"
      ' --config.data.start and --config.data.frames.'
    )
  if length < 1:
    raise InputError(f'config.data.frames is {length}. Use 1 or more.')
  if not 0 <= overlap < length:
    raise InputError(
      f'--overlap={overlap}: is not in 0..{length - 1}, below the length of a window'
      ' (config.data.frames). Change one of them.'
    )
  for group, field, free in (
    ('data', 'start', -1),
    ('data', 'eval_frames', ()),
    ('scene', 'center', ()),
    ('scene', 'bounds', ()),
  ):
    value = config[group][field]
    if (tuple(value) if isinstance(free, tuple) else value) != free:
      raise InputError(
        f'config.{group}.{field} is {value}, which holds for one window only.'
        ' Leave it out when cutting drives.'
      )


def _lacking(root: Path, sequence: str, data: Any) -> str:
  """Why a drive among others cannot be used; '' if it can."""
  for camera in data.cameras:
    if not kitti360.frames_in(kitti360.rgb_folder(root, sequence, camera)):
      return f'it has no image of {camera}'
  if not (root / 'data_poses' / sequence).is_dir():
    return 'it has no poses'
  if data.primitives != 'none' and not any(
    path.exists() for path in primitives_paths(root, sequence, data.primitives)
  ):
    return 'it has no primitives'
  return ''


def _cut_drive(
  config: Any, dataset: DatasetIndex, overlap: int
) -> tuple[list[WindowSpec], list[str]]:
  """Windows of one drive, and notes on what they leave out."""
  margin, notes = config.scene.annotation_margin_frames, []
  boxes = (
    []
    if config.data.primitives == 'none'
    else [
      box
      for path in dataset.primitives_paths(config.data.primitives)
      for box in boxes_lib.read_primitives_xml(path)
    ]
  )
  usable = np.ones(len(dataset.frames), bool)
  if config.scene.unannotated_space == 'empty':
    usable = annotated(boxes, dataset.frames, dataset.world_from_pose[:, :3, 3], margin)
    if not usable.all():
      bare = [frame for frame, has in zip(dataset.frames, usable) if not has]
      notes.append(f'{len(bare)} frames have no primitive near by and are left out: {ranges(bare)}')
  spans = [
    span
    for stretch in runs_of_frames(dataset.world_from_pose[:, :3, 3], usable)
    for span in windows_of(stretch, config.data.frames, overlap)
  ]
  entries = []
  for first, last in tqdm.tqdm(spans, desc=dataset.sequence, unit='window', mininterval=1.0):
    seen = _in_view(boxes, dataset, range(first, last + 1), config.scene)
    still = sum(box.timestamp < 0 for box in seen)
    start, end = dataset.frames[first], dataset.frames[last] + 1
    if not still and config.scene.unannotated_space == 'empty':
      notes.append(f'frames {start}-{end - 1} see no primitive and are left out')
      continue
    moving = {(box.semantic, box.instance) for box in seen if box.timestamp >= 0}
    entries.append(
      WindowSpec(0, dataset.sequence, start, end, last - first + 1, still, len(moving))
    )
  return entries, notes


def annotated(
  boxes: Sequence[PrimitiveRecord], frames: Sequence[int], positions: np.ndarray, margin: int
) -> np.ndarray:
  """[F] whether a static primitive that belongs to a frame is within sight of it.

  Args:
    boxes: of the drive, world coordinates.
    frames: F frame numbers.
    positions: [F, 3] of the vehicle, metres, world.
    margin: config.scene.annotation_margin_frames.
  """
  found = np.zeros(len(frames), bool)
  still = sorted((box for box in boxes if box.timestamp < 0), key=_annotation)
  for (start, end), group in itertools.groupby(still, _annotation):
    here = np.array(
      [boxes_lib.annotated_in_window(start, end, -1, (frame,), margin) for frame in frames]
    )
    for box in group:
      found[here] |= bounds.hull_distance(box, positions[here]) <= bounds.MAX_FAR
  return found


def _annotation(box: PrimitiveRecord) -> tuple[int, int]:
  return box.start_frame, box.end_frame


def runs_of_frames(positions: np.ndarray, usable: np.ndarray) -> Iterator[tuple[int, int]]:
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


def _in_view(
  boxes: list[PrimitiveRecord], dataset: DatasetIndex, window: range, scene: Any
) -> list[PrimitiveRecord]:
  """The primitives that training on these frames (indices) would use."""
  frames = tuple(dataset.frames[i] for i in window)
  here = boxes_lib.deduplicate(
    [
      box
      for box in boxes
      if boxes_lib.annotated_in_window(
        box.start_frame, box.end_frame, box.timestamp, frames, scene.annotation_margin_frames
      )
    ]
  )
  part = slice(window.start * len(dataset.cameras), window.stop * len(dataset.cameras))
  views = bounds.CameraArray(
    dataset.world_from_cam[part], dataset.intrinsics[part], dataset.sizes[part]
  )
  return bounds.cull_invisible(here, views, float(scene.far))[0]
