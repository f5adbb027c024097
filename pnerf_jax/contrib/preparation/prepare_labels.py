"""Pseudo-labels of a window's images by a 2D network, as PNGs that training reads.

Letters: N images per batch, H, W size of an image.
"""

import functools
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.contrib.preparation import outputs
from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.errors import InputError
from pnerf_jax.runs.progress import progress_bar

_LOG = logging.getLogger(__name__)
_READERS: dict[str, Callable[[Path, tuple[int, int]], np.ndarray]] = {
  'pseudo_label': functools.partial(image_io.read_label, unknown_allowed=True),
  'pseudo_confidence': image_io.read_confidence,
}


def prepare_labels(
  data: DataConfig, network: str, batch_size: int = 4, overwrite: bool = False
) -> dict[str, int]:
  """Write pseudo-labels and their confidence for every image of a window.

  Args:
    data: config.data.
    network: 'KIND:PATH', see networks.load.
    batch_size: N.
    overwrite: replace existing complete files.

  Returns:
    {'written': images, 'kept': images}.

  Raises:
    InputError: the input or the network is unreadable, or the output folder cannot be written.
  """
  outputs.check_writable(data, 'labels')
  dataset = open_dataset(data)
  for note in dataset.notes:
    _LOG.info(note)
  views = dataset.views()
  missing = [view for view in views if overwrite or not _is_complete(dataset, *view)]
  confidences = []
  if missing:
    predict = networks.load(network)
    for camera in dataset.cameras:
      for kind in _READERS:
        outputs.make_folder(_path(dataset, kind, dataset.frames[0], camera).parent)
    size_of = lambda view: dataset.size(*view)
    with progress_bar(None, 'labels', 'image', total=len(missing)) as bar:
      # The images of a batch have the same size.
      for _, group in itertools.groupby(sorted(missing, key=size_of), key=size_of):
        same_size = list(group)
        for start in range(0, len(same_size), batch_size):
          batch = same_size[start : start + batch_size]
          confidences += _label(dataset, batch, predict)
          bar.update(len(batch))
  count = {'written': len(missing), 'kept': len(views) - len(missing)}
  _LOG.info(
    'pseudo-labels in %s: %d images written, %d kept (--overwrite replaces them)%s',
    dataset.derived_root / 'data_2d_pseudo_semantics',
    count['written'],
    count['kept'],
    f', mean confidence {np.mean(confidences):.2f}' if confidences else '',
  )
  return count


def _path(dataset: DatasetIndex, kind: str, frame: int, camera: str) -> Path:
  """Return the path of the label or confidence of an image."""
  return dataset.folder_of(kind, camera) / f'{kitti360.frame_name(frame)}.png'


def _is_complete(dataset: DatasetIndex, frame: int, camera: str) -> bool:
  """Return whether label and confidence of an image exist and can be read."""
  size = dataset.size(frame, camera)
  return all(
    outputs.is_complete(_path(dataset, kind, frame, camera), read, size)
    for kind, read in _READERS.items()
  )


def _label(
  dataset: DatasetIndex, views: list[tuple[int, str]], predict: networks.Predict
) -> list[float]:
  """Write labels and confidence of a batch of images; return their mean confidences."""
  images = np.stack(
    [image_io.read_rgb(dataset.image_path(*view), dataset.size(*view)) for view in views]
  )
  mean_confidences = []
  for view, label, confidence in zip(views, *predict(images)):
    if not np.isfinite(confidence).all():
      raise InputError(
        f'{dataset.image_path(*view)}: the output of the network is not finite. Use other weights.'
      )
    # The label is written last: without it the confidence is not used.
    image_io.write_confidence(_path(dataset, 'pseudo_confidence', *view), confidence)
    image_io.write_label(_path(dataset, 'pseudo_label', *view), label)
    mean_confidences.append(float(confidence.mean()))
  return mean_confidences
