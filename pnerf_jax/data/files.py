"""Reading files of bounded size; writing files so that they are whole or absent."""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pnerf_jax.errors import InputError


def join(root: Any, *parts: str) -> Any:
  """The path root / parts. root: text, a Path, or a packed folder (packed.PackedPath)."""
  return root.joinpath(*parts) if hasattr(root, 'joinpath') else Path(root, *parts)


def read_bytes(path: Path, most: int, remedy: str) -> bytes:
  """The content of a regular file of at most `most` bytes; nothing is read of a larger one.

  Raises:
    InputError: absent, no regular file, unreadable or too large; the message ends with `remedy`.
  """
  path = join(path)
  try:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device may never end
      raise InputError(f'{path}: is not a regular file. {remedy}')
    if found.st_size > most:
      raise InputError(f'{path}: {found.st_size} bytes, expected at most {most}. {remedy}')
    return path.read_bytes()
  except FileNotFoundError:
    raise InputError(f'{path}: no such file. {remedy}') from None
  except OSError as e:
    raise InputError(f'{path}: cannot be read ({e.strerror}). {remedy}') from None


def read_json(path: Path, most: int, remedy: str) -> Any:
  """What a JSON file of at most `most` bytes holds; InputError, as of `read_bytes`."""
  content = read_bytes(path, most, remedy)
  try:
    return json.loads(content)
  except (ValueError, RecursionError) as e:  # ValueError: also text that is not Unicode
    raise InputError(f'{path}: not JSON ({str(e)[:80]}). {remedy}') from None


def check_is_folder(path: Path, flag: str) -> None:
  """Raises InputError, naming the flag, where a file stands in the way of a folder."""
  path = Path(path)
  nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
  if not nearest.is_dir():
    raise InputError(f'{flag}={path}: {nearest} is a file. Name a folder.')


def write_bytes(path: Path, content: bytes) -> None:
  """Writes a file under a temporary name, then renames it; missing folders are made."""
  with atomic_write(path) as file:
    file.write(content)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
  """A binary file that gets its name when the block ends well; missing folders are made."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}-', suffix='.tmp')
  try:
    with os.fdopen(handle, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())  # or a machine that dies now may keep the name without the content
    os.chmod(temporary, 0o644)  # mkstemp's own mode would hide the file from other users
    os.replace(temporary, path)
  except BaseException as e:
    Path(temporary).unlink(missing_ok=True)
    if isinstance(e, OSError) and e.filename is None:
      e.filename = str(path)
    raise


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
  """Waits until no other process is in such a block for this folder, which exists.

  For reading a file, changing it and writing it back. Without effect on a filesystem that has no
  locks.
  """
  handle = os.open(folder, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):
      fcntl.flock(handle, fcntl.LOCK_EX)
    yield
  finally:
    os.close(handle)


def link(source: Path, target: Path) -> None:
  """The file under a second name, or a copy where the disk has no such links."""
  with atomic_path(target) as partial:
    try:
      os.link(source.resolve(), partial)
    except OSError:
      shutil.copyfile(source, partial)


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
  """A free name beside a path, which is given its own name at the end of the block."""
  target.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=target.parent, prefix='.arriving-') as folder:
    partial = Path(folder, target.name)
    yield partial
    os.replace(partial, target)
