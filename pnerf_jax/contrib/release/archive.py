"""Read access to the files of a folder, zip file or tar file.

Names select what is read; they never determine where anything is written. Links inside zip and tar
files are ignored, and no file is read beyond the size that the archive declares for it.
"""

import contextlib
import dataclasses
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pnerf_jax.data import files
from pnerf_jax.errors import InputError

_HINT = 'Copy or download it again.'
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
      sizes, open_member = _open(path, stack)
    except _ERRORS as e:
      raise InputError(f'{path}: cannot be read as a zip or tar file ({e}). {_HINT}') from None
    yield Archive(path, sizes, open_member, Path(temporary, 'file'))


def _open(
  path: Path, stack: contextlib.ExitStack
) -> tuple[dict[str, int], Callable[[str], IO[bytes]] | None]:
  """Return the sizes of all regular files by name, and the function that opens one."""
  if path.is_dir():
    size_of = lambda file: file.stat().st_size if file.is_file() else 0  # 0: refused by the readers
    return {name: size_of(path / name) for name in _walk(path)}, None
  if zipfile.is_zipfile(path):
    zip_file = stack.enter_context(zipfile.ZipFile(path))
    infos = {info.filename: info for info in zip_file.infolist() if not info.is_dir()}
    return {name: info.file_size for name, info in infos.items()}, (
      lambda name: zip_file.open(infos[name])
    )
  tar_file = stack.enter_context(tarfile.open(path))
  members = {member.name: member for member in tar_file if member.isreg()}

  def open_member(name: str) -> IO[bytes]:
    member = tar_file.extractfile(members[name])
    assert member is not None  # it is a regular file
    return member

  return {name: member.size for name, member in members.items()}, open_member


def _walk(root: Path) -> list[str]:
  """Return the names of all files below a folder, sorted; follows links, but no folder twice."""
  names, visited = [], set()
  for folder, subfolders, found in os.walk(root, followlinks=True):
    subfolders.sort()
    real = os.path.realpath(folder)
    if real in visited:
      subfolders.clear()
      continue
    visited.add(real)
    names += [Path(folder, name).relative_to(root).as_posix() for name in sorted(found)]
  return names
