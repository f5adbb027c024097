"""A folder, a zip file or a tar file behind one door: its names, and one file at a time.

A name chooses what is read, and never says where anything is written; links inside a zip or tar
file are passed over. So nothing that an archive holds can reach a place of its own choice.
"""

import contextlib
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pnerf_jax.data import files
from pnerf_jax.errors import InputError

_AGAIN = 'Copy or download it again.'
# What the two libraries raise for files that are cut off, damaged, encrypted or of unknown form.
_DAMAGED = (
  zipfile.BadZipFile,
  tarfile.TarError,
  zlib.error,
  lzma.LZMAError,
  EOFError,
  RuntimeError,
  OSError,
)


class Archive:
  """An open archive.

  Attributes:
    path: of the folder or file.
    names: of the files in it, in the order in which they are read fastest.
  """

  def __init__(self, path: Path, names: list[str], staging: Path):
    """path, names: as above.   staging: an empty folder for one file at a time."""
    self.path, self.names = path, names
    self._staged = staging / 'file'

  @contextlib.contextmanager
  def file(self, name: str, most: int) -> Iterator[Path]:
    """A path from which the file of this name can be read in the block.

    Raises:
      InputError: damaged or beyond `most` bytes. Those raised in the block name the file's place in
        the archive.
    """
    where = f'{self.path}: {name}'
    size = self._size(name)
    if size > most:
      raise InputError(f'{where}: {size} bytes, expected at most {most}. {_AGAIN}')
    try:
      content = self._read(name, size)
      if len(content) != size:
        raise EOFError(f'{len(content)} of {size} bytes')
    except _DAMAGED as e:
      raise InputError(f'{where}: cannot be read ({e}). {_AGAIN}') from None
    files.write_bytes(self._staged, content)
    try:
      yield self._staged
    except InputError as e:
      raise InputError(str(e).replace(str(self._staged), where)) from None

  def _size(self, name: str) -> int:
    raise NotImplementedError

  def _read(self, name: str, size: int) -> bytes:
    raise NotImplementedError


class _Folder(Archive):
  """Files are read where they lie."""

  @contextlib.contextmanager
  def file(self, name: str, most: int) -> Iterator[Path]:
    path = self.path / name
    if path.is_file() and path.stat().st_size > most:
      raise InputError(f'{path}: {path.stat().st_size} bytes, expected at most {most}. {_AGAIN}')
    yield path


class _Zip(Archive):
  def __init__(self, path: Path, opened: zipfile.ZipFile, staging: Path):
    self._opened = opened
    self._members = {info.filename: info for info in opened.infolist() if not info.is_dir()}
    super().__init__(path, list(self._members), staging)

  def _size(self, name: str) -> int:
    return self._members[name].file_size

  def _read(self, name: str, size: int) -> bytes:
    with self._opened.open(self._members[name]) as file:
      return file.read(size + 1)


class _Tar(Archive):
  def __init__(self, path: Path, opened: tarfile.TarFile, staging: Path):
    self._opened = opened
    self._members = {member.name: member for member in opened if member.isreg()}
    super().__init__(path, list(self._members), staging)

  def _size(self, name: str) -> int:
    return self._members[name].size

  def _read(self, name: str, size: int) -> bytes:
    return self._opened.extractfile(self._members[name]).read(size + 1)


@contextlib.contextmanager
def open_archive(path: Path, scratch: Path) -> Iterator[Archive]:
  """Opens a folder, a zip file or a tar file, compressed or not.

  Args:
    path: of the archive.
    scratch: a folder in which a temporary one may be made; it is gone in the end.

  Raises:
    InputError: absent, or none of these.
  """
  path = Path(path)
  if path.is_dir():
    yield _Folder(path, _walk(path), scratch)
    return
  if not path.is_file():
    raise InputError(f'{path}: no such file or folder. Name a folder, a zip file or a tar file.')
  with contextlib.ExitStack() as held:
    staging = Path(held.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix='.staging-')))
    try:
      archive = _open(path, staging, held)
    except _DAMAGED as e:
      raise InputError(f'{path}: cannot be read as a zip or tar file ({e}). {_AGAIN}') from None
    yield archive


def _open(path: Path, staging: Path, held: contextlib.ExitStack) -> Archive:
  opened: Any
  if zipfile.is_zipfile(path):
    opened = held.enter_context(zipfile.ZipFile(path))
    return _Zip(path, opened, staging)
  opened = held.enter_context(tarfile.open(path))
  return _Tar(path, opened, staging)


def _walk(root: Path) -> list[str]:
  """Names of all files below a folder, sorted; through links to folders, but no folder twice."""
  names, entered = [], set()
  for folder, subfolders, found in os.walk(root, followlinks=True):
    subfolders.sort()
    real = os.path.realpath(folder)
    if real in entered:
      subfolders.clear()
      continue
    entered.add(real)
    names += [Path(folder, name).relative_to(root).as_posix() for name in sorted(found)]
  return names
