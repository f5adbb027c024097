"""The labels of the windows, validated as a whole before anything is merged."""

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pnerf_jax.config.schema import Config, DataConfig
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder, without_remedy
from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.data.files import check_is_folder
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.runs.progress import progress_bar

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WindowLabels:
  """The labels of one window.

  Attributes:
    window: the window.
    data: config.data.
    folder: output folder of the window.
    frames: labelled frame numbers, sorted.
    cameras: labelled cameras.
    views: entries of views.json by camera and frame.
  """

  window: WindowSpec
  data: DataConfig
  folder: WindowFolder
  frames: tuple[int, ...]
  cameras: tuple[str, ...]
  views: dict[tuple[str, int], dict[str, Any]]

  def path(self, camera: str, kind: str, frame: int) -> Path:
    """Return the path of one image of a kind of labelling.export."""
    return self.folder.labels / camera / kind / f'{kitti360.frame_name(frame)}.png'


def find_window_labels(manifest: WindowManifest, runs: Path, partial: bool) -> list[WindowLabels]:
  """Find the labels of all windows and check that they are complete and consistent.

  Args:
    manifest: the windows.
    runs: output root of the windows.
    partial: skip windows that are not done.

  Raises:
    InputError: a window is not done or was done with other flags, or its labels are not those of
      its frames.
  """
  check_is_folder(runs, '--runs')
  config, found, not_done = manifest.config(), [], {}
  for window in manifest.windows:
    folder = WindowFolder(Path(runs, window.name))
    status = folder.status(window.config(config))
    if status.name == 'done':
      found.append(_labels_of_window(window, folder, config))
    else:
      not_done[window.index] = ' '.join([status.name, status.detail]).strip().rstrip('.')
  if not_done and not (partial and found):
    index, reason = next(iter(not_done.items()))
    raise InputError(
      f'{runs}: windows {format_ranges(not_done)} are not done (window {index}: {reason}). Run'
      ' them, or merge the others with --partial.'
    )
  for index, reason in not_done.items():
    _LOG.warning('skipping window %d: %s', index, reason)
  _check_same_size(found, by_frame=config.data.source == 'transforms')
  return found


def check_images(labels: Iterable[WindowLabels]) -> None:
  """Raise InputError if an image is absent, damaged, of the wrong type or size, or class."""
  for part in progress_bar(labels, 'checking labels', 'window'):
    if damaged := part.folder.damaged_labels():
      raise InputError(
        f'{damaged[0]} Window {part.window.index} has {len(damaged)} such images: python -m'
        f' pnerf_jax.windows run --index={part.window.index} renders them again.'
      )


def _check_same_size(labels: Iterable[WindowLabels], by_frame: bool) -> None:
  """Raise InputError if images of a camera (and frame) have another size in another window."""
  sizes: dict[tuple, tuple[list[Any], Path]] = {}
  for part, camera, frame in _images(labels):
    view, path = part.views[camera, frame], part.path(camera, 'semantic', frame)
    size = [view['width'], view['height']]
    key = (part.window.sequence, camera, frame if by_frame else 0)
    expected, other = sizes.setdefault(key, (size, path))
    if size != expected:
      raise InputError(
        f'{path}: size {size[0]}x{size[1]}, but {other} has {expected[0]}x{expected[1]}. Render all'
        ' windows at one size.'
      )


def _images(labels: Iterable[WindowLabels]) -> Iterator[tuple[WindowLabels, str, int]]:
  for part in labels:
    for camera, frame in part.views:
      yield part, camera, frame


def _labels_of_window(window: WindowSpec, folder: WindowFolder, config: Config) -> WindowLabels:
  """Return the labels of one window. Raises InputError if they are not those of its frames."""
  again = f'python -m pnerf_jax.windows run --index={window.index}'
  try:
    views = (export.read_views(folder.labels) or {'views': {}})['views']
  except InputError as e:
    raise InputError(f'{without_remedy(e)} Render again: {again}') from None
  frames = tuple(sorted({frame for _, frame in views}))
  named = {camera: 0 for camera, _ in views}
  cameras = tuple(config.data.cameras) or tuple(named)
  lacking = [f'{c} {f}' for c in cameras for f in frames if (c, f) not in views]
  inside = all(window.start <= frame < window.end for frame in frames)
  if len(frames) != window.num_frames or lacking or not inside or set(named) - set(cameras):
    raise InputError(
      f'{folder.labels}: has frames {format_ranges(frames) or "none"} of {", ".join(named)}, not'
      f' the {window.num_frames} frames of {window.start}-{window.end - 1} of window {window.index}'
      f' and all of {", ".join(cameras)}. Render them: {again}'
    )
  return WindowLabels(window, window.config(config).data, folder, frames, cameras, views)
