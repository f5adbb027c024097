"""Read access to the files of a folder, zip file or tar file.

Names select what is read; they never determine where anything is written. Links inside zip and tar
files are ignored. What an archive declares is bounded by its own size before it is decompressed.
"""

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from pnerf_jax.data import files
from pnerf_jax.errors import InputError

_HINT = 'Copy or download it again.'
_MAX_RATIO = 100  # bytes of an archive per compressed byte; text of numbers has some 10
_MIN_LIMIT = 2**24  # bytes of any archive
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others decompress without a limit
_COMPRESSIONS = {b'\x1f\x8b': gzip.open, b'BZh': bz2.open, b'\xfd7zXZ\0': lzma.open}
# Errors of zipfile and tarfile for truncated, damaged, encrypted or unknown files.
_ERRORS = (
  zipfile.BadZipFile,
  tarfile.TarError,
  zlib.error,
  lzma.LZMAError,
  EOFError,
  RuntimeError,
  OSError,
)


@dataclasses.dataclass(frozen=True)
class Archive:
  """An open folder, zip file or tar file.

  Attributes:
    path: the folder or file.
    sizes: bytes of every file by name, in storage order.
    open_member: opens a file by its name; None for a folder.
    staging: temporary path of the file that is being read.
  """

  path: Path
  sizes: dict[str, int]
  open_member: Callable[[str], IO[bytes]] | None
  staging: Path

  @contextlib.contextmanager
  def file(self, name: str, max_bytes: int) -> Iterator[Path]:
    """Provide a file of the archive as a path within the block.

    Raises:
      InputError: the file is damaged or too large. InputErrors of the block that name the temporary
        path are changed to name the place in the archive.
    """
    source = f'{self.path}: {name}' if self.open_member else str(self.path / name)
    size = self.sizes[name]
    if size > max_bytes:
      raise InputError(f'{source}: {size} bytes, expected at most {max_bytes}. {_HINT}')
    if self.open_member is None:
      if not (self.path / name).is_file():  # a pipe may never end
        raise InputError(f'{source}: is not a regular file. {_HINT}')
      yield self.path / name
      return
    try:
      with self.open_member(name) as member:
        content = member.read(size + 1)
      if len(content) != size:
        raise EOFError(f'{len(content)} of {size} bytes')
    except _ERRORS as e:
      raise InputError(f'{source}: cannot be read ({e}). {_HINT}') from None
    files.write_bytes(self.staging, content)
    try:
      yield self.staging
    except InputError as e:
      raise InputError(str(e).replace(str(self.staging), source)) from None


@contextlib.contextmanager
def open_archive(path: Path, scratch: Path) -> Iterator[Archive]:
  """Open a folder, a zip file, or a tar file with any compression.

  Args:
    path: the folder or file.
    scratch: folder for a temporary folder, deleted at the end of the block.

  Raises:
    InputError: the path does not exist or cannot be read.
  """
  path = Path(path)
  if not path.is_dir() and not path.is_file():
    raise InputError(f'{path}: no such file or folder. Use a folder, a zip file or a tar file.')
  with contextlib.ExitStack() as stack:
    temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix='.staging-'))
    try:
      limit = max(_MAX_RATIO * path.stat().st_size, _MIN_LIMIT)
      sizes, open_member = _open(path, limit, stack)
      if open_member and sum(sizes.values()) > limit:
        raise tarfile.ReadError(f'{sum(sizes.values())} bytes in it, expected at most {limit}')
    except _ERRORS as e:
      raise InputError(f'{path}: cannot be read as a zip or tar file ({e}). {_HINT}') from None
    yield Archive(path, sizes, open_member, Path(temporary, 'file'))


def _open(
  path: Path, limit: int, stack: contextlib.ExitStack
) -> tuple[dict[str, int], Callable[[str], IO[bytes]] | None]:
  """Return the sizes of all regular files by name, and the function that opens one.

  Args:
    path: the folder or file.
    limit: bytes of all files of a tar file.
    stack: closes what is opened.
  """
  if path.is_dir():
    size_of = lambda file: file.stat().st_size if file.is_file() else 0  # 0: refused by the readers
    return {name: size_of(path / name) for name in _walk(path)}, None
  if zipfile.is_zipfile(path):
    zip_file = stack.enter_context(zipfile.ZipFile(path))
    infos = {info.filename: info for info in zip_file.infolist() if not info.is_dir()}
    for name, info in infos.items():
      if info.compress_type not in _ZIP_METHODS:
        raise zipfile.BadZipFile(f'{name:.80} is neither stored nor deflated')
    return {name: info.file_size for name, info in infos.items()}, (
      lambda name: zip_file.open(infos[name])
    )
  with path.open('rb') as file:
    start = file.read(6)
  openers: list[Any] = [f for magic, f in _COMPRESSIONS.items() if start.startswith(magic)]
  stream = _LimitedStream(stack.enter_context([*openers, open][0](path, 'rb')), limit)
  tar_file = stack.enter_context(tarfile.open(fileobj=stream, mode='r:'))
  members = {}
  for member in tar_file:
    if member.size < 0:  # the next one would be before it
      raise tarfile.ReadError(f'{member.name:.80} has {member.size} bytes')
    if member.isreg():
      members[member.name] = member

  def open_member(name: str) -> IO[bytes]:
    member = tar_file.extractfile(members[name])
    assert member is not None  # it is a regular file
    return member

  return {name: member.size for name, member in members.items()}, open_member


class _LimitedStream(io.RawIOBase):
  """The decompressed content of a tar file, of which nothing beyond a limit is read or skipped."""

  def __init__(self, file: IO[bytes], limit: int):
    """Bind a seekable file and the limit in bytes."""
    self._file, self._limit = file, limit

  def _check(self, position: int) -> None:
    if position > self._limit:
      raise tarfile.ReadError(f'more than {self._limit} bytes in it')

  def read(self, size: int = -1) -> bytes:
    """Read the next bytes."""
    self._check(self.tell() + size if size >= 0 else self._limit + 1)
    return self._file.read(size)

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    """Move to a position from the start."""
    self._check(offset)
    return self._file.seek(offset, whence)

  def tell(self) -> int:
    """Return the position."""
    return self._file.tell()


def _walk(root: Path) -> list[str]:
  """Return the names of all files below a folder, sorted.

  Follows links, but to no folder twice, and not to a folder around this one, such as /.
  """
  names, visited = [], {str(parent) for parent in root.resolve().parents}
  for folder, subfolders, found in os.walk(root, followlinks=True):
    subfolders.sort()
    real = os.path.realpath(folder)
    if real in visited:
      subfolders.clear()
      continue
    visited.add(real)
    names += [Path(folder, name).relative_to(root).as_posix() for name in sorted(found)]
  return names
