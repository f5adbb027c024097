"""One training a run folder: a second one would mix its checkpoints and logs with the first's.

The kernel holds the lock and lets go of it when the process ends, however it ends. Readers (eval,
render) need none: what they read is renamed into place when it is whole.
"""

import contextlib
import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def acquire(workdir: Path) -> Iterator[int]:
  """Holds RUN/lock until the block is left. workdir: RUN, a folder that exists.

  On a filesystem without locks it holds nothing and says so in the log. Yields the file descriptor
  of the lock; a process that inherits it holds the lock, too.

  Raises:
    InputError: another process holds it.
  """
  path = Path(workdir, 'lock')
  # 'a' and not 'w': the holder's name must not be cut off by who comes second.
  with path.open('a+', encoding='utf-8', errors='replace') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      owner = file.read(200).strip() or 'another process'
      raise InputError(
        f'{path}: {owner} is training in this folder. Wait until it ends, or use another --workdir.'
      ) from None
    except OSError as e:
      if e.errno not in _NO_LOCKS:
        raise
      _LOG.warning(
        '%s: this filesystem has no locks (%s); start no second training here.', path, e.strerror
      )
    else:
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
      file.flush()
    yield file.fileno()


def owner(workdir: Path) -> str:
  """Who holds RUN/lock, 'process 12 on host'; '' if nobody does or there is no such file."""
  try:
    with Path(workdir, 'lock').open(encoding='utf-8', errors='replace') as file:
      try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of when the file is closed
      except BlockingIOError:
        return file.read(200).strip() or 'another process'
      except OSError as e:
        if e.errno not in _NO_LOCKS:
          raise
  except FileNotFoundError:
    pass
  return ''
