"""Panoptic NeRF in JAX: 3D-to-2D label transfer for urban driving scenes."""

import importlib.metadata
import os
import pathlib
import signal
import sys
import tomllib

_PYPROJECT = pathlib.Path(__file__).parents[1] / 'pyproject.toml'  # only in a checkout

__version__ = (
  tomllib.loads(_PYPROJECT.read_text())['project']['version']
  if _PYPROJECT.is_file()
  else importlib.metadata.version('pnerf_jax')
)


def _exit_at_once(*_: object) -> None:
  os.write(2, b'interrupted\n')
  os._exit(130)


if sys.argv[:1] == ['-m']:  # python -m pnerf_jax.NAME, which now imports for seconds
  for _number, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, 0)):
    if signal.getsignal(_number) == _default:  # cli.run sets other ones
      signal.signal(_number, _exit_at_once)
