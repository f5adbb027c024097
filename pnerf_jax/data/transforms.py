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
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, image_io, json_object, kitti360
from pnerf_jax.data.json_object import HINT, JsonObject
from pnerf_jax.errors import InputError

NAME = 'transforms.json'
MARK = b'"written_by": "pnerf_jax"'  # near the start of every written file; see files.check_output
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
_COMMON = {'w', 'h', 'fl_x', 'fl_y', 'cx', 'cy', 'camera_angle_x', 'camera_angle_y'}
_COMMON |= {'camera_model', 'camera_axes', 'depth_unit_scale_factor'}
_FRAME_KEYS = {*KINDS, *_COMMON, 'camera', 'frame', 'transform_matrix'}
# The poses contain applied_transform already; nothing here is in the frame before it.
_FILE_KEYS = {*_COMMON, 'written_by', 'frames', 'sequence', 'boxes_path', 'stereo'}
_FILE_KEYS |= {'applied_transform', 'applied_scale'}
_PINHOLE = ('PINHOLE', 'SIMPLE_PINHOLE', 'SIMPLE_RADIAL', 'RADIAL', 'OPENCV', 'FULL_OPENCV')
_UNDISTORT = (
  "Undistort the images first (COLMAP's image_undistorter, or cv2.undistort with its new camera"
  ' matrix) and write 0.'
)
_UNSUPPORTED = (  # keys whose values must be 0, false or empty
  ('k[1-6]|p[12]|s[1-4]|distortion.*|dist_?coeff.*|ftheta.*|.*fisheye.*', 'distorted', _UNDISTORT),
  ('.*mask.*', 'masked, which is not supported', 'Remove the key; all pixels are then used.'),
  ('.*shutter.*', 'of a rolling shutter, which is not supported', 'Remove the key to ignore it.'),
)
_AXES = {'OPENGL': np.diag([1.0, -1.0, -1.0, 1.0]), 'OPENCV': np.eye(4)}  # theirs from ours
_MILLIMETRES = 1e-3
_MAX_CONTRADICTION = 0.05  # of a focal length and a field of view, relative
_FOLDERS_OF_A_CAMERA = ('data', 'data_rect', 'data_rgb', 'images', 'image', 'rgb')


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
    depth_unit: of the values of its depth files, metres.
  """

  camera: str
  frame: int
  size: tuple[int, int]
  intrinsics: np.ndarray
  world_from_cam: np.ndarray
  files: dict[str, str]
  depth_unit: float = 1 / image_io.DEPTH_UNITS_PER_METRE


@dataclasses.dataclass(frozen=True)
class Transforms:
  """The content of transforms.json.

  Attributes:
    sequence: name of the drive.
    records: the images by (frame, camera).
    cameras: names, in the order of their first appearance.
    stereo: (left, right) of the rectified pair, or ().
    primitives: path of the primitives relative to the folder of transforms.json, or ''.
    notes: lines for the log on what was assumed or ignored.
  """

  sequence: str
  records: dict[tuple[int, str], ImageRecord]
  cameras: tuple[str, ...]
  stereo: tuple[str, ...]
  primitives: str
  notes: tuple[str, ...] = ()


def read(root: Path) -> Transforms:
  """Read and check ROOT/transforms.json; the files that it names are not accessed.

  Raises:
    InputError: anything that contradicts docs/data_custom.md; the entry is named.
  """
  content, entries = json_object.read_list(Path(root, NAME), 'frames')
  if not entries:
    raise content.error('the list "frames" is empty')
  if content.values.get('applied_scale', 1) != 1:
    raise content.error(
      f'applied_scale is {content.values["applied_scale"]!r:.40}, so the poses are not in metres',
      'Divide the positions of cameras and boxes by it and remove the key.',
    )
  records: dict[tuple[int, str], ImageRecord] = {}
  owners: dict[str, int] = {}
  notes: set[str] = set()
  for number, entry in enumerate(entries):
    record = _read_record(entry, content.values, notes)
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
  _check_depth_units(entries, content.values)
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
  unknown = {key for entry in entries for key in entry.values.keys() - _FRAME_KEYS}
  unknown |= content.values.keys() - _FILE_KEYS
  # Those of _UNSUPPORTED were refused unless they have no effect.
  if ignored := sorted(
    k for k in unknown if not any(re.fullmatch(p, k) for p, _, _ in _UNSUPPORTED)
  ):
    listed = ', '.join(f'{key:.40}' for key in ignored[:12])
    notes.add(f'ignoring the unknown keys {listed}{", ..." if len(ignored) > 12 else ""}')
  lines = tuple(f'{content.where}: {note}' for note in sorted(notes))
  return Transforms(sequence, records, cameras, tuple(stereo), primitives, lines)


def write(path: Path, transforms: Transforms) -> None:
  """Write the file that `read` reads, with MARK; numbers are restored up to the last bit."""
  frames = []
  order = lambda key: (key[0], transforms.cameras.index(key[1]))
  for frame, camera in sorted(transforms.records, key=order):
    record = transforms.records[frame, camera]
    fx, fy, cx, cy = (float(x) for x in record.intrinsics)
    frames.append(
      {key: record.files[kind] for key, kind in KINDS.items() if kind in record.files}
      | {'depth_unit_scale_factor': record.depth_unit}
      | {'camera': camera, 'frame': frame, 'w': record.size[0], 'h': record.size[1]}
      | {'fl_x': fx, 'fl_y': fy, 'cx': cx + 0.5, 'cy': cy + 0.5}
      | {'transform_matrix': (record.world_from_cam @ _AXES['OPENGL']).tolist()}
    )
  content: dict[str, Any] = {'written_by': 'pnerf_jax', 'camera_model': 'PINHOLE'}
  content['sequence'] = transforms.sequence
  if transforms.primitives:
    content['boxes_path'] = transforms.primitives
  if transforms.stereo:
    content['stereo'] = list(transforms.stereo)
  files.write_bytes(path, json.dumps({**content, 'frames': frames}, indent=1).encode())


def _read_record(entry: JsonObject, common: dict[str, Any], notes: set[str]) -> ImageRecord:
  """Read one image.

  Args:
    entry: its object.
    common: values of images that do not give their own.
    notes: receives a line on everything that is assumed.
  """
  if 'file_path' not in entry.values:
    raise entry.error('no file_path')
  names = {
    kind: relative_path(entry.values[key], key, entry.where)
    for key, kind in KINDS.items()
    if key in entry.values
  }
  entry = dataclasses.replace(entry, where=f'{entry.where} ({names["rgb"]:.80})')
  merged = JsonObject(common | entry.values, entry.where)
  _check_supported(merged)
  axes = merged.values.get('camera_axes', 'OPENGL')
  if axes not in tuple(_AXES):  # a list has no hash
    raise entry.error(f'camera_axes is {axes!r:.40}, not one of {", ".join(_AXES)}')
  size, intrinsics = _intrinsics(merged, notes)
  return ImageRecord(
    camera=_camera(entry, names['rgb']),
    frame=_frame(entry, names['rgb'], notes),
    size=size,
    intrinsics=intrinsics,
    world_from_cam=_pose(entry) @ _AXES[axes],
    files=names,
    depth_unit=_depth_unit(merged, names, notes),
  )


def _check_depth_units(entries: list[JsonObject], common: dict[str, Any]) -> None:
  """Raise InputError if only some images with depth give its unit."""
  key = 'depth_unit_scale_factor'
  depth = {'depth_file_path', 'lidar_depth_file_path'}
  units = [key in entry.values for entry in entries if depth & entry.values.keys()]
  if key not in common and 0 < sum(units) < len(units):
    raise next(e for e in entries if depth & e.values.keys() and key not in e.values).error(
      f'no "{key}", which {sum(units)} other images with depth have',
      'Give it for all of them or for none.',
    )


def _check_supported(image: JsonObject) -> None:
  """Raise InputError if the image is not that of a pinhole camera, or not wholly."""
  model = image.values.get('camera_model', 'PINHOLE')
  if model not in _PINHOLE:
    raise image.error(
      f'camera_model is {model!r:.40}, not one of {", ".join(_PINHOLE)}',
      f'Write PINHOLE if the image is undistorted. {_UNDISTORT}',
    )
  for pattern, problem, hint in _UNSUPPORTED:
    for key, value in image.values.items():
      if re.fullmatch(pattern, key) and np.any(np.array(value, object)):
        raise image.error(f'{key} is {value!r:.40}: the image is {problem}', hint)


def _intrinsics(image: JsonObject, notes: set[str]) -> tuple[tuple[int, int], np.ndarray]:
  """Return (width, height) and [4] (fx, fy, cx, cy), integer coordinates are pixel centres."""
  values = dict(image.values)
  size = [float(image.numbers(key)) for key in ('w', 'h')]
  for axis, pixels in zip('xy', size):
    if f'camera_angle_{axis}' not in values:
      continue
    angle = float(image.numbers(f'camera_angle_{axis}'))
    if not 0 < angle < np.pi:
      raise image.error(f'camera_angle_{axis} is {angle:g}, not between 0 and pi radians')
    length = pixels / 2 / np.tan(angle / 2)
    given = image.numbers(f'fl_{axis}') if f'fl_{axis}' in values else length
    if abs(given - length) > _MAX_CONTRADICTION * length:
      raise image.error(
        f'fl_{axis} is {given:g}, but camera_angle_{axis} {angle:g} means {length:.4g} pixels',
        'Correct or remove one of them.',
      )
    values[f'fl_{axis}'] = float(given)
  if not {'camera_angle_x', 'camera_angle_y'}.isdisjoint(values):  # Blender's have nothing else
    length = values.get('fl_x', values.get('fl_y'))
    assumed = {'fl_x': length, 'fl_y': length, 'cx': size[0] / 2, 'cy': size[1] / 2}
    absent = {key: value for key, value in assumed.items() if key not in values}
    values |= absent
    if absent:
      notes.add(f'no {", ".join(absent)}: square pixels and a centred camera are assumed')
  fx, fy, cx, cy = (
    float(JsonObject(values, image.where).numbers(key)) for key in ('fl_x', 'fl_y', 'cx', 'cy')
  )
  hint = 'Correct w, h, fl_x, fl_y, cx and cy, which are in pixels.'
  kitti360.check_camera(size, (fx, fy, cx, cy), image.where, hint)
  if size[0] % 1 or size[1] % 1:
    raise image.error(f'{size[0]:g} x {size[1]:g} is not a whole number of pixels')
  return (int(size[0]), int(size[1])), np.array([fx, fy, cx - 0.5, cy - 0.5])


def _camera(entry: JsonObject, name: str) -> str:
  """Return the name of the camera: the key, or the folder of the image, left/data being left."""
  folders = [part for part in Path(name).parts[:-1] if part not in _FOLDERS_OF_A_CAMERA]
  default = folders[-1] if folders else Path(name).parent.name
  return folder_name(entry.values.get('camera', default), 'camera', entry.where)


def _frame(entry: JsonObject, name: str, notes: set[str]) -> int:
  """Return the number of the instant: the key, or the only number in the name of the image."""
  if 'frame' not in entry.values:
    stem = re.sub(r'\.(png|jpe?g)$', '', Path(name).name, flags=re.IGNORECASE)
    numbers = re.findall('[0-9]+', stem)
    if len(numbers) != 1:
      raise entry.error(
        f'no "frame", and the name {stem!r:.60} holds {len(numbers)} numbers',
        'Give every entry a "frame", an integer that the images of one instant share.',
      )
    entry = dataclasses.replace(entry, values={'frame': int(numbers[0][:20])})
    notes.add('frame numbers are those of the file names where "frame" is absent')
  hint = 'Give the entry another "frame".'
  return entry.integer('frame', kitti360.MAX_FRAME, default=None, hint=hint)


def _depth_unit(image: JsonObject, kinds: Collection[str], notes: set[str]) -> float:
  """Return the unit of the depth files, metres; millimetres as in nerfstudio by default."""
  key = 'depth_unit_scale_factor'
  if key not in image.values:
    if not {'pseudo_depth', 'lidar_depth'}.isdisjoint(kinds):
      notes.add(f'depth is read as millimetres; "{key}" gives another unit, in metres')
    return _MILLIMETRES
  unit = float(image.numbers(key))
  if not 0 < unit <= 1:
    raise image.error(f'{key} is {unit:g}, expected metres per unit, above 0 and up to 1')
  return unit


def _pose(entry: JsonObject) -> np.ndarray:
  """Return the [4, 4] transform_matrix, a rigid motion."""
  matrix = entry.numbers('transform_matrix', 4, 4)
  if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
    raise entry.error(f'transform_matrix: the last row is {matrix[3].tolist()}, expected 0 0 0 1')
  kitti360.check_rotation(matrix[:3, :3], f'{entry.where}: transform_matrix', HINT)
  return matrix


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
  if not isinstance(value, str) or not value or '\0' in value:
    raise InputError(f'{where}: {key} is {value!r:.80}, not a path. {HINT}')
  if '\\' in value:
    raise InputError(f'{where}: {key} is {value:.80}, with backslashes. Write "/" between folders.')
  parts = [part for part in value.split('/') if part != '.']
  if '..' in parts or '' in parts or not parts:  # '' begins an absolute path
    raise InputError(
      f"{where}: {key} is {value:.80}, which does not lie below the file's own folder. Write a path"
      ' relative to it, without "..".'
    )
  return '/'.join(parts)
