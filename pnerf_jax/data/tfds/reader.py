"""Reading of a window that was packed as a TFDS dataset (contrib/preparation/tfds_builder.py)."""

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import tensorflow_datasets as tfds

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset_index import DatasetIndex, check_cameras, select_frames
from pnerf_jax.data.files import ReadableFile
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError

NAME, VERSION, SPLIT = 'kitti360_window', '2.0.0', 'window'
VIEWS, PRIMITIVES = 'views', 'primitives'  # the configs of the dataset
ENCODED_KINDS = (*kitti360.RECORDED, *kitti360.DERIVED, 'lidar')  # files of a view
COMPLETE_FILE = f'{VIEWS}/{VERSION}/dataset_info.json'  # written last
_REMEDY = 'Copy it again, or build it again with python -m pnerf_jax.prepare pack.'
INTEGER_FIELDS = tuple(f.name for f in dataclasses.fields(PrimitiveRecord) if f.type is int)


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
    read = functools.partial(_example, self.address, self.source, view['position'])
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
      f'config.data.root: {root}: cannot be read ({_first_line(e)}). Give a folder'
      ' or an address of fsspec whose package is installed.'
    ) from None
  if not complete:
    raise InputError(
      f'{place}/{COMPLETE_FILE}: no such file, so there is no complete packed window. Make one'
      f' with python -m pnerf_jax.prepare pack --out={root}.'
    )
  folder = Path(place) if '://' not in str(root) else _download(place)
  source, metadata = _open_source(place, folder / VIEWS / VERSION)
  if 'fingerprint' not in metadata:
    raise InputError(f'{place}: has no metadata. {_REMEDY}')
  views = {}
  for i in range(len(source)):
    example = _example(place, source, i)
    content = {kind: len(example[kind]) for kind in ENCODED_KINDS}
    views[int(example['frame']), example['camera'].decode()] = example | content | {'position': i}
  records, _ = _open_source(place, folder / PRIMITIVES / VERSION)
  primitives: dict[str, list[PrimitiveRecord]] = {name: [] for name in metadata['primitives']}
  for i in range(len(records)):
    example = _example(place, records, i)
    primitives[example['split'].decode()].append(_record(example))
  return Archive(place, folder, metadata, views, source, primitives)


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


def _open_source(place: str, folder: Path) -> tuple[Any, dict[str, Any]]:
  """Return the examples and metadata of one dataset."""
  try:
    builder = tfds.builder_from_directory(folder)
    source, metadata = builder.as_data_source(SPLIT), dict(builder.info.metadata)
    paths = builder.info.splits[SPLIT].filepaths
  except Exception as e:  # JSON and protocol buffer parsers raise many kinds
    raise InputError(f'{place}: cannot be opened ({_first_line(e)}). {_REMEDY}') from None
  for path in paths:
    if not os.path.exists(path):
      raise InputError(f'{path}: no such file, so the packed window is incomplete. {_REMEDY}')
  return source, metadata


def _example(place: str, source: Any, position: int) -> dict[str, Any]:
  try:
    return source[position]
  except Exception as e:  # array_record and protocol buffers raise many kinds
    raise InputError(
      f'{place}: example {position} cannot be read ({_first_line(e)}). {_REMEDY}'
    ) from None


def _record(example: dict[str, Any]) -> PrimitiveRecord:
  return PrimitiveRecord(
    label=example['label'].decode(),
    vertices=example['vertices'],
    faces=example['faces'],
    **{name: int(example[name]) for name in INTEGER_FIELDS},
  )


def _download(place: str) -> Path:
  """Return a local copy in ~/.cache/pnerf_jax (or $XDG_CACHE_HOME/pnerf_jax), made once."""
  system, remote = fsspec.core.url_to_fs(place)
  cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'pnerf_jax')
  # A window that was packed again at the same address has other metadata.
  content = [system.cat_file(f'{remote}/{COMPLETE_FILE}')]
  content += [system.cat_file(f'{remote}/{VIEWS}/{VERSION}/metadata.json')]
  listing = json.dumps(
    sorted((f['name'], f['size']) for f in system.find(remote, detail=True).values())
  )
  digest = hashlib.sha256(b''.join([place.encode(), *content, listing.encode()])).hexdigest()
  folder = cache / digest[:24]
  if not folder.exists():
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.download-', dir=cache) as temporary:
      complete = Path(temporary, 'complete')
      system.get(f'{remote}/', str(complete), recursive=True)
      try:
        os.replace(complete, folder)
      except OSError:
        if not folder.exists():  # else another process was first
          raise
  return folder


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
