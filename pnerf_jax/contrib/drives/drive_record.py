"""The summary of the merged labels of one sequence, from which the report of a drive is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.contrib.drives.window_labels import WindowLabels
from pnerf_jax.data import image_io, labels
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation.evaluator import read_metrics
from pnerf_jax.runs.provenance import read_sessions

_NUM_SHOWN = 3  # pictures of a kind
_METRICS = ('confidence.mean', 'semantic.miou', 'panoptic.all.pq', 'agreement.pixels', 'image.psnr')


def record(
  windows: Sequence[WindowLabels],
  chosen: dict[int, WindowLabels],
  shared: Sequence[dict[str, Any]],
) -> dict[str, Any]:
  """Summarise the merged labels of one sequence as JSON types.

  Args:
    windows: the windows of the sequence.
    chosen: the window that each frame is taken from.
    shared: images that two windows label: camera, frame, windows, and the fraction of pixels with
      one class, 'semantic'.

  Returns:
    Class shares of all merged images, mean confidence by frame, a description of every window, and
    the images with the lowest confidence and the lowest agreement, which the report shows.
  """
  images = [(part, camera, frame) for frame, part in chosen.items() for camera in part.cameras]
  counts, means = zip(*map_threads(lambda image: _count(*image), images))
  pixels = np.sum(counts, axis=0)
  confidence: dict[int, list[float]] = {}
  for (_, _, frame), mean in zip(images, means):
    confidence.setdefault(frame, []).append(mean)
  return {
    'data': windows[0].data.root,
    'cameras': list(windows[0].cameras),
    'class_shares': {
      label.name: pixels[label.id] / pixels.sum() for label in labels.LABELS if pixels[label.id]
    },
    'confidence': {frame: float(np.mean(values)) for frame, values in confidence.items()},
    'windows': [_describe(part) for part in windows],
    'least_confident': [
      {**_image([part], camera, frame), 'confidence': mean}
      for mean, _, (part, camera, frame) in _lowest(means, images)
    ],
    'least_agreeing': _least_agreeing(windows, shared),
  }


def _count(part: WindowLabels, camera: str, frame: int) -> tuple[np.ndarray, float]:
  """Return the number of pixels by class id [NUM_IDS] and the mean confidence of an image."""
  semantic = image_io.read_label(part.path(camera, 'semantic', frame))
  confidence = image_io.read_confidence(part.path(camera, 'confidence', frame))
  return np.bincount(semantic.ravel(), minlength=labels.NUM_IDS), float(confidence.mean())


def _lowest(values: Sequence[float], images: Sequence[Any]) -> list[tuple[float, int, Any]]:
  """Return the images with the lowest values, of every frame the lowest one."""
  found: dict[int, tuple[float, int, Any]] = {}
  for number, (value, image) in enumerate(zip(values, images)):
    found[image[2]] = min(found.get(image[2], (value, number, image)), (value, number, image))
  return sorted(found.values(), key=lambda entry: entry[:2])[:_NUM_SHOWN]


def _image(parts: Sequence[WindowLabels], camera: str, frame: int) -> dict[str, Any]:
  """Return the names of an image of one or more windows, the folders of its labels, its photo."""
  try:
    photo = str(open_dataset(parts[0].data).image_path(frame, camera))
  except InputError:  # the dataset is not on this machine
    photo = ''
  return {
    'camera': camera,
    'frame': frame,
    'windows': [part.window.index for part in parts],
    'folders': [str(part.folder.labels.absolute() / camera) for part in parts],
    'photo': photo,
  }


def _least_agreeing(
  windows: Sequence[WindowLabels], shared: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
  """Return the images with the lowest agreement, with the folders of both windows."""
  by_index = {part.window.index: part for part in windows}
  images = [(entry, entry['camera'], entry['frame']) for entry in shared if entry['semantic'] < 1]
  lowest = _lowest([entry['semantic'] for entry, _, _ in images], images)
  return [
    {
      **_image([by_index[index] for index in entry['windows']], camera, frame),
      'semantic': semantic,
    }
    for semantic, _, (entry, camera, frame) in lowest
  ]


def _describe(part: WindowLabels) -> dict[str, Any]:
  """Return the origin, the scores and the camera path of a window."""
  positions = [part.views[part.cameras[0], frame]['world_from_cam'] for frame in part.frames]
  session = (read_sessions(part.folder.run) or [{}])[-1]
  done = part.folder.read_done() or {}
  return {
    'index': part.window.index,
    'frames': format_ranges(part.frames),
    'folder': str(part.folder.path.absolute()),
    'positions': [[row[3] for row in pose[:2]] for pose in positions],
    'metrics': _metrics(part.folder.run / 'eval' / 'metrics.json'),
    'done': done.get('time', ''),
    'seconds': done.get('seconds', 0),
    **{key: session.get(key, '') for key in ('version', 'date', 'machine')},
  }


def _metrics(path: Path) -> dict[str, float]:
  """Return the metrics of a window that the report shows; {} without a readable file."""
  try:
    found = read_metrics(path)
  except InputError:
    return {}
  return {key: found[key] for key in _METRICS if key in found}
