"""Entry point of all binaries: flags, signals, and errors in one line.

Exit codes: 0 success, 1 error, 130 interrupted.
"""

import difflib
import errno
import io
import logging
import os
import pathlib
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from pnerf_jax.config import defaults, spec
from pnerf_jax.config.files import find_config
from pnerf_jax.distributed import initialization
from pnerf_jax.errors import DISK_FULL, OS_ERRORS, InputError, describe_os_error

_DISK_FULL_TEXT = re.compile('|'.join(os.strerror(code) for code in DISK_FULL))
_FLAG_MODULES = (__name__, initialization.__name__)
_DEFAULTS = str(pathlib.Path(defaults.__file__))


def run(
  main: Callable[[], Any] | Mapping[str, Callable[[], Any]],
  renamed: Mapping[str, str] | None = None,
) -> None:
  """Parse the command line, call `main`, and exit.

  Args:
    main: returns an exit code or None; or such functions by the subcommand that selects them.
    renamed: new names of former subcommands.
  """
  _raise_interrupts()
  _secure_streams()
  try:
    arguments = parse_flags(sys.argv) if callable(main) or _has_words(sys.argv) else []
    if not callable(main):
      main = main[_subcommand(arguments, main, renamed or {})]
    elif arguments:
      raise InputError(f'command line: {arguments[0]!r} is not a flag of this command. See --help.')
    with initialization.initialized():
      code = main() or 0
    sys.stdout.flush()
    sys.exit(code)
  except KeyboardInterrupt:
    _exit('interrupted', 130)
  except Exception as e:  # pylint: disable=broad-exception-caught
    line = error_line(e) or initialization.failure_message(e)
    if line is None and not initialization.is_distributed():
      raise
    _exit(line or traceback.format_exc(), 1)


def _raise_interrupts() -> None:
  """Turn SIGINT and SIGTERM into KeyboardInterrupt, which no callback may swallow.

  Python prints and drops an exception that is raised in a callback, e.g. of the garbage collector.
  """
  if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # ignored in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
  previous = sys.unraisablehook

  def hook(dropped: Any) -> None:
    if issubclass(dropped.exc_type, KeyboardInterrupt):
      signal.setitimer(signal.ITIMER_REAL, 0.1)  # later: here it would be dropped again
    else:
      previous(dropped)

  sys.unraisablehook = hook


class _Stream(io.FileIO):
  """A standard stream. What nobody reads any more is dropped, so that the work goes on."""

  has_failed = False

  def write(self, text: Any) -> int:
    """Write bytes and return their number.

    Raises:
      OSError: stdout cannot be written for another reason, such as a full disk; only once.
    """
    try:
      return super().write(text)
    except OSError as e:
      is_lost = e.errno in (errno.EPIPE, errno.EIO)  # the reader or the terminal is gone
      if is_lost or self.fileno() == 2 or self.has_failed:
        return len(text)
      self.has_failed = True  # the text stays in the buffer and is written again at the end
      raise


def _secure_streams() -> None:
  """Make stdout and stderr take all text, also if they are closed."""
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:  # the next file that is opened would be the stream
      os.open(os.devnull, os.O_RDWR)
  for number, name in enumerate(('stdout', 'stderr'), 1):
    old = getattr(sys, name)
    if old is getattr(sys, f'__{name}__'):  # not replaced by a test
      raw = io.BufferedWriter(_Stream(number, 'w', closefd=False))
      encoding, lines = (old.encoding, old.line_buffering) if old else ('utf-8', True)
      setattr(sys, name, io.TextIOWrapper(raw, encoding, 'backslashreplace', None, lines))


def _has_words(argv: list[str]) -> bool:
  """Return whether the command line can hold a subcommand, or asks for help."""
  return any(not word.startswith('-') or 'help' in word for word in argv[1:])


def _subcommand(
  arguments: list[str], commands: Mapping[str, Any], renamed: Mapping[str, str]
) -> str:
  binary, choices = pathlib.Path(sys.argv[0]).stem, ', '.join(commands)
  if len(arguments) != 1:
    given = ' '.join(arguments) or 'none'
    raise InputError(f'{binary}: expected one command, got: {given}. Use one of: {choices}.')
  name = arguments[0]
  if name in renamed:
    raise InputError(
      f'{binary} {name}: is now called {renamed[name]}. Use {binary} {renamed[name]}.'
    )
  if name not in commands:
    raise InputError(f'{binary} {name}: no such command. Use one of: {choices}.')
  return name


def parse_flags(argv: list[str]) -> list[str]:
  """Parse absl flags and config overrides; return the positional arguments."""
  app.define_help_flags()
  for module in _FLAG_MODULES:  # shown by --help as the flags of the binary
    for own in flags.FLAGS.get_flags_for_module(module):
      flags.FLAGS.register_key_flag_for_module(argv[0], own)
  argv, config = list(argv), ''
  for i, word in enumerate(argv):
    flag, equals, value = word.partition('=')
    if flag in ('-config', '--config'):
      config = find_config(value if equals else ''.join(argv[i + 1 : i + 2]))
      argv[i : i + 1 + (not equals)] = [f'--config={config}']
  if not config and 'config' in flags.FLAGS and flags.FLAGS['config'].default == _DEFAULTS:
    config = _DEFAULTS
    argv.insert(1, f'--config={config}')  # here, so that errors of its fields are lines too
  try:
    arguments = flags.FLAGS(argv)[1:]
  except SystemExit:  # absl exits with 1 after --help
    sys.stdout.flush()
    sys.exit(0)
  except (flags.Error, AttributeError, KeyError, SyntaxError, TypeError, ValueError) as e:
    raise InputError(_flag_message(e, argv, config)) from e
  show_progress()
  return arguments


def define_config_flag(schema: type) -> flags.FlagHolder:
  """Define --config, with the fields of a config dataclass as its help."""
  lines = ['The config, FILE.py[:VARIANT]. Its fields are set by --config.GROUP.FIELD=VALUE:']
  return _define_config(schema, None, lines, [name for name, _ in spec.fields(schema)])


def define_override_flags(schema: type) -> None:
  """Define --config.GROUP.FIELD of the fields that may be changed for an existing run."""
  lines = ['The config of the run is used; --config.GROUP.FIELD=VALUE changes these fields:']
  _define_config(schema, _DEFAULTS, lines, spec.free_fields(schema))


def _define_config(
  schema: type, default: str | None, lines: list[str], names: list[str]
) -> flags.FlagHolder:
  declared = dict(spec.fields(schema))
  for name in names:
    metadata = declared[name].metadata
    accepted = f'{metadata["spec"].description}; {declared[name].default!r}'
    lines.append(f'  config.{name}: {metadata["meaning"]} ({accepted})')
  holder = config_flags.DEFINE_config_file('config', None, '\n'.join(lines), lock_config=True)
  flag = flags.FLAGS['config']
  flag.default = default  # not parsed before the command line
  setattr(flag, 'schema', schema)  # noqa: B010
  return holder


def config_given() -> bool:
  """Return whether --config names a file."""
  return config_flags.get_config_filename(flags.FLAGS['config']) != _DEFAULTS


def overrides() -> dict[str, Any]:
  """Return the values of --config.GROUP.FIELD flags by 'GROUP.FIELD'."""
  if config_given():
    raise InputError(
      '--config: the config of --workdir is used. Leave it out; --config.GROUP.FIELD=VALUE changes'
      ' single fields.'
    )
  return config_flags.get_override_values(flags.FLAGS['config'])


def config_flags_of(argv: list[str]) -> str:
  """Return the flags --config and --config.GROUP.FIELD of a command line, for another command."""
  found = []
  for word, following in zip(argv, [*argv[1:], '']):
    if re.match(r'--?config[=.]|--?config$', word):
      found.append(word if '=' in word else f'{word}={following}')
  return shlex.join(found)


def require_flags(*names: str) -> None:
  """Require non-empty values of these flags, --config or folders."""
  for name in names:
    remedy = 'Use --config=configs/kitti360.py.' if name == 'config' else 'Name a folder.'
    flags.register_validator(name, bool, f'is missing. {remedy}')


class _Formatter(logging.Formatter):
  """Formats 'TIME MESSAGE', with 'warning: ' before the messages of warnings."""

  def formatMessage(self, record: logging.LogRecord) -> str:  # the name is of logging
    if record.levelno >= logging.WARNING:
      record.message = f'warning: {record.message}'
    return super().formatMessage(record)


def show_progress() -> None:
  """Log the INFO messages of this project, and only warnings of libraries, to stderr."""
  handler = logging.StreamHandler()
  handler.setFormatter(_Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  for name in ('pnerf_jax', '__main__'):  # __main__: the binary itself
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def error_line(error: BaseException) -> str | None:
  """Return the error line for bad input or an error of the operating system; None for a bug."""
  if isinstance(error, InputError):
    return f'error: {error}'
  if isinstance(error, UnicodeEncodeError) and re.search('[\ud800-\udfff]', error.object):
    return f'error: {error.object[:400]!r}: holds a name that is not UTF-8. Rename the file.'
  quoted = re.search(r'"(/[^"]+)"', str(error))  # how libraries name the file
  name = quoted and quoted.group(1)
  if not isinstance(error, OSError) and _DISK_FULL_TEXT.search(str(error)):
    error = OSError(errno.ENOSPC, '')  # libraries wrap it
  if isinstance(error, OSError) and (name or error.filename or error.errno in OS_ERRORS):
    return f'error: {InputError(describe_os_error(error, name))}'
  return None


def _flag_message(error: BaseException, argv: list[str], config: str) -> str:
  """Return what is wrong with the command line, from the errors of absl and ml_collections."""
  if isinstance(error, (AttributeError, KeyError)) and not isinstance(error, flags.Error):
    match = re.match(r'\W*(\w+)', str(error.args[0]))
    assert match is not None  # both libraries name the field first
    return _unknown_field(match.group(1), argv, config)
  while 'Traceback' in str(error) and error.__context__ is not None:
    error = error.__context__
  if isinstance(error, InputError):  # of a config file
    return str(error)
  text = str(error)
  wrong = re.match(r'flag --config\.([\w.]+)=(.*?): ', text, re.DOTALL)
  if wrong and hasattr(flags.FLAGS['config'], 'schema'):
    declared = dict(spec.fields(flags.FLAGS['config'].schema)).get(wrong.group(1))
    if declared is not None:
      accepted = declared.metadata['spec'].description
      return f'--config.{wrong.group(1)}: {wrong.group(2)!r:.60} is not {accepted}. Correct it.'
  missing = re.sub(r'flag (--\w+)=\w*: (?=is missing)', r'\1 ', text)
  if missing != text:
    return missing
  return f'command line: {text.rstrip(".").replace(" ?", "?")}. See --help.'


def _unknown_field(key: str, argv: list[str], config: str) -> str:
  given = [word.partition('=')[0] for word in argv if word.lstrip('-').startswith('config.')]
  flag = next((name for name in given if key in name.split('.')), key)
  fields = [f'--config.{f}' for f in _field_names(flags.FLAGS['config'].parser.parse(config))]
  names = {field.rpartition('.')[2]: field for field in fields}
  close = difflib.get_close_matches(flag.rpartition('.')[2], names, n=1, cutoff=0.75)
  similar = [names[name] for name in close]
  hint = f'Did you mean {similar[0]}?' if similar else 'See docs/configuration.md.'
  return f'{flag}: unknown config field. {hint}'


def _field_names(config: Any) -> list[str]:
  names = []
  for key, value in config.items():
    names += [f'{key}.{name}' for name in _field_names(value)] if hasattr(value, 'items') else [key]
  return names


def _exit(line: str, code: int) -> None:
  print(line, file=sys.stderr)
  if initialization.is_distributed():  # the other processes must not wait for this one
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
