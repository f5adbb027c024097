"""The window manifest: a text file that lists the windows of one or more sequences.

    # a comment
    flag --config=configs/kitti360.py
    flag --config.data.root=/data/KITTI-360
    window 0 2013_05_28_drive_0000_sync 3353 3417 64 512 3

A `flag` line is a flag of train, common to all windows. A `window` line holds the fields of a
WindowSpec. The file may be edited by hand. A flag or sequence that the syntax does not allow as
such, such as a name with a line break, is a JSON string.
"""

import dataclasses
import json
import operator
import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags
from ml_collections import config_flags as ml_config_flags

from pnerf_jax.config import spec
from pnerf_jax.config.files import find_config
from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.data.files import read_bytes
from pnerf_jax.errors import InputError

MARK = 'Windows for python -m pnerf_jax.windows run'  # near the start of every manifest
_MAX_BYTES = 2**26
_COLUMNS = '# window  index  sequence  start  end (exclusive)  frames  primitives  moving objects'
_HINT = 'Create the file with python -m pnerf_jax.windows cut.'
_NAME = re.compile(r'[^\s"#]\S*')
_WINDOW = re.compile(
  r'window\s+(\d{1,10})\s+("(?:[^"\\]|\\.)*"|\S+)' + r'\s+(\d{1,10})' * 5, re.ASCII
)


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

  def config(self, common: Config) -> Config:
    """Return the config of this window for the config of the common flags."""
    data = dataclasses.replace(
      common.data, sequence=self.sequence, start=self.start, frames=self.num_frames
    )
    return dataclasses.replace(common, data=data)


@dataclasses.dataclass(frozen=True)
class WindowManifest:
  """The contents of a window manifest.

  Attributes:
    flags: flags of train, common to all windows.
    windows: the windows, sorted by index.
    path: of the file, for error messages.
  """

  flags: tuple[str, ...]
  windows: tuple[WindowSpec, ...]
  path: str = dataclasses.field(default='', compare=False)

  def config(self) -> Config:
    """Return the config that train gets from the common flags.

    Raises:
      InputError: a flag is not one of train's config; names the manifest.
    """
    values, argv = absl_flags.FlagValues(), ['windows', *self.flags]
    try:
      argv = [_with_config_path(flag) for flag in argv]
      ml_config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
      if rest := values(argv)[1:]:
        raise ValueError(f'{rest[0]!r:.60} is no flag')
      if values.config is None:
        raise ValueError('--config is missing')
      return parse_config(values.config)
    except InputError as error:
      raise InputError(f'{self.path}: {error}') from None
    except (
      absl_flags.Error,
      ValueError,
      TypeError,
      KeyError,
      AttributeError,
      SyntaxError,
    ) as error:
      e: BaseException = error
      while 'Traceback' in str(e) and e.__context__ is not None:
        e = e.__context__
      reason = str(e.args[0]).strip().splitlines()[0][:200]
      if isinstance(e, (AttributeError, LookupError)):  # the name of an unknown field
        field = re.sub(r'\W*(\w+).*', r'\1', reason)
        flag = next((f for f in argv if field in f.partition('=')[0].split('.')), field)
        reason = f'{flag[:200]}: unknown config field'
      raise InputError(f'{self.path}: {reason}. Correct the flag there. {_HINT}') from None

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
  is_switch = {f'config.{n}': f.metadata['spec'] is spec.FLAG for n, f in spec.fields(Config)}
  found, rest = [], list(argv)
  while rest and (argument := rest.pop(0)) != '--':
    name, equals, _ = argument.lstrip('-').partition('=')
    if not argument.startswith('-') or not re.match(r'(no)?config(\.|$)', name):
      continue
    has_value = not (equals or is_switch.get(name) or name.startswith('no'))
    found.append(f'{argument}={rest.pop(0)}' if has_value and rest else argument)
  return found


def absolute_flags(flags: Sequence[str], config: Config) -> list[str]:
  """Return flags of train with absolute paths, so that they mean the same in every folder.

  Args:
    flags: as of `config_flags`.
    config: the config that they give.
  """
  absolute, paths = spec.absolute_paths(config), []
  for name, field in spec.fields(Config):
    value = operator.attrgetter(name)(absolute)
    is_path = any(field.metadata['spec'] is path for path in (spec.PATH, spec.PATHS))
    if is_path and value:  # TEXT equals PATH
      paths.append(f'--config.{name}={value}')
  replaced = {path.partition('=')[0].lstrip('-') for path in paths}
  kept = [flag for flag in flags if flag.partition('=')[0].lstrip('-') not in replaced]
  return [_with_config_path(flag) for flag in kept] + paths


def _with_config_path(flag: str) -> str:
  """Return a flag with the absolute path of the config file if it is --config, else unchanged."""
  name, _, value = flag.partition('=')
  if name not in ('-config', '--config'):
    return flag
  file, colon, variant = find_config(value).partition(':')
  return f'--config={Path(file).absolute()}{colon}{variant}'


def quote(text: str, is_plain: bool = True) -> str:
  """Return a text as it is if it is plain and printable, otherwise as a JSON string of one line."""
  return text if is_plain and text.isprintable() else json.dumps(text)


def _unquote(text: str) -> str:
  """Invert `quote`. Raises ValueError if a JSON string is invalid."""
  return json.loads(text) if text.startswith('"') else text


def to_text(manifest: WindowManifest, comments: Sequence[str] = ()) -> str:
  """Format a manifest as the contents of its file, with comment lines at the top."""
  rows = []
  for window in manifest.windows:
    index, name, *numbers = dataclasses.astuple(window)
    rows.append(
      ('window', str(index), quote(name, bool(_NAME.fullmatch(name))), *map(str, numbers))
    )
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    f'# {MARK}. Lines may be edited or deleted.',
    *(f'# {quote(comment)}' for comment in comments),
    *(f'flag {quote(flag, flag == flag.strip())}' for flag in manifest.flags),
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
    line = line.strip()
    if not line or line.startswith('#'):
      continue
    window = _parse_window(line)
    flag = None if window else _parse_flag(line)
    if flag is not None:
      flags.append(flag)
      continue
    if window is None:
      raise InputError(
        f'{path}: line {number}: {line[:80]!r} is neither a window nor a flag'
        f' (expected: {_COLUMNS[2:]}). {_HINT}'
      )
    if window.index in windows:
      raise InputError(
        f'{path}: line {number}: index {window.index} occurs twice. Change one of them.'
      )
    windows[window.index] = window
  if not windows:
    raise InputError(f'{path}: contains no window. {_HINT}')
  return WindowManifest(tuple(flags), tuple(windows[index] for index in sorted(windows)), str(path))


def _parse_flag(line: str) -> str | None:
  """Parse a flag line; None if it is invalid."""
  kind, _, text = line.partition(' ')
  try:
    flag = _unquote(text.strip())
  except ValueError:
    return None
  return flag if kind == 'flag' and flag.startswith('-') and '\0' not in flag else None


def _parse_window(line: str) -> WindowSpec | None:
  """Parse a window line; None if it is invalid."""
  match = _WINDOW.fullmatch(line)
  if not match:
    return None
  index, name, *numbers = match.groups()
  try:
    sequence = _unquote(name)
  except ValueError:
    return None
  start, end, *counts = map(int, numbers)
  if sequence in ('', '.', '..') or '/' in sequence or '\0' in sequence:
    return None
  if not start < end <= kitti360.MAX_FRAME + 1 or not 0 < counts[0] <= end - start:
    return None
  return WindowSpec(int(index), sequence, start, end, *counts)
