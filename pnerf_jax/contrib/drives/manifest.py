"""The table of windows: a text file that people read and edit, and that every machine reads.

    # a comment
    flag --config=configs/kitti360.py
    flag --config.data.root=/data/KITTI-360
    window 0 2013_05_28_drive_0000_sync 3353 3417 64 512 3

`flag` lines are words that train gets for every window. A `window` line holds its index, its drive,
the first frame number and the one behind the last, and the counts of frames that will be used, of
static primitives in view and of moving objects in view.
"""

import dataclasses
from pathlib import Path

from pnerf_jax.data import kitti360
from pnerf_jax.data.files import read_bytes
from pnerf_jax.errors import InputError

_MAX_BYTES = 2**26
_COLUMNS = '# window  index  drive  first frame  end (not included)  frames  primitives  moving'
_REMEDY = 'Cut it with python -m pnerf_jax.windows cut.'


@dataclasses.dataclass(frozen=True)
class WindowSpec:
  """One window.

  Attributes:
    index: its number in the table, by which array jobs name it.
    sequence: folder name of the drive.
    start, end: frame numbers, end not included.
    frames: how many of them have a pose and an image of every camera.
    primitives: static primitives in view.
    moving: moving objects in view.
  """

  index: int
  sequence: str
  start: int
  end: int
  frames: int
  primitives: int
  moving: int

  @property
  def name(self) -> str:
    """DRIVE/FIRST_LAST: its place below the output root."""
    return f'{self.sequence}/{kitti360.frame_name(self.start)}_{kitti360.frame_name(self.end - 1)}'

  def flags(self) -> list[str]:
    """The words by which train is told this window."""
    return [
      f'--config.data.sequence={self.sequence}',
      f'--config.data.start={self.start}',
      f'--config.data.frames={self.end - self.start}',
    ]


@dataclasses.dataclass(frozen=True)
class WindowManifest:
  """flags: words for train, common to all windows. entries: the windows, by rising index."""

  flags: tuple[str, ...]
  entries: tuple[WindowSpec, ...]


def to_text(table: WindowManifest, comments: list[str]) -> str:
  """The file's content; comments: lines about what the windows leave out."""
  rows = [('window', *map(str, dataclasses.astuple(entry))) for entry in table.entries]
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    '# Windows for python -m pnerf_jax.windows run. Lines may be edited or taken out.',
    *(f'# {comment}' for comment in comments),
    *(f'flag {flag}' for flag in table.flags),
    _COLUMNS,
    *('  '.join(word.rjust(width) for word, width in zip(row, widths)) for row in rows),
  ]
  return '\n'.join(lines) + '\n'


def read(path: Path) -> WindowManifest:
  """Reads a table. Raises InputError naming the line that is wrong."""
  try:
    lines = read_bytes(path, _MAX_BYTES, _REMEDY).decode('utf-8').splitlines()
  except UnicodeDecodeError:
    raise InputError(f'{path}: is not a text file. {_REMEDY}') from None
  flags, entries = [], {}
  for number, line in enumerate(lines, 1):
    kind, _, rest = line.strip().partition(' ')
    if not kind or kind.startswith('#'):
      continue
    if kind == 'flag' and rest.strip().startswith('-'):
      flags.append(rest.strip())
      continue
    entry = _entry(rest.split()) if kind == 'window' else None
    if entry is None:
      raise InputError(
        f'{path}: line {number}: {line.strip()[:80]!r} is no window and no flag'
        f' (expected: {_COLUMNS[2:]}). {_REMEDY}'
      )
    if entry.index in entries:
      raise InputError(f'{path}: line {number}: index {entry.index} is there twice. Change one.')
    entries[entry.index] = entry
  if not entries:
    raise InputError(f'{path}: holds no window. {_REMEDY}')
  return WindowManifest(tuple(flags), tuple(entries[index] for index in sorted(entries)))


def _entry(words: list[str]) -> WindowSpec | None:
  """A window from the words of its line; None if they are not one."""
  if len(words) != 7 or '/' in words[1] or words[1].startswith('.'):
    return None
  numbers = words[:1] + words[2:]
  if not all(word.isascii() and word.isdigit() and len(word) <= 10 for word in numbers):
    return None
  index, start, end, frames, primitives, moving = map(int, numbers)
  if not start < end <= kitti360.MAX_FRAME or not 0 < frames <= end - start:
    return None
  return WindowSpec(index, words[1], start, end, frames, primitives, moving)
