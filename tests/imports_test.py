"""The floors of the package, read from its source.

    floor 6   the binaries
    floor 5   drive  preparation
    floor 4   training  comparison  street
    floor 3   rendering  evaluation  transfer  segmentation
    floor 2   fields  data
    floor 1   geometry

Imports run downwards only; rooms of one floor do not know each other. `errors` stands below all,
`cli` and `job` are for what is run from a command line.
"""

import ast
import pathlib

import pytest

_PACKAGE = pathlib.Path(__file__).resolve().parents[1] / 'pnerf_jax'
_FLOOR = {  # every other module on top of the package is a binary
  'geometry': 1,
  'fields': 2,
  'data': 2,
  'rendering': 3,
  'evaluation': 3,
  'transfer': 3,
  'segmentation': 3,
  'street': 4,
  'training': 4,
  'comparison': 4,
  'drive': 5,
  'preparation': 5,
}
_BINARY_FLOOR = 6
# Rooms that may see less than the floors below them.
_SEES_ONLY = {
  'street': {'data', 'segmentation'},
  'segmentation': {'data'},
  'evaluation': {'data'},
  'fields': {'geometry'},
  'transfer': {'data', 'geometry'},
  'drive': {'data', 'training'},
}
# Libraries that live in one place; a place is a module or the prefix of a room.
_LIVES_IN = {
  'flax': (
    'fields.layers',
    'fields.networks',
    'fields.published',
    'segmentation.checkpoint',
    'segmentation.pspnet',
  ),
  'optax': ('training.state',),
  'orbax': ('training.checkpoints',),
  'tensorflow_datasets': ('data.builder',),
  'fsspec': ('data.builder',),
  'tensorboardX': ('training.logs',),
  'trimesh': ('street.',),
  'embreex': ('street.',),
  'maxflow': ('transfer.graph_cut',),
  'cv2': ('data.', 'segmentation.crops', 'street.', 'prepare'),
  'tensorflow': (),
  'torch': ('segmentation.hugging_face',),
  'transformers': ('segmentation.hugging_face',),
  'clu': (),
}
_NUMPY_ROOMS = ('data', 'evaluation', 'street')
_JAX_IN_NUMPY_ROOMS = {'data.batches'}  # drawn inside the step, as a function of (seed, step)
# Beside the binaries, which modules may see a whole config.
_UNPACKS_CONFIG = {
  'training.loop',
  'training.released',
  'training.segmenter',
  'training.setup',
  'training.trainer',
}
# The mathematics of the model: nothing here may fall back on numpy.
_PURE_JAX = {
  'geometry.cameras',
  'geometry.hits',
  'fields.encodings',
  'fields.hashgrid',
  'fields.layers',
  'fields.networks',
  'fields.outputs',
  'fields.published',
  'rendering.panoptic',
  'rendering.rays',
  'rendering.sampling',
  'rendering.volume',
  'training.step',
}


def _name(path: pathlib.Path) -> str:
  """Dotted name below the package; '' for the package itself."""
  parts = path.relative_to(_PACKAGE).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


_PATHS = {_name(path): path for path in sorted(_PACKAGE.rglob('*.py'))}


def _imported(path: pathlib.Path) -> list[str]:
  """Dotted names that a file imports, wherever it does so; `from a import b` gives 'a.b'."""
  names = []
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}:{node.lineno}: relative import'
      names += [f'{node.module}.{alias.name}' for alias in node.names]
  return names


def _own(path: pathlib.Path) -> set[str]:
  """Modules of this package that a file imports, as dotted names below it."""
  found = set()
  for name in _imported(path):
    if name.split('.')[0] == 'pnerf_jax':
      name = name.removeprefix('pnerf_jax').lstrip('.')
      # The last part may be a function or class rather than a module.
      found.add(name if name in _PATHS else name.rpartition('.')[0])
  assert found <= set(_PATHS), f'{path} imports what does not exist: {found - set(_PATHS)}'
  return found


def _room(module: str) -> str:
  return module.split('.')[0]


def _floor(module: str) -> int:
  return _FLOOR.get(_room(module), _BINARY_FLOOR)


def _is_run(module: str) -> bool:
  """Whether a module is run from a command line."""
  return module.endswith('__main__') or (
    _floor(module) == _BINARY_FLOOR and module not in ('', 'cli', 'errors', 'job')
  )


def test_every_room_has_a_floor():
  rooms = {path.name for path in _PACKAGE.iterdir() if (path / '__init__.py').exists()}
  assert rooms == set(_FLOOR)


@pytest.mark.parametrize('module', sorted(_PATHS))
def test_imports_run_downwards(module):
  for other in _own(_PATHS[module]):
    if other == 'errors':
      continue
    if other in ('cli', 'job'):
      assert _is_run(module) or module == 'cli', f'{module} is not run, but imports {other}'
    elif _room(other) != _room(module):
      assert module not in ('', 'cli', 'errors', 'job'), f'{module} imports {other}'
      assert _floor(other) < _floor(module), f'{module} imports {other}: not downwards'
      sees = _SEES_ONLY.get(_room(module))
      assert sees is None or _room(other) in sees, f'{module} may not know {other}'


def test_no_circles():
  finished, path = set(), []

  def visit(module):
    assert module not in path, f'circle: {" -> ".join([*path, module])}'
    if module not in finished:
      path.append(module)
      for other in sorted(_own(_PATHS[module])):
        visit(other)
      finished.add(path.pop())

  for module in _PATHS:
    visit(module)


@pytest.mark.parametrize('module', sorted(_PATHS))
def test_libraries_stay_in_their_rooms(module):
  libraries = {name.split('.')[0] for name in _imported(_PATHS[module])}
  for library in libraries & set(_LIVES_IN):
    assert any(
      module == place or (place.endswith('.') and module.startswith(place))
      for place in _LIVES_IN[library]
    ), f'{module} imports {library}'
  if 'ml_collections' in libraries:
    assert _is_run(module) or module in _UNPACKS_CONFIG, f'{module} imports ml_collections'
  if _room(module) in _NUMPY_ROOMS and module not in _JAX_IN_NUMPY_ROOMS:
    assert 'jax' not in libraries, f"{module} imports jax; its room is numpy's"
  if module in _PURE_JAX:
    assert 'numpy' not in libraries, f'{module} imports numpy'


def test_lists_of_this_test_name_modules_that_exist():
  assert _PURE_JAX | _JAX_IN_NUMPY_ROOMS | _UNPACKS_CONFIG <= set(_PATHS)
