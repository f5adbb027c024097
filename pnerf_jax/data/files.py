"""Reading of size-limited files, atomic writing, and file locks."""

import collections
import contextlib
import errno
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import filelock

from pnerf_jax.errors import InputError, describe_os_error

_LOG = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_MAX_BYTES = 2**26
_HINT = 'Replace the file, or move it.'


class ReadableFile(Protocol):
  """A path, or a file inside a packed window (data/tfds)."""

  def exists(self) -> bool:
    """Return whether there is such a file."""

  def stat(self) -> os.stat_result:
    """Return its type and size."""

  def read_bytes(self) -> bytes:
    """Return its content."""


def read_bytes(path: ReadableFile, max_bytes: int = _MAX_BYTES, hint: str = _HINT) -> bytes:
  """Read a regular file.

  Args:
    path: of the file.
    max_bytes: nothing is read of a larger file.
    hint: end of the error message.

  Raises:
    InputError: the file is absent, not regular, unreadable or too large.
  """
  try:
    status = path.stat()
    is_regular = stat.S_ISREG(status.st_mode)  # a pipe or a device may never end
    content = path.read_bytes() if is_regular and status.st_size <= max_bytes else b''
  except FileNotFoundError:
    raise InputError(f'{path}: no such file. {hint}') from None
  except OSError as e:
    raise InputError(describe_os_error(e, path)) from None
  except ValueError as e:  # a null character
    raise InputError(f'{str(path)!r}: no path ({e}). {hint}') from None
  if not is_regular:
    raise InputError(f'{path}: is not a regular file. {hint}')
  if status.st_size > max_bytes:
    raise InputError(f'{path}: {status.st_size} bytes, expected at most {max_bytes}. {hint}')
  return content


def read_json(path: Path, max_bytes: int = _MAX_BYTES, hint: str = _HINT) -> Any:
  """Read a JSON file without repeated keys; arguments and errors as of `read_bytes`."""
  content = read_bytes(path, max_bytes, hint)

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
      ((key, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
      raise ValueError(f'twice in one object: {key!r:.40}')
    return values

  try:
    return json.loads(content, object_pairs_hook=unique)
  except (ValueError, RecursionError) as e:  # ValueError includes invalid Unicode
    raise InputError(f'{path}: not JSON ({str(e)[:80]}). {hint}') from None


def json_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
  """Return the objects of a file of one JSON object a line, and the number of damaged lines."""
  objects, num_damaged = [], 0
  whole = lambda digits: int(digits) if len(digits) < 20 else float(digits)  # as floats are limited
  for line in content.decode(errors='replace').splitlines():
    try:
      objects.append({**json.loads(line, parse_int=whole)})
    except (ValueError, TypeError, RecursionError):
      num_damaged += 1
  return objects, num_damaged


def exists(path: ReadableFile) -> bool:
  """Return whether there is a file. Raises InputError if it is a link to nothing."""
  if path.exists():
    return True
  if isinstance(path, Path) and path.is_symlink():
    raise InputError(
      f'{path}: is a link to {os.readlink(path)}, which is absent. Correct the link.'
    )
  return False


def check_is_folder(path: Path, flag: str) -> None:
  """Raise InputError, naming the flag, if the path or one of its parents is not a folder.

  Raises OSError if there can be no such folder, e.g. because its name is too long.
  """
  nearest = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
  if not nearest.is_dir():
    kind = 'a file' if nearest.is_file() else 'not a folder'
    raise InputError(f'{flag}={path}: {nearest} is {kind}. Name a folder.')
  with contextlib.suppress(FileNotFoundError):
    os.stat(path)


def check_output(path: Path, mark: bytes = b'') -> None:
  """Check that writing a file replaces nothing but a file of its own kind.

  Args:
    path: of the file.
    mark: bytes near the start of every file of this kind; b'' accepts every regular file.

  Raises:
    InputError: there is a folder, link, pipe or device, or a file without the mark.
  """
  try:
    status = path.lstat()
  except (FileNotFoundError, NotADirectoryError):
    return
  if not stat.S_ISREG(status.st_mode):
    kinds = {stat.S_IFLNK: 'a link', stat.S_IFDIR: 'a folder'}
    kind = kinds.get(stat.S_IFMT(status.st_mode), 'a pipe or a device')
    raise InputError(f'{path}: is {kind} where a file is written. Move it, or use another name.')
  if mark and status.st_size:
    with path.open('rb') as file:
      if mark not in file.read(4096):
        raise InputError(f'{path}: is another file, which is not replaced. Use another name.')


def check_tree(folder: Path) -> None:
  """Raise InputError if a folder that a library reads holds a pipe or device: it may never end."""
  for parent, _, names in os.walk(folder):
    for path in (Path(parent, name) for name in names):
      with contextlib.suppress(OSError):  # deleted by another process, or a link to nothing
        if not stat.S_ISREG(path.stat().st_mode):
          raise InputError(f'{path}: is not a regular file. Move it out of {folder}.')


def write_bytes(path: Path, content: bytes) -> None:
  """Write a file atomically; missing folders are created."""
  with atomic_write(path) as file:
    file.write(content)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
  """Open a temporary file that is renamed to `path`, see check_output, if the block succeeds."""
  check_output(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    prefix = f'.{path.stem[:40]}-'  # a long name would become too long
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix='.tmp')
  except OSError as e:
    raise OSError(e.errno, e.strerror, str(path)) from None
  try:
    with os.fdopen(handle, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())  # otherwise a power failure may keep the name without the content
    os.chmod(temporary, 0o644)  # mkstemp creates files that other users cannot read
    os.replace(temporary, path)
  except BaseException as e:
    Path(temporary).unlink(missing_ok=True)
    if isinstance(e, OSError) and e.filename is None:
      e.filename = str(path)
    raise


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
  """Yield a temporary path that is renamed to `target`, see check_output, if the block succeeds."""
  check_output(target)
  target.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=target.parent, prefix='.temporary-') as folder:
    partial = Path(folder, target.name)
    yield partial
    os.replace(partial, target)


def link(source: Path, target: Path) -> None:
  """Create a hard link, or a copy if the filesystem does not support it."""
  with atomic_path(target) as partial:
    try:
      os.link(source.resolve(), partial)
    except OSError:
      shutil.copyfile(source, partial)


@contextlib.contextmanager
def file_lock(
  path: Path, timeout: float = -1, on_acquired: Callable[[int], None] | None = None
) -> Iterator[None]:
  """Hold the lock of a file, which is created if needed.

  The kernel releases the lock when the process ends, however it ends. If the filesystem has no
  locks, this logs a warning and holds nothing.

  Args:
    path: lock file.
    timeout: seconds to wait; negative waits forever.
    on_acquired: called with the file descriptor, which may be written to. A child process that
      inherits the descriptor holds the lock too.

  Raises:
    filelock.Timeout: another process holds the lock.
  """
  check_output(path)  # opening would empty the file behind a link
  lock = filelock.FileLock(
    path, timeout, poll_interval=0.01, fallback_to_soft=False, on_acquired=on_acquired
  )
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(lock)
    except OSError as e:
      if e.errno not in _NO_LOCKS:
        raise
      _LOG.warning(
        '%s: this filesystem has no locks (%s); start no second process here.', path, e.strerror
      )
    yield


def folder_lock(folder: Path) -> contextlib.AbstractContextManager[None]:
  """Wait for and hold the lock of a folder, for reading a file, changing it and writing it back."""
  return file_lock(Path(folder, '.lock'))
