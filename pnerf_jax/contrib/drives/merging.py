"""Joins the labels of overlapping windows to those of a drive.

A frame takes all its images from one window, the one that is surer of them: the higher mean
confidence over the pixels of all cameras; of two equals the one in whose middle the frame lies.
Instance ids are the primitives', so nothing has to be renumbered.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.drives import overlap_agreement
from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.data import files, image_io, kitti360
from pnerf_jax.data.dataset import ranges
from pnerf_jax.errors import InputError

KINDS = ('semantic', 'semantic_rgb', 'instance', 'confidence')
_LISTED = 'image_00'  # the camera of the official lists, if there is it
_MAX_PNG, _MAX_JSON = 2**28, 2**30


@dataclasses.dataclass(frozen=True)
class WindowLabels:
  """The labels of one window.

  Attributes:
    entry: of the table.
    root: the dataset.
    labels: DIR of render.
    frames: that it labels, sorted.
    cameras: that it labels.
  """

  entry: WindowSpec
  root: Path
  labels: Path
  frames: tuple[int, ...]
  cameras: tuple[str, ...]

  def path(self, camera: str, kind: str, frame: int) -> Path:
    """One of its files."""
    return self.labels / camera / kind / f'{kitti360.frame_name(frame)}.png'


def find_window_labels(
  entries: Iterable[WindowSpec], runs: Path, partial: bool
) -> list[WindowLabels]:
  """The labels of all windows, checked to be whole and of one kind before anything is written.

  Args:
    entries: of the table.
    runs: output root of the windows.
    partial: pass over windows that are not done.

  Raises:
    InputError: a window that is not done, lacks files, or differs from the others in its config or
      in the size of its images.
  """
  pieces, reference, undone = [], None, []
  for entry in entries:
    folder = WindowFolder(Path(runs, entry.name))
    if folder.done() is None:
      undone.append(entry.index)
      continue
    config = _config(folder)
    if reference is None:
      reference = (entry, config)
    _check_same_config(folder, config, *reference)
    pieces.append(_piece(entry, folder, config))
  if undone and not (partial and pieces):
    raise InputError(
      f'{runs}: windows {ranges(undone)} are not done. Run them (python -m'
      ' pnerf_jax.windows status tells why they are not), or join the others with'
      ' --partial.'
    )
  sizes = {}
  for piece in pieces:
    path = piece.path(piece.cameras[0], 'semantic', piece.frames[0])
    size = sizes.setdefault(piece.entry.sequence, (image_io.read_size(path), path))
    if image_io.read_size(path) != size[0]:
      raise InputError(
        f'{path}: size {image_io.read_size(path)}, but {size[1]} has {size[0]}. Render'
        ' all windows at one size.'
      )
  return pieces


def _config(folder: WindowFolder) -> dict:
  """RUN/config.json of a window."""
  path = folder.run / 'config.json'
  try:
    return json.loads(files.read_bytes(path, _MAX_JSON, 'Remove the window and run it again.'))
  except ValueError as e:
    if isinstance(e, InputError):
      raise
    raise InputError(f'{path}: not JSON ({e}). Remove the window and run it again.') from None


def _check_same_config(
  folder: WindowFolder, config: dict, other: WindowSpec, reference: dict
) -> None:
  """InputError where two windows differ in more than their place."""
  for group in sorted({*config, *reference}):
    ours, theirs = config.get(group, {}), reference.get(group, {})
    for field in sorted({*ours, *theirs}):
      a, b = ours.get(field, 'absent'), theirs.get(field, 'absent')
      if a != b and (group, field) not in (
        ('data', 'sequence'),
        ('data', 'start'),
        ('data', 'frames'),
      ):
        raise InputError(
          f'{folder.run / "config.json"}: config.{group}.{field} is {a!r}, but {b!r}'
          f' in window {other.index}. Run both with one config.'
        )


def _piece(entry: WindowSpec, folder: WindowFolder, config: dict) -> WindowLabels:
  """The labels of one window. Raises InputError where some are missing or not its own."""
  cameras = tuple(config['data']['cameras'])
  there = {
    (camera, kind): set(kitti360.frames_in(folder.labels / camera / kind))
    for camera in cameras
    for kind in KINDS
  }
  frames = tuple(sorted(set.union(*there.values())))
  for (camera, kind), found in there.items():
    lacking = sorted(set(frames) - found)
    if lacking or len(found) != entry.frames:
      what = (
        f'lacks frames {ranges(lacking)}'
        if lacking
        else f'holds {len(found)} frames, not {entry.frames} as in the table'
      )
      raise InputError(
        f'{folder.labels / camera / kind}: {what}. Remove {folder.path}/done.json'
        ' and run the window again.'
      )
  if not all(entry.start <= frame < entry.end for frame in frames):
    raise InputError(
      f'{folder.labels}: holds frames {ranges(frames)}, which are not those of'
      f' window {entry.index}. Remove the window and run it again.'
    )
  return WindowLabels(entry, Path(config['data']['root']), folder.labels, frames, cameras)


def candidates(pieces: Iterable[WindowLabels]) -> dict[int, list[WindowLabels]]:
  """The windows that label each frame of one drive, frames sorted."""
  found: dict[int, list[WindowLabels]] = {}
  for piece in pieces:
    for frame in piece.frames:
      found.setdefault(frame, []).append(piece)
  return dict(sorted(found.items()))


def most_confident(frame: int, pieces: list[WindowLabels]) -> WindowLabels:
  """The window from which a frame is taken."""
  if len(pieces) == 1:
    return pieces[0]

  def worth(piece: WindowLabels) -> tuple[float, float]:
    confidence = np.mean(
      [
        image_io.read_confidence(piece.path(camera, 'confidence', frame)).mean(dtype=np.float64)
        for camera in piece.cameras
      ]
    )
    return float(confidence), -abs(frame - (piece.frames[0] + piece.frames[-1]) / 2)

  return max(pieces, key=worth)


def write_frame(out: Path, frame: int, piece: WindowLabels) -> None:
  """Copies the files of one frame, each atomically; those that are there and equal are kept."""
  for camera in piece.cameras:
    for kind in KINDS:
      source = piece.path(camera, kind, frame)
      content = files.read_bytes(source, _MAX_PNG, 'Run the window again.')
      target = kitti360.truth_folder(out, piece.entry.sequence, camera, kind) / source.name
      if not target.is_file() or target.read_bytes() != content:
        files.write_bytes(target, content)


def seams_of(
  pieces: list[WindowLabels],
) -> Iterator[tuple[WindowLabels, WindowLabels, tuple[int, ...]]]:
  """Pairs of windows of one drive that label the same frames, and these frames."""
  ordered = sorted(pieces, key=lambda piece: piece.entry.start)
  for i, first in enumerate(ordered):
    for second in ordered[i + 1 :]:
      shared = tuple(sorted(set(first.frames) & set(second.frames)))
      if shared:
        yield first, second, shared


def agreement(
  first: WindowLabels, second: WindowLabels, frames: Iterable[int]
) -> overlap_agreement.OverlapAgreement:
  """How far two windows agree in the frames that both label."""
  total = overlap_agreement.OverlapAgreement()
  for frame in frames:
    for camera in first.cameras:
      read = lambda reader, kind: tuple(
        reader(piece.path(camera, kind, frame)) for piece in (first, second)
      )
      total = total.merge(
        overlap_agreement.compare(
          read(image_io.read_label, 'semantic'), read(image_io.read_instance, 'instance')
        )
      )
  return total


def write_lists(
  out: Path, root: Path, sequence: str, cameras: tuple[str, ...], frames: Iterable[int]
) -> None:
  """The official lists: images with labels of all drives, and the images of every instance.

  A frame of the dataset's own validation list goes into ours; all others are for training.

  Args:
    out: dataset of the joined labels.
    root: dataset that was labelled.
    sequence: the drive whose lines are written anew.
    cameras: labelled.
    frames: labelled.
  """
  camera = _LISTED if _LISTED in cameras else cameras[0]
  official = set(_lines(_list_path(root, 'val')))
  pairs = []
  for frame in frames:
    name = kitti360.frame_name(frame) + '.png'
    photo = kitti360.rgb_folder(Path(), sequence, camera) / name
    label = kitti360.truth_folder(Path(), sequence, camera, 'semantic') / name
    pairs.append(f'{photo} {label}')
  for split, wanted in (
    ('val', lambda line: line in official),
    ('train', lambda line: line not in official),
  ):
    path = _list_path(out, split)
    others = [line for line in _lines(path) if f'/{sequence}/' not in line]
    lines = sorted([*others, *filter(wanted, pairs)])
    if lines or path.exists():
      files.write_bytes(path, '\n'.join([*lines, '']).encode())
  _write_instances(out, sequence, camera, frames)


def _write_instances(out: Path, sequence: str, camera: str, frames: Iterable[int]) -> None:
  """instanceDict.json: value of the instance maps -> names of the images that hold it."""
  folder, images = kitti360.truth_folder(out, sequence, camera, 'instance'), {}
  for frame in frames:
    name = kitti360.frame_name(frame) + '.png'
    for value in np.unique(image_io.read_instance(folder / name)):
      images.setdefault(int(value), []).append(name)
  text = json.dumps({str(value): images[value] for value in sorted(images)})
  files.write_bytes(folder.parents[1] / 'instanceDict.json', text.encode())


def _list_path(root: Path, split: str) -> Path:
  return Path(root, 'data_2d_semantics', 'train', f'2013_05_28_drive_{split}_frames.txt')


def _lines(path: Path) -> list[str]:
  if not path.exists():
    return []
  content = files.read_bytes(path, _MAX_JSON, 'Copy it from KITTI-360 again.')
  return [line for line in content.decode('utf-8', 'replace').splitlines() if line.strip()]


def by_sequence(pieces: Iterable[WindowLabels]) -> dict[str, list[WindowLabels]]:
  """The windows of every drive."""
  found: dict[str, list[WindowLabels]] = {}
  for piece in pieces:
    found.setdefault(piece.entry.sequence, []).append(piece)
  return found
