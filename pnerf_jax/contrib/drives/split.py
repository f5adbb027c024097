"""Splits sequences into overlapping windows.

A frame is usable if it has a pose and an image of every camera and, unless the space outside the
primitives may hold geometry, a static primitive that was annotated for it nearby. Consecutive
usable frames form runs; every run is covered by windows of one length, spread evenly.
"""

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.config.schema import Config, DataConfig, SceneConfig
from pnerf_jax.contrib.drives import manifest
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.data import bounds, kitti360
from pnerf_jax.data import primitives as primitives_lib
from pnerf_jax.data.dataset import list_sequences, open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges, primitives_paths
from pnerf_jax.data.files import check_is_folder, check_output, write_bytes
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError
from pnerf_jax.runs.progress import progress_bar

_LOG = logging.getLogger(__name__)

# Metres between consecutive usable frames that start a new run, and the same as a multiple of the
# median, for sparse images. Vehicles move 1 to 2 m per frame of KITTI-360, which has no poses while
# they stand still, so a gap in the frame numbers alone is no jump.
MAX_STEP, MAX_STEP_RATIO = 10.0, 5.0


@dataclasses.dataclass(frozen=True)
class SequenceSplit:
  """The windows of one or more sequences.

  Attributes:
    windows: the windows.
    notes: lines on what is excluded and why.
    shared: number of frames that neighbouring windows share, without those that share none.
  """

  windows: list[WindowSpec]
  notes: list[str]
  shared: list[int]


def write_manifest(config: Config, flags: Sequence[str], out: Path, overlap: int) -> WindowManifest:
  """Split the sequences of a config and write the window manifest.

  Args:
    config: the config of all windows.
    flags: the flags of train that give this config.
    out: the manifest file to write.
    overlap: minimum number of usable frames that neighbouring windows share.
  """
  out = Path(out)
  if out.exists() and not out.is_file():
    raise InputError(f'--out={out}: is not a file. Name the text file to write.')
  check_is_folder(out.absolute().parent, '--out')
  check_output(out, manifest.MARK.encode())
  split = split_sequence(config, overlap)
  flags = manifest.absolute_flags(flags, config)
  result = WindowManifest(tuple(flags), tuple(split.windows), str(out))
  notes = [_summary(split), *split.notes]
  for note in notes:
    _LOG.info('%s', manifest.quote(note))
  write_bytes(out, manifest.to_text(result, notes).encode())
  _LOG.info('written to %s', out)
  return result


def _summary(split: SequenceSplit) -> str:
  """Return the number of windows, their lengths, and the frames that neighbours share."""
  between = lambda values: '-'.join(dict.fromkeys([str(min(values)), str(max(values))]))
  lengths = between([window.num_frames for window in split.windows])
  return f'{len(split.windows)} windows of {lengths} frames; ' + (
    f'{len(split.shared)} pairs of neighbours share {between(split.shared)} frames.'
    if split.shared
    else 'no neighbours share frames.'
  )


def split_sequence(config: Config, overlap: int) -> SequenceSplit:
  """Split the sequence that `config.data` selects, or all sequences of its root, into windows.

  Args:
    config: the config of all windows; config.data.frames is the number of usable frames per window.
    overlap: minimum number of usable frames that neighbouring windows share.

  Raises:
    InputError: a config field applies to a single window, the input is unreadable, or there is no
      usable window.
  """
  _check_config(config, overlap)
  root = Path(config.data.root)
  sequences = [config.data.sequence]
  if config.data.source == 'folder' and not config.data.sequence:
    sequences = list_sequences(root)
  windows: list[WindowSpec] = []
  notes: list[str] = []
  shared: list[int] = []
  for sequence in sequences:
    data = dataclasses.replace(config.data, sequence=sequence, start=-1, frames=kitti360.MAX_FRAME)
    if len(sequences) > 1:
      missing = _missing_input(root, data)
      if missing:
        notes.append(f'skipping {sequence}: {missing}')
        continue
    dataset = open_dataset(data)
    split = _split_one(config, dataset, overlap)
    windows += [
      dataclasses.replace(window, index=index)
      for index, window in enumerate(split.windows, len(windows))
    ]
    shared += split.shared
    notes += [f'{dataset.sequence}: {note}' for note in dataset.notes + split.notes]
  if not windows:
    raise InputError(
      f'{root}: no usable window; {"; ".join(notes)}. Check'
      ' --config.data.root and --config.data.sequence, or use'
      ' --config.scene.unannotated_space=void.'
    )
  return SequenceSplit(windows, notes, shared)


def _check_config(config: Config, overlap: int) -> None:
  """Raise InputError if a config or an overlap cannot be used for several windows."""
  length = config.data.frames
  if config.data.source == 'tfds':
    raise InputError(
      "config.data.source is 'tfds', which holds single windows. Split the dataset that was packed."
    )
  if not 0 <= overlap < length:
    raise InputError(
      f'--overlap={overlap}: is not in 0..{length - 1}, below the window length'
      ' (config.data.frames). Change one of them.'
    )
  for group, field, unset in (
    ('data', 'start', -1),
    ('data', 'eval_frames', ()),
    ('scene', 'center', ()),
    ('scene', 'bounds', ()),
  ):
    value = getattr(getattr(config, group), field)
    if value != unset:
      raise InputError(
        f'config.{group}.{field} is {value}, which applies to a single window. Omit it when'
        ' splitting sequences.'
      )


def _missing_input(root: Path, data: DataConfig) -> str:
  """Return why a sequence cannot be used; '' if it can."""
  for camera in data.cameras:
    if not kitti360.frames_in(kitti360.rgb_folder(root, data.sequence, camera)):
      return f'no image of {camera}'
  if not (root / 'data_poses' / data.sequence).is_dir():
    return 'no poses'
  if data.primitives != 'none' and not any(
    path.exists() for path in primitives_paths(root, data.sequence, data.primitives)
  ):
    return 'no primitives'
  return ''


def _split_one(config: Config, dataset: DatasetIndex, overlap: int) -> SequenceSplit:
  """Split one sequence; indices count from 0."""
  notes = []
  primitives = []
  if config.data.primitives != 'none':
    primitives = dataset.read_primitives(config.data.primitives)
  needs_primitives = config.scene.unannotated_space == 'empty'
  positions = dataset.world_from_pose[:, :3, 3]
  usable = np.ones(len(dataset.frames), bool)
  if needs_primitives:
    margin = config.scene.annotation_margin_frames
    usable = annotated_frames(primitives, dataset.frames, positions, margin)
    if not usable.all():
      excluded = [frame for frame, is_usable in zip(dataset.frames, usable) if not is_usable]
      notes.append(
        f'excluding {len(excluded)} frames without a primitive nearby: {format_ranges(excluded)}'
      )
  spans = [
    span
    for run in runs_of_frames(positions, usable)
    for span in spread_windows(run, config.data.frames, overlap)
  ]
  windows: list[WindowSpec] = []
  kept: list[tuple[int, int]] = []
  for first, last in progress_bar(spans, dataset.sequence, 'window'):
    visible = _visible_primitives(primitives, dataset, range(first, last + 1), config.scene)
    num_static = sum(primitive.timestamp < 0 for primitive in visible)
    start, end = dataset.frames[first], dataset.frames[last] + 1
    if not num_static and needs_primitives:
      notes.append(f'excluding frames {start}-{end - 1}: no primitive is visible')
      continue
    kept.append((first, last))
    moving = {(p.semantic, p.instance) for p in visible if p.timestamp >= 0}
    windows.append(
      WindowSpec(
        index=len(windows),
        sequence=dataset.sequence,
        start=start,
        end=end,
        num_frames=last - first + 1,
        num_primitives=num_static,
        num_moving=len(moving),
      )
    )
  shared = [before[1] - after[0] + 1 for before, after in itertools.pairwise(kept)]
  return SequenceSplit(windows, notes, [count for count in shared if count > 0])


def annotated_frames(
  primitives: Sequence[PrimitiveRecord], frames: Sequence[int], positions: np.ndarray, margin: int
) -> np.ndarray:
  """Return whether frames have a static primitive, annotated for them, within bounds.MAX_FAR.

  Args:
    primitives: primitives of the sequence, world coordinates.
    frames: F frame numbers.
    positions: [F, 3] of the vehicle, metres, world.
    margin: config.scene.annotation_margin_frames.

  Returns:
    [F] bool.
  """
  annotated = np.zeros(len(frames), bool)
  annotation_range = lambda primitive: (primitive.start_frame, primitive.end_frame)
  static = sorted((p for p in primitives if p.timestamp < 0), key=annotation_range)
  for (start, end), group in itertools.groupby(static, annotation_range):
    in_range = np.array(
      [primitives_lib.annotated_in_window(start, end, -1, (frame,), margin) for frame in frames]
    )
    for primitive in group:
      distance = bounds.hull_distance(primitive, positions[in_range])
      annotated[in_range] |= distance <= bounds.MAX_FAR
  return annotated


def runs_of_frames(positions: np.ndarray, usable: np.ndarray) -> Iterator[tuple[int, int]]:
  """Yield first and last index of every run of usable frames without a jump.

  Args:
    positions: [F, 3] of the vehicle, metres.
    usable: [F] bool.
  """
  steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
  limit = max(MAX_STEP, MAX_STEP_RATIO * float(np.median(steps))) if len(steps) else MAX_STEP
  first = 0
  for i, is_usable in enumerate(usable):
    is_last = i + 1 == len(usable) or not usable[i + 1] or steps[i] > limit
    if is_usable and is_last:
      yield first, i
    if not is_usable or is_last:
      first = i + 1


def spread_windows(run: tuple[int, int], length: int, overlap: int) -> list[tuple[int, int]]:
  """Cover a run of frames with the smallest number of windows.

  Neighbours share `overlap` frames, or more if the windows do not fill the run exactly; a window is
  shorter than `length` only if the run is.

  Args:
    run: first and last index.
    length: frames per window.
    overlap: minimum number of shared frames.

  Returns:
    First and last index of every window.
  """
  first, last = run
  count = last - first + 1
  if count <= length:
    return [run]
  num_windows = -(-(count - overlap) // (length - overlap))
  starts = np.linspace(0, count - length, num_windows).round().astype(int)
  return [(first + int(start), first + int(start) + length - 1) for start in starts]


def _visible_primitives(
  primitives: list[PrimitiveRecord], dataset: DatasetIndex, window: range, scene: SceneConfig
) -> list[PrimitiveRecord]:
  """Return the primitives that training on the frames with these indices would use."""
  frames = tuple(dataset.frames[i] for i in window)
  annotated = primitives_lib.deduplicate(
    [
      p
      for p in primitives
      if primitives_lib.annotated_in_window(
        p.start_frame, p.end_frame, p.timestamp, frames, scene.annotation_margin_frames
      )
    ]
  )
  part = slice(window.start * len(dataset.cameras), window.stop * len(dataset.cameras))
  cameras = bounds.CameraArray(
    dataset.world_from_cam[part], dataset.intrinsics[part], dataset.sizes[part]
  )
  return bounds.cull_invisible(annotated, cameras, float(scene.far))[0]
