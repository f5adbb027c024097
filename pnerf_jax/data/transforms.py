"""transforms.json: any set of calibrated pinhole cameras, in nerfstudio's convention.

There, camera axes are x right, y up, z backward and a pixel's centre has the coordinates
(column + 0.5, row + 0.5); here, y down, z forward and integers (as in kitti360.py). Both are
converted while reading; nothing else in the project knows the other convention.
Source: nerfstudio's documentation, "Data conventions"; docs/own_data.md tells the further keys.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, kitti360
from pnerf_jax.errors import InputError

NAME = 'transforms.json'
KINDS = {  # key of a frame -> kind of file (kitti360.DERIVED and RECORDED)
  'file_path': 'rgb',
  'semantics_path': 'pseudo_label',
  'confidence_path': 'pseudo_confidence',
  'depth_file_path': 'pseudo_depth',
  'lidar_depth_file_path': 'lidar_depth',
  'gt_semantics_path': 'true_semantic',
  'gt_instances_path': 'true_instance',
  'gt_confidence_path': 'true_confidence',
}
_MAX_BYTES = 2**28
_MAX_PIXELS = 65535  # image size and focal length
_DISTORTION = ('k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'p1', 'p2')
_UNDISTORTED = ('PINHOLE', 'SIMPLE_PINHOLE', 'OPENCV')  # the last with coefficients of 0 only
_REMEDY = 'Correct it; docs/own_data.md describes the file.'
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # our camera axes in nerfstudio's, and the other way round


@dataclasses.dataclass(frozen=True)
class ImageRecord:
  """One image.

  Attributes:
    camera, frame: its camera's name and the number that all images of one instant share.
    size: (width, height).
    intrinsics: [4] float64 (fx, fy, cx, cy), integer coordinates are pixel centres.
    world_from_cam: [4, 4] float64, camera axes x right, y down, z forward.
    files: paths from the json's folder, by kind; 'rgb' is always there.
  """

  camera: str
  frame: int
  size: tuple[int, int]
  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  files: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Transforms:
  """What the file holds.

  Attributes:
    sequence: name of the drive.
    shots: by (frame, camera).
    cameras: names, in the order in which the file first names them.
    stereo: (left, right) of the rectified pair, or ().
    boxes: path of the primitives from the json's folder, '' where none are named.
  """

  sequence: str
  shots: dict[tuple[int, str], ImageRecord]
  cameras: tuple[str, ...]
  stereo: tuple[str, ...]
  boxes: str


def read(root: Path) -> Transforms:
  """Reads and checks ROOT/transforms.json; whether the images are there is not looked at.

  Raises:
    InputError: anything in the file that is not as docs/own_data.md says; the entry is named.
  """
  path = files.join(root, NAME)
  found = files.read_json(path, _MAX_BYTES, _REMEDY)
  entries = found.get('frames') if isinstance(found, dict) else None
  if not isinstance(entries, list) or not entries:
    raise InputError(f'{path}: holds no list "frames" of images. {_REMEDY}')
  shots: dict[tuple[int, str], ImageRecord] = {}
  owner: dict[str, str] = {}
  for number, entry in enumerate(entries):
    where = f'{path}: frames[{number}]'
    if not isinstance(entry, dict):
      raise InputError(f'{where}: {entry!r:.40} is no object. {_REMEDY}')
    shot = _shot({**found, **entry}, entry, where)
    key = (shot.frame, shot.camera)
    if key in shots:
      raise InputError(
        f'{where}: frame {shot.frame} of camera {shot.camera} is there twice. Give'
        ' every image a "frame" and a "camera" of its own.'
      )
    for name in shot.files.values():
      if name in owner:
        raise InputError(f'{where}: {name} belongs to {owner[name]} too. {_REMEDY}')
      owner[name] = f'frames[{number}]'
    shots[key] = shot
  cameras = tuple(dict.fromkeys(shot.camera for shot in shots.values()))
  stereo = found.get('stereo', [])
  if (
    not isinstance(stereo, list)
    or len(stereo) not in (0, 2)
    or len(set(map(str, stereo))) != len(stereo)
    or not all(name in cameras for name in stereo)
  ):
    raise InputError(
      f'{path}: "stereo" is {stereo!r:.80}, expected [left, right], two of the'
      f' cameras {cameras}. {_REMEDY}'
    )
  boxes = found.get('boxes_path', '')
  if boxes != '':
    boxes = inside(boxes, 'boxes_path', str(path))
    if not boxes.endswith(('.xml', '.json')):
      raise InputError(f'{path}: boxes_path: {boxes:.80} is neither .xml nor .json. {_REMEDY}')
  sequence = folder_name(found.get('sequence', 'scene'), 'sequence', str(path))
  return Transforms(sequence, shots, cameras, tuple(stereo), boxes)


def write(path: Path, transforms: Transforms) -> None:
  """Writes the file that `read` reads; every number comes back exactly but for the last bit."""
  frames = []
  order = lambda key: (key[0], transforms.cameras.index(key[1]))
  for frame, camera in sorted(transforms.shots, key=order):
    shot = transforms.shots[frame, camera]
    fx, fy, cx, cy = (float(x) for x in shot.intrinsics)
    names = {key: shot.files[kind] for key, kind in KINDS.items() if kind in shot.files}
    frames.append(
      {
        **names,
        'camera': camera,
        'frame': frame,
        'w': shot.size[0],
        'h': shot.size[1],
        'fl_x': fx,
        'fl_y': fy,
        'cx': cx + 0.5,
        'cy': cy + 0.5,
        'transform_matrix': (shot.world_from_cam @ _FLIP).tolist(),
      }
    )
  content: dict[str, Any] = {'camera_model': 'PINHOLE', 'sequence': transforms.sequence}
  if transforms.boxes:
    content['boxes_path'] = transforms.boxes
  if transforms.stereo:
    content['stereo'] = list(transforms.stereo)
  files.write_bytes(path, json.dumps({**content, 'frames': frames}, indent=1).encode())


def _shot(values: dict[str, Any], entry: dict[str, Any], where: str) -> ImageRecord:
  """One image. values: what the file says of all images, and over it, what `entry` says."""
  if 'file_path' not in entry:
    raise InputError(f'{where}: no file_path. {_REMEDY}')
  names = {kind: inside(entry[key], key, where) for key, kind in KINDS.items() if key in entry}
  photo = files.join(Path(), *names['rgb'].split('/'))
  where = f'{where} ({names["rgb"]:.80})'
  _check_undistorted(values, where)
  width, height = (_number(values, key, where) for key in ('w', 'h'))
  fx, fy, cx, cy = (_number(values, key, where) for key in ('fl_x', 'fl_y', 'cx', 'cy'))
  if (
    width != int(width)
    or height != int(height)
    or not (
      min(width, height) >= 1
      and min(fx, fy) > 0
      and max(width, height, fx, fy) <= _MAX_PIXELS
      and max(abs(cx), abs(cy)) <= _MAX_PIXELS
    )
  ):
    raise InputError(
      f'{where}: no camera has {width:g} x {height:g} pixels, focal lengths {fx:g}'
      f' and {fy:g}, centre ({cx:g}, {cy:g}). {_REMEDY}'
    )
  return ImageRecord(
    camera=folder_name(entry.get('camera', photo.parent.name), 'camera', where),
    frame=_frame(entry, photo.stem, where),
    size=(int(width), int(height)),
    intrinsics=np.array([fx, fy, cx - 0.5, cy - 0.5]),
    world_from_cam=_pose(entry.get('transform_matrix'), where) @ _FLIP,
    files=names,
  )


def _frame(entry: dict[str, Any], stem: str, where: str) -> int:
  """ "frame" of an entry, else the last digits of the file's name."""
  digits = re.findall('[0-9]+', stem)
  frame = entry.get('frame', int(digits[-1][:20]) if digits else None)
  if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame <= kitti360.MAX_FRAME:
    raise InputError(
      f'{where}: frame is {frame!r:.40}, not a whole number from 0 to'
      f' {kitti360.MAX_FRAME}. Give the entry a "frame".'
    )
  return frame


def _pose(rows: Any, where: str) -> np.ndarray:
  """[4, 4] of transform_matrix, checked to be a rigid motion."""
  where = f'{where}: transform_matrix'
  if (
    not isinstance(rows, list)
    or len(rows) != 4
    or not all(isinstance(row, list) and len(row) == 4 for row in rows)
  ):
    raise InputError(f'{where}: {rows!r:.60} is not 4 rows of 4 numbers. {_REMEDY}')
  matrix = np.array([[_number({'entry': x}, 'entry', where) for x in row] for row in rows])
  if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
    raise InputError(f'{where}: the last row is {matrix[3].tolist()}, expected 0 0 0 1. {_REMEDY}')
  kitti360.check_rotation(matrix[:3, :3], where, _REMEDY)
  if np.abs(matrix[:3, 3]).max() > kitti360.FAR_AWAY:
    raise InputError(
      f'{where}: position {matrix[:3, 3].tolist()} is farther than'
      f' {kitti360.FAR_AWAY:g} m. {_REMEDY}'
    )
  return matrix


def _check_undistorted(values: dict[str, Any], where: str) -> None:
  model = values.get('camera_model', 'PINHOLE')
  if model not in _UNDISTORTED:
    raise InputError(
      f'{where}: camera_model is {model!r:.40}, not that of a pinhole camera.'
      " Undistort the images first, for example with COLMAP's image_undistorter."
    )
  bent = [key for key in _DISTORTION if values.get(key, 0) not in (0, 0.0)]
  if bent or values.get('distortion_params'):
    key = bent[0] if bent else 'distortion_params'
    raise InputError(
      f'{where}: {key} is {values[key]!r:.40}: the image is distorted. Undistort the'
      " images first (COLMAP's image_undistorter, or cv2.undistort with its new"
      ' camera matrix) and write 0.'
    )


def _number(values: dict[str, Any], key: str, where: str) -> float:
  value = values.get(key)
  # Compared, not asked: a whole number may be too large to be turned into a float.
  if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e300:
    raise InputError(f'{where}: {key} is {str(value)[:40]}, not a finite number. {_REMEDY}')
  return float(value)


def folder_name(value: Any, key: str, where: str) -> str:
  """A word that may become the name of a folder."""
  if not isinstance(value, str) or not re.fullmatch('[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}', value):
    raise InputError(
      f'{where}: {key} is {value!r:.40}; it names folders here. Give a "{key}" of'
      ' letters, digits, "_", "-" and ".".'
    )
  return value


def inside(value: Any, key: str, where: str) -> str:
  """A path that stays below the json's folder."""
  if not isinstance(value, str) or not value or '\0' in value or '\\' in value:
    raise InputError(f'{where}: {key} is {value!r:.80}, not a path. {_REMEDY}')
  parts = [part for part in value.split('/') if part != '.']
  if '..' in parts or '' in parts or not parts:  # '' begins an absolute path
    raise InputError(
      f"{where}: {key} is {value:.80}, which does not lie below the file's own"
      ' folder. Write a path relative to it, without "..".'
    )
  return '/'.join(parts)
