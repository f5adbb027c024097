"""Merges the labels of overlapping windows into labels of whole sequences.

All images of a frame are taken from one window, the one with the highest mean confidence over the
pixels of all cameras; of two equals, the one in whose centre the frame lies. Instance ids are those
of the primitives, so they are the same in all windows.
"""

import collections
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.contrib.drives import (
  drive_record,
  drive_report,
  frame_lists,
  manifest,
  overlap_agreement,
)
from pnerf_jax.contrib.drives.manifest import WindowManifest
from pnerf_jax.contrib.drives.overlap_agreement import OverlapAgreement
from pnerf_jax.contrib.drives.window_labels import WindowLabels, check_images, find_window_labels
from pnerf_jax.data import files, image_io, kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock
from pnerf_jax.runs.progress import progress_bar
from pnerf_jax.runs.provenance import provenance

_LOG = logging.getLogger(__name__)
_MARK = 'merged.json'  # distinguishes merged labels from a dataset; what the report needs
_AGREEMENT = 'overlap_agreement.json'
_OF_SEQUENCE = {_MARK: drive_report.FIELDS, _AGREEMENT: {'frames', 'window_of_frame'}}
_KINDS = ('semantic', 'semantic_rgb', 'instance', 'confidence')
_MAX_PNG, _MAX_JSON = 2**28, 2**30
_HINT = 'Merge into another --out.'


def merge(windows: Path, runs: Path, out: Path, partial: bool = False) -> dict[str, Any]:
  """Merge the labels of the windows of a manifest and write the report of the drive.

  Existing output files with the same contents are kept, and so is everything about sequences that
  are not in the manifest.

  Args:
    windows: the window manifest.
    runs: output root of the windows.
    out: root of the merged labels.
    partial: skip windows that are not done.

  Returns:
    The contents of OUT/overlap_agreement.json.

  Raises:
    InputError: labels are missing, damaged or inconsistent, `out` contains a dataset, or it
      contains frames of an earlier merge that no window of this one has.
  """
  runs, out = Path(runs), Path(out)
  table = manifest.read(windows)
  files.check_is_folder(out, '--out')
  labels = find_window_labels(table, runs, partial)
  by_sequence: dict[str, list[WindowLabels]] = collections.defaultdict(list)
  for part in labels:
    by_sequence[part.window.sequence].append(part)
  _check_target(out, by_sequence)
  check_images(labels)
  out.mkdir(parents=True, exist_ok=True)
  with lock.acquire(out, '--out'):
    content, agreement = _earlier_merges(out)
    files.write_bytes(out / _MARK, json.dumps(content).encode())
    records = content['sequences']
    overlaps = [o for o in agreement['overlaps'] if o['sequence'] not in by_sequence]
    for sequence, parts in by_sequence.items():
      frames = _write_frames(out, sequence, parts)
      frame_lists.write_lists(out, parts[0], frames)
      of_sequence, lowest = _overlaps(sequence, parts)
      overlaps += of_sequence
      agreement['sequences'][sequence] = _describe(table, sequence, parts, frames)
      records[sequence] = drive_record.record(parts, frames, lowest) | {
        **agreement['sequences'][sequence],
        'made': provenance(),
        'manifest': str(Path(windows).absolute()),
        'flags': table.flags,
      }
    result = {**agreement, 'overlaps': overlaps, 'all': _total(overlaps)}
    files.write_bytes(out / _AGREEMENT, json.dumps(result, indent=1).encode())
    files.write_bytes(out / _MARK, json.dumps(content, indent=1).encode())
    drive_report.write(out, records, result)
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


def _check_target(out: Path, labels: dict[str, list[WindowLabels]]) -> None:
  """Raise InputError if a folder holds labels that a merge would overwrite or leave unlisted."""
  if not (out / _MARK).exists():
    for name in ('data_2d_semantics', 'data_2d_raw', _AGREEMENT, 'report', 'report.html'):
      if os.path.lexists(out / name):
        raise InputError(
          f'--out={out}: contains {name}, which no merge has written. Use another folder.'
        )
    return
  for sequence, parts in labels.items():
    frames = {(camera, frame) for part in parts for camera, frame in part.views}
    folder = kitti360.truth_folder(out, sequence, 'camera', 'semantic').parents[1]
    for kind in folder.glob('*/*/'):
      others = {f for f in kitti360.frames_in(kind) if (kind.parent.name, f) not in frames}
      if others:
        raise InputError(
          f'{kind}: holds frames {format_ranges(others)} of an earlier merge, which are in no'
          f' window of this one. {_HINT}'
        )


def _earlier_merges(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """Return the contents of merged.json and overlap_agreement.json, empty ones if absent."""
  contents: list[Any] = [
    {'by': 'python -m pnerf_jax.merge', 'sequences': {}},
    {'sequences': {}, 'overlaps': []},
  ]
  for i, name in enumerate((_MARK, _AGREEMENT)):
    path = out / name
    content = files.read_json(path, _MAX_JSON, _HINT) if path.exists() else contents[i]
    try:
      overlaps = content.get('overlaps', [])
      is_valid = content.keys() >= contents[i].keys()
      is_valid &= all(r.keys() >= _OF_SEQUENCE[name] for r in content['sequences'].values())
      is_valid &= all({'sequence', 'frames', 'windows', 'images'} <= o.keys() for o in overlaps)
      _total(overlaps)
    except (AttributeError, KeyError, TypeError):
      is_valid = False
    if not is_valid:
      raise InputError(f'{path}: is damaged or of another version. {_HINT}')
    contents[i] = content
  return contents[0], contents[1]


def _write_frames(out: Path, sequence: str, labels: list[WindowLabels]) -> dict[int, WindowLabels]:
  """Write all frames of a sequence; return the window that each is taken from."""
  candidates: dict[int, list[WindowLabels]] = {}
  for part in labels:
    for frame in part.frames:
      candidates.setdefault(frame, []).append(part)
  chosen = {}
  for frame in progress_bar(sorted(candidates), sequence, 'frame'):
    chosen[frame] = most_confident(frame, candidates[frame])
    _copy_frame(out, frame, chosen[frame])
  return chosen


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
    for kind in _KINDS:
      source = labels.path(camera, kind, frame)
      content = files.read_bytes(source, _MAX_PNG, 'Run the window again.')
      target = semantic_folder.with_name(kind) / source.name
      if not target.is_file() or target.read_bytes() != content:
        files.write_bytes(target, content)


def _overlaps(
  sequence: str, labels: list[WindowLabels]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Compare all pairs of windows of a sequence that share frames.

  Returns:
    The entries of overlap_agreement.json; and of every shared image the camera, the frame, the two
    windows and the fraction of pixels with one class.
  """
  entries, images = [], []
  for first, second, frames in _pairs(labels):
    total = OverlapAgreement()
    windows = [first.window.index, second.window.index]
    for frame in frames:
      for camera in first.cameras:
        agreement = _compare(first, second, camera, frame)
        total = total.merge(agreement)
        semantic = agreement.compute()['semantic']
        images.append({'camera': camera, 'frame': frame, 'windows': windows, 'semantic': semantic})
    entry = {'windows': windows, 'sequence': sequence, 'frames': list(frames)}
    entries.append({**entry, **total.compute(), 'counts': total.counts()})
  return entries, images


def _pairs(
  labels: list[WindowLabels],
) -> Iterator[tuple[WindowLabels, WindowLabels, tuple[int, ...]]]:
  """Yield pairs of windows of one sequence with common frames, and these frames."""
  ordered = sorted(labels, key=lambda part: part.window.start)
  for i, first in enumerate(ordered):
    for second in ordered[i + 1 :]:
      frames = tuple(sorted(set(first.frames) & set(second.frames)))
      if frames:
        yield first, second, frames


def _compare(
  first: WindowLabels, second: WindowLabels, camera: str, frame: int
) -> OverlapAgreement:
  """Measure the agreement of two windows in one image."""
  read = lambda reader, kind: tuple(
    reader(labels.path(camera, kind, frame)) for labels in (first, second)
  )
  return overlap_agreement.compare(
    read(image_io.read_label, 'semantic'), read(image_io.read_instance, 'instance')
  )


def _total(overlaps: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Return the agreement of all overlaps of all sequences."""
  total = OverlapAgreement()
  for overlap in overlaps:
    total = total.merge(OverlapAgreement(**overlap['counts']))
  return total.compute()


def _describe(
  table: WindowManifest,
  sequence: str,
  labels: list[WindowLabels],
  window_of_frame: dict[int, WindowLabels],
) -> dict[str, Any]:
  """Return the summary of a sequence."""
  merged = {part.window.index for part in labels}
  return {
    'frames': len(window_of_frame),
    'skipped_windows': [
      w.index for w in table.windows if w.sequence == sequence and w.index not in merged
    ],
    'window_of_frame': {str(frame): p.window.index for frame, p in window_of_frame.items()},
  }
