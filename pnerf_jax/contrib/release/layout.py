"""The archive of the authors of Panoptic NeRF: which file becomes which of ours, and how.

Every `Kind` knows where its files lie there and here, how one is read and checked, and how it is
converted. Letters: H, W size of the photos.
Source: the layout of the authors' `datasets/KITTI-360`.
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
_GATE, _FENCE = labels.BY_NAME['gate'].id, labels.BY_NAME['fence'].id
_AGAIN = 'Copy or download it again.'
_SEQUENCE = r'(?P<sequence>\d{4}_\d\d_\d\d_drive_(?P<drive>\d{4})_sync)'
_MANUAL = r'seq_(?P<drive>\d{4})'
_CAMERA = r'(?P<camera>image_0[01])'
_PNG = r'(?P<frame>\d{10})\.png'
_MAX_NUMPY_HEADER = 2000  # bytes


@dataclasses.dataclass(frozen=True)
class FileId:
  """What the name of a file tells; None where it does not."""

  name: str
  sequence: str | None
  drive: str | None
  camera: str
  frame: int | None


@dataclasses.dataclass(frozen=True)
class ConversionRule:
  """One kind of file.

  Attributes:
    title: for people.
    pattern: of its name below the archive's root, with the groups of `Place`.
    target: our path of a file, from (root, Place).
    read: reads and checks one of ours, from (path, size); raises InputError.
    convert: makes ours at the second path of theirs at the first, checked; (source, target, size).
    most: bytes of the largest file.
  """

  title: str
  pattern: str
  target: Callable[[Path, FileId], Path]
  read: Callable[[Path, Size], Any]
  convert: Callable[[Path, Path, Size], None]
  most: int = 2**27

  def match(self, name: str) -> FileId | None:
    """What the name tells, or None if it is not of this kind."""
    found = re.fullmatch(self.pattern, name)
    if found is None:
      return None
    groups = found.groupdict()
    camera = groups.get('camera') or 'image_00'
    return FileId(
      Path(name).name,
      groups.get('sequence'),
      groups.get('drive'),
      camera,
      int(groups['frame']) if 'frame' in groups else None,
    )


def _checked(
  read: Callable[[Path, Size], Any], place: Callable[[Path, Path], None]
) -> Callable[[Path, Path, Size], None]:
  """A conversion that changes nothing: reads the file, then puts it in its place."""

  def convert(source: Path, target: Path, size: Size) -> None:
    read(source, size)
    place(source, target)

  return convert


def _copy(source: Path, target: Path) -> None:
  with files.atomic_path(target) as partial:
    shutil.copyfile(source, partial)


def _pseudo_label(source: Path, target: Path, size: Size) -> None:
  """Their 2D network knows no gate: some of its fences are stored as gates, and are fences here."""
  label = image_io.read_label(source, size, unknown_allowed=True)
  label = np.where(np.isin(label, labels.UNKNOWN), 0, np.where(label == _GATE, _FENCE, label))
  image_io.write_label(target, label)


def _stereo_depth(source: Path, target: Path, size: Size) -> None:
  """A matrix as text, metres; what is not positive is invalid."""
  try:
    depth = np.loadtxt(source, np.float32, ndmin=2)
  except (ValueError, UnicodeDecodeError) as e:
    raise InputError(f'{source}: is no matrix of numbers ({str(e)[:120]}). {_AGAIN}') from None
  _write_depth(source, target, depth, size)


def _lidar_depth(source: Path, target: Path, size: Size) -> None:
  """A matrix in numpy's format, metres; 0 = none."""
  try:
    with open(source, 'rb') as file:
      # The header first: a wrong one could ask for any amount of memory.
      version = np.lib.format.read_magic(file)
      read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
      }.get(version)
      if read_header is None:
        raise ValueError(f'version {version} of the format')
      shape, _, dtype = read_header(file, max_header_size=_MAX_NUMPY_HEADER)
    if size is not None and shape != size[::-1]:
      raise InputError(f'{source}: shape {shape}, expected {size[::-1]} as of the photos. {_AGAIN}')
    if dtype.kind != 'f':
      raise ValueError(f'numbers of type {dtype}')
    depth = np.load(source, allow_pickle=False)
  except InputError:
    raise
  except (ValueError, EOFError) as e:
    raise InputError(f'{source}: is no array of depths ({str(e)[:120]}). {_AGAIN}') from None
  _write_depth(source, target, depth, size)


def _write_depth(source: Path, target: Path, depth: np.ndarray, size: Size) -> None:
  if size is not None and depth.shape != size[::-1]:
    raise InputError(
      f'{source}: {depth.shape[0]} rows of {depth.shape[1]} numbers, expected'
      f' {size[1]} of {size[0]} as of the photos. {_AGAIN}'
    )
  image_io.write_depth(target, depth)


def _text(
  title: str,
  pattern: str,
  target: Callable[[Path, FileId], Path],
  read: Callable[[Path], Any],
  most: int = 2**30,
) -> ConversionRule:
  """A file that is as in KITTI-360; copied, for people edit such files."""
  check = lambda path, size: read(path)
  return ConversionRule(title, pattern, target, check, _checked(check, _copy), most)


def _read_other(path: Path) -> bytes:
  """A calibration file that is taken along without being used."""
  return files.read_bytes(path, 2**20, _AGAIN)


def _calibration(name: str, read: Callable[[Path], Any]) -> ConversionRule:
  return _text(
    'calibration',
    rf'calibration/{name}',
    lambda root, place: Path(root, 'calibration', place.name),
    read,
    2**20,
  )


def _poses(name: str, numbers: int) -> ConversionRule:
  return _text(
    'poses',
    rf'data_poses/{_SEQUENCE}/{name}',
    lambda root, place: Path(root, 'data_poses', place.sequence, place.name),
    lambda path: kitti360.read_pose_file(path, numbers),
  )


def _boxes(split: str) -> ConversionRule:
  return _text(
    'primitives',
    rf'data_3d_bboxes/{split}/{_SEQUENCE}\.xml',
    lambda root, place: kitti360.boxes_path(root, place.sequence, split),
    primitives.read_primitives_xml,
  )


def _png_name(folder: Path, place: FileId) -> Path:
  return folder / f'{kitti360.frame_name(place.frame)}.png'


def _images(
  title: str,
  pattern: str,
  folder: Callable[..., Path],
  read: Callable[[Path, Size], Any],
  convert: Callable[[Path, Path, Size], None] | None = None,
) -> ConversionRule:
  """A PNG a frame here. folder: of (root, sequence, camera)."""
  target = lambda root, place: _png_name(folder(root, place.sequence, place.camera), place)
  return ConversionRule(title, pattern, target, read, convert or _checked(read, files.link))


def _truth(kind: str) -> Callable[..., Path]:
  return lambda root, sequence, camera: kitti360.truth_folder(root, sequence, camera, kind)


def _read_words(path: Path, size: Size) -> np.ndarray:
  return image_io.read_label(path, size, unknown_allowed=True)


PHOTO = _images(
  'photos', rf'{_SEQUENCE}/{_CAMERA}/data_rect/{_PNG}', kitti360.rgb_folder, image_io.read_rgb
)
# Read before all others, for the others are checked with them.
BASICS = (
  _calibration(r'perspective\.txt', kitti360.read_perspective),
  _calibration(r'calib_cam_to_pose\.txt', kitti360.read_cam_to_pose),
  _calibration(r'calib_cam_to_velo\.txt', kitti360.read_cam_to_velo),
  _poses(r'poses\.txt', 12),
  _poses(r'cam0_to_world\.txt', 16),
  _boxes('train'),
  _boxes('train_full'),
)
LAYERS = (
  PHOTO,
  _images(
    'pseudo labels',
    rf'pspnet/{_SEQUENCE}/[^/]+/(?P=drive)_(?P<frame>\d{{1,10}})\.png',
    kitti360.pseudo_label_folder,
    _read_words,
    _pseudo_label,
  ),
  _images(
    'pseudo depth',
    rf'sgm/{_SEQUENCE}/depth_(?P<frame>\d{{1,10}})_0\.txt',
    kitti360.pseudo_depth_folder,
    image_io.read_depth,
    _stereo_depth,
  ),
  _images(
    'semantic truth', rf'gt_2d_semantics/{_MANUAL}/semantic/{_PNG}', _truth('semantic'), _read_words
  ),
  _images(
    'instance truth',
    rf'gt_2d_panoptics/{_MANUAL}/instance/{_PNG}',
    _truth('instance'),
    image_io.read_instance,
  ),
  _images(
    'LiDAR depth',
    rf'lidar_depth/{_SEQUENCE}_\d+_\d+/(?P<frame>\d{{1,10}})_0\.npy',
    kitti360.lidar_depth_folder,
    image_io.read_depth,
    _lidar_depth,
  ),
  _calibration(r'(calib_sick_to_velo\.txt|image_0[23]\.yaml)', _read_other),
)
NOT_NEEDED = ('visible_id/', 'bbx_intersection/')
