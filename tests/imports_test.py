"""The layers of the package, read from its source; each test lists every violation.

Imports run downwards only: a room may import the rooms before it in _CORE. contrib may import the
core and the core never imports contrib; the binaries are on top and import anything below them.
"""

import ast
import graphlib
import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parents[1] / 'pnerf_jax'
_CORE = (
  'errors',
  'config',
  'distributed',
  'geometry',
  'data',
  'fields',
  'label_noise',
  'rendering',
  'labelling',
  'evaluation',
  'runs',
  'training',
)
# Rooms that see less than everything below them.
_SEES_ONLY = {
  'distributed': {'errors'},
  'geometry': {'errors'},
  'fields': {'geometry'},
  'evaluation': {'errors', 'config', 'data'},
}
# These binaries never reach training; of contrib, eval reaches the report.
_NOT_FOR_INFERENCE = ('eval', 'render')
# Libraries that are used in one place: modules, or rooms with a trailing dot.
_USED_IN = {
  'flax': ('fields.', 'contrib.segmentation.'),
  'optax': ('training.', 'contrib.segmentation.'),
  'orbax': ('runs.checkpoints',),
  'ml_collections': ('config.', 'contrib.segmentation.config', 'contrib.drives.manifest'),
  'tensorflow_datasets': ('data.tfds.', 'contrib.preparation.'),
  'fsspec': ('data.tfds.', 'contrib.preparation.', 'contrib.release.'),
  'tensorboardX': ('runs.logs',),
  'tqdm': ('runs.progress',),
  'trimesh': ('contrib.street.', 'contrib.baselines.surface'),
  'embreex': ('contrib.street.',),
  'maxflow': ('contrib.baselines.graph_cut',),
  'cv2': ('data.', 'label_noise.transition', 'contrib.'),
  'torch': ('contrib.segmentation.hugging_face',),
  'transformers': ('contrib.segmentation.hugging_face',),
  'tensorflow': (),
  'clu': (),
}
_NUMPY_ROOMS = ('data', 'evaluation', 'contrib.street')
# The mathematics of the model must not fall back on numpy.
_PURE_JAX = {
  'fields.encodings',
  'fields.field',
  'fields.hash_grid',
  'fields.hash_grid_field',
  'fields.mlp',
  'fields.paper_field',
  'geometry.hits',
  'label_noise.model',
  'labelling.panoptic',
  'rendering.compositing',
  'rendering.rays',
  'rendering.sampling',
  'rendering.paper_rendering',
  'training.losses',
  'training.step',
}


def _module(path: pathlib.Path) -> str:
  """Return the dotted name of a file below the package; '' for the package itself."""
  parts = path.relative_to(_PACKAGE).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


_PATHS = {_module(path): path for path in sorted(_PACKAGE.rglob('*.py'))}


def _imports(path: pathlib.Path) -> set[str]:
  """Return the dotted names that a file imports, anywhere in it; `from a import b` gives 'a.b'."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}:{node.lineno}: relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def _own_imports(module: str) -> set[str]:
  """Return the modules of this package that a module imports."""
  found = set()
  for name in _imports(_PATHS[module]):
    if name.split('.')[0] == 'pnerf_jax':
      name = name.removeprefix('pnerf_jax').lstrip('.')
      found.add(name if name in _PATHS else name.rpartition('.')[0])
  return found


_IMPORTS = {module: _own_imports(module) for module in _PATHS}


def _room(module: str) -> str:
  """Return the room of a module: 'geometry', 'contrib.street'; a binary is a room of its own."""
  parts = module.split('.')
  return '.'.join(parts[:2]) if parts[0] == 'contrib' else parts[0]


def _may_import(room: str, other: str) -> bool:
  if room == other:
    return True
  if other in _SEES_ONLY.get(room, {other}) and room in _CORE:
    return other in _CORE and _CORE.index(other) < _CORE.index(room)
  if room.startswith('contrib'):
    return other in _CORE or other.startswith('contrib')
  return room not in _CORE and (other in _CORE or other.startswith('contrib') or other == 'cli')


def _reachable(module: str) -> set[str]:
  found, pending = set(), [module]
  while pending:
    for other in _IMPORTS[pending.pop()] - found:
      found.add(other)
      pending.append(other)
  return found


def test_imports_run_downwards():
  rooms = {_room(module) for module in _PATHS}
  assert set(_CORE) <= rooms
  wrong = [
    f'{module} imports {other}'
    for module, others in _IMPORTS.items()
    for other in others
    if module and other and not _may_import(_room(module), _room(other))
  ]
  wrong += [
    f'{binary} reaches {other}'
    for binary in _NOT_FOR_INFERENCE
    for other in _reachable(binary)
    if _room(other) == 'training'
    or _room(other).startswith('contrib.')
    and (binary, _room(other)) != ('eval', 'contrib.report')
  ]
  assert not wrong, '\n'.join(sorted(wrong))
  # Raises CycleError: rooms of contrib may import each other, one way.
  between = {room: set() for room in rooms}
  for module, others in _IMPORTS.items():
    between[_room(module)] |= {_room(other) for other in others} - {_room(module)}
  graphlib.TopologicalSorter(between).prepare()
  graphlib.TopologicalSorter(_IMPORTS).prepare()


def test_libraries_are_used_in_one_place():
  binaries = {module for module in _PATHS if module and '.' not in module and module not in _CORE}
  wrong = []
  for module, path in _PATHS.items():
    for library in {name.split('.')[0] for name in _imports(path)} & _USED_IN.keys():
      places = _USED_IN[library]
      if not any(f'{module}.'.startswith(p) if p.endswith('.') else module == p for p in places):
        if not (library == 'ml_collections' and module in binaries):
          wrong.append(f'{module} imports {library}')
  assert not wrong, '\n'.join(sorted(wrong))


def test_numpy_and_jax_stay_in_their_rooms():
  assert _PURE_JAX <= set(_PATHS), _PURE_JAX - set(_PATHS)
  wrong = []
  for module, path in _PATHS.items():
    libraries = {name.split('.')[0] for name in _imports(path)}
    if _room(module) in _NUMPY_ROOMS and libraries & {'jax', 'flax'}:
      wrong.append(f'{module} imports jax')
    if module in _PURE_JAX and 'numpy' in libraries:
      wrong.append(f'{module} imports numpy')
  assert not wrong, '\n'.join(sorted(wrong))
