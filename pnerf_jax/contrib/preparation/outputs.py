"""Output folders and files of the commands that write derived data of a window."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)


def check_writable(data: DataConfig, kind: str) -> None:
  """Check that config.data.derived_root is set if the dataset is read-only.

  Args:
    data: config.data.
    kind: what is to be written, for the message.

  Raises:
    InputError: the dataset is read-only and config.data.derived_root is not set.
  """
  if data.source == 'tfds' and not data.derived_root:
    raise InputError(
      f'config.data.source: {data.source!r} is read-only. Set a folder for the {kind} with'
      ' --config.data.derived_root, or write it before packing.'
    )


def is_writable(folder: Path) -> bool:
  """Return whether files can be written to a folder, which may be absent, as of its mode."""
  existing = _existing(folder)
  # The superuser (common in containers) can write where the mode forbids it, but must not.
  return bool(existing.stat().st_mode & 0o222) and os.access(existing, os.W_OK)


def _existing(folder: Path) -> Path:
  """Return the nearest of a folder and its parents that exists."""
  return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())


def make_folder(folder: Path) -> None:
  """Create a folder below config.data.derived_root.

  Raises:
    InputError: it cannot be written.
  """
  existing = _existing(folder)
  try:
    if not is_writable(folder):
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise InputError(
      f'{existing}: cannot be written ({e.strerror}). Use another folder with'
      ' --config.data.derived_root.'
    ) from None


def is_complete(
  path: Path, read: Callable[[Path, tuple[int, int]], Any], size: tuple[int, int]
) -> bool:
  """Return whether a file exists and `read(path, size)` can read it; logs if it cannot."""
  if not path.exists():
    return False
  try:
    read(path, size)
  except InputError as e:
    _LOG.warning('%s; rewriting', e)
    return False
  return True
