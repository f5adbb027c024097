"""What training learns from in every view of a window: photos, pseudo labels, pseudo depth.

Letters: V views (frame-major, cameras inner), H x W training size.
"""
from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pnerf_jax.data import kitti360, labels, png
from pnerf_jax.data.footage import Footage
from pnerf_jax.data.share import Share
from pnerf_jax.errors import InputError


def training_size(full_size: tuple[int, int], scale: float, max_width: int) -> tuple[int, int]:
  """(width, height) of training images; scale 0 is the largest of 1, 1/2, 1/4 within max_width."""
  if not 0 <= scale <= 1:
    raise InputError(f'config.data.scale is {scale}. Use a share in (0, 1], or 0 for automatic.')
  scale = scale or next((s for s in (1.0, 0.5) if full_size[0] * s <= max_width), 0.25)
  width, height = (int(round(scale * x)) for x in full_size)
  if min(width, height) < 8:
    raise InputError(f'config.data.scale {scale} makes images of {width}x{height}.'
                     ' Use a larger one.')
  return width, height


def read_layers(footage: Footage, size: tuple[int, int], share: Share,
                notes: list[str]) -> tuple[np.ndarray | None, ...]:
  """(rgb, pseudo_label, pseudo_confidence, pseudo_depth) of all views at training size.

  Args:
    footage: of the window.
    size: (width, height) of training.
    share: the views that this process reads; the others' come from the others.
    notes: gets a line for the log on everything that is missing.

  Raises:
    InputError: a file that is missing or damaged.
  """
  views = footage.views()
  if share.count > len(views):
    raise InputError(f'--processes: {share.count} processes for {len(views)} views. Start at most'
                     ' as many as there are views.')
  with share.together():
    rgb = np.stack([resize_area(png.read_rgb(footage.image_path(*views[i]), footage.size), size)
                    for i in share.of(len(views))])
  return (share.join(rgb), *(read_layer(layer, footage, size, share, notes)
                             for layer in (_LABEL, _CONFIDENCE, DEPTH)))


def _read_pseudo_label(path: Path, size: tuple[int, int]) -> np.ndarray:
  label = png.read_label(path, size, unknown_allowed=True)
  return np.where(np.isin(label, labels.UNKNOWN), 0, label).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Layer:
  """One kind of supervision beside the photos, and what stands where there is none."""
  name: str
  folder_of: Callable[..., Path]
  read: Callable[[Path, tuple[int, int]], np.ndarray]
  absent: Any  # its type is that of the layer
  consequence: str


_LABEL = Layer('pseudo labels', kitti360.pseudo_label_folder, _read_pseudo_label, np.uint8(0),
                'its label losses are off')
_CONFIDENCE = Layer('confidence of the pseudo labels', kitti360.pseudo_confidence_folder,
                     png.read_confidence, np.float32(1), '')
DEPTH = Layer('pseudo depth', kitti360.pseudo_depth_folder, png.read_depth, np.float32(0),
                'its depth loss is off')


def read_layer(layer: Layer, footage: Footage, size: tuple[int, int], share: Share,
               notes: list[str]) -> np.ndarray | None:
  """One supervision layer [V, H, W]; `absent` where a view has none, None if no view has.

  Args: as of `read_layers`.
  """
  folders = {camera: footage.folder(layer.folder_of, camera) for camera in footage.cameras}
  for camera, folder in folders.items():
    if layer.consequence and folder is None:
      place = layer.folder_of(footage.derived, footage.sequence, camera)
      notes.append(f'no {layer.name} for {camera}: {layer.consequence} ({place})')
  if not any(folders.values()):
    return None
  views = footage.views()
  mine = share.of(len(views))
  stack = np.full((len(mine), size[1], size[0]), layer.absent)
  with share.together():
    for i, (frame, camera) in enumerate(views):
      if folders[camera] is not None:
        path = folders[camera] / f'{kitti360.frame_name(frame)}.png'
        if not path.exists():
          notes.append(f'warning: {path}: missing, no {layer.name} for this frame')
        elif i in mine:
          stack[i - mine.start] = resize_nearest(layer.read(path, footage.size), size)
  return share.join(stack)


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Averages [H, W, 3] uint8 over the area of each new pixel; size: (width, height)."""
  if image.shape[1::-1] == tuple(size):
    return image
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The pixel under each new pixel's centre; [H, W]; size: (width, height)."""
  rows, columns = (
      ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size[::-1], image.shape))
  return image[np.ix_(rows, columns)]
