"""Labelled images of datasets in KITTI-360's layout, and random crops of them.

Letters: N crops of a batch, h and w their size, H and W the size of an image.
"""

import dataclasses
import functools
import glob
from pathlib import Path

import cv2
import numpy as np

from pnerf_jax.contrib.segmentation.cityscapes import IGNORED, TRAIN_ID_FROM_ID
from pnerf_jax.contrib.segmentation.config import DataConfig
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

_CACHE_BYTES = 2**30  # of decoded images and labels kept in memory


@dataclasses.dataclass(frozen=True)
class LabelledImage:
  """The files of one labelled image.

  Attributes:
    rgb: path of the image.
    label: path of its label PNG.
    size: (width, height), pixels.
  """

  rgb: Path
  label: Path
  size: tuple[int, int]


def find_labelled_images(data: DataConfig) -> tuple[LabelledImage, ...]:
  """Return all images of config.data that have labels, in a fixed order.

  Raises:
    InputError: a root or frame without a labelled image.
  """
  images = []
  for root in _roots(data.roots):
    folder = root / 'data_2d_raw'
    sequences = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
    found = [
      image
      for sequence in sequences
      if data.sequence in ('', sequence)
      for camera in data.cameras
      for image in _images_of_camera(root, sequence, camera, data.frames)
    ]
    if not found:
      raise InputError(
        f'{root}: holds no labelled image (data_2d_raw and data_2d_semantics/train'
        f' of {data.sequence or "any sequence"}, cameras {tuple(data.cameras)},'
        f' frames {tuple(data.frames) or "all"}). Set --config.data.roots.'
      )
    images += found
  missing = sorted(set(data.frames) - {int(image.rgb.stem) for image in images})
  if missing:
    raise InputError(
      f'config.data.frames: no labelled image of frame {missing[0]}. Name frames that have labels.'
    )
  return tuple(images)


def _roots(patterns: str) -> list[Path]:
  roots = []
  for pattern in patterns.split(','):
    # A folder may have brackets in its name.
    matches = [Path(pattern)] if Path(pattern).is_dir() else sorted(map(Path, glob.glob(pattern)))
    if not matches:
      raise InputError(
        f'config.data.roots: {pattern!r} matches no folder. Name datasets, separated by commas.'
      )
    roots += matches
  return roots


def _images_of_camera(
  root: Path, sequence: str, camera: str, frames: tuple[int, ...]
) -> list[LabelledImage]:
  rgb = kitti360.rgb_folder(root, sequence, camera)
  label = kitti360.truth_folder(root, sequence, camera, 'semantic')
  labelled = set(kitti360.frames_in(label))
  names = [
    f'{kitti360.frame_name(frame)}.png'
    for frame in kitti360.frames_in(rgb)
    if frame in labelled and (not frames or frame in frames)
  ]
  return [LabelledImage(rgb / name, label / name, image_io.read_size(rgb / name)) for name in names]


class RandomCrops:
  """Random crops of labelled images, as a pure function of (seed, step).

  A crop is flipped with probability 1/2, scaled by a random factor and cut out at a random place;
  parts outside the image are black and have no class (Zhao et al., PSPNet, section 4.1).
  """

  def __init__(
    self,
    images: tuple[LabelledImage, ...],
    size: tuple[int, int],
    scales: tuple[float, float],
    seed: int,
  ):
    """Prepare the crops.

    Args:
      images: the labelled images.
      size: (height, width) of a crop, pixels.
      scales: lowest and highest factor.
      seed: seed of all choices.
    """
    self._images, self._size, self._scales, self._seed = images, size, scales, seed
    largest = max(image.size[0] * image.size[1] for image in images)
    self._read = functools.lru_cache(max(1, _CACHE_BYTES // (4 * largest)))(read)

  def batch(self, step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the crops of a step: [N, h, w, 3] uint8 and train ids [N, h, w] uint8."""
    crops = [self._crop(np.random.default_rng([self._seed, step, i])) for i in range(batch_size)]
    rgb, train_ids = map(np.stack, zip(*crops))
    return rgb, train_ids

  def _crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rgb, train_id = self._read(self._images[rng.integers(len(self._images))])
    factor = np.exp(rng.uniform(*np.log(self._scales)))
    if rng.random() < 0.5:
      rgb, train_id = rgb[:, ::-1], train_id[:, ::-1]
    width, height = (max(1, round(factor * x)) for x in rgb.shape[1::-1])
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    rgb = cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=interpolation)
    train_id = cv2.resize(
      np.ascontiguousarray(train_id), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return random_crop(rgb, train_id, self._size, rng)


def read(image: LabelledImage) -> tuple[np.ndarray, np.ndarray]:
  """Read an image: rgb [H, W, 3] uint8 and train ids [H, W] uint8, 255 = no class."""
  label = image_io.read_label(image.label, image.size)
  return image_io.read_rgb(image.rgb), TRAIN_ID_FROM_ID[label]


def random_crop(
  rgb: np.ndarray, train_id: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Cut out a piece of size (height, width); pad an image that is smaller.

  Args:
    rgb: [H, W, 3] uint8.
    train_id: [H, W] uint8.
    size: (h, w).
    rng: source of the position.
  """
  out_rgb = np.zeros((*size, 3), np.uint8)
  out_train_id = np.full(size, IGNORED, np.uint8)
  target, source = [], []
  for have, want in zip(train_id.shape, size):
    start = rng.integers(abs(have - want) + 1)
    length = min(have, want)
    target.append(slice(start, start + length) if want > have else slice(0, length))
    source.append(slice(start, start + length) if have >= want else slice(0, length))
  out_rgb[tuple(target)] = rgb[tuple(source)]
  out_train_id[tuple(target)] = train_id[tuple(source)]
  return out_rgb, out_train_id
