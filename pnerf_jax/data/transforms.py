"""transforms.json: any set of calibrated pinhole cameras, in nerfstudio's convention.

There, camera axes are x right, y up, z backward, and the centre of a pixel has the coordinates
(column + 0.5, row + 0.5); here, y down, z forward and integers (as in kitti360.py). Both are
converted here; no other module knows nerfstudio's convention.

References:
  nerfstudio's documentation, "Data conventions"; docs/data_custom.md describes the additional keys.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, json_object, kitti360
from pnerf_jax.data.json_object import HINT, JsonObject
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
_DISTORTION = ('k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'p1', 'p2', 'distortion_params')
_UNDISTORTED = ('PINHOLE', 'SIMPLE_PINHOLE', 'OPENCV')  # the last with coefficients of 0 only
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # between our camera axes and nerfstudio's


@dataclasses.dataclass(frozen=True)
class ImageRecord:
  """One image.

  Attributes:
    camera: name of its camera.
    frame: number that all images of one instant share.
    size: (width, height).
    intrinsics: [4] float64 (fx, fy, cx, cy), integer coordinates are pixel centres.
    world_from_cam: [4, 4] float64, camera axes x right, y down, z forward.
    files: by kind, paths relative to the folder of transforms.json; there is always an 'rgb'.
  """

  camera: str
  frame: int
  size: tuple[int, int]
  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  files: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Transforms:
  """The content of transforms.json.

  Attributes:
    sequence: name of the drive.
    records: the images by (frame, camera).
    cameras: names, in the order of their first appearance.
    stereo: (left, right) of the rectified pair, or ().
    primitives: path of the primitives relative to the folder of transforms.json, or ''.
  """

  sequence: str
  records: dict[tuple[int, str], ImageRecord]
  cameras: tuple[str, ...]
  stereo: tuple[str, ...]
  primitives: str


def read(root: Path) -> Transforms:
  """Read and check ROOT/transforms.json; the files that it names are not accessed.

  Raises:
    InputError: anything that contradicts docs/data_custom.md; the entry is named.
  """
  content, entries = json_object.read_list(Path(root, NAME), 'frames')
  if not entries:
    raise content.error('the list "frames" is empty')
  records: dict[tuple[int, str], ImageRecord] = {}
  owners: dict[str, int] = {}
  for number, entry in enumerate(entries):
    record = _read_record(entry, content.values)
    key = (record.frame, record.camera)
    if key in records:
      raise entry.error(
        f'there is another image of frame {record.frame} and camera {record.camera}',
        'Give every image a unique pair of "frame" and "camera".',
      )
    for name in record.files.values():
      if name in owners:
        raise entry.error(f'{name} belongs to frames[{owners[name]}] too')
      owners[name] = number
    records[key] = record
  cameras = tuple(dict.fromkeys(record.camera for record in records.values()))
  stereo = content.values.get('stereo', [])
  if stereo != [] and not (
    isinstance(stereo, list)
    and len(stereo) == 2
    and stereo[0] != stereo[1]
    and all(name in cameras for name in stereo)
  ):
    raise content.error(
      f'"stereo" is {stereo!r:.80}, expected [left, right], two of the cameras {cameras}'
    )
  primitives = content.values.get('boxes_path', '')
  if primitives != '':
    primitives = relative_path(primitives, 'boxes_path', content.where)
    if not primitives.endswith(('.xml', '.json')):
      raise content.error(f'boxes_path: {primitives:.80} is neither .xml nor .json')
  sequence = folder_name(content.values.get('sequence', 'scene'), 'sequence', content.where)
  return Transforms(sequence, records, cameras, tuple(stereo), primitives)


def write(path: Path, transforms: Transforms) -> None:
  """Write the file that `read` reads; numbers are restored up to the last bit."""
  frames = []
  order = lambda key: (key[0], transforms.cameras.index(key[1]))
  for frame, camera in sorted(transforms.records, key=order):
    record = transforms.records[frame, camera]
    fx, fy, cx, cy = (float(x) for x in record.intrinsics)
    frames.append(
      {key: record.files[kind] for key, kind in KINDS.items() if kind in record.files}
      | {'camera': camera, 'frame': frame, 'w': record.size[0], 'h': record.size[1]}
      | {'fl_x': fx, 'fl_y': fy, 'cx': cx + 0.5, 'cy': cy + 0.5}
      | {'transform_matrix': (record.world_from_cam @ _FLIP).tolist()}
    )
  content: dict[str, Any] = {'camera_model': 'PINHOLE', 'sequence': transforms.sequence}
  if transforms.primitives:
    content['boxes_path'] = transforms.primitives
  if transforms.stereo:
    content['stereo'] = list(transforms.stereo)
  files.write_bytes(path, json.dumps({**content, 'frames': frames}, indent=1).encode())


def _read_record(entry: JsonObject, common: dict[str, Any]) -> ImageRecord:
  """Read one image; `common` holds the values of images that do not give their own."""
  if 'file_path' not in entry.values:
    raise entry.error('no file_path')
  names = {
    kind: relative_path(entry.values[key], key, entry.where)
    for key, kind in KINDS.items()
    if key in entry.values
  }
  entry = dataclasses.replace(entry, where=f'{entry.where} ({names["rgb"]:.80})')
  merged = JsonObject(common | entry.values, entry.where)
  _check_undistorted(merged)
  width, height, fx, fy, cx, cy = (
    float(merged.numbers(key)) for key in ('w', 'h', 'fl_x', 'fl_y', 'cx', 'cy')
  )
  kitti360.check_camera((width, height), (fx, fy, cx, cy), entry.where, HINT)
  if width % 1 or height % 1:
    raise entry.error(f'{width:g} x {height:g} is not a whole number of pixels')
  image = Path(names['rgb'])
  digits = re.findall('[0-9]+', image.stem)
  default = int(digits[-1][:20]) if digits else None
  hint = 'Give the entry a "frame".'
  frame = entry.integer('frame', kitti360.MAX_FRAME, default=default, hint=hint)
  return ImageRecord(
    camera=folder_name(entry.values.get('camera', image.parent.name), 'camera', entry.where),
    frame=frame,
    size=(int(width), int(height)),
    intrinsics=np.array([fx, fy, cx - 0.5, cy - 0.5]),
    world_from_cam=_pose(entry) @ _FLIP,
    files=names,
  )


def _pose(entry: JsonObject) -> np.ndarray:
  """Return the [4, 4] transform_matrix, a rigid motion."""
  matrix = entry.numbers('transform_matrix', 4, 4)
  if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
    raise entry.error(f'transform_matrix: the last row is {matrix[3].tolist()}, expected 0 0 0 1')
  kitti360.check_rotation(matrix[:3, :3], f'{entry.where}: transform_matrix', HINT)
  return matrix


def _check_undistorted(image: JsonObject) -> None:
  model = image.values.get('camera_model', 'PINHOLE')
  if model not in _UNDISTORTED:
    raise image.error(
      f'camera_model is {model!r:.40}, not that of a pinhole camera',
      "Undistort the images first, for example with COLMAP's image_undistorter.",
    )
  params = {'distortion_params': image.values.get('distortion_params') or 0}
  for key, value in (image.values | params).items():
    if key in _DISTORTION and value != 0:
      raise image.error(
        f'{key} is {value!r:.40}: the image is distorted',
        "Undistort the images first (COLMAP's image_undistorter, or cv2.undistort with its new"
        ' camera matrix) and write 0.',
      )


def folder_name(value: Any, key: str, where: str) -> str:
  """Return a name that is safe as the name of a folder."""
  if not isinstance(value, str) or not re.fullmatch('[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}', value):
    raise InputError(
      f'{where}: {key} is {value!r:.40}, but names a folder. Give a "{key}" of letters, digits,'
      ' "_", "-" and ".".'
    )
  return value


def relative_path(value: Any, key: str, where: str) -> str:
  """Return a path that stays below the folder of transforms.json."""
  if not isinstance(value, str) or not value or '\0' in value or '\\' in value:
    raise InputError(f'{where}: {key} is {value!r:.80}, not a path. {HINT}')
  parts = [part for part in value.split('/') if part != '.']
  if '..' in parts or '' in parts or not parts:  # '' begins an absolute path
    raise InputError(
      f"{where}: {key} is {value:.80}, which does not lie below the file's own folder. Write a path"
      ' relative to it, without "..".'
    )
  return '/'.join(parts)
