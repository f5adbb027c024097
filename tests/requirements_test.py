"""The requirement files against the imports, and the contents of the wheel."""

import ast
import fnmatch
import importlib.metadata
import pathlib
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pnerf_jax

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_OWN = {'pnerf_jax', 'configs', 'launch', 'tests'}
# Not imported by name: dependencies of tensorflow-datasets, trimesh, pytest -n and the baselines.
_INDIRECT = {
  'importlib-resources',
  'embreex',
  'mypy',
  'pymaxflow',
  'pytest-xdist',
  'rtree',
  'ruff',
}
_OPTIONAL = ('requirements-extra.txt', 'requirements-benchmark.txt')
_WITHOUT_DEPENDENCIES = {'kitti360scripts'}  # installed by launch/test.sh


def _lines(file: str) -> list[Requirement]:
  lines = (line.partition('#')[0].strip() for line in (_ROOT / file).read_text().splitlines())
  return [Requirement(line) for line in lines if line]


def _names(file: str) -> set[str]:
  return {canonicalize_name(requirement.name) for requirement in _lines(file)}


def _imported(*folders: str) -> dict[str, str]:
  """Return third-party top-level names, each with one file that imports it."""
  found = {}
  for path in (p for folder in folders for p in sorted((_ROOT / folder).rglob('*.py'))):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module]
      else:
        continue
      for name in names:
        name = name.split('.')[0]
        if name not in sys.stdlib_module_names and name not in _OWN:
          found.setdefault(name, str(path.relative_to(_ROOT)))
  return found


@pytest.fixture(scope='module')
def distributions():
  """Return the names of the installed packages by the name that they are imported by."""
  packages = importlib.metadata.packages_distributions()
  return {name: {canonicalize_name(d) for d in dists} for name, dists in packages.items()}


def test_imports_of_the_package_are_declared(distributions):
  declared = _names('requirements.txt').union(*map(_names, _OPTIONAL))
  for name, path in _imported('pnerf_jax', 'configs', 'launch').items():
    assert distributions.get(name, {canonicalize_name(name)}) & declared, (
      f'{path} imports {name}: not in requirements.txt, nor in {_OPTIONAL}'
    )


def test_imports_of_the_tests_are_declared(distributions):
  declared = _names('requirements.txt') | _names('requirements-dev.txt') | _WITHOUT_DEPENDENCIES
  for name, path in _imported('tests').items():
    assert distributions.get(name, {canonicalize_name(name)}) & declared, (
      f'{path} imports {name}: not in requirements-dev.txt'
    )


def test_requirements_are_imported(distributions):
  runtime = {
    d
    for name in _imported('pnerf_jax', 'configs', 'launch')
    for d in distributions.get(name, {canonicalize_name(name)})
  }
  declared = _names('requirements.txt').union(*map(_names, _OPTIONAL))
  assert declared - runtime <= _INDIRECT
  tests = {d for name in _imported('tests') for d in distributions.get(name, ())}
  assert _names('requirements-dev.txt') - tests <= _INDIRECT


def test_constraints_pin_all_requirements_within_their_ranges():
  pins = {}
  for pin in _lines('constraints.txt'):
    assert re.fullmatch(r'==[^*,]+', str(pin.specifier)), f'{pin} is not one version'
    pins[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
  files = ('requirements.txt', 'requirements-dev.txt', *_OPTIONAL)
  for requirement in (line for file in files for line in _lines(file)):
    version = pins[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f'{requirement}: tested with {version}'


def test_version():
  assert re.fullmatch(r'\d+\.\d+\.\d+', pnerf_jax.__version__)
  assert f'## [{pnerf_jax.__version__}]' in (_ROOT / 'CHANGELOG.md').read_text()


def test_package_data_includes_all_files():
  patterns = tomllib.loads((_ROOT / 'pyproject.toml').read_text())['tool']['setuptools'][
    'package-data'
  ]
  for path in (_ROOT / 'pnerf_jax').rglob('*.*'):
    if path.is_file() and path.suffix not in ('.py', '.pyc'):
      package = '.'.join(path.parent.relative_to(_ROOT).parts)
      assert any(fnmatch.fnmatch(path.name, p) for p in patterns.get(package, ())), path
