"""Derives what KITTI-360 does not ship and training uses, and takes over what others trained.

    python -m pnerf_jax.prepare depth --config=configs/kitti360.py[:variant] \\
        [--config.data.root=DATA --config.data.derived_root=DERIVED] [--overwrite]
    python -m pnerf_jax.prepare labels --config=configs/kitti360.py --network=transformers:FOLDER \\
        [--config.data....] [--batch=4] [--overwrite]
    python -m pnerf_jax.prepare tfds --config=configs/kitti360.py --out=DIR [--config.data....]
    python -m pnerf_jax.prepare check --config=configs/kitti360.py --out=check.png [--probe=false]
    python -m pnerf_jax.prepare transforms --config=configs/kitti360.py --out=DIR
    python -m pnerf_jax.prepare nuscenes --from=ROOT --out=DIR --scene=scene-0061
    python -m pnerf_jax.prepare released --from=ARCHIVE --out=ROOT
    python -m pnerf_jax.prepare weights --from=latest.pth --workdir=RUN \\
        --config=configs/kitti360.py:paper --config.scene.center=X,Y,Z --config.scene.far=F

`depth`: depth of both cameras from the rectified stereo pairs of the window, 16 bit PNGs under
data_2d_pseudo_depth/ of config.data.derived_root (by default the root). Whole files that are there
already are kept. `labels`: semantics of config.data.cameras by a 2D network, with its confidence,
under data_2d_pseudo_semantics/ there. `check`: tells whether a window is ready for training, in a report
and a picture.
`tfds`: the window's files, packed into a few large ones (config.data.source).
`transforms`: the window as a folder with a transforms.json, as nerfstudio reads it.
`nuscenes`: a scene of a dataset with nuScenes' tables, as such a folder.
`released`: the data that the authors of Panoptic NeRF released, as a folder, zip or tar file,
becomes a dataset in KITTI-360's layout. `weights`: a checkpoint that they released becomes a run
for eval, render and train. Exit codes: 0 done, 1 one clear error, 130 interrupted.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from absl import flags
from ml_collections import config_flags

from pnerf_jax import cli
from pnerf_jax.contrib.datasets import nuscenes
from pnerf_jax.contrib.preparation import check, export_transforms, outputs, prepare_labels, stereo
from pnerf_jax.contrib.release import dataset as released_data
from pnerf_jax.contrib.release import weights
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset import DatasetIndex, open_dataset
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
# Up to which two cameras count as rectified: rotation (entries of the matrix), the baseline's share
# across it, pixels.
_TURNED, _ASIDE, _BENT = 1e-3, 0.02, 0.5
_CONFIG = config_flags.DEFINE_config_file('config', None, 'The config.', lock_config=True)
_OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replaces files that are there already.')
_MIN_DEPTH = flags.DEFINE_float('min_depth', 3.0, 'Metres; nearer surfaces are not matched.', 0.5)
_NETWORK = flags.DEFINE_string(
  'network', None, 'labels: the 2D network, transformers:FOLDER or pspnet:CHECKPOINT.'
)
_BATCH = flags.DEFINE_integer('batch', 4, 'labels: images given to the network at once.', 1)
_FROM = flags.DEFINE_string(
  'from', None, 'nuscenes: the dataset. released: the archive. weights: the checkpoint.'
)
_SCENE = flags.DEFINE_string('scene', None, 'nuscenes: name of the scene, such as scene-0061.')
_OUT = flags.DEFINE_string(
  'out',
  None,
  'check: the picture, a PNG. nuscenes, released, transforms: the folder to write.'
  ' tfds: folder or fsspec address for the packed window.',
)
_PROBE = flags.DEFINE_bool('probe', True, 'check: makes a few steps to tell time and memory.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'weights: folder of the run to make.')


def main(command: str) -> None:
  """Runs one of the commands with the flags."""
  if command not in _COMMANDS:
    raise InputError(f'prepare {command}: no such command. Use one of: {", ".join(_COMMANDS)}.')
  _COMMANDS[command]()


def prepare_depth(data: Any, min_depth: float = 3.0, overwrite: bool = False) -> dict[str, int]:
  """Writes pseudo depth of both cameras for every frame of a window.

  Args:
    data: config.data.
    min_depth: metres; nearer surfaces are not matched.
    overwrite: replace whole files that are there already.

  Returns:
    {'written': files, 'kept': files}.
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
  valid = []
  for frame, (fx, baseline) in zip(
    tqdm.tqdm(dataset.frames, 'depth', unit='frame', mininterval=1.0), pairs
  ):
    size = dataset.size(frame, dataset.cameras[0])
    paths = [folder / f'{kitti360.frame_name(frame)}.png' for folder in folders]
    if not overwrite and all(outputs.is_whole(path, image_io.read_depth, size) for path in paths):
      count['kept'] += len(paths)
      continue
    left, right = (
      image_io.read_rgb(dataset.image_path(frame, camera), size) for camera in dataset.cameras
    )
    depths = stereo.stereo_depth(left, right, fx, baseline, min_depth)
    for path, depth in zip(paths, depths):
      image_io.write_depth(path, depth)
      valid.append(np.mean(depth > 0))
    count['written'] += len(paths)
  _LOG.info(
    'pseudo depth in %s: %d files written, %d kept%s',
    folders[0].parent,
    count['written'],
    count['kept'],
    f', {np.mean(valid):.0%} of the pixels valid' if valid else '',
  )
  return count


def rectified_pair(dataset: DatasetIndex, frame: int) -> tuple[float, float]:
  """(focal length in pixels, baseline in metres) of a frame's two cameras, checked to be rectified.

  Args:
    footage: of a pair, the left camera first.
    frame: its number.
  """
  left, right = (dataset.view_index(frame, camera) for camera in dataset.cameras)
  left_from_right = np.linalg.inv(dataset.world_from_cam[left]) @ dataset.world_from_cam[right]
  baseline = float(left_from_right[0, 3])
  turned = np.abs(left_from_right[:3, :3] - np.eye(3)).max()
  bent = np.abs(dataset.intrinsics[left] - dataset.intrinsics[right]).max()
  aside = np.abs(left_from_right[1:3, 3]).max()
  if (
    turned > _TURNED
    or aside > _ASIDE * abs(baseline)
    or bent > _BENT
    or (dataset.size(frame, dataset.cameras[0]) != dataset.size(frame, dataset.cameras[1]))
  ):
    raise InputError(
      f'frame {frame}: {" and ".join(dataset.cameras)} are no rectified stereo pair:'
      f' axes differ by {turned:.2g}, intrinsics by {bent:.2g} pixels, the right'
      f' camera is {left_from_right[:3, 3].round(4).tolist()} m from the left.'
      ' Rectify the images, or name another pair.'
    )
  return float(dataset.intrinsics[left, 0]), baseline


def _depth() -> None:
  if _CONFIG.value is None:
    raise InputError('--config is missing. Use --config=configs/kitti360.py.')
  prepare_depth(_CONFIG.value.data, _MIN_DEPTH.value, _OVERWRITE.value)


def _labels() -> None:
  _require(_CONFIG, _NETWORK)
  prepare_labels.prepare_labels(_CONFIG.value.data, _NETWORK.value, _BATCH.value, _OVERWRITE.value)


def _require(*wanted: flags.FlagHolder) -> None:
  for flag in wanted:
    if not flag.value:
      raise InputError(f'--{flag.name} is missing. See python -m pnerf_jax.prepare --help.')


def _check() -> None:
  _require(_CONFIG, _OUT)
  for line in check.check(_CONFIG.value, Path(_OUT.value), _PROBE.value):
    print(line)


def _nuscenes() -> None:
  _require(_FROM, _OUT, _SCENE)
  nuscenes.convert(Path(_FROM.value), Path(_OUT.value), _SCENE.value)


def _released() -> None:
  _require(_FROM, _OUT)
  released_data.convert(Path(_FROM.value), Path(_OUT.value))


def _weights() -> None:
  _require(_CONFIG, _FROM, _WORKDIR)
  weights.make_run(_CONFIG.value, Path(_WORKDIR.value), Path(_FROM.value))


def _tfds() -> None:
  _require(_CONFIG, _OUT)
  from pnerf_jax.data.tfds import pack  # tensorflow_datasets takes seconds to import

  pack.pack(_CONFIG.value.data, _OUT.value, _OVERWRITE.value)


def _transforms() -> None:
  _require(_CONFIG, _OUT)
  export_transforms.write(_CONFIG.value.data, Path(_OUT.value))


_COMMANDS = {
  'check': _check,
  'depth': _depth,
  'labels': _labels,
  'nuscenes': _nuscenes,
  'released': _released,
  'tfds': _tfds,
  'transforms': _transforms,
  'weights': _weights,
}

if __name__ == '__main__':
  cli.run(main, positional=1)
