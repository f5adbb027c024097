"""Config files: Python files with `get_config(variant)`, of the project or of the user."""

import importlib.util
import sys
from pathlib import Path

import ml_collections

from pnerf_jax.errors import InputError

_PACKAGE = Path(__file__).parents[1]
# The folder of the project's `configs`: the installed package or the checkout.
_PROJECT = _PACKAGE if (_PACKAGE / 'configs').is_dir() else _PACKAGE.parent


def find_config(value: str) -> str:
  """Return 'FILE:VARIANT' with the path of an existing file.

  Args:
    value: 'FILE' or 'FILE:VARIANT'. A relative FILE may be relative to the current folder, to a
      checkout of the project, or to the installed package.

  Raises:
    InputError: there is no such Python file.
  """
  name, colon, variant = value.partition(':')
  candidates = [Path(folder, name) for folder in ('', _PROJECT)]
  found = next((path for path in candidates if path.is_file()), None)
  if found is None:
    own = ', '.join(f'configs/{path.name}' for path in sorted(_PROJECT.glob('configs/*.py')))
    raise InputError(f'--config: no such file: {name!r}. Name your own, or one of {own}.')
  if found.suffix != '.py':
    raise InputError(f'--config: {value!r} is not a Python file. Use configs/kitti360.py.')
  # Configs import each other from the package `configs`.
  sys.path += [str(f) for f in (found.absolute().parents[1], _PROJECT) if str(f) not in sys.path]
  return f'{found}{colon}{variant}'


def read_config(value: str) -> ml_collections.ConfigDict:
  """Return the config of a file, mutable, as the binaries get it from --config.

  Args:
    value: 'FILE' or 'FILE:VARIANT', e.g. 'configs/kitti360.py:cpu'; see `find_config`.

  Raises:
    InputError: there is no such Python file.
    ValueError: the file has no such variant.
  """
  name, _, variant = find_config(value).partition(':')
  spec = importlib.util.spec_from_file_location(Path(name).stem, name)
  assert spec is not None and spec.loader is not None  # it is a Python file
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(variant) if variant else module.get_config()
