"""What training learns from in every view of a window: photos, pseudo labels, pseudo depth.

Letters: V views (frame-major, cameras inner), H x W the largest training size of any view. A view
of a smaller one is in the upper left corner; beyond it there is nothing to learn from.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pnerf_jax.data import image_io, labels
from pnerf_jax.data.dataset import DatasetIndex
from pnerf_jax.distributed.process_shard import ProcessShard
from pnerf_jax.errors import InputError


def training_sizes(full_sizes: np.ndarray, scale: float, max_width: int) -> np.ndarray:
  """[V, 2] (width, height) of all training images: one scale, which the widest image decides."""
  scale = scale or _automatic(full_sizes[:, 0].max(), max_width)
  return np.array([training_size(tuple(size), scale, max_width) for size in full_sizes.tolist()])


def _automatic(width: int, max_width: int) -> float:
  return next((s for s in (1.0, 0.5) if width * s <= max_width), 0.25)


def training_size(full_size: tuple[int, int], scale: float, max_width: int) -> tuple[int, int]:
  """(width, height) of training images; scale 0 is the largest of 1, 1/2, 1/4 within max_width."""
  if not 0 <= scale <= 1:
    raise InputError(
      f'config.data.image_scale is {scale}. Use a share in (0, 1], or 0 for automatic.'
    )
  scale = scale or _automatic(full_size[0], max_width)
  width, height = (int(round(scale * x)) for x in full_size)
  if min(width, height) < 8:
    raise InputError(
      f'config.data.image_scale {scale} makes images of {width}x{height}. Use a larger one.'
    )
  return width, height


def read_layers(
  dataset: DatasetIndex, sizes: np.ndarray, share: ProcessShard, notes: list[str]
) -> tuple[np.ndarray | None, ...]:
  """(rgb, pseudo_label, pseudo_confidence, pseudo_depth) of all views at training size.

  Args:
    footage: of the window.
    sizes: [V, 2] (width, height) of training.
    share: the views that this process reads; the others' come from the others.
    notes: gets a line for the log on everything that is missing.

  Raises:
    InputError: a file that is missing or damaged.
  """
  views = dataset.views()
  if share.count > len(views):
    raise InputError(
      f'--processes: {share.count} processes for {len(views)} views. Start at most'
      ' as many as there are views.'
    )
  mine = share.range_of(len(views))
  rgb = np.zeros((len(mine), *sizes.max(0)[::-1], 3), np.uint8)
  with share.raise_together():
    for i in mine:
      photo = image_io.read_rgb(dataset.image_path(*views[i]), dataset.size(*views[i]))
      width, height = sizes[i].tolist()
      rgb[i - mine.start, :height, :width] = resize_area(photo, (width, height))
  return (
    share.join(rgb),
    *(read_layer(layer, dataset, sizes, share, notes) for layer in (_LABEL, _CONFIDENCE, DEPTH)),
  )


def _read_pseudo_label(path: Path, size: tuple[int, int]) -> np.ndarray:
  label = image_io.read_label(path, size, unknown_allowed=True)
  return np.where(np.isin(label, labels.UNKNOWN), 0, label).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class ImageLayer:
  """One kind of supervision beside the photos, and what stands where there is none."""

  name: str
  kind: str  # of kitti360.DERIVED
  read: Callable[[Path, tuple[int, int]], np.ndarray]
  fill_value: Any  # its type is that of the layer
  consequence: str


_LABEL = ImageLayer(
  'pseudo labels', 'pseudo_label', _read_pseudo_label, np.uint8(0), 'its label losses are off'
)
_CONFIDENCE = ImageLayer(
  'confidence of the pseudo labels',
  'pseudo_confidence',
  image_io.read_confidence,
  np.float32(1),
  '',
)
DEPTH = ImageLayer(
  'pseudo depth', 'pseudo_depth', image_io.read_depth, np.float32(0), 'its depth loss is off'
)


def read_layer(
  layer: ImageLayer, dataset: DatasetIndex, sizes: np.ndarray, share: ProcessShard, notes: list[str]
) -> np.ndarray | None:
  """One supervision layer [V, H, W]; `absent` where a view has none, None if no view has.

  Args: as of `read_layers`.
  """
  views = dataset.views()
  paths = [dataset.path_of(layer.kind, *view) for view in views]
  known = {camera for (_, camera), path in zip(views, paths) if path is not None}
  for camera in dataset.cameras:
    if layer.consequence and camera not in known:
      notes.append(
        f'no {layer.name} for {camera}: {layer.consequence}'
        f' ({dataset.folder_of(layer.kind, camera)})'
      )
  if not known:
    return None
  mine = share.range_of(len(views))
  stack = np.full((len(mine), *sizes.max(0)[::-1]), layer.fill_value)
  with share.raise_together():
    for i, (view, path) in enumerate(zip(views, paths)):
      if view[1] not in known:
        continue
      if path is None or not path.exists():
        notes.append(
          f'warning: {path or f"frame {view[0]} of {view[1]}"}: missing, no {layer.name}'
          ' for this frame'
        )
      elif i in mine:
        width, height = sizes[i].tolist()
        stack[i - mine.start, :height, :width] = resize_nearest(
          layer.read(path, dataset.size(*view)), (width, height)
        )
  return share.join(stack)


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Averages [H, W, 3] uint8 over the area of each new pixel; size: (width, height)."""
  if image.shape[1::-1] == tuple(size):
    return image
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The pixel under each new pixel's centre; [H, W]; size: (width, height)."""
  rows, columns = (
    ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size[::-1], image.shape)
  )
  return image[np.ix_(rows, columns)]
