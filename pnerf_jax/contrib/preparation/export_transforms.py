"""Export of a window as a folder with a transforms.json (data/transforms.py)."""

import itertools
import logging
from pathlib import Path

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.data import files, image_io, kitti360, transforms
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.primitives_json import read_primitives
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_FOLDERS = {  # folder of every kind of file
  'rgb': 'images',
  'pseudo_label': 'semantics',
  'pseudo_confidence': 'confidence',
  'pseudo_depth': 'depth',
  'lidar_depth': 'lidar_depth',
  'true_semantic': 'gt_semantics',
  'true_instance': 'gt_instances',
  'true_confidence': 'gt_confidence',
}


def export_transforms(data: DataConfig, out: Path) -> transforms.Transforms:
  """Export the window that `config.data` selects; its files become links, or copies if necessary.

  Args:
    data: config.data.
    out: folder of transforms.json and the files; existing files are replaced.

  Returns:
    The contents of transforms.json.

  Raises:
    InputError: unreadable input, or primitives in several files.
  """
  out = Path(out)
  files.check_is_folder(out, '--out')
  files.check_output(out / transforms.NAME, transforms.MARK)
  if data.source == 'tfds':
    raise InputError(
      "config.data.source is 'tfds': a packed window has no files to link. Use the folder that was"
      ' packed.'
    )
  dataset = open_dataset(data)
  primitives_path = _primitives_path(data, dataset)
  records = _link_images(dataset, out)
  primitives_file = ''
  if primitives_path is not None:
    primitives_file = f'primitives{primitives_path.suffix}'
    files.link(primitives_path, out / primitives_file)
  stereo = dataset.stereo if set(dataset.stereo) <= set(dataset.cameras) else ()
  result = transforms.Transforms(
    dataset.sequence, records, dataset.cameras, stereo, primitives_file
  )
  path = out / transforms.NAME
  transforms.write(path, result)
  _LOG.info('%s: %d images of %d cameras', path, len(records), len(dataset.cameras))
  return result


def _primitives_path(data: DataConfig, dataset: DatasetIndex) -> Path | None:
  """Return the file of primitives that transforms.json will refer to, which is checked; or None."""
  primitives = [] if data.primitives == 'none' else dataset.primitives_paths(data.primitives)
  if len(primitives) > 1:
    raise InputError(
      f'config.data.primitives is {data.primitives!r}: {len(primitives)} files, but transforms.json'
      ' refers to one. Use train or train_full.'
    )
  if not primitives:
    return None
  count = itertools.count()
  read_primitives(primitives[0], lambda *_: next(count) < 0)
  if next(count) == 0 and primitives[0].suffix == '.xml':  # a link may lead to any XML
    raise InputError(f'{primitives[0]}: has no primitive. Set --config.data.primitives=none.')
  return primitives[0]


def _link_images(dataset: DatasetIndex, out: Path) -> dict[tuple[int, str], transforms.ImageRecord]:
  """Link the files of every view, and return what transforms.json says of them."""
  records = {}
  for view, (frame, camera) in enumerate(dataset.views()):
    paths = {}
    for kind in (*kitti360.RECORDED, *kitti360.DERIVED):
      source = dataset.path_of(kind, frame, camera)
      if source is None or not source.exists():
        continue
      suffix = Path(str(source)).suffix
      paths[kind] = f'{_FOLDERS[kind]}/{camera}/{kitti360.frame_name(frame)}{suffix}'
      if isinstance(source, Path):
        image_io.read_size(source)  # a link in the dataset may lead to any file
        files.link(source, out / paths[kind])
      else:  # depth in another unit than the one written here
        files.write_bytes(out / paths[kind], source.read_bytes())
    size, intrinsics = dataset.size(frame, camera), dataset.intrinsics[view]
    records[frame, camera] = transforms.ImageRecord(
      camera, frame, size, intrinsics, dataset.world_from_cam[view], paths
    )
  return records
