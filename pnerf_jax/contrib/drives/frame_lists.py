"""KITTI-360's lists of labelled images: frames per split, and images per instance."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.drives.window_labels import WindowLabels
from pnerf_jax.data import files, image_io, kitti360

_LOG = logging.getLogger(__name__)
_CAMERA = 'image_00'  # the camera of the official lists
_MAX_BYTES = 2**30


def write_lists(out: Path, labels: WindowLabels, frames: Iterable[int]) -> None:
  """Write the frame lists of both splits and instanceDict.json for one sequence.

  A name with blanks is in no frame list, since blanks separate the names there.
  A frame of the dataset's own validation list is added to the validation list, all others to the
  training list. Lines of other sequences are kept.

  Args:
    out: root of the merged labels.
    labels: labels of any window of the sequence.
    frames: labelled frames of the sequence.
  """
  sequence = labels.window.sequence
  camera = _CAMERA if _CAMERA in labels.cameras else labels.cameras[0]
  validation = set(_read_lines(_list_path(Path(labels.data.root), 'val')))
  lines: dict[str, list[str]] = {'val': [], 'train': []}
  for frame in frames:
    name = kitti360.frame_name(frame) + '.png'
    image = kitti360.rgb_folder(Path(), sequence, camera) / name
    label = kitti360.truth_folder(Path(), sequence, camera, 'semantic') / name
    line = f'{image} {label}'
    lines['val' if line in validation else 'train'].append(line)
  if len(f'{sequence} {camera}'.split()) != 2:
    _LOG.warning('%r is not in the frame lists, whose names have no blanks', sequence)
    lines = {}
  for split, own in lines.items():
    path = _list_path(out, split)
    others = [line for line in _read_lines(path) if f'/{sequence}/' not in line]
    if own or others or path.exists():
      files.write_bytes(path, '\n'.join([*sorted([*others, *own]), '']).encode())
  _write_instances(out, sequence, camera, frames)


def _write_instances(out: Path, sequence: str, camera: str, frames: Iterable[int]) -> None:
  """Write instanceDict.json: value of the instance maps -> names of the images with it."""
  folder = kitti360.truth_folder(out, sequence, camera, 'instance')
  images: dict[int, list[str]] = {}
  for frame in frames:
    name = kitti360.frame_name(frame) + '.png'
    for value in np.unique(image_io.read_instance(folder / name)):
      images.setdefault(int(value), []).append(name)
  text = json.dumps({str(value): images[value] for value in sorted(images)})
  files.write_bytes(folder.parents[1] / 'instanceDict.json', text.encode())


def _list_path(root: Path, split: str) -> Path:
  return Path(root, 'data_2d_semantics', 'train', f'2013_05_28_drive_{split}_frames.txt')


def _read_lines(path: Path) -> list[str]:
  if not path.exists():
    return []
  content = files.read_bytes(path, _MAX_BYTES, 'Copy it from KITTI-360 again.')
  return [line for line in content.decode('utf-8', 'replace').splitlines() if line.strip()]
