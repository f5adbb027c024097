"""Packed windows that are damaged, remote or absent."""

import pathlib
import shutil

import fsspec
import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.contrib.preparation.pack_window import pack_window
from pnerf_jax.data import files
from pnerf_jax.data.tfds import reader
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def config(street):
  config = configs.get_config('tiny')
  config.data.root, config.data.frames, config.data.cameras = str(street), 1, ('image_00',)
  return config


@pytest.fixture(scope='module')
def packed(config, tmp_path_factory):
  out = tmp_path_factory.mktemp('packed')
  pack_window(config.data, str(out))
  return out


@pytest.fixture
def damaged(packed, tmp_path):
  return shutil.copytree(packed, tmp_path / 'packed')


def _shard(root, name='views'):
  return next((root / 'kitti360_window' / name).rglob('*array_record*'))


def _flip(path, position):
  content = bytearray(path.read_bytes())
  content[position] ^= 0x10
  path.write_bytes(content)


def _read_all(root):
  """Everything that an archive holds, as bytes."""
  archive = reader.open_archive(str(root))
  content = {}
  for (frame, camera), view in archive.views.items():
    for name, value in view.items():
      content[frame, camera, name] = np.asarray(value).tobytes()
    for kind in reader.ENCODED_KINDS:
      content[frame, camera, kind] = archive.file(kind, frame, camera).read_bytes()
  for split, records in archive.primitives.items():
    for i, record in enumerate(records):
      for name, value in vars(record).items():
        content[split, i, name] = np.asarray(value).tobytes()
  return content


DAMAGE = [
  (shutil.rmtree, 'dataset_info.json: no such file'),
  (lambda root: _shard(root).with_name('dataset_info.json').unlink(), 'no complete packed window'),
  (lambda root: _shard(root).with_name('dataset_info.json').write_text('{'), 'cannot be opened'),
  (lambda root: _shard(root).with_name('features.json').write_text('[]'), 'cannot be opened'),
  (lambda root: _shard(root).with_name('metadata.json').write_text('{'), 'cannot be opened'),
  (lambda root: _shard(root).with_name('metadata.json').write_text('{}'), 'has no metadata'),
  (lambda root: _shard(root).unlink(), 'array_record-00000-of-00001: no such file'),
  (lambda root: shutil.rmtree(_shard(root, 'primitives').parent), 'cannot be opened'),
  (lambda root: _shard(root).write_bytes(b''), 'cannot be'),
  (lambda root: _shard(root).write_bytes(_shard(root).read_bytes()[:-50_000]), 'cannot be'),
  (lambda root: _flip(_shard(root), _shard(root).stat().st_size // 4), 'cannot be'),
]


@pytest.mark.parametrize('damage, message', DAMAGE)
def test_open_archive_names_damage_and_remedy(damaged, damage, message):
  damage(damaged)
  with pytest.raises(InputError, match=message) as error:
    _read_all(damaged)
  assert str(damaged) in str(error.value) and 'prepare pack' in str(error.value)


@pytest.mark.parametrize('name', ['views', 'primitives'])
def test_a_flipped_bit_never_changes_the_content(packed, damaged, name):
  expected, original = _read_all(packed), _shard(packed, name).read_bytes()
  rejected = 0
  for position in range(0, len(original), len(original) // 40):
    _shard(damaged, name).write_bytes(original)
    _flip(_shard(damaged, name), position)
    try:
      assert _read_all(damaged) == expected  # the end of the file is padding
    except InputError:
      rejected += 1
  assert rejected > (20 if name == 'views' else 2)


def test_open_archive_downloads_once_and_again_after_packing(config, packed, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  address = f'memory://{tmp_path.name}'
  pack_window(config.data, address)
  assert _read_all(address) == _read_all(packed)
  downloaded = list((tmp_path / 'pnerf_jax').iterdir())
  memory = fsspec.filesystem('memory')
  with monkeypatch.context() as patch:
    patch.setattr(memory, 'get', None)  # the second time, nothing is downloaded
    _read_all(address)
  other = config.copy_and_resolve_references()
  other.data.cameras = ('image_01',)
  pack_window(other.data, address, overwrite=True)
  assert {camera for _, camera in reader.open_archive(address).views} == {'image_01'}
  assert len(downloaded) == 1 and len(list((tmp_path / 'pnerf_jax').iterdir())) == 2


@pytest.mark.parametrize('root', ['nowhere://a', f'file://{pathlib.Path("/no/such/folder")}'])
def test_open_archive_names_an_unreadable_address(root):
  with pytest.raises(InputError, match=root):
    reader.open_archive(root)


def test_load_window_from_the_address_of_a_local_folder(config, packed, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  config = config.copy_and_resolve_references()
  config.data.source, config.data.root = 'tfds', f'file://{packed}'
  assert load_window(config.data, config.scene).rgb.shape[0] == 1


def test_encoded_file_reads_like_a_path():
  file = reader.EncodedFile('archive: rgb', 4, lambda: b'text')
  assert files.read_bytes(file, 4, '') == b'text'
  with pytest.raises(InputError, match='archive: rgb: 4 bytes, expected at most 3'):
    files.read_bytes(file, 3, '')
  absent = reader.EncodedFile('archive: rgb', 0, lambda: b'')
  assert not absent.exists()
  with pytest.raises(InputError, match='archive: rgb: no such file. Remedy'):
    files.read_bytes(absent, 3, 'Remedy')
