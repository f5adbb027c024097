"""Labelled photos of datasets in KITTI-360's layout, and random crops of them.

Letters: N crops of a batch, h and w their size.
"""

import dataclasses
import functools
import glob
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pnerf_jax.contrib.segmentation.cityscapes import IGNORED, TRAIN_FROM_ID
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

_CACHE = 2**30  # bytes of decoded photos and labels kept in memory


@dataclasses.dataclass(frozen=True)
class Photo:
  """One labelled photo. rgb, label: the PNGs. size: (width, height)."""

  rgb: Path
  label: Path
  size: tuple[int, int]


def find_photos(data: Any) -> tuple[Photo, ...]:
  """All photos of config.data that have labels, in a fixed order.

  Args:
    data: roots (separated by commas, may be patterns), sequence ('' = all), cameras, frames
      (() = all).

  Raises:
    InputError: a root or frame without a labelled photo.
  """
  photos, frames_seen = [], set()
  for root in _roots(data.roots):
    folder = root / 'data_2d_raw'
    sequences = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
    before = len(photos)
    for sequence in (s for s in sequences if data.sequence in ('', s)):
      for camera in data.cameras:
        photos += _photos_of(root, sequence, camera, data.frames, frames_seen)
    if len(photos) == before:
      raise InputError(
        f'{root}: holds no labelled photo (data_2d_raw and data_2d_semantics/train'
        f' of {data.sequence or "any sequence"}, cameras {tuple(data.cameras)},'
        f' frames {tuple(data.frames) or "all"}). Set --config.data.roots.'
      )
  lacking = sorted(set(data.frames) - frames_seen)
  if lacking:
    raise InputError(
      f'config.data.frames: no labelled photo of frame {lacking[0]}. Name frames that have labels.'
    )
  return tuple(photos)


def _roots(patterns: str) -> list[Path]:
  found = []
  for pattern in patterns.split(','):
    roots = sorted(map(Path, glob.glob(pattern)))
    if not roots:
      raise InputError(
        f'config.data.roots: {pattern!r} names no folder. Name datasets, separated by commas.'
      )
    found += roots
  return found


def _photos_of(
  root: Path, sequence: str, camera: str, frames: tuple[int, ...], seen: set[int]
) -> list[Photo]:
  """Labelled photos of one camera; adds their frames to `seen`."""
  rgb = kitti360.rgb_folder(root, sequence, camera)
  label = kitti360.truth_folder(root, sequence, camera, 'semantic')
  labelled = set(kitti360.frames_in(label))
  found = [f for f in kitti360.frames_in(rgb) if f in labelled and (not frames or f in frames)]
  seen.update(found)
  names = [f'{kitti360.frame_name(frame)}.png' for frame in found]
  return [Photo(rgb / name, label / name, image_io.read_size(rgb / name)) for name in names]


class Crops:
  """Random crops of photos, as a pure function of (seed, step).

  A crop is flipped by chance, scaled by a random factor and cut out at a random place; what of it
  lies outside the photo is black and has no class (Zhao et al., PSPNet, section 4.1).
  """

  def __init__(
    self, photos: tuple[Photo, ...], size: tuple[int, int], scales: tuple[float, float], seed: int
  ):
    """size: (rows, columns) of a crop. scales: lowest and highest factor. seed: of everything."""
    self._photos, self._size, self._scales, self._seed = photos, size, scales, seed
    largest = max(photo.size[0] * photo.size[1] for photo in photos)
    self._read = functools.lru_cache(max(1, _CACHE // (4 * largest)))(read)

  def batch(self, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """N = count crops of a step: [N, h, w, 3] uint8 and train indices [N, h, w] uint8."""
    crops = [self._crop(np.random.default_rng([self._seed, step, i])) for i in range(count)]
    return tuple(map(np.stack, zip(*crops)))

  def _crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rgb, train = self._read(self._photos[rng.integers(len(self._photos))])
    factor = np.exp(rng.uniform(*np.log(self._scales)))
    if rng.random() < 0.5:
      rgb, train = rgb[:, ::-1], train[:, ::-1]
    width, height = (max(1, round(factor * x)) for x in rgb.shape[1::-1])
    shrinks = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    rgb = cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=shrinks)
    train = cv2.resize(
      np.ascontiguousarray(train), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return cut(rgb, train, self._size, rng)


def read(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
  """[H, W, 3] uint8, and train indices [H, W] uint8, 255 = no class."""
  return image_io.read_rgb(photo.rgb), TRAIN_FROM_ID[image_io.read_label(photo.label, photo.size)]


def cut(
  rgb: np.ndarray, train: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """A piece of size (rows, columns) at a random place; a smaller photo lies within it whole."""
  out_rgb = np.zeros((*size, 3), np.uint8)
  out_train = np.full(size, IGNORED, np.uint8)
  here, there = [], []
  for have, want in zip(train.shape, size):
    start = rng.integers(abs(have - want) + 1)
    length = min(have, want)
    here.append(slice(start, start + length) if want > have else slice(0, length))
    there.append(slice(start, start + length) if have >= want else slice(0, length))
  out_rgb[tuple(here)], out_train[tuple(here)] = rgb[tuple(there)], train[tuple(there)]
  return out_rgb, out_train
