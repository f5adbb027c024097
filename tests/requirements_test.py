"""The requirement files against what the source imports."""

import ast
import importlib.metadata
import pathlib
import re
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_OWN = {'pnerf_jax', 'configs', 'launch', 'tests'}
# Needed without being imported by name: by tensorflow-datasets, by trimesh (its rays; its closest
# points), by pytest's -n, by the baselines that the tests run.
_INDIRECT = {'importlib-resources', 'embreex', 'rtree', 'pytest-xdist', 'pymaxflow'}
_OPTIONAL = ('requirements-extra.txt', 'requirements-benchmark.txt')
_WITHOUT_DEPENDENCIES = {'kitti360scripts'}  # installed by launch/test.sh


def _lines(file: str) -> list[Requirement]:
  lines = (line.partition('#')[0].strip() for line in (_ROOT / file).read_text().splitlines())
  return [Requirement(line) for line in lines if line]


def _names(file: str) -> set[str]:
  return {canonicalize_name(requirement.name) for requirement in _lines(file)}


def _imported(*folders: str) -> dict[str, str]:
  """Third-party top-level names -> one file that imports each."""
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
  """Imported name -> names of the installed packages that bring it."""
  brought = importlib.metadata.packages_distributions()
  return {name: {canonicalize_name(d) for d in dists} for name, dists in brought.items()}


def test_every_import_of_the_package_is_declared(distributions):
  declared = _names('requirements.txt').union(*map(_names, _OPTIONAL))
  for name, path in _imported('pnerf_jax', 'configs', 'launch').items():
    assert distributions.get(name, {canonicalize_name(name)}) & declared, (
      f'{path} imports {name}: not in requirements.txt, nor in {_OPTIONAL}'
    )


def test_every_import_of_the_tests_is_declared(distributions):
  declared = _names('requirements.txt') | _names('requirements-dev.txt') | _WITHOUT_DEPENDENCIES
  for name, path in _imported('tests').items():
    assert distributions.get(name, {canonicalize_name(name)}) & declared, (
      f'{path} imports {name}: not in requirements-dev.txt'
    )


def test_nothing_is_declared_in_vain(distributions):
  runtime = {
    d
    for name in _imported('pnerf_jax', 'configs', 'launch')
    for d in distributions.get(name, {canonicalize_name(name)})
  }
  declared = _names('requirements.txt').union(*map(_names, _OPTIONAL))
  assert declared - runtime <= _INDIRECT
  tests = {d for name in _imported('tests') for d in distributions.get(name, ())}
  assert _names('requirements-dev.txt') - tests <= _INDIRECT


def test_constraints_pin_everything_within_the_ranges():
  pins = {}
  for pin in _lines('constraints.txt'):
    assert re.fullmatch(r'==[^*,]+', str(pin.specifier)), f'{pin} is not one version'
    pins[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
  files = ('requirements.txt', 'requirements-dev.txt', *_OPTIONAL)
  for requirement in (line for file in files for line in _lines(file)):
    version = pins[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f'{requirement}: tested with {version}'
