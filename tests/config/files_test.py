"""Config files by path: of the project from any folder, and of the user."""

import pathlib
import sys

import pytest

from configs import kitti360, street
from pnerf_jax.config.files import find_config, read_config
from pnerf_jax.errors import InputError

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
  'value, config',
  [
    ('configs/kitti360.py', kitti360.get_config()),
    ('configs/kitti360.py:tiny', kitti360.get_config('tiny')),
    ('configs/street.py', street.get_config()),  # imports another config
  ],
)
def test_read_config_finds_project_files_from_any_folder(tmp_path, monkeypatch, value, config):
  monkeypatch.chdir(tmp_path)
  assert read_config(value) == config


def test_read_config_prefers_a_file_of_the_current_folder(tmp_path, monkeypatch):
  path = tmp_path / 'configs' / 'kitti360.py'
  path.parent.mkdir()
  path.write_text('def get_config(variant="own"):\n  return variant\n')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [*sys.path])
  assert read_config('configs/kitti360.py') == 'own'
  assert read_config(f'{path}:other') == 'other'


def test_configs_elsewhere_import_those_of_the_project(tmp_path, monkeypatch):
  path = tmp_path / 'a [1] folder' / 'mine.py'
  path.parent.mkdir()
  path.write_text('from configs import kitti360\nget_config = kitti360.get_config\n')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [p for p in sys.path if p not in ('', str(_ROOT))])
  for name in [name for name in sys.modules if name.partition('.')[0] == 'configs']:
    monkeypatch.delitem(sys.modules, name)
  for value in ('a [1] folder/mine.py:tiny', f'{path}:tiny'):
    assert read_config(value) == kitti360.get_config('tiny')


@pytest.mark.parametrize('value', ['configs/none.py:tiny', 'configs', ''])
def test_find_config_names_a_missing_file(value):
  with pytest.raises(InputError) as error:
    find_config(value)
  names = ', '.join(f'configs/{path.name}' for path in sorted(_ROOT.glob('configs/*.py')))
  assert 'configs/kitti360.py' in names
  assert str(error.value) == (
    f'--config: no such file: {value.partition(":")[0]!r}. Name your own, or one of {names}.'
  )


def test_find_config_refuses_other_files(tmp_path):
  path = tmp_path / 'config.json'
  path.write_text('{}')
  with pytest.raises(InputError, match='is not a Python file'):
    find_config(str(path))


def test_read_config_names_an_unknown_variant():
  with pytest.raises(InputError, match='kitti360.py:huge: no such variant. Use one of .*cpu'):
    read_config('configs/kitti360.py:huge')
  with pytest.raises(InputError, match='no such variant. It is now called paper.'):
    read_config('configs/kitti360.py:published')
