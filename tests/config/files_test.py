"""Config files by path: of the project from any folder, and of the user."""

import pytest

from configs import kitti360, street
from pnerf_jax.config.files import find_config, read_config
from pnerf_jax.errors import InputError


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
  assert read_config('configs/kitti360.py') == 'own'
  assert read_config(f'{path}:other') == 'other'


@pytest.mark.parametrize('value', ['configs/none.py', 'configs', ''])
def test_find_config_names_a_missing_file(value):
  with pytest.raises(InputError, match=f'--config: no such file: {value!r}'):
    find_config(value)


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
