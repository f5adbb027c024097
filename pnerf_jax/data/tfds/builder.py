"""A window as one TFDS dataset: a few large files that travel to another host as one folder.

One example is one file of KITTI-360's layout as it lies on disk; the last example is the index.
No TensorFlow is needed: array_record holds bytes, which are decoded as files are. What belongs to a
window is told by `packing`, which builds it.
"""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import tensorflow_datasets as tfds

from pnerf_jax.data import files
from pnerf_jax.data.tfds.reader import PackedPath
from pnerf_jax.errors import InputError

_INDEX = 'index.json'
_SPLIT = 'files'
_WHOLE = 'dataset_info.json'  # what is written last
_MAX_FILE = 2**30  # bytes; an example may hold twice that
_REMEDY = 'Copy it again, or build it anew with python -m pnerf_jax.prepare tfds.'


class Kitti360Window(tfds.core.GeneratorBasedBuilder):
  """The files of one window of KITTI-360, or of any folder in its layout."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'One example a file; the index last.'}

  def __init__(self, *, contents: list[dict[str, Any]] = (), **kwargs: Any):
    """contents: of packing.window_files."""
    self._contents = contents
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(
        {
          'path': tfds.features.Text(),  # inside the dataset's folder
          'kind': tfds.features.Text(),  # 'rgb', 'pseudo_depth', 'lidar', ... of packing
          'camera': tfds.features.Text(),  # '' where the file is of none
          'frame': np.int64,  # -1 where the file is of none
          'content': tfds.features.Text(),  # the bytes
        }
      ),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    del dl_manager
    return {_SPLIT: self._generate_examples()}

  def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
    index = {}
    for key, item in enumerate(self._contents):
      content = files.read_bytes(item['source'], _MAX_FILE, 'Such a file cannot be packed.')
      index[item['path']] = [len(content), zlib.crc32(content)]
      yield (
        key,
        {**{name: item[name] for name in ('path', 'kind', 'camera', 'frame')}, 'content': content},
      )
    yield (
      len(index),
      {
        'path': _INDEX,
        'kind': 'index',
        'camera': '',
        'frame': -1,
        'content': json.dumps(index).encode(),
      },
    )


def place_in(root: str) -> str:
  """Where in a folder, or under an fsspec address, the packed window lies."""
  return f'{str(root).rstrip("/")}/{Kitti360Window.name}/{Kitti360Window.VERSION}'


def build(contents: list[dict[str, Any]], folder: Path) -> Path:
  """Packs files into a fresh folder on this host; returns where in it the packed window lies."""
  tfds.disable_progress_bar()
  builder = Kitti360Window(contents=contents, data_dir=str(folder), file_format='array_record')
  builder.download_and_prepare()
  return Path(place_in(folder))


def publish(built: Path, root: str) -> None:
  """Moves a packed window to a folder, or under an address, replacing what is there.

  Who reads it sees all of it or nothing: the file without which nothing is read comes last.
  """
  system, place = fsspec.core.url_to_fs(place_in(root))
  if system.exists(place):
    system.rm(f'{place}/{_WHOLE}')
    system.rm(place, recursive=True)
  system.makedirs(place, exist_ok=True)
  for file in sorted(built.iterdir(), key=lambda file: file.name == _WHOLE):
    system.put_file(str(file), f'{place}/{file.name}')


def exists(root: str) -> bool:
  """Whether a whole packed window is there."""
  system, place = fsspec.core.url_to_fs(place_in(root))
  return system.exists(f'{place}/{_WHOLE}')


def open_packed(root: str) -> PackedPath:
  """A packed window as a folder.

  Args:
    root: the folder in which it was built, or an fsspec address. From an address it is copied into
      the user's cache first: array_record reads local files only.

  Raises:
    InputError: there is none, it is not whole or damaged.
  """
  try:
    there = exists(root)
  except (ImportError, OSError, ValueError) as e:
    raise InputError(
      f'config.data.root: {root}: cannot be looked at ({str(e):.200}). Give a folder'
      ' or an address of fsspec whose package is installed.'
    ) from None
  place = place_in(root)
  if not there:
    raise InputError(
      f'{place}/{_WHOLE}: no such file, so no whole packed window is there. Make one'
      f' with python -m pnerf_jax.prepare tfds --out={root}.'
    )
  folder = Path(place) if '://' not in str(root) else _fetched(place)
  try:
    source = tfds.builder_from_directory(folder).as_data_source(_SPLIT)
  except Exception as e:  # whatever the parsers of its JSON and protocol buffers raise
    raise InputError(f'{place}: cannot be opened ({_first_line(e)}). {_REMEDY}') from None
  store = _Store(place, folder, source)
  return PackedPath(place, store.sizes(), store.read)


class _Store:
  """The examples of a packed window by their paths."""

  def __init__(self, place: str, folder: Path, source: Any):
    self._place, self._source = place, source
    expected = tfds.builder_from_directory(folder).info.splits[_SPLIT].filepaths
    for path in expected:
      if not os.path.exists(path):
        raise InputError(f'{path}: no such file, so the packed window is not whole. {_REMEDY}')
    example = self._example(len(source) - 1, _INDEX)
    try:
      self._index = json.loads(example['content'])
      self._position = {path: i for i, path in enumerate(self._index)}
      self.sizes()
    except (ValueError, TypeError, AttributeError) as e:
      raise InputError(f'{place}: the index is damaged ({_first_line(e)}). {_REMEDY}') from None

  def sizes(self) -> dict[str, int]:
    """Bytes of every file."""
    return {path: int(size) for path, (size, _) in self._index.items()}

  def read(self, path: str) -> bytes:
    """The content of a file, checked against the index."""
    content = self._example(self._position[path], path)['content']
    if [len(content), zlib.crc32(content)] != self._index[path]:
      raise InputError(f'{self._place}: {path} is damaged. {_REMEDY}')
    return content

  def _example(self, position: int, path: str) -> dict[str, Any]:
    try:
      example = self._source[position]
      if example['path'].decode(errors='replace') != path:
        raise ValueError(f'example {position} is {example["path"]!r:.60}')
    except Exception as e:  # array_record and protocol buffers raise many kinds
      raise InputError(
        f'{self._place}: {path} cannot be read ({_first_line(e)}). {_REMEDY}'
      ) from None
    return example


def _fetched(place: str) -> Path:
  """A copy on this host, made once: ~/.cache/pnerf_jax (or $XDG_CACHE_HOME/pnerf_jax)."""
  system, remote = fsspec.core.url_to_fs(place)
  cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'pnerf_jax')
  # A window that was built anew at the same address is another one.
  said = system.cat_file(f'{remote}/{_WHOLE}')
  listed = json.dumps(sorted((str(f['name']), f['size']) for f in system.ls(remote, detail=True)))
  folder = cache / hashlib.sha256(place.encode() + said + listed.encode()).hexdigest()[:24]
  if not folder.exists():
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.fetching-', dir=cache) as beside:
      whole = Path(beside, 'whole')
      system.get(f'{remote}/', str(whole), recursive=True)
      try:
        os.replace(whole, folder)
      except OSError:
        if not folder.exists():  # another process was first: the same bytes
          raise
  return folder


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
