"""Entry point of all binaries: flags, signals, and errors in one line.

Exit codes: 0 success, 1 error, 130 interrupted.
"""

import difflib
import errno
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from pnerf_jax.config import spec
from pnerf_jax.config.files import find_config
from pnerf_jax.distributed import initialization
from pnerf_jax.errors import InputError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_FULL_TEXT = re.compile('|'.join(os.strerror(code) for code in _DISK_FULL))
_FLAG_MODULES = (__name__, initialization.__name__)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def run(main: Callable[..., Any], positional: int = 0) -> None:
  """Parse the command line, call `main` with the positional arguments, and exit.

  Args:
    main: returns an exit code or None.
    positional: number of positional arguments.
  """
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # raises KeyboardInterrupt
  try:
    arguments = parse_flags(sys.argv)
    if len(arguments) != positional:
      given = ' '.join(arguments) or 'none'
      raise InputError(
        f'command line: expected {positional} positional arguments, got: {given}. See --help.'
      )
    with initialization.initialized():
      code = main(*arguments) or 0
    sys.exit(code)
  except KeyboardInterrupt:
    _exit('interrupted', 130)
  except Exception as e:  # pylint: disable=broad-exception-caught
    line = error_line(e) or initialization.peer_failure_message(e)
    if line is None and not initialization.is_distributed():
      raise
    _exit(line or traceback.format_exc(), 1)


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
  try:
    arguments = flags.FLAGS(argv)[1:]
  except SystemExit:  # absl exits with 1 after --help
    sys.exit(0)
  except (flags.Error, AttributeError, KeyError, SyntaxError, TypeError, ValueError) as e:
    raise InputError(_flag_message(e, argv, config)) from e
  show_progress()
  return arguments


def define_config_flag(schema: type) -> flags.FlagHolder:
  """Define --config, with the fields of a config dataclass as its help."""
  lines = ['The config, FILE.py[:VARIANT]. Its fields are set by --config.GROUP.FIELD=VALUE:']
  for name, field in spec.fields(schema):
    accepted = field.metadata['spec'].description
    lines.append(f'  config.{name}: {field.metadata["meaning"]} ({accepted}; {field.default!r})')
  return config_flags.DEFINE_config_file('config', None, '\n'.join(lines), lock_config=True)


def require_flags(*names: str) -> None:
  """Require non-empty values of these text flags."""
  for name in names:
    flags.register_validator(name, bool, 'is missing. Name a folder.')


def show_progress() -> None:
  """Log the INFO messages of this project, and only warnings of libraries, to stderr."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  for name in ('pnerf_jax', '__main__'):  # __main__: the binary itself
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def error_line(error: BaseException) -> str | None:
  """Return the error line for bad input or an unwritable disk; None for a bug."""
  if isinstance(error, InputError):
    return f'error: {error}'
  quoted = re.search(r'"(/[^"]+)"', str(error))  # how libraries name the file
  name = getattr(error, 'filename', None) or (quoted and quoted.group(1)) or 'output'
  code = getattr(error, 'errno', None)
  if isinstance(error, OSError) and code in _DENIED:
    return f'error: {name}: {error.strerror}. Choose a folder that can be written.'
  if code in _DISK_FULL or _DISK_FULL_TEXT.search(str(error)):  # libraries wrap the OSError
    return f'error: {name}: the disk is full. Free some space and start again.'
  return None


def _flag_message(error: BaseException, argv: list[str], config: str) -> str:
  """Return what is wrong with the command line, from the errors of absl and ml_collections."""
  if isinstance(error, (AttributeError, KeyError)) and not isinstance(error, flags.Error):
    match = re.match(r'\W*(\w+)', str(error.args[0]))
    assert match is not None  # both libraries name the field first
    key = match.group(1)
    overrides = [word.partition('=')[0] for word in argv if word.lstrip('-').startswith('config.')]
    flag = next((name for name in overrides if key in name.split('.')), key)
    fields = [f'--config.{f}' for f in _field_names(flags.FLAGS['config'].parser.parse(config))]
    names = {field.rpartition('.')[2]: field for field in fields}
    close = difflib.get_close_matches(flag.rpartition('.')[2], names, n=1, cutoff=0.75)
    similar = [names[name] for name in close]
    hint = f'Did you mean {similar[0]}?' if similar else 'See docs/configuration.md.'
    return f'{flag}: unknown config field. {hint}'
  while 'Traceback' in str(error) and error.__context__ is not None:
    error = error.__context__
  return f'command line: {str(error).rstrip(".").replace(" ?", "?")}. See --help.'


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
