"""What of a dataset belongs to a window, and packing it into one TFDS dataset (builder.py)."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pnerf_jax.data import files, kitti360
from pnerf_jax.data.dataset import DatasetIndex, open_dataset
from pnerf_jax.data.tfds import builder
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)

_LEFT = '.packing-'  # start of the name of a folder that an interrupted call left


def window_files(dataset: DatasetIndex) -> list[dict[str, Any]]:
  """Every file that training or evaluation may read of a window, as far as it is there.

  Returns:
    For each `path` (inside the dataset), `kind`, `camera` ('' for none), `frame` (-1 for none) and
    `source`, where it lies now.
  """
  here, root, sequence = Path(), dataset.root, dataset.sequence
  found, taken = [], set()

  def add(kind: str, inside: Path, source: Any = None, camera: str = '', frame: int = -1) -> None:
    source = files.join(root, *inside.parts) if source is None else source
    if source.exists() and inside.as_posix() not in taken:
      taken.add(inside.as_posix())
      found.append(
        {
          'path': inside.as_posix(),
          'kind': kind,
          'camera': camera,
          'frame': frame,
          'source': source,
        }
      )

  for kind, inside in dataset.shared_files:
    add(kind, Path(inside))
  for frame, camera in dataset.views():
    name = f'{kitti360.frame_name(frame)}.png'
    for kind, folder_of in (kitti360.RECORDED | kitti360.DERIVED).items():
      if (kind, frame, camera) in dataset.explicit_paths:
        add(kind, Path(dataset.explicit_paths[kind, frame, camera]), None, camera, frame)
      inside = folder_of(here, sequence, camera) / name
      source = dataset.path_of(kind, frame, camera)
      if source is not None and str(source).endswith(inside.as_posix()):
        add(kind, inside, source, camera, frame)
  for frame in dataset.frames if dataset.pose_from_velo is not None else ():
    add('lidar', kitti360.velodyne_path(here, sequence, frame), frame=frame)
  return found


def pack(data: Any, out: str, overwrite: bool = False) -> bool:
  """Packs the window that `config.data` names; a whole one of the same files is kept.

  It is made in a temporary folder and appears under its name when it is whole. What an interrupted
  call left is removed by the next.

  Args:
    data: config.data.
    out: folder or fsspec address for it.
    overwrite: replace another packed window.

  Returns:
    Whether it was built.

  Raises:
    InputError: unreadable input; another packed window in `out`.
  """
  contents = window_files(open_dataset(data))
  if builder.exists(out) and not overwrite:
    _check_same(contents, out)
    return False
  local = '://' not in out
  if local:
    _made(Path(out))
  for left in Path(out).glob(f'{_LEFT}*') if local else ():
    shutil.rmtree(left)
  with tempfile.TemporaryDirectory(prefix=_LEFT, dir=out if local else None) as beside:
    built = builder.build(contents, Path(beside))
    size = sum(file.stat().st_size for file in built.iterdir())
    builder.publish(built, out)
  _LOG.info('%d files, %.1f MB, in %s', len(contents), size / 1e6, builder.place_in(out))
  return True


def _made(folder: Path) -> None:
  nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
  if not nearest.is_dir():
    raise InputError(f'--out={folder}: {nearest} is a file. Name a folder.')
  folder.mkdir(parents=True, exist_ok=True)


def _check_same(contents: list[dict[str, Any]], out: str) -> None:
  """InputError unless the packed window in `out` holds files of these names and sizes."""
  packed = builder.open_packed(out)
  ours = {item['path']: item['source'].stat().st_size for item in contents}
  for path in (*ours, *packed.sizes):
    if ours.get(path) != packed.sizes.get(path):
      raise InputError(
        f'{packed}: {path} has {packed.sizes.get(path, "no")} bytes there, but'
        f' {ours.get(path, "no")} now: it is another window, or packed before that'
        ' changed. Pass --overwrite or another --out.'
      )
  _LOG.info('%s: whole, %d files; kept', packed, len(contents))
