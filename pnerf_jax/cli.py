"""What all binaries do around their one call: flags, signals, and errors as one line.

Exit codes: 0 done, 1 a clear error, 130 interrupted.
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

from pnerf_jax.distributed import initialization
from pnerf_jax.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: a limit of this process or disk
_FULL_IN_WORDS = re.compile('|'.join(os.strerror(code) for code in _FULL))
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def run(main: Callable[..., Any], positional: int = 0) -> None:
  """Parses the command line, calls `main` and exits.

  Args:
    main: called with the words of the command line that are no flags; returns an exit code or None.
    positional: how many such words there must be.
  """
  signal.signal(signal.SIGTERM, _interrupt)
  try:
    words = parse_flags(sys.argv)
    if len(words) != positional:
      given = ' '.join(words) or 'none'
      raise InputError(
        f'command line: expected {positional} words beside the flags, got: {given}. See --help.'
      )
    with initialization.initialized():
      code = main(*words) or 0
    sys.exit(code)
  except KeyboardInterrupt:
    _end('interrupted', 130)
  except Exception as e:  # pylint: disable=broad-exception-caught
    line = error_line(e) or initialization.peer_failure_message(e)
    if line is None and not initialization.is_distributed():
      raise
    _end(line or traceback.format_exc(), 1)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses absl flags and config overrides; returns the other words; InputError if wrong."""
  app.define_help_flags()
  config = _given('config', argv)
  # ml_collections would tell only when the config is first used.
  if config is not None and not os.path.isfile(config.partition(':')[0]):
    raise InputError(f'--config: no such file: {config!r}. Use configs/kitti360.py.')
  if config is not None and not config.partition(':')[0].endswith('.py'):
    raise InputError(f'--config: {config!r} is no Python file. Use configs/kitti360.py.')
  try:
    words = flags.FLAGS(argv)[1:]
  except (flags.Error, AttributeError, KeyError, SyntaxError, TypeError, ValueError) as e:
    raise InputError(_flag_message(e, argv)) from e
  show_progress()
  return words


def require_words(*names: str) -> None:
  """Marks text flags without which, or with nothing in which, a binary does not start."""
  for name in names:
    flags.register_validator(name, bool, 'is missing. Name a folder.')


def show_progress() -> None:
  """The project's own log lines go to stderr; libraries speak only to warn."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  for name in ('pnerf_jax', '__main__'):  # a binary's own __name__ is __main__
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def error_line(error: BaseException) -> str | None:
  """The one line that tells a user of a bad input or a full disk; None for what is a bug."""
  if isinstance(error, InputError):
    return f'error: {error}'
  quoted = re.search(r'"(/[^"]+)"', str(error))  # how libraries name the file
  name = getattr(error, 'filename', None) or (quoted and quoted.group(1)) or 'output'
  code = getattr(error, 'errno', None)
  if isinstance(error, OSError) and code in _DENIED:
    return f'error: {name}: {error.strerror}. Choose a folder that can be written.'
  # Libraries wrap a full disk in errors of their own.
  if code in _FULL or _FULL_IN_WORDS.search(str(error)):
    return f'error: {name}: the disk is full. Free some space and start again.'
  return None


def _flag_message(error: BaseException, argv: list[str]) -> str:
  """What is wrong with the command line, from absl's and ml_collections' many kinds of error."""
  if isinstance(error, (AttributeError, KeyError)) and not isinstance(error, flags.Error):
    key = re.match(r'\W*(\w+)', str(error.args[0])).group(1)
    flag = next(
      (
        a.split('=')[0]
        for a in argv
        if a.lstrip('-').startswith('config.') and key in a.split('=')[0].split('.')
      ),
      key,
    )
    return f'{flag}: unknown config field.{_suggestion(flag, key, argv)}'
  root = error
  while 'Traceback' in str(root) and root.__context__ is not None:
    root = root.__context__
  return f'command line: {str(root).rstrip(".")}. See --help.'


def _suggestion(flag: str, key: str, argv: list[str]) -> str:
  """' Did you mean ...?' with the most similar field of the whole config, or ''."""
  config = flags.FLAGS['config'].parser.parse(_given('config', argv))
  fields = ['--config.' + name for name in _fields(config)]
  leaf = [f for f in fields if f.rsplit('.', 1)[-1] == key]
  close = leaf or difflib.get_close_matches(flag, fields, n=1, cutoff=0.6)
  return f' Did you mean {close[0]}?' if close else ''


def _fields(config: Any, prefix: str = '') -> list[str]:
  names = []
  for key, value in config.items():
    nested = hasattr(value, 'items')
    names += _fields(value, f'{prefix}{key}.') if nested else [prefix + key]
  return names


def _given(name: str, argv: list[str]) -> str | None:
  """The value of a flag on the command line, in any spelling; None if it is not there."""
  for word, following in zip(argv, [*argv[1:], '']):
    flag, equals, value = word.partition('=')
    if flag in (f'-{name}', f'--{name}'):
      return value if equals else following
  return None


def _interrupt(*_: Any) -> None:
  raise KeyboardInterrupt


def _end(line: str, code: int) -> None:
  print(line, file=sys.stderr)
  if initialization.is_distributed():  # the others must not wait for this process
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
