"""Pseudo labels of a window's photos by a 2D network, as PNGs that training reads.

Letters: N images of a batch.
"""

import functools
import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from pnerf_jax.contrib.preparation import outputs
from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.data import dataset as dataset_lib
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_READ_LABEL = functools.partial(image_io.read_label, unknown_allowed=True)


def prepare_labels(
  data: Any, network: str, batch: int = 4, overwrite: bool = False
) -> dict[str, int]:
  """Writes pseudo labels and their confidence for every view of a window.

  Args:
    data: config.data.
    network: 'KIND:PATH', see networks.load.
    batch: N, images given to the network at once.
    overwrite: replace whole files that are there already.

  Returns:
    {'written': images, 'kept': images}.
  """
  outputs.check_writable(data, 'labels')
  dataset = dataset_lib.open_dataset(data)
  for note in dataset.notes:
    _LOG.info(note)
  size = lambda view: dataset.size(*view)
  todo = [
    view
    for view in dataset.views()
    if overwrite or not all(map(functools.partial(_is_whole, size(view)), _paths(dataset, *view)))
  ]
  count = {'written': len(todo), 'kept': len(dataset.views()) - len(todo)}
  sure = []
  if todo:
    predict = networks.load(network)
    for camera in dataset.cameras:
      for path in _paths(dataset, dataset.frames[0], camera):
        outputs.make_folder(path.parent)
    with tqdm.tqdm(total=len(todo), desc='labels', unit='image', mininterval=1.0) as bar:
      # Images of one batch have one size.
      for _, group in itertools.groupby(sorted(todo, key=size), key=size):
        same = list(group)
        for start in range(0, len(same), batch):
          sure += _label(dataset, same[start : start + batch], predict)
          bar.update(len(same[start : start + batch]))
  _LOG.info(
    'pseudo labels in %s: %d images written, %d kept (--overwrite replaces them)%s',
    dataset.derived / 'data_2d_pseudo_semantics',
    count['written'],
    count['kept'],
    f', mean confidence {np.mean(sure):.2f}' if sure else '',
  )
  return count


def _paths(dataset: dataset_lib.DatasetIndex, frame: int, camera: str) -> tuple[Path, Path]:
  """Label and confidence of a view."""
  name = f'{kitti360.frame_name(frame)}.png'
  return tuple(
    dataset.folder_of(kind, camera) / name for kind in ('pseudo_label', 'pseudo_confidence')
  )


def _is_whole(size: tuple[int, int], path: Path) -> bool:
  read = image_io.read_confidence if path.parent.name == 'confidence' else _READ_LABEL
  return outputs.is_whole(path, read, size)


def _label(
  dataset: dataset_lib.DatasetIndex, views: list[tuple[int, str]], predict: networks.Predict
) -> list[float]:
  """Writes the files of some views; returns their mean confidences."""
  photos = np.stack(
    [image_io.read_rgb(dataset.image_path(*view), dataset.size(*view)) for view in views]
  )
  sure = []
  for view, ids, confidence in zip(views, *predict(photos)):
    if not np.isfinite(confidence).all():
      raise InputError(
        f"{dataset.image_path(*view)}: the network's answer is not finite. Use other weights."
      )
    label_path, confidence_path = _paths(dataset, *view)
    image_io.write_confidence(confidence_path, confidence)
    image_io.write_label(label_path, ids)
    sure.append(float(confidence.mean()))
  return sure
