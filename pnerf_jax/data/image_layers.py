"""The images of a window at training size: RGB, pseudo-labels and pseudo depth.

Letters: V views (frame-major, cameras inner), H x W the largest training size of any view. A view
of a smaller one fills the upper left corner; beyond it there is no supervision.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from pnerf_jax.data import image_io, labels
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges
from pnerf_jax.data.files import ReadableFile
from pnerf_jax.distributed import processes
from pnerf_jax.errors import InputError


def training_sizes(full_sizes: np.ndarray, scale: float, max_width: int) -> np.ndarray:
  """Return the [V, 2] (width, height) of training images.

  Args:
    full_sizes: [V, 2] (width, height).
    scale: of all images; 0 = the largest of 1, 1/2 and 1/4 at which none is wider than max_width.
    max_width: pixels.
  """
  if not scale:
    width = full_sizes[:, 0].max()
    scale = next((s for s in (1.0, 0.5) if width * s <= max_width), 0.25)
  sizes = np.round(scale * full_sizes).astype(int)
  if sizes.min() < 8:
    width, height = sizes[sizes.min(1).argmin()]
    raise InputError(
      f'config.data.image_scale {scale} makes images of {width}x{height}. Use a larger one.'
    )
  return sizes


def _read_pseudo_label(path: ReadableFile, size: tuple[int, int]) -> np.ndarray:
  label = image_io.read_label(path, size, unknown_allowed=True)
  return np.where(np.isin(label, labels.UNKNOWN), 0, label).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class ImageLayer:
  """A kind of supervision other than RGB.

  Attributes:
    name: for the log.
    kind: a key of kitti360.DERIVED.
    read: returns [H, W] of a path and a (width, height).
    fill_value: value where there is no file; its type is that of the layer.
    note: consequence, for the log, of a camera without this layer; '' = none.
  """

  name: str
  kind: str
  read: Callable[[ReadableFile, tuple[int, int]], np.ndarray]
  fill_value: Any
  note: str


_LABEL = ImageLayer(
  'pseudo-labels', 'pseudo_label', _read_pseudo_label, np.uint8(0), 'its label losses are off'
)
_CONFIDENCE = ImageLayer(
  'pseudo-label confidence', 'pseudo_confidence', image_io.read_confidence, np.float32(1), ''
)
DEPTH = ImageLayer(
  'pseudo depth', 'pseudo_depth', image_io.read_depth, np.float32(0), 'its depth loss is off'
)


def read_layers(
  dataset: DatasetIndex, sizes: np.ndarray, notes: list[str]
) -> tuple[np.ndarray | None, ...]:
  """Read (rgb, pseudo_label, pseudo_confidence, pseudo_depth) of all views at training size.

  Every process reads its share of the views and returns all of them.

  Args:
    dataset: the window's files.
    sizes: [V, 2] (width, height) of training.
    notes: receives a line for the log on everything that is missing.

  Raises:
    InputError: a file is missing or damaged.
  """
  views = dataset.views()
  if processes.count() > len(views):
    raise InputError(
      f'--processes: {processes.count()} processes for {len(views)} views. Start at most as many'
      ' as there are views.'
    )

  def read_rgb(i: int) -> np.ndarray:
    image = image_io.read_rgb(dataset.image_path(*views[i]), dataset.size(*views[i]))
    return resize_area(image, tuple(sizes[i].tolist()))

  rgb = _read_views(sizes, np.zeros(3, np.uint8), read_rgb)
  layers = (read_layer(layer, dataset, sizes, notes) for layer in (_LABEL, _CONFIDENCE, DEPTH))
  return rgb, *layers


def read_layer(
  layer: ImageLayer, dataset: DatasetIndex, sizes: np.ndarray, notes: list[str]
) -> np.ndarray | None:
  """Read one layer [V, H, W]; None if no view has it.

  Args: as of `read_layers`.
  """
  views = dataset.views()
  paths = [dataset.path_of(layer.kind, *view) for view in views]
  available = {camera for (_, camera), path in zip(views, paths) if path is not None}
  existing = [path if path is not None and path.exists() else None for path in paths]
  for camera in dataset.cameras:
    missing = [frame for (frame, c), path in zip(views, existing) if c == camera and path is None]
    folder, name = dataset.folder_of(layer.kind, camera), f'no {layer.name} for {camera}'
    if camera in available and missing:
      count = f'{len(missing)} of {len(dataset.frames)} frames, {format_ranges(missing)}'
      notes.append(f'warning: {name} in {count} ({folder})')
    elif layer.note and missing:
      notes.append(f'{name}: {layer.note} ({folder})')
  if not available:
    return None

  def read(i: int) -> np.ndarray | None:
    path = existing[i]
    if path is None:
      return None
    return resize_nearest(layer.read(path, dataset.size(*views[i])), sizes[i])

  return _read_views(sizes, layer.fill_value, read)


def _read_views(
  sizes: np.ndarray, fill_value: np.ndarray, read: Callable[[int], np.ndarray | None]
) -> np.ndarray:
  """Stack `read(i)` [h, w, ...] of all views to [V, H, W, ...]; the processes share the work."""
  part = processes.range_of(len(sizes))
  # Memory of zeros is taken when it is written, so after the first image had the size claimed.
  stack = np.zeros((len(part), *sizes.max(0)[::-1], *fill_value.shape), fill_value.dtype)
  if fill_value.any():
    stack[:] = fill_value
  with processes.raise_together():
    for i in part:
      image = read(i)
      if image is not None:
        stack[i - part.start, : image.shape[0], : image.shape[1]] = image
  return processes.all_gather_rows(stack)


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Average [H, W, 3] uint8 over the area of each pixel of an image of `size` (width, height)."""
  if image.shape[1::-1] == size:
    return image
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Sample [H, W] at the pixel centres of an image of `size` (width, height)."""
  rows, columns = (
    ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size[::-1], image.shape)
  )
  return image[np.ix_(rows, columns)]
