"""Reading of a window that was packed as a TFDS dataset (contrib/preparation/tfds_builder.py)."""

import dataclasses
import functools
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.data import files, kitti360, labels, primitives, transforms
from pnerf_jax.data.dataset_index import DatasetIndex, check_cameras, select_frames
from pnerf_jax.data.files import ReadableFile
from pnerf_jax.data.json_object import JsonObject
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError, first_line

NAME, VERSION, SPLIT = 'kitti360_window', '2.0.0', 'window'
VIEWS, PRIMITIVES = 'views', 'primitives'  # the configs of the dataset
ENCODED_KINDS = (*kitti360.RECORDED, *kitti360.DERIVED, 'lidar')  # files of a view
COMPLETE_FILE = f'{VIEWS}/{VERSION}/dataset_info.json'  # written last
_REMEDY = 'Copy it again, or build it again with python -m pnerf_jax.prepare pack.'
INTEGER_FIELDS = tuple(f.name for f in dataclasses.fields(PrimitiveRecord) if f.type is int)
_ARRAYS = {  # arrays of an example, compressed by zlib
  'intrinsics': ('<f8', (4,)),
  'world_from_cam': ('<f8', (4, 4)),
  'world_from_pose': ('<f8', (4, 4)),
  'vertices': ('<f8', (-1, 3)),
  'faces': ('<i4', (-1, 3)),
}
_OWN_FILES = rf'({VIEWS}|{PRIMITIVES})/{re.escape(VERSION)}/\w[\w.-]*$'
_OWN_CLASSES = r'tensorflow_datasets\.core\.features\.\w+\.(FeaturesDict|Tensor|Scalar|Text)'
_NAMES = ('camera', 'split', 'label')
_FIELDS = {
  VIEWS: ('frame', 'camera', 'size', *list(_ARRAYS)[:3], *ENCODED_KINDS),
  PRIMITIVES: ('split', 'label', *INTEGER_FIELDS, *list(_ARRAYS)[3:]),
}
# What is decompressed is bounded by what is there: bytes, and factors of the compressed size.
_MAX_ARRAY = (2**12, 20)
_MAX_EXAMPLES = (2**24, 4)  # of a file; images hardly become smaller
_RECORD_OVERHEAD = 256  # bytes in memory
_MAX_SHARD = 2**32


@dataclasses.dataclass(frozen=True)
class EncodedFile:
  """The file content in one feature of a view, a ReadableFile.

  Attributes:
    name: for error messages.
    size: in bytes; 0 if the view has none.
    read_bytes: returns the content.
  """

  name: str
  size: int
  read_bytes: Callable[[], bytes]

  def __str__(self) -> str:
    return self.name

  def exists(self) -> bool:
    """Return whether the view has such a file."""
    return self.size > 0

  def stat(self) -> os.stat_result:
    """Return the size, as of a regular file."""
    if not self.size:
      raise FileNotFoundError(self.name)
    return os.stat_result((0o100444, 0, 0, 1, 0, 0, self.size, 0, 0, 0))


@dataclasses.dataclass(frozen=True)
class Archive:
  """A packed window.

  Attributes:
    address: of its folder, for error messages.
    folder: the local one.
    metadata: of contrib/preparation/pack_window.py.
    views: features of each view by (frame, camera), with sizes in bytes instead of file contents,
      and its position in the dataset.
    source: the examples of all views.
    primitives: records by config.data.primitives.
  """

  address: str
  folder: Path
  metadata: dict[str, Any]
  views: Mapping[tuple[int, str], dict[str, Any]]
  source: Any
  primitives: dict[str, list[PrimitiveRecord]]

  def file(self, kind: str, frame: int, camera: str) -> EncodedFile:
    """Return a file of a view, which may be absent."""
    view = self.views[frame, camera]
    name = f'{self.address}: {kind} of frame {frame}, {camera}'
    read = functools.partial(_example, self.folder, VIEWS, self.source, view['position'])
    return EncodedFile(name, view[kind], lambda: read()[kind])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchiveIndex(DatasetIndex):
  """Frames of a packed window; derived files may also be in config.data.derived_root.

  Attributes:
    archive: the packed window.
  """

  archive: Archive

  def folder_of(self, kind: str, camera: str) -> Path:
    """Return the folder of derived files, or that of the archive if there is none."""
    has_folder = self.derived_root != self.root and kind in kitti360.DERIVED
    return super().folder_of(kind, camera) if has_folder else self.root

  def path_of(self, kind: str, frame: int, camera: str) -> ReadableFile | None:
    """Return the file of a view; None if the camera has none of this kind."""
    derived = super().path_of(kind, frame, camera)  # the archive has no such folder
    present = any(view[kind] for (_, other), view in self.archive.views.items() if other == camera)
    if derived is not None and (derived.exists() or not present):
      return derived
    return self.archive.file(kind, frame, camera) if present else None

  def scan_path(self, frame: int) -> EncodedFile | None:
    """Return the LiDAR scan of a frame, None if there is none."""
    scan = self.archive.file('lidar', frame, self.archive.metadata['cameras'][0])
    return scan if scan.exists() else None

  def primitives_names(self, split: str) -> list[str]:
    """Return the addresses of the primitives that config.data.primitives selects."""
    available = self.archive.metadata['primitives']
    preferred = [name for name in ('auto', 'train_full', 'train') if name in available]
    names = {'auto': preferred[:1], 'union': available}.get(split, [split])
    if not names or not set(names) <= set(available):
      raise InputError(
        f'{self.archive.address}: config.data.primitives is {split!r}, but it holds'
        f' {", ".join(available) or "no primitives"}. Use one that it holds, or train without:'
        ' --config.data.primitives=none --config.scene.unannotated_space=void.'
      )
    return [f'{self.archive.address}/{PRIMITIVES}:{name}' for name in names]

  def read_primitives(
    self, split: str, predicate: Callable[[int, int, int], bool] = lambda *_: True
  ) -> list[PrimitiveRecord]:
    """Return the primitives for which `predicate(start_frame, end_frame, timestamp)` holds."""
    names = [name.rpartition(':')[2] for name in self.primitives_names(split)]
    records = [record for name in names for record in self.archive.primitives[name]]
    return [r for r in records if predicate(r.start_frame, r.end_frame, r.timestamp)]


def address(root: str) -> str:
  """Return the address of the packed window in a folder or below an fsspec address."""
  return f'{str(root).rstrip("/")}/{NAME}'


def exists(root: str) -> bool:
  """Return whether a complete packed window is there."""
  system, place = fsspec.core.url_to_fs(address(root))
  return system.exists(f'{place}/{COMPLETE_FILE}')


def open_archive(root: str) -> Archive:
  """Open a packed window.

  Args:
    root: the folder in which it was built, or an fsspec address. It is copied from an address to
      the user's cache first, since array_record reads only local files.

  Raises:
    InputError: there is none, or it is incomplete or damaged.
  """
  place = address(root)
  try:
    complete = exists(root)
  except (ImportError, OSError, ValueError) as e:
    raise InputError(
      f'config.data.root: {root}: cannot be read ({first_line(e):.200}). Give a folder'
      ' or an address of fsspec whose package is installed.'
    ) from None
  if not complete:
    raise InputError(
      f'{place}/{COMPLETE_FILE}: no such file, so there is no complete packed window. Make one'
      f' with python -m pnerf_jax.prepare pack --out={root}.'
    )
  folder = Path(place) if '://' not in str(root) else _download(place)
  metadata = _read_metadata(folder / VIEWS / VERSION / 'metadata.json')
  source, views = _open_source(folder, VIEWS), {}
  for i in range(len(source)):
    example = _example(folder, VIEWS, source, i)
    where = f'{place}: view {i}'
    if example['camera'] not in metadata['cameras'] or example['frame'] < 0:
      name = f'camera {example["camera"]!r:.40}, frame {example["frame"]}'
      raise InputError(f'{where} is of {name}, which cannot be. {_REMEDY}')
    kitti360.check_camera(example['size'], example['intrinsics'], where, _REMEDY)
    for pose in (example['world_from_cam'], example['world_from_pose']):
      kitti360.check_rotation(pose[:3, :3], where, _REMEDY)
      primitives.check_range(pose, where, _REMEDY)
    content = {kind: len(example[kind]) for kind in ENCODED_KINDS}
    views[example['frame'], example['camera']] = example | content | {'position': i}
  if len(views) != len({frame for frame, _ in views}) * len(metadata['cameras']):
    raise InputError(f'{place}: a frame lacks the view of a camera. {_REMEDY}')
  records = _open_source(folder, PRIMITIVES)
  by_split: dict[str, list[PrimitiveRecord]] = {name: [] for name in metadata['primitives']}
  for i in range(len(records)):
    example = _example(folder, PRIMITIVES, records, i)
    where = f'{place}: primitive {i}'
    primitives.check_mesh(example['vertices'], example['faces'], where, _REMEDY)
    if example['split'] not in by_split or example['semantic'] not in labels.BY_ID:
      raise InputError(f'{where} has no known class or list. {_REMEDY}')
    by_split[example.pop('split')].append(PrimitiveRecord(**example))
  return Archive(place, folder, metadata, views, source, by_split)


def open_dataset(data: DataConfig, stereo: bool = False) -> ArchiveIndex:
  """Return the frames of a packed window that `config.data` names; as data.dataset.open_dataset."""
  archive = open_archive(data.root)
  metadata = archive.metadata
  if data.sequence not in ('', metadata['sequence']):
    raise InputError(
      f'{archive.address}: is of sequence {metadata["sequence"]!r}; config.data.sequence is'
      f' {data.sequence!r}. Leave it out or name this one.'
    )
  if stereo and not metadata['stereo']:
    raise InputError(
      f'{archive.address}: names no rectified stereo pair. Use depth of another source.'
    )
  cameras = tuple(metadata['stereo'] if stereo else data.cameras or metadata['cameras'])
  check_cameras(cameras, metadata['cameras'], archive.address)
  images = {c: {frame for frame, camera in archive.views if camera == c} for c in cameras}
  frames, notes = select_frames(archive.address, data, images, set.union(*images.values()))
  views = [archive.views[frame, camera] for frame in frames for camera in cameras]
  stack = lambda name: np.stack([view[name] for view in views])
  pose_from_velo = metadata['pose_from_velo']
  return ArchiveIndex(
    root=archive.folder,
    derived_root=Path(data.derived_root) if data.derived_root else archive.folder,
    sequence=metadata['sequence'],
    frames=frames,
    cameras=cameras,
    sizes=stack('size'),
    intrinsics=stack('intrinsics'),
    world_from_cam=stack('world_from_cam'),
    world_from_pose=stack('world_from_pose')[:: len(cameras)],
    pose_from_velo=None if pose_from_velo is None else np.array(pose_from_velo),
    stereo=tuple(metadata['stereo']),
    notes=notes,
    archive=archive,
  )


def _read_metadata(path: Path) -> dict[str, Any]:
  """Read the metadata. All names in it may become names of folders."""
  metadata = JsonObject(files.read_json(path, hint=_REMEDY), str(path))
  lists = ('cameras', 'stereo', 'primitives')
  if (
    not isinstance(metadata.values, dict)
    or not all(isinstance(metadata.values.get(key), list) for key in lists)
    or not isinstance(metadata.values.get('fingerprint'), str)
  ):
    raise InputError(f'{path}: has no metadata of a packed window. {_REMEDY}')
  transforms.folder_name(metadata.values.get('sequence'), 'sequence', str(path))
  for key in lists:
    for name in metadata.values[key]:
      transforms.folder_name(name, key, str(path))
  if metadata.values.get('pose_from_velo') is not None:
    metadata.numbers('pose_from_velo', 4, 4)
  return metadata.values


def _open_source(folder: Path, table: str) -> Any:
  """Return the encoded examples of one dataset.

  TFDS would import the modules that features.json names; its records are decoded here instead.
  """
  folder = folder / table / VERSION
  files.read_json(folder / 'dataset_info.json', hint=_REMEDY)
  features = folder / 'features.json'
  text = files.read_bytes(features, hint=_REMEDY).decode(errors='replace')
  classes = set(re.findall(r'"pythonClassName"\s*:\s*"(.*?)"', text)) or {'none'}
  foreign = sorted(name for name in classes if not re.fullmatch(_OWN_CLASSES, name))
  if foreign:
    raise InputError(
      f'{features}: names the feature class {foreign[0]:.80}, which is not of a packed window.'
      f' {_REMEDY}'
    )
  stem = f'{NAME}-{SPLIT}.array_record-'
  found = sorted(folder.glob(f'{stem}*'))
  count = int(found[0].name[-5:]) if found and found[0].name[-5:].isdecimal() else 1
  shards = [folder / f'{stem}{i:05d}-of-{count:05d}' for i in range(count)]
  for shard in shards:
    content = files.read_bytes(shard, _MAX_SHARD, _REMEDY)
    size = _decompressed_size(content)
    if size > _MAX_EXAMPLES[0] + _MAX_EXAMPLES[1] * len(content):
      raise InputError(
        f'{shard}: {size} bytes of records in a file of {len(content)} bytes. {_REMEDY}'
      )
  try:
    return ArrayRecordDataSource([str(path) for path in shards])
  except Exception as e:  # array_record raises many kinds
    raise InputError(f'{folder}: cannot be opened ({first_line(e):.200}). {_REMEDY}') from None


def _decompressed_size(content: bytes) -> int:
  """Return the size that the records of an array_record file claim to have in memory.

  Every position is taken for a chunk, since the file's index may refer to any. Of its header of 40
  bytes, bytes 8-16 are the compressed size, 24 the type, 25-32 the number of records and 32-40 the
  size; blocks of 64 KiB begin with 24 other bytes.

  References:
    Riegeli/records file format, https://github.com/google/riegeli.
  """
  blocks = np.zeros((-(-len(content) // 2**16) or 1, 2**16), np.uint8)
  blocks.ravel()[: len(content)] = np.frombuffer(content, np.uint8)
  stream = blocks[:, 24:].ravel()
  at = np.flatnonzero((stream == ord('r')) | (stream == ord('t')))
  at = at[(at >= 24) & (at <= len(stream) - 16)]
  at = at[(stream[at - 9] == 0) & (stream[at + 7] == 0)]
  number = lambda offset: stream[at[:, None] + np.arange(offset, offset + 8)].view('<u8')[:, 0]
  plausible = (number(-16) <= len(content)) & (number(0) < 2**40) & (number(8) < 2**48)
  records, sizes = (number(offset)[plausible].astype(float) for offset in (0, 8))
  return int((sizes + _RECORD_OVERHEAD * (records // 256)).sum())


def _example(folder: Path, table: str, source: Any, position: int) -> dict[str, Any]:
  """Read and decode one example: its fields by name, numpy arrays and plain values."""
  try:
    features = tf_example_pb2.Example.FromString(source[position]).features.feature
    return {name: _decode(name, features[name]) for name in _FIELDS[table]}
  except Exception as e:  # array_record and protocol buffers raise many kinds
    raise InputError(
      f'{folder / table}: example {position} cannot be read ({first_line(e):.200}). {_REMEDY}'
    ) from None


def _decode(name: str, feature: Any) -> Any:
  if name == 'size':
    return np.array(feature.int64_list.value, np.int64).reshape(2)
  if name == 'frame' or name in INTEGER_FIELDS:
    (value,) = feature.int64_list.value
    return value
  (value,) = feature.bytes_list.value
  if name in _NAMES:
    return value.decode()
  if name not in _ARRAYS:
    return value
  dtype, shape = _ARRAYS[name]
  stream = zlib.decompressobj()
  content = stream.decompress(value, _MAX_ARRAY[0] + _MAX_ARRAY[1] * len(value))
  if not stream.eof:
    raise ValueError(f'{name} is incomplete or too large')
  return np.frombuffer(content, dtype).reshape(shape)


def _download(place: str) -> Path:
  """Return a local copy in ~/.cache/pnerf_jax (or $XDG_CACHE_HOME/pnerf_jax), made once."""
  system, remote = fsspec.core.url_to_fs(place)
  cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'pnerf_jax')
  # A window that was packed again at the same address has other metadata.
  content = [system.cat_file(f'{remote}/{COMPLETE_FILE}')]
  content += [system.cat_file(f'{remote}/{VIEWS}/{VERSION}/metadata.json')]
  found = {f['name']: f['size'] for f in system.find(remote, detail=True).values()}
  listing = json.dumps(sorted(found.items()))
  digest = hashlib.sha256(b''.join([place.encode(), *content, listing.encode()])).hexdigest()
  folder = cache / digest[:24]
  if not folder.exists():
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.download-', dir=cache) as temporary:
      complete = Path(temporary, 'complete')
      # Only names of our own: any other might lead out of the folder.
      own = {name: re.search(_OWN_FILES, name) for name in found}
      names = {name: str(complete / match[0]) for name, match in own.items() if match}
      for parent in {os.path.dirname(path) for path in names.values()}:
        os.makedirs(parent)
      system.get(list(names), list(names.values()))
      try:
        os.replace(complete, folder)
      except OSError:
        if not folder.exists():  # else another process was first
          raise
  return folder
