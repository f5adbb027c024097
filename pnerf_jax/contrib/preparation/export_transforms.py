"""A window of any source as a folder with a transforms.json (data/transforms.py)."""

import logging
from pathlib import Path
from typing import Any

from pnerf_jax.data import files, kitti360, transforms
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
FOLDERS = {  # where the files of a kind go
  'rgb': 'images',
  'pseudo_label': 'semantics',
  'pseudo_confidence': 'confidence',
  'pseudo_depth': 'depth',
  'lidar_depth': 'lidar_depth',
  'true_semantic': 'gt_semantics',
  'true_instance': 'gt_instances',
  'true_confidence': 'gt_confidence',
}


def write(data: Any, out: Path) -> transforms.Transforms:
  """Describes the window that `config.data` names; its files are links, or copies if need be.

  Args:
    data: config.data.
    out: folder for transforms.json and the files; what is there under their names is replaced.

  Returns:
    What was written.

  Raises:
    InputError: unreadable input, primitives in several files.
  """
  out = Path(out)
  files.check_is_folder(out, '--out')
  if data.source == 'tfds':
    raise InputError(
      "config.data.source is 'tfds': a packed window has no files to link. Name the"
      ' folder that was packed.'
    )
  dataset = open_dataset(data)
  boxes = [] if data.primitives == 'none' else dataset.primitives_paths(data.primitives)
  if len(boxes) > 1:
    raise InputError(
      f'config.data.primitives is {data.primitives!r}: {len(boxes)} files, but boxes_path'
      ' names one. Use train or train_full.'
    )
  shots = {}
  for number, (frame, camera) in enumerate(dataset.views()):
    named = {}
    for kind in (*kitti360.RECORDED, *kitti360.DERIVED):
      source = dataset.path_of(kind, frame, camera)
      if source is not None and source.exists():
        named[kind] = f'{FOLDERS[kind]}/{camera}/{kitti360.frame_name(frame)}{source.suffix}'
        files.link(source, out / named[kind])
    shots[frame, camera] = transforms.ImageRecord(
      camera,
      frame,
      dataset.size(frame, camera),
      dataset.intrinsics[number],
      dataset.world_from_cam[number],
      named,
    )
  for path in boxes:
    files.link(path, out / f'primitives{path.suffix}')
  stereo = dataset.stereo if set(dataset.stereo) <= set(dataset.cameras) else ()
  found = transforms.Transforms(
    dataset.sequence,
    shots,
    dataset.cameras,
    stereo,
    f'primitives{boxes[0].suffix}' if boxes else '',
  )
  transforms.write(out / transforms.NAME, found)
  _LOG.info('%s: %d images of %d cameras', out / transforms.NAME, len(shots), len(dataset.cameras))
  return found
