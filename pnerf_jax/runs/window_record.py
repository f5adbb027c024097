"""RUN/window.json: the window that was trained, to detect that the data are others now.

Fields such as config.data.root may change, and the centre and the far bound of a window are derived
from its data: parameters that are used with others would give wrong labels without an error.
"""

import json
import pathlib

import numpy as np

from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.data.files import read_json, write_bytes
from pnerf_jax.data.window import Window
from pnerf_jax.errors import InputError, SharedInputError

NAME = 'window.json'
_TOLERANCE = 0.01  # metres; other machines round poses otherwise


def check_window(window: Window, workdir: pathlib.Path, *, write: bool = False) -> None:
  """Raise InputError if the window differs from that of RUN/window.json.

  Args:
    window: as loaded now.
    workdir: RUN; older ones have no such file and are not checked.
    write: write the file if it is absent.
  """
  path = workdir / NAME
  record = {
    'frames': list(window.frames),
    'cameras': list(window.cameras),
    'center': window.center.tolist(),
    'far': float(window.far),
    'positions': np.round(window.world_from_cam[:, :3, 3].astype(float), 4).tolist(),
  }
  if not path.exists():
    if write:
      write_bytes(path, json.dumps(record).encode())
    return
  saved = read_json(path, hint='Copy the run again.')
  for name, now in record.items():
    before = saved.get(name) if isinstance(saved, dict) else None
    if not _is_same(before, now):
      if name == 'frames' and isinstance(before, list):
        before, now = (f'{format_ranges(x)} ({len(x)} frames)' for x in (before, window.frames))
      raise SharedInputError(
        f'{path}: {name} of the window were {before!s:.80} in training and are {now!s:.80} in the'
        ' data now. Restore the data, or name them with --config.data.root.'
      )


def num_views(workdir: pathlib.Path) -> int | None:
  """Return the number of views that a run was trained on; None if it is not recorded."""
  try:
    return len(read_json(workdir / NAME)['positions'])
  except (InputError, KeyError, TypeError):
    return None


def _is_same(before: object, now: object) -> bool:
  if before == now:
    return True
  try:
    return bool(np.allclose(np.asarray(before, float), np.asarray(now), rtol=0, atol=_TOLERANCE))
  except (TypeError, ValueError):  # names, other lengths, or a damaged file
    return False
