"""Panoptic NeRF in JAX: 3D-to-2D label transfer for urban driving scenes."""

import importlib.metadata
import os
import pathlib
import signal
import sys
import tomllib
from typing import Any

_PYPROJECT = pathlib.Path(__file__).parents[1] / 'pyproject.toml'  # only in a checkout

__version__ = (
  tomllib.loads(_PYPROJECT.read_text())['project']['version']
  if _PYPROJECT.is_file()
  else importlib.metadata.version('pnerf_jax')
)


def _exit_at_once(*_: object) -> None:
  os.write(2, b'interrupted\n')
  os._exit(130)


def _show_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
  """Show an environment variable that JAX refuses when it is imported as one line."""
  text = str(error).lower()
  named = [key for key in os.environ if key.startswith('JAX_') and key.lower() in text]
  if kind is ValueError and named:
    line = (
      f'error: {named[0]}={os.environ[named[0]]}: JAX takes no such value. Correct or unset it.'
    )
    print(line, file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ['-m']:  # python -m pnerf_jax.NAME, which now imports for seconds
  sys.excepthook = _show_error
  for _number, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, 0)):
    if signal.getsignal(_number) == _default:  # cli.run sets other ones
      signal.signal(_number, _exit_at_once)
