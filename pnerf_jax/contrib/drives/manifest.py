"""The window manifest: a text file that lists the windows of one or more sequences.

    # a comment
    flag --config=configs/kitti360.py
    flag --config.data.root=/data/KITTI-360
    window 0 2013_05_28_drive_0000_sync 3353 3417 64 512 3

A `flag` line is a flag of train, common to all windows. A `window` line holds the fields of a
WindowSpec. The file may be edited by hand.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.data.files import read_bytes
from pnerf_jax.errors import InputError

_MAX_BYTES = 2**26
_COLUMNS = '# window  index  sequence  start  end (exclusive)  frames  primitives  moving objects'
_HINT = 'Create it with python -m pnerf_jax.windows cut.'


@dataclasses.dataclass(frozen=True)
class WindowSpec:
  """One window of a sequence.

  Attributes:
    index: number of the window in the manifest, the task id of array jobs.
    sequence: folder name of the sequence.
    start: first frame number.
    end: last frame number + 1.
    num_frames: frames in [start, end) with a pose and an image of every camera.
    num_primitives: visible static primitives.
    num_moving: visible moving objects.
  """

  index: int
  sequence: str
  start: int
  end: int
  num_frames: int
  num_primitives: int
  num_moving: int

  @property
  def name(self) -> str:
    """SEQUENCE/FIRST_LAST, the folder of the window below the output root."""
    return f'{self.sequence}/{kitti360.frame_name(self.start)}_{kitti360.frame_name(self.end - 1)}'

  def flags(self) -> list[str]:
    """Return the flags of train that select this window."""
    return [
      f'--config.data.sequence={self.sequence}',
      f'--config.data.start={self.start}',
      f'--config.data.frames={self.num_frames}',
    ]


@dataclasses.dataclass(frozen=True)
class WindowManifest:
  """The contents of a window manifest.

  Attributes:
    flags: flags of train, common to all windows.
    windows: the windows, sorted by index.
  """

  flags: tuple[str, ...]
  windows: tuple[WindowSpec, ...]

  def select_index(self, index: int) -> tuple[WindowSpec]:
    """Return the window with an index. Raises InputError if there is none."""
    for window in self.windows:
      if window.index == index:
        return (window,)
    indices = format_ranges(window.index for window in self.windows)
    raise InputError(f'--index={index}: no such window in the manifest. Use one of {indices}.')

  def select_shard(self, shard: str) -> tuple[WindowSpec, ...]:
    """Return every Nth window, starting with the Ith, for a shard 'I/N'."""
    match = re.fullmatch('([0-9]{1,9})/([0-9]{1,9})', shard)
    if not match or int(match[1]) >= int(match[2]):
      raise InputError(f'--shard={shard}: not I/N with I < N. Use for example --shard=0/8.')
    return self.windows[int(match[1]) :: int(match[2])]


def config_flags(argv: Sequence[str]) -> list[str]:
  """Return the --config flags of a command line, each as one argument with its value."""
  found = []
  for argument, following in zip(argv, [*argv[1:], '']):
    name = argument.lstrip('-').partition('=')[0]
    if not argument.startswith('-') or not re.match(r'(no)?config(\.|$)', name):
      continue
    separate_value = '=' not in argument and following and not following.startswith('--')
    found.append(f'{argument}={following}' if separate_value else argument)
  return found


def to_text(manifest: WindowManifest, comments: Sequence[str] = ()) -> str:
  """Format a manifest as the contents of its file, with comment lines at the top."""
  rows = [('window', *map(str, dataclasses.astuple(window))) for window in manifest.windows]
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    '# Windows for python -m pnerf_jax.windows run. Lines may be edited or deleted.',
    *(f'# {comment}' for comment in comments),
    *(f'flag {flag}' for flag in manifest.flags),
    _COLUMNS,
    *('  '.join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows),
  ]
  return '\n'.join(lines) + '\n'


def read(path: str | Path) -> WindowManifest:
  """Read a manifest.

  Raises:
    InputError: the file is missing or a line is invalid; names the line.
  """
  if not str(path):
    raise InputError(f'--windows is missing: the window manifest. {_HINT}')
  try:
    lines = read_bytes(Path(path), _MAX_BYTES, _HINT).decode('utf-8').splitlines()
  except UnicodeDecodeError:
    raise InputError(f'{path}: is not a text file. {_HINT}') from None
  flags, windows = [], {}
  for number, line in enumerate(lines, 1):
    kind, _, rest = line.strip().partition(' ')
    if not kind or kind.startswith('#'):
      continue
    if kind == 'flag' and rest.strip().startswith('-'):
      flags.append(rest.strip())
      continue
    window = _parse_window(rest.split()) if kind == 'window' else None
    if window is None:
      raise InputError(
        f'{path}: line {number}: {line.strip()[:80]!r} is neither a window nor a flag'
        f' (expected: {_COLUMNS[2:]}). {_HINT}'
      )
    if window.index in windows:
      raise InputError(
        f'{path}: line {number}: index {window.index} occurs twice. Change one of them.'
      )
    windows[window.index] = window
  if not windows:
    raise InputError(f'{path}: contains no window. {_HINT}')
  return WindowManifest(tuple(flags), tuple(windows[index] for index in sorted(windows)))


def _parse_window(cells: list[str]) -> WindowSpec | None:
  """Parse the cells of a window line; None if they are invalid."""
  if len(cells) != 7 or '/' in cells[1] or cells[1].startswith('.'):
    return None
  numbers = cells[:1] + cells[2:]
  if not all(cell.isascii() and cell.isdigit() and len(cell) <= 10 for cell in numbers):
    return None
  index, start, end, *counts = map(int, numbers)
  if not start < end <= kitti360.MAX_FRAME or not 0 < counts[0] <= end - start:
    return None
  return WindowSpec(index, cells[1], start, end, *counts)
