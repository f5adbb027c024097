"""Stereo depth of a window's rectified image pairs, as PNGs that training reads."""

import logging

import numpy as np

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.contrib.preparation import outputs, stereo
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.errors import InputError
from pnerf_jax.runs.progress import progress_bar

_LOG = logging.getLogger(__name__)
# Tolerances within which two cameras count as rectified.
_MAX_ROTATION = 1e-3  # entries of the relative rotation matrix minus the identity
_MAX_OFFSET = 0.02  # translation across the baseline, as a fraction of the baseline
_MAX_INTRINSICS = 0.5  # difference of the intrinsics, pixels


def prepare_depth(
  data: DataConfig, min_depth: float = 3.0, overwrite: bool = False
) -> dict[str, int]:
  """Write stereo depth of both cameras for every frame of a window.

  Args:
    data: config.data.
    min_depth: smallest depth that is matched, metres.
    overwrite: replace existing complete files.

  Returns:
    {'written': files, 'kept': files}.

  Raises:
    InputError: the input is unreadable, the cameras are not rectified, or the output folder cannot
      be written.
  """
  outputs.check_writable(data, 'depth')
  dataset = open_dataset(data, stereo=True)
  for note in dataset.notes:
    _LOG.info(note)
  folders = [dataset.folder_of('pseudo_depth', camera) for camera in dataset.cameras]
  pairs = [rectified_pair(dataset, frame) for frame in dataset.frames]
  for folder in folders:
    outputs.make_folder(folder)
  count = {'written': 0, 'kept': 0}
  valid_fractions = []
  for frame, (fx, baseline) in zip(progress_bar(dataset.frames, 'depth', 'frame'), pairs):
    size = dataset.size(frame, dataset.cameras[0])
    paths = [folder / f'{kitti360.frame_name(frame)}.png' for folder in folders]
    if not overwrite and all(
      outputs.is_complete(path, image_io.read_depth, size) for path in paths
    ):
      count['kept'] += len(paths)
      continue
    left, right = (
      image_io.read_rgb(dataset.image_path(frame, camera), size) for camera in dataset.cameras
    )
    for path, depth in zip(paths, stereo.stereo_depth(left, right, fx, baseline, min_depth)):
      image_io.write_depth(path, depth)
      valid_fractions.append(np.mean(depth > 0))
    count['written'] += len(paths)
  _LOG.info(
    'stereo depth in %s: %d files written, %d kept%s',
    folders[0].parent,
    count['written'],
    count['kept'],
    f', {np.mean(valid_fractions):.0%} of the pixels valid' if valid_fractions else '',
  )
  return count


def rectified_pair(dataset: DatasetIndex, frame: int) -> tuple[float, float]:
  """Return the focal length and baseline of a stereo pair.

  Args:
    dataset: opened with stereo=True, the left camera first.
    frame: frame number.

  Returns:
    (focal length in pixels, baseline in metres).

  Raises:
    InputError: the cameras are not rectified.
  """
  left, right = (dataset.view_index(frame, camera) for camera in dataset.cameras)
  left_from_right = np.linalg.inv(dataset.world_from_cam[left]) @ dataset.world_from_cam[right]
  baseline = float(left_from_right[0, 3])
  rotation = np.abs(left_from_right[:3, :3] - np.eye(3)).max()
  intrinsics = np.abs(dataset.intrinsics[left] - dataset.intrinsics[right]).max()
  offset = np.abs(left_from_right[1:3, 3]).max()
  sizes = {dataset.size(frame, camera) for camera in dataset.cameras}
  if (
    rotation > _MAX_ROTATION
    or offset > _MAX_OFFSET * abs(baseline)
    or intrinsics > _MAX_INTRINSICS
    or len(sizes) > 1
  ):
    raise InputError(
      f'frame {frame}: {" and ".join(dataset.cameras)} are not a rectified stereo pair:'
      f' axes differ by {rotation:.2g}, intrinsics by {intrinsics:.2g} pixels, the right'
      f' camera is {left_from_right[:3, 3].round(4).tolist()} m from the left.'
      ' Rectify the images, or use another pair.'
    )
  return float(dataset.intrinsics[left, 0]), baseline
