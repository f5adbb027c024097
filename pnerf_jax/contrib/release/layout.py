"""Conversion rules: which file of the released archive becomes which file here, and how.

Letters: H, W size of the images. Layout: the authors' `datasets/KITTI-360`.
"""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, image_io, kitti360, labels, primitives
from pnerf_jax.errors import InputError

Size = tuple[int, int] | None  # width, height
Reader = Callable[[Path, Size], Any]
Converter = Callable[[Path, Path, Size], None]

_GATE, _FENCE = labels.BY_NAME['gate'].id, labels.BY_NAME['fence'].id
_HINT = 'Copy or download it again.'
_SEQUENCE = r'(?P<sequence>\d{4}_\d\d_\d\d_drive_(?P<drive>\d{4})_sync)'
_MANUAL = r'seq_(?P<drive>\d{4})'
_CAMERA = r'(?P<camera>image_0[01])'
_PNG = r'(?P<frame>\d{10})\.png'
_MAX_NUMPY_HEADER = 2000  # bytes


@dataclasses.dataclass(frozen=True)
class FileId:
  """The identity of a file, parsed from its name.

  Attributes:
    name: name without folders.
    sequence: folder name of the sequence; '' if unknown.
    drive: number of the drive, four digits; '' if the file is not of a drive.
    camera: e.g. 'image_00'.
    frame: frame number; None if the file is not of a frame.
  """

  name: str
  sequence: str
  drive: str
  camera: str
  frame: int | None


@dataclasses.dataclass(frozen=True)
class ConversionRule:
  """The conversion of one kind of file.

  Attributes:
    title: the kind in English.
    pattern: regular expression of the name below the root of the archive, with groups of FileId.
    target: returns the path of the converted file, from (root, FileId).
    read: reads and validates a converted file, from (path, size); raises InputError.
    convert: validates and converts a file, from (source, target, size); raises InputError.
    max_bytes: size limit of a file in the archive.
  """

  title: str
  pattern: str
  target: Callable[[Path, FileId], Path]
  read: Reader
  convert: Converter
  max_bytes: int = 2**27

  def match(self, name: str) -> FileId | None:
    """Parse the name of a file; None if it is of another kind."""
    match = re.fullmatch(self.pattern, name)
    if match is None:
      return None
    groups = match.groupdict()
    return FileId(
      name=Path(name).name,
      sequence=groups.get('sequence', ''),
      drive=groups.get('drive', ''),
      camera=groups.get('camera') or 'image_00',
      frame=int(groups['frame']) if 'frame' in groups else None,
    )


def _unchanged(read: Reader, transfer: Callable[[Path, Path], None]) -> Converter:
  """Return a conversion that validates a file and transfers it unchanged."""

  def convert(source: Path, target: Path, size: Size) -> None:
    read(source, size)
    transfer(source, target)

  return convert


def _copy(source: Path, target: Path) -> None:
  with files.atomic_path(target) as partial:
    shutil.copyfile(source, partial)


def _convert_pseudo_label(source: Path, target: Path, size: Size) -> None:
  """Convert a label map: their network has no gate; fences stored as gates become fences."""
  label = image_io.read_label(source, size, unknown_allowed=True)
  label = np.where(np.isin(label, labels.UNKNOWN), 0, np.where(label == _GATE, _FENCE, label))
  image_io.write_label(target, label)


def _convert_stereo_depth(source: Path, target: Path, size: Size) -> None:
  """Convert a depth matrix in text form, metres, invalid unless positive."""
  try:
    depth = np.loadtxt(source, np.float32, ndmin=2)
  except (ValueError, UnicodeDecodeError) as e:
    raise InputError(f'{source}: is not a matrix of numbers ({str(e)[:120]}). {_HINT}') from None
  _write_depth(source, target, depth, size)


def _convert_lidar_depth(source: Path, target: Path, size: Size) -> None:
  """Convert a depth matrix in numpy's format, metres, 0 = none."""
  try:
    with open(source, 'rb') as file:
      # The header is read first: an invalid one could request any amount of memory.
      version = np.lib.format.read_magic(file)
      read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
      }.get(version)
      if read_header is None:
        raise ValueError(f'version {version} of the format')
      shape, _, dtype = read_header(file, max_header_size=_MAX_NUMPY_HEADER)
    if size is not None and shape != size[::-1]:
      raise InputError(
        f'{source}: shape {shape}, expected {size[::-1]}, that of the images. {_HINT}'
      )
    if dtype.kind != 'f':
      raise ValueError(f'numbers of type {dtype}')
    depth = np.load(source, allow_pickle=False)
  except InputError:
    raise
  except (ValueError, EOFError) as e:
    raise InputError(f'{source}: is not an array of depths ({str(e)[:120]}). {_HINT}') from None
  _write_depth(source, target, depth, size)


def _write_depth(source: Path, target: Path, depth: np.ndarray, size: Size) -> None:
  if size is not None and depth.shape != size[::-1]:
    raise InputError(
      f'{source}: {depth.shape[0]} rows of {depth.shape[1]} numbers, expected {size[1]} rows of'
      f' {size[0]}, the size of the images. {_HINT}'
    )
  image_io.write_depth(target, depth)


def _text_rule(
  title: str,
  pattern: str,
  target: Callable[[Path, FileId], Path],
  read: Callable[[Path], Any],
  max_bytes: int = 2**30,
) -> ConversionRule:
  """Return the rule of a text file in KITTI-360's format; copied, since users may edit it."""
  read_any_size = lambda path, size: read(path)
  return ConversionRule(
    title, pattern, target, read_any_size, _unchanged(read_any_size, _copy), max_bytes
  )


def _calibration_rule(name: str, read: Callable[[Path], Any]) -> ConversionRule:
  return _text_rule(
    'calibration',
    rf'calibration/{name}',
    lambda root, file: Path(root, 'calibration', file.name),
    read,
    2**20,
  )


def _poses_rule(name: str, count: int) -> ConversionRule:
  return _text_rule(
    'poses',
    rf'data_poses/{_SEQUENCE}/{name}',
    lambda root, file: Path(root, 'data_poses', file.sequence, file.name),
    lambda path: kitti360.read_pose_file(path, count),
  )


def _read_primitives(path: Path) -> list[primitives.PrimitiveRecord]:
  """Read the primitives. A link of the archive's folder may lead to any other XML."""
  records = primitives.read_primitives_xml(path)
  if not records:
    raise InputError(f'{path}: has no primitive. {_HINT}')
  return records


def _primitives_rule(split: str) -> ConversionRule:
  return _text_rule(
    'primitives',
    rf'data_3d_bboxes/{split}/{_SEQUENCE}\.xml',
    lambda root, file: kitti360.primitives_path(root, file.sequence, split),
    _read_primitives,
  )


def _image_rule(
  title: str,
  pattern: str,
  folder: Callable[..., Path],
  read: Reader,
  convert: Converter | None = None,
) -> ConversionRule:
  """Return the rule of a kind of PNG, one per frame, in folder(root, sequence, camera)."""
  target = lambda root, file: (
    folder(root, file.sequence, file.camera) / f'{kitti360.frame_name(file.frame)}.png'
  )
  return ConversionRule(title, pattern, target, read, convert or _unchanged(read, files.link))


def _truth_folder(kind: str) -> Callable[..., Path]:
  return lambda root, sequence, camera: kitti360.truth_folder(root, sequence, camera, kind)


def _read_label(path: Path, size: Size) -> np.ndarray:
  return image_io.read_label(path, size, unknown_allowed=True)


def _read_yaml(path: Path) -> bytes:
  """Read a file of OpenCV. A link of the archive's folder may lead to any other."""
  content = files.read_bytes(path, 2**20, _HINT)
  if not content.startswith(b'%YAML'):
    raise InputError(f'{path}: is no YAML file of OpenCV. {_HINT}')
  return content


IMAGES = _image_rule(
  'images', rf'{_SEQUENCE}/{_CAMERA}/data_rect/{_PNG}', kitti360.rgb_folder, image_io.read_rgb
)
# Converted first, because the other files are validated with them.
BASICS = (
  _calibration_rule(r'perspective\.txt', kitti360.read_perspective),
  _calibration_rule(r'calib_cam_to_pose\.txt', kitti360.read_cam_to_pose),
  _calibration_rule(r'calib_cam_to_velo\.txt', kitti360.read_cam_to_velo),
  _poses_rule(r'poses\.txt', 12),
  _poses_rule(r'cam0_to_world\.txt', 16),
  _primitives_rule('train'),
  _primitives_rule('train_full'),
)
LAYERS = (
  IMAGES,
  _image_rule(
    'pseudo-labels',
    rf'pspnet/{_SEQUENCE}/[^/]+/(?P=drive)_(?P<frame>\d{{1,10}})\.png',
    kitti360.pseudo_label_folder,
    _read_label,
    _convert_pseudo_label,
  ),
  _image_rule(
    'stereo depth',
    rf'sgm/{_SEQUENCE}/depth_(?P<frame>\d{{1,10}})_0\.txt',
    kitti360.pseudo_depth_folder,
    image_io.read_depth,
    _convert_stereo_depth,
  ),
  _image_rule(
    'semantic ground truth',
    rf'gt_2d_semantics/{_MANUAL}/semantic/{_PNG}',
    _truth_folder('semantic'),
    _read_label,
  ),
  _image_rule(
    'instance ground truth',
    rf'gt_2d_panoptics/{_MANUAL}/instance/{_PNG}',
    _truth_folder('instance'),
    image_io.read_instance,
  ),
  _image_rule(
    'LiDAR depth',
    rf'lidar_depth/{_SEQUENCE}_\d+_\d+/(?P<frame>\d{{1,10}})_0\.npy',
    kitti360.lidar_depth_folder,
    image_io.read_depth,
    _convert_lidar_depth,
  ),
  # Not used here, but part of KITTI-360.
  _calibration_rule(r'calib_sick_to_velo\.txt', kitti360.read_cam_to_velo),
  _calibration_rule(r'image_0[23]\.yaml', _read_yaml),
)
IGNORED = ('visible_id/', 'bbx_intersection/')
