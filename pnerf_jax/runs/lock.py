"""Lock of a run folder: one training process at a time.

eval and render need no lock, since checkpoints are renamed into place when they are complete.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from pnerf_jax.data.files import check_output, file_lock
from pnerf_jax.errors import InputError


@contextlib.contextmanager
def acquire(workdir: Path, flag: str = '--workdir') -> Iterator[tuple[int, ...]]:
  """Hold RUN/lock, which names the owner, until the block ends.

  Args:
    workdir: RUN, an existing folder.
    flag: that names it, for the error message.

  Yields:
    The file descriptor of the lock, for pass_fds of subprocess: a child process that inherits it
    holds the lock too. Empty if the filesystem has no locks.

  Raises:
    InputError: another process holds the lock.
  """
  path = Path(workdir, 'lock')
  descriptors: tuple[int, ...] = ()

  def write_owner(fd: int) -> None:
    nonlocal descriptors
    descriptors = (fd,)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f'process {os.getpid()} on {socket.gethostname()}\n'.encode(), 0)

  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(file_lock(path, timeout=0, on_acquired=write_owner))
    except filelock.Timeout:
      raise InputError(
        f'{path}: {_recorded_owner(path)} is writing to this folder. Wait until it ends, or use'
        f' another {flag}.'
      ) from None
    yield descriptors


def owner(workdir: Path) -> str:
  """Return the owner of RUN/lock, 'process 12 on host'; '' if the lock is free or absent."""
  path = Path(workdir, 'lock')
  check_output(path)  # opening a pipe would wait
  with contextlib.suppress(FileNotFoundError), path.open('rb') as file:
    try:
      # A shared lock needs no write permission, and two callers do not block each other.
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return _recorded_owner(path)
    except OSError:  # a filesystem without locks
      pass
  return ''


def _recorded_owner(path: Path) -> str:
  with path.open(encoding='utf-8', errors='replace') as file:
    return file.read(200).strip() or 'another process'
