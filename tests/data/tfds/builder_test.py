"""Packed windows that were damaged on their way, and how they are found and fetched."""

import pathlib
import shutil

import fsspec
import pytest

from configs import kitti360 as configs
from pnerf_jax.data.tfds import builder, pack
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError


@pytest.fixture(scope='module')
def config(street):
  config = configs.get_config('tiny')
  config.data.root, config.data.frames, config.data.cameras = str(street), 1, ('image_00',)
  return config


@pytest.fixture(scope='module')
def packed(config, tmp_path_factory):
  out = tmp_path_factory.mktemp('packed')
  pack.pack(config.data, str(out))
  return out


@pytest.fixture
def damaged(packed, tmp_path):
  return shutil.copytree(packed, tmp_path / 'packed')


def _shard(root):
  return next(root.rglob('*array_record*'))


def _flip(path, position):
  content = bytearray(path.read_bytes())
  content[position] ^= 0x10
  path.write_bytes(content)


def _read_all(root):
  packed = builder.open_packed(str(root))
  return {path: packed.joinpath(path).read_bytes() for path in packed.sizes}


DAMAGE = [
  (shutil.rmtree, 'dataset_info.json: no such file'),
  (lambda root: _shard(root).with_name('dataset_info.json').unlink(), 'no whole packed window'),
  (lambda root: _shard(root).with_name('dataset_info.json').write_text('{'), 'cannot be opened'),
  (lambda root: _shard(root).with_name('features.json').write_text('[]'), 'cannot be opened'),
  (lambda root: _shard(root).unlink(), 'array_record-00000-of-00001: no such file'),
  (lambda root: _shard(root).write_bytes(b''), 'cannot be'),
  (lambda root: _shard(root).write_bytes(_shard(root).read_bytes()[:-50_000]), 'cannot be'),
  (lambda root: _flip(_shard(root), _shard(root).stat().st_size // 2), 'cannot be|damaged'),
]


@pytest.mark.parametrize('damage, word', DAMAGE)
def test_damage_is_one_error_with_place_and_remedy(damaged, damage, word):
  damage(damaged)
  with pytest.raises(InputError, match=word) as error:
    _read_all(damaged)
  assert str(damaged) in str(error.value) and 'prepare tfds' in str(error.value)


def test_a_flipped_bit_never_changes_what_is_read(packed, damaged):
  truth, whole = _read_all(packed), _shard(packed).read_bytes()
  refused = 0
  for position in range(0, len(whole), len(whole) // 16):
    _shard(damaged).write_bytes(whole)
    _flip(_shard(damaged), position)
    try:
      assert _read_all(damaged) == truth  # the end of the file is padding
    except InputError:
      refused += 1
  assert refused > 8


def test_window_at_an_address_is_fetched_once_and_again_when_rebuilt(
  config, packed, tmp_path, monkeypatch
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  address = f'memory://{tmp_path.name}'
  pack.pack(config.data, address)
  assert _read_all(address) == _read_all(packed)
  fetched = list((tmp_path / 'pnerf_jax').iterdir())
  memory = fsspec.filesystem('memory')
  monkeypatch.setattr(memory, 'get', None)  # a second opening fetches nothing
  _read_all(address)
  monkeypatch.undo()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  config.data.cameras = ('image_01',)
  pack.pack(config.data, address, overwrite=True)
  config.data.cameras = ('image_00',)
  assert any('image_01' in path for path in _read_all(address))
  assert len(fetched) == 1 and len(list((tmp_path / 'pnerf_jax').iterdir())) == 2


@pytest.mark.parametrize('root', ['nowhere://a', f'file://{pathlib.Path("/no/such/folder")}'])
def test_addresses_that_lead_nowhere(root):
  with pytest.raises(InputError, match=root):
    builder.open_packed(root)


def test_address_of_a_local_folder(config, packed, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  config = config.copy_and_resolve_references()
  config.data.source, config.data.root = 'tfds', f'file://{packed}'
  assert load_window(config.data, config.scene).rgb.shape[0] == 1
