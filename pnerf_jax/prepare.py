"""Prepare and check data before training, and import released data and weights.

    python -m pnerf_jax.prepare check --config=configs/kitti360.py --out=check.png [--probe=false]
    python -m pnerf_jax.prepare depth --config=configs/kitti360.py [--config.data....] [--overwrite]
    python -m pnerf_jax.prepare labels --config=configs/kitti360.py --network=transformers:FOLDER \\
        [--config.data....] [--batch=4] [--overwrite]
    python -m pnerf_jax.prepare pack --config=configs/kitti360.py --out=DIR [--config.data....]
    python -m pnerf_jax.prepare transforms --config=configs/kitti360.py --out=DIR
    python -m pnerf_jax.prepare nuscenes --from=ROOT --out=DIR --scene=scene-0061
    python -m pnerf_jax.prepare import-dataset --from=ARCHIVE --out=ROOT
    python -m pnerf_jax.prepare import-weights --from=latest.pth --workdir=RUN \\
        --config=configs/kitti360.py:paper --config.scene.center=X,Y,Z --config.scene.far=F

check: reports whether a window is ready for training, as text and a picture. The last line is the
  verdict; the exit code is 1 if it is "not ready".
depth: writes stereo depth of the window's rectified image pairs, 16 bit PNGs, to
  data_2d_pseudo_depth/ of config.data.derived_root (default: config.data.root).
labels: writes labels of a 2D network and their confidence to data_2d_pseudo_semantics/ there.
pack: packs the files of the window into a TFDS dataset (config.data.source=tfds).
transforms: exports the window as a folder with a transforms.json (nerfstudio).
nuscenes: converts a scene of a dataset with nuScenes' tables to such a folder.
import-dataset: converts the data released with Panoptic NeRF (a folder, zip or tar file) to
  KITTI-360's layout.
import-weights: converts a checkpoint released with Panoptic NeRF to a run for eval, render, train.

Existing complete files are kept. Exit codes: 0 done, 1 one clear error, 130 interrupted.
"""

import sys
from pathlib import Path

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.contrib.datasets import nuscenes
from pnerf_jax.contrib.preparation import check, export_transforms, prepare_depth, prepare_labels
from pnerf_jax.contrib.release import dataset as released_dataset
from pnerf_jax.contrib.release import weights
from pnerf_jax.errors import InputError

_CONFIG = cli.define_config_flag(Config)
_OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace existing files.')
_MIN_DEPTH = flags.DEFINE_float('min_depth', 3.0, 'depth: smallest depth matched, metres.', 0.5)
_NETWORK = flags.DEFINE_string(
  'network', '', 'labels: the 2D network, transformers:FOLDER or pspnet:PATH.'
)
_BATCH = flags.DEFINE_integer('batch', 4, 'labels: images per batch of the network.', 1)
_FROM = flags.DEFINE_string(
  'from',
  '',
  'nuscenes: the dataset. import-dataset: the archive. import-weights: the checkpoint.',
)
_SCENE = flags.DEFINE_string('scene', '', 'nuscenes: name of the scene, such as scene-0061.')
_OUT = flags.DEFINE_string(
  'out',
  '',
  'check: the picture, a PNG. nuscenes, import-dataset, transforms: the folder to write.'
  ' pack: folder or fsspec address of the packed window.',
)
_PROBE = flags.DEFINE_bool('probe', True, 'check: run a few steps to estimate time and memory.')
_WORKDIR = flags.DEFINE_string('workdir', '', 'import-weights: folder of the run to write.')


def _require(*required: flags.FlagHolder) -> None:
  for flag in required:
    if not flag.value:
      raise InputError(f'--{flag.name} is missing. See python -m pnerf_jax.prepare --help.')


def _config(*required: flags.FlagHolder) -> Config:
  _require(_CONFIG, *required)
  return parse_config(_CONFIG.value)


def _check() -> int:
  try:
    lines = check.check(
      _config(_OUT), Path(_OUT.value), _PROBE.value, cli.config_flags_of(sys.argv)
    )
  except InputError:
    print(check.NOT_READY)
    raise
  print('\n'.join(lines))
  return int(lines[-1].startswith(check.NOT_READY))


def _depth() -> None:
  prepare_depth.prepare_depth(_config().data, _MIN_DEPTH.value, _OVERWRITE.value)


def _labels() -> None:
  data = _config(_NETWORK).data
  prepare_labels.prepare_labels(data, _NETWORK.value, _BATCH.value, _OVERWRITE.value)


def _pack() -> None:
  data = _config(_OUT).data
  from pnerf_jax.contrib.preparation import pack_window  # tensorflow_datasets takes seconds

  pack_window.pack_window(data, _OUT.value, _OVERWRITE.value)


def _transforms() -> None:
  export_transforms.export_transforms(_config(_OUT).data, Path(_OUT.value))


def _nuscenes() -> None:
  _require(_FROM, _OUT, _SCENE)
  nuscenes.convert(Path(_FROM.value), Path(_OUT.value), _SCENE.value)


def _import_dataset() -> None:
  _require(_FROM, _OUT)
  released_dataset.convert(Path(_FROM.value), Path(_OUT.value))


def _import_weights() -> None:
  config = _config(_FROM, _WORKDIR)
  weights.make_run(config, Path(_WORKDIR.value), Path(_FROM.value))


_COMMANDS = {
  'check': _check,
  'depth': _depth,
  'import-dataset': _import_dataset,
  'import-weights': _import_weights,
  'labels': _labels,
  'nuscenes': _nuscenes,
  'pack': _pack,
  'transforms': _transforms,
}
_RENAMED = {'released': 'import-dataset', 'tfds': 'pack', 'weights': 'import-weights'}


if __name__ == '__main__':
  cli.run(_COMMANDS, _RENAMED)
