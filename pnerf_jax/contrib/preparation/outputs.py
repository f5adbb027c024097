"""What commands share that write derived files of a window: folders, and what is whole there."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)


def check_writable(data: Any, what: str) -> None:
  """InputError where the dataset can only be read and config.data.derived_root names no folder.

  Args:
    data: config.data.
    what: is to be written, in words.
  """
  if data.source == 'tfds' and not data.derived_root:
    raise InputError(
      f'config.data.source: {data.source!r} can only be read. Name a folder for the'
      f' {what} with --config.data.derived_root, or make it before packing.'
    )


def make_folder(folder: Path) -> None:
  """Makes a folder below config.data.derived_root; InputError where that may not be written."""
  there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
  try:
    # The superuser (often, in a container) may write where the mode forbids it; it must not.
    if not there.stat().st_mode & 0o222:
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise InputError(
      f'{there}: cannot be written ({e.strerror}). Name another folder with'
      ' --config.data.derived_root.'
    ) from None


def is_whole(
  path: Path, read: Callable[[Path, tuple[int, int]], Any], size: tuple[int, int]
) -> bool:
  """Whether a file is there that `read(path, size)` can read; tells in the log where it cannot."""
  if not path.exists():
    return False
  try:
    read(path, size)
  except InputError as e:
    _LOG.warning('%s; written again', e)
    return False
  return True
