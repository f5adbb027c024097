"""Exceptions that users see as one line instead of a traceback."""

import errno
import os
from typing import Any

_DENIED = '{}. Change its permissions, or use another path.'
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OS_ERRORS = {  # reason and remedy by number
  **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _DENIED),
  **dict.fromkeys(DISK_FULL, 'the disk is full. Free some space and start again.'),
  errno.ENAMETOOLONG: '{}. Use a shorter name.',
}


class InputError(ValueError):
  """Bad input. The message is one line that names the file or field, the value and the remedy.

  Binaries print the message and exit with code 1.
  """

  def __init__(self, message: str):
    super().__init__(' '.join(message.split()))


class SharedInputError(InputError):
  """Bad input found by one process and raised in all processes of a distributed run."""


class Interrupted(KeyboardInterrupt):
  """Training stopped by a signal, after saving, in all processes of a distributed run."""


def first_line(error: BaseException) -> str:
  """Return the first line of a library's message, or the kind of error if there is none."""
  return (str(error).splitlines() or [type(error).__name__])[0]


def describe_os_error(error: OSError, name: Any = None) -> str:
  """Return 'FILE: reason. Remedy.' for an error of the operating system.

  Args:
    error: with its number.
    name: of the file; by default that of the error: of two files, the one that was written.
  """
  name = name or error.filename2 or error.filename or 'output'
  name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
  if os.path.islink(name) and not os.path.exists(name):
    name += f' (a link to {os.readlink(name)})'
  if len(name) > 500:
    name = f'{name[:250]}…{name[-250:]}'
  code = error.errno or errno.EIO
  line = OS_ERRORS.get(code, '{}. Correct it, or use another path.')
  return f'{name}: {line.format(os.strerror(code))}'
