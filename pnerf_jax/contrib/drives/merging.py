"""Merges the labels of overlapping windows into labels of whole sequences.

All images of a frame are taken from one window, the one with the highest mean confidence over the
pixels of all cameras; of two equals, the one in whose centre the frame lies. Instance ids are those
of the primitives, so they are the same in all windows.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from pnerf_jax.contrib.drives import frame_lists, manifest, overlap_agreement
from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.contrib.drives.overlap_agreement import OverlapAgreement
from pnerf_jax.contrib.drives.window_labels import KINDS, WindowLabels, find_window_labels
from pnerf_jax.data import files, image_io, kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_MARK = 'merged.json'  # distinguishes merged labels from a dataset with labels of its own
_MAX_PNG = 2**28


def merge(windows: Path, runs: Path, out: Path, partial: bool = False) -> dict[str, Any]:
  """Merge the labels of the windows of a manifest.

  Existing output files with the same contents are kept.

  Args:
    windows: the window manifest.
    runs: output root of the windows.
    out: root of the merged labels.
    partial: skip windows that are not done.

  Returns:
    The contents of OUT/overlap_agreement.json.

  Raises:
    InputError: labels are missing or inconsistent, or `out` contains a dataset.
  """
  runs, out = Path(runs), Path(out)
  specs = manifest.read(windows).windows
  labels = find_window_labels(specs, runs, partial)
  _claim(out)
  sequences: dict[str, Any] = {}
  overlaps: list[dict[str, Any]] = []
  total = OverlapAgreement()
  by_sequence: dict[str, list[WindowLabels]] = {}
  for part in labels:
    by_sequence.setdefault(part.window.sequence, []).append(part)
  for sequence, parts in by_sequence.items():
    window_of_frame = _write_frames(out, sequence, parts)
    frame_lists.write_lists(out, parts[0], window_of_frame)
    sequences[sequence] = _describe(specs, sequence, parts, window_of_frame)
    for first, second, frames in _overlaps(parts):
      agreement = _compare(first, second, frames)
      overlaps.append(
        {
          'windows': [first.window.index, second.window.index],
          'sequence': sequence,
          'frames': list(frames),
          **agreement.compute(),
        }
      )
      total = total.merge(agreement)
  result = {'sequences': sequences, 'overlaps': overlaps, 'all': total.compute()}
  files.write_bytes(out / 'overlap_agreement.json', json.dumps(result, indent=1).encode())
  return result


def report_lines(result: dict[str, Any]) -> list[str]:
  """Return the agreement of a merge as lines of text."""
  fraction = lambda value: 'no pixels' if value is None else f'{value:.4f}'
  agreement = lambda entry: (
    f'semantic {fraction(entry["semantic"])}, instance {fraction(entry["instance"])}'
  )
  lines = [
    f'windows {overlap["windows"][0]} and {overlap["windows"][1]},'
    f' {len(overlap["frames"])} frames: {agreement(overlap)}'
    for overlap in result['overlaps']
  ]
  return [*lines, f'all {len(lines)} overlaps: {agreement(result["all"])}']


def _claim(out: Path) -> None:
  """Mark a folder as merged labels. Raises InputError if it contains other labels."""
  if (out / _MARK).exists():
    return
  if (out / 'data_2d_semantics').exists() or (out / 'data_2d_raw').exists():
    raise InputError(
      f'--out={out}: contains a dataset, whose labels would be overwritten. Use another folder.'
    )
  files.check_is_folder(out, '--out')
  files.write_bytes(out / _MARK, b'{"by": "python -m pnerf_jax.merge"}\n')


def _write_frames(out: Path, sequence: str, labels: list[WindowLabels]) -> dict[int, int]:
  """Write all frames of a sequence; return the index of the window of every frame."""
  candidates: dict[int, list[WindowLabels]] = {}
  for part in labels:
    for frame in part.frames:
      candidates.setdefault(frame, []).append(part)
  window_of_frame = {}
  for frame in tqdm.tqdm(sorted(candidates), desc=sequence, unit='frame', mininterval=1.0):
    best = most_confident(frame, candidates[frame])
    _copy_frame(out, frame, best)
    window_of_frame[frame] = best.window.index
  return window_of_frame


def most_confident(frame: int, candidates: list[WindowLabels]) -> WindowLabels:
  """Return the candidate with the highest mean confidence in a frame."""
  if len(candidates) == 1:
    return candidates[0]

  def score(labels: WindowLabels) -> tuple[float, float]:
    """Return the key by which candidates are compared, the mean confidence first."""
    confidence = np.mean(
      [
        image_io.read_confidence(labels.path(camera, 'confidence', frame)).mean(dtype=np.float64)
        for camera in labels.cameras
      ]
    )
    return float(confidence), -abs(frame - (labels.frames[0] + labels.frames[-1]) / 2)

  return max(candidates, key=score)


def _copy_frame(out: Path, frame: int, labels: WindowLabels) -> None:
  """Copy the files of one frame atomically; identical files are kept."""
  for camera in labels.cameras:
    semantic_folder = kitti360.truth_folder(out, labels.window.sequence, camera, 'semantic')
    for kind in KINDS:
      source = labels.path(camera, kind, frame)
      content = files.read_bytes(source, _MAX_PNG, 'Run the window again.')
      target = semantic_folder.with_name(kind) / source.name
      if not target.is_file() or target.read_bytes() != content:
        files.write_bytes(target, content)


def _overlaps(
  labels: list[WindowLabels],
) -> Iterator[tuple[WindowLabels, WindowLabels, tuple[int, ...]]]:
  """Yield pairs of windows of one sequence with common frames, and these frames."""
  ordered = sorted(labels, key=lambda part: part.window.start)
  for i, first in enumerate(ordered):
    for second in ordered[i + 1 :]:
      frames = tuple(sorted(set(first.frames) & set(second.frames)))
      if frames:
        yield first, second, frames


def _compare(first: WindowLabels, second: WindowLabels, frames: Iterable[int]) -> OverlapAgreement:
  """Measure the agreement of two windows in their common frames."""
  total = OverlapAgreement()
  for frame in frames:
    for camera in first.cameras:
      read = lambda reader, kind: tuple(
        reader(labels.path(camera, kind, frame)) for labels in (first, second)
      )
      total = total.merge(
        overlap_agreement.compare(
          read(image_io.read_label, 'semantic'), read(image_io.read_instance, 'instance')
        )
      )
  return total


def _describe(
  windows: Sequence[WindowSpec],
  sequence: str,
  labels: list[WindowLabels],
  window_of_frame: dict[int, int],
) -> dict[str, Any]:
  """Return the summary of a sequence; logs skipped windows."""
  merged = {part.window.index for part in labels}
  skipped = [w.index for w in windows if w.sequence == sequence and w.index not in merged]
  if skipped:
    _LOG.warning('skipping windows %s of %s: not done', format_ranges(skipped), sequence)
  return {
    'frames': len(window_of_frame),
    'skipped_windows': skipped,
    'window_of_frame': {str(frame): index for frame, index in window_of_frame.items()},
  }
