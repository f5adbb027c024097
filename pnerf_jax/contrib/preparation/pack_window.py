"""Packing of a window into a TFDS dataset, in a folder or under an fsspec address."""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import filelock
import fsspec
import tensorflow_datasets as tfds

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.contrib.preparation.tfds_builder import Kitti360Window, source_files
from pnerf_jax.data import files, kitti360
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.tfds import reader
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_TEMPORARY = '.packing-'  # prefix of the temporary folder
_BESIDE = '.packing'  # suffix of the address of an upload until it is whole
_REPLACED = 'replaced'  # the former dataset in it, until the new one is in its place


def pack_window(data: DataConfig, out: str, overwrite: bool = False) -> bool:
  """Pack the window that `config.data` names; keep a complete one of the same files.

  The dataset is built in a temporary folder and becomes readable when it is complete.

  Args:
    data: config.data.
    out: folder or fsspec address.
    overwrite: replace a packed window of other files.

  Returns:
    Whether it was built.

  Raises:
    InputError: unreadable input; a packed window of other files in `out`.
  """
  out.encode()  # fails now: the libraries that write the files need valid Unicode
  if '://' not in out:
    _prepare_folder(Path(out))
  dataset = open_dataset(data)
  fingerprint = _fingerprint(dataset)
  if reader.exists(out) and not overwrite:
    packed = reader.open_archive(out)
    if packed.metadata['fingerprint'] != fingerprint:
      raise InputError(
        f'{packed.address}: holds another window, or its files have changed since it was packed.'
        ' Pass --overwrite or another --out.'
      )
    _LOG.info('%s: complete, %d views; kept', packed.address, len(packed.views))
    return False
  local = '://' not in out
  with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=out if local else None) as folder:
    with files.file_lock(Path(folder, 'lock')):
      built = _build(dataset, fingerprint, folder)
      size = sum(path.stat().st_size for path in built.rglob('*') if path.is_file())
      if local:
        _move(built, Path(reader.address(out)))
      else:
        _upload(built, out)
  _LOG.info('%d views, %.1f MB, in %s', len(dataset.views()), size / 1e6, reader.address(out))
  return True


def _prepare_folder(out: Path) -> None:
  """Create a local folder, and clean up after interrupted calls.

  Raises InputError if a folder with the name of the dataset holds anything else.
  """
  files.check_is_folder(out, '--out')
  target = Path(reader.address(str(out)))
  files.check_is_folder(target, '--out')
  foreign = {path.name for path in target.glob('*')} - {reader.VIEWS, reader.PRIMITIVES, '.config'}
  if foreign:
    raise InputError(
      f'{target}: holds {min(foreign)}, which is not of a packed window. Use another --out.'
    )
  out.mkdir(parents=True, exist_ok=True)
  for interrupted in sorted(out.glob(f'{_TEMPORARY}*/')):
    # A lock means that another process is packing.
    with contextlib.suppress(filelock.Timeout), files.file_lock(interrupted / 'lock', timeout=0):
      if (interrupted / _REPLACED).exists() and not target.exists():
        os.replace(interrupted / _REPLACED, target)
      shutil.rmtree(interrupted)


def _build(dataset: DatasetIndex, fingerprint: str, folder: str) -> Path:
  """Build both datasets below a local folder; return the folder of both."""
  metadata = {
    'sequence': dataset.sequence,
    'cameras': list(dataset.cameras),
    'stereo': list(dataset.stereo),
    'pose_from_velo': None if dataset.pose_from_velo is None else dataset.pose_from_velo.tolist(),
    'fingerprint': fingerprint,
  }
  in_window = lambda start, end, timestamp: timestamp < 0 or timestamp in dataset.frames
  primitives = {
    split: dataset.read_primitives(split, in_window) for split in _primitive_splits(dataset)
  }
  tfds.disable_progress_bar()
  for name in (reader.VIEWS, reader.PRIMITIVES):
    builder = Kitti360Window(
      config=name,
      dataset=dataset,
      primitives=primitives,
      metadata={**metadata, 'primitives': list(primitives)},
      data_dir=folder,
      file_format='array_record',
    )
    with contextlib.redirect_stdout(io.StringIO()):  # names the temporary folder
      builder.download_and_prepare()
  return Path(folder, reader.NAME)


def _primitive_splits(dataset: DatasetIndex) -> list[str]:
  """Return the values of config.data.primitives that name one existing file."""
  if isinstance(dataset, reader.ArchiveIndex):
    return dataset.archive.metadata['primitives']
  if dataset.primitives is not None:
    return ['auto'] if dataset.primitives else []
  path = lambda split: kitti360.primitives_path(dataset.root, dataset.sequence, split)
  return [split for split in ('train_full', 'train') if path(split).exists()]


def _fingerprint(dataset: DatasetIndex) -> str:
  """Return a digest of the cameras, and of the sizes in bytes of all source files."""
  size = lambda file: file.stat().st_size if file else 0
  sizes = [
    [frame, camera, {kind: size(f) for kind, f in source_files(dataset, frame, camera).items()}]
    for frame, camera in dataset.views()
  ]
  splits: list[Any] = _primitive_splits(dataset)
  if not isinstance(dataset, reader.ArchiveIndex):
    splits = [[split, *(size(p) for p in dataset.primitives_paths(split))] for split in splits]
  text = json.dumps([dataset.sequence, sizes, splits])
  arrays = (dataset.sizes, dataset.intrinsics, dataset.world_from_cam)
  return hashlib.sha256(text.encode() + b''.join(a.tobytes() for a in arrays)).hexdigest()


def _move(built: Path, target: Path) -> None:
  """Move the datasets to a local folder; what is there is kept until they are in its place."""
  replaced = built.with_name(_REPLACED)
  try:
    if target.exists():
      os.replace(target, replaced)
    os.replace(built, target)
  finally:
    if replaced.exists() and not target.exists():
      os.replace(replaced, target)


def _upload(built: Path, root: str) -> None:
  """Copy the datasets to an address, replacing what is there when all of them are beside it."""
  system, place = fsspec.core.url_to_fs(reader.address(root))
  beside = f'{place}{_BESIDE}'
  names = [path.relative_to(built).as_posix() for path in built.rglob('*') if path.is_file()]
  names.sort(key=lambda name: name == reader.COMPLETE_FILE)  # the last one
  for folder, transfer in (
    (beside, lambda name: system.put_file(str(built / name), f'{beside}/{name}')),
    (place, lambda name: system.mv(f'{beside}/{name}', f'{place}/{name}')),
  ):
    if system.exists(folder):
      if system.exists(f'{folder}/{reader.COMPLETE_FILE}'):
        system.rm(f'{folder}/{reader.COMPLETE_FILE}')  # first, so that no part is read
      system.rm(folder, recursive=True)
    for name in names:
      system.makedirs(f'{folder}/{os.path.dirname(name)}', exist_ok=True)
      transfer(name)
  if system.exists(beside):
    system.rm(beside, recursive=True)
