"""The label files of the windows, validated as a whole before anything is merged."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError
from pnerf_jax.runs.config_file import read_config

KINDS = ('semantic', 'semantic_rgb', 'instance', 'confidence')
_WINDOW_FIELDS = (('data', 'sequence'), ('data', 'start'), ('data', 'frames'))


@dataclasses.dataclass(frozen=True)
class WindowLabels:
  """The label files of one window.

  Attributes:
    window: the window.
    root: root of the dataset.
    folder: output folder of render.
    frames: labelled frame numbers, sorted.
    cameras: labelled cameras.
  """

  window: WindowSpec
  root: Path
  folder: Path
  frames: tuple[int, ...]
  cameras: tuple[str, ...]

  def path(self, camera: str, kind: str, frame: int) -> Path:
    """Return the path of one label file."""
    return self.folder / camera / kind / f'{kitti360.frame_name(frame)}.png'


def find_window_labels(
  windows: Iterable[WindowSpec], runs: Path, partial: bool
) -> list[WindowLabels]:
  """Find the labels of all windows and check that they are complete and consistent.

  Args:
    windows: windows of the manifest.
    runs: output root of the windows.
    partial: skip windows that are not done.

  Raises:
    InputError: a window is not done, lacks files, or differs from the others in its config or image
      size.
  """
  found, reference, not_done = [], None, []
  for window in windows:
    folder = WindowFolder(Path(runs, window.name))
    if folder.read_done() is None:
      not_done.append(window.index)
      continue
    config = read_config(folder.run / 'config.json')
    if reference is None:
      reference = (window.index, config)
    _check_same_config(folder, config, *reference)
    found.append(_labels_of_window(window, folder, config))
  if not_done and not (partial and found):
    raise InputError(
      f'{runs}: windows {format_ranges(not_done)} are not done. Run them (python -m'
      ' pnerf_jax.windows status gives the reasons), or merge the others with --partial.'
    )
  _check_same_size(found)
  return found


def _check_same_config(
  folder: WindowFolder, config: dict[str, Any], reference_index: int, reference: dict[str, Any]
) -> None:
  """Raise InputError if the configs of two windows differ in more than the window."""
  for group in sorted({*config, *reference}):
    a, b = config.get(group, {}), reference.get(group, {})
    for field in sorted({*a, *b}):
      value, expected = a.get(field, 'absent'), b.get(field, 'absent')
      if value != expected and (group, field) not in _WINDOW_FIELDS:
        raise InputError(
          f'{folder.run / "config.json"}: config.{group}.{field} is {value!r}, but {expected!r}'
          f' in window {reference_index}. Run both with one config.'
        )


def _check_same_size(labels: list[WindowLabels]) -> None:
  """Raise InputError if the image sizes of the windows of a sequence differ."""
  first_of_sequence: dict[str, tuple[tuple[int, int], Path]] = {}
  for part in labels:
    path = part.path(part.cameras[0], 'semantic', part.frames[0])
    size = image_io.read_size(path)
    expected, other = first_of_sequence.setdefault(part.window.sequence, (size, path))
    if size != expected:
      raise InputError(
        f'{path}: size {size}, but {other} has {expected}. Render all windows at one size.'
      )


def _labels_of_window(
  window: WindowSpec, folder: WindowFolder, config: dict[str, Any]
) -> WindowLabels:
  """List the labels of one window. Raises InputError if files are missing or unexpected."""
  cameras = tuple(config['data']['cameras'])
  frames_of = {
    (camera, kind): set(kitti360.frames_in(folder.labels / camera / kind))
    for camera in cameras
    for kind in KINDS
  }
  frames = tuple(sorted(set.union(*frames_of.values())))
  for (camera, kind), existing in frames_of.items():
    missing = sorted(set(frames) - existing)
    if missing or len(existing) != window.num_frames:
      problem = (
        f'lacks frames {format_ranges(missing)}'
        if missing
        else f'has {len(existing)} frames, but {window.num_frames} in the manifest'
      )
      raise InputError(
        f'{folder.labels / camera / kind}: {problem}. Delete {folder.path}/done.json'
        ' and run the window again.'
      )
  if not all(window.start <= frame < window.end for frame in frames):
    raise InputError(
      f'{folder.labels}: has frames {format_ranges(frames)}, which are not those of'
      f' window {window.index}. Delete the window and run it again.'
    )
  return WindowLabels(window, Path(config['data']['root']), folder.labels, frames, cameras)
