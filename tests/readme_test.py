"""README.md against the project: commands, flags, config fields and files that it names exist."""

import importlib.util
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_README = (_ROOT / 'README.md').read_text()
_JOINED = re.sub(r'\s*\\\n\s*', ' ', _README)  # continued command lines as one
_FIELDS = sorted(set(re.findall(r'(?<!/)\bconfig((?:\.[a-z]\w*)+)', _README)))
_COMMANDS = sorted(set(re.findall(r'python -m (pnerf_jax[\w.]*)[^\n`]*', _JOINED)))


def _config(path: str, variant: str):
  spec = importlib.util.spec_from_file_location('readme_config', _ROOT / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(variant) if variant else module.get_config()


def _source(command: str) -> pathlib.Path:
  """The file that `python -m command` runs."""
  path = _ROOT / command.replace('.', '/')
  return path / '__main__.py' if path.is_dir() else path.with_suffix('.py')


def test_the_five_commands_are_named():
  assert {f'pnerf_jax.{name}' for name in ('train', 'eval', 'render', 'street', 'prepare')} <= set(
    _COMMANDS
  )


@pytest.mark.parametrize('command', _COMMANDS)
def test_commands_and_their_flags_exist(command):
  source = _source(command).read_text()
  if 'job.define_flags()' in source:
    source += (_ROOT / 'pnerf_jax' / 'job.py').read_text()
  for line in re.findall(rf'python -m {re.escape(command)}\b([^\n`]*)', _JOINED):
    for flag in re.findall(r'--([a-z][\w.]*)', line):
      if not flag.startswith('config.'):  # those are tested below
        assert re.search(rf"""['"](--)?{flag}['"]""", source), f'{command} has no flag --{flag}'


@pytest.mark.parametrize('field', _FIELDS)
def test_config_fields_exist(field):
  found = []
  for path in ('configs/kitti360.py', 'configs/pspnet.py'):
    value = _config(path, '')
    for key in field.split('.')[1:]:
      value = value[key] if value is not None and key in value else None
    found.append(value is not None)
  assert any(found), f'config{field} does not exist'


@pytest.mark.parametrize('name', sorted(set(re.findall(r'configs/\w+\.py(?::\w+)?', _README))))
def test_config_files_and_variants_exist(name):
  path, _, variant = name.partition(':')
  assert _config(path, variant).train.steps > 0


@pytest.mark.parametrize('variant', sorted(set(re.findall(r'`:(\w+)`', _README))))
def test_bare_variants_exist(variant):
  assert _config('configs/kitti360.py', variant).train.steps > 0


def test_files_and_links_exist():
  linked = re.findall(r'\]\(([^)#]+)\)', _README)
  scripts = re.findall(r'\b(?:launch|docs)/[\w/]+\.\w+', _README)
  named = re.findall(r'`((?:requirements|constraints)[\w-]*\.txt)`', _README)
  assert linked and scripts and named
  for path in {*linked, *scripts, *named}:
    assert path.startswith('http') or (_ROOT / path).exists(), f'{path} does not exist'
