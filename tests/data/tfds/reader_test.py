"""Packed windows that are damaged, remote or absent."""

import json
import os
import pathlib
import shutil
import sys
import time
import zlib

import fsspec
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from configs import kitti360 as configs
from pnerf_jax.contrib.preparation.pack_window import pack_window
from pnerf_jax.data import files, primitives
from pnerf_jax.data.tfds import reader
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError

pytestmark = pytest.mark.slow
_SHARD = 'kitti360_window-window.array_record-00000-of-00001'


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
  (lambda root: _shard(root).with_name('dataset_info.json').write_text('{'), 'info.json: not JSON'),
  (lambda root: _shard(root).with_name('features.json').write_text('[]'), 'feature class none'),
  (lambda root: _shard(root).with_name('metadata.json').write_text('{'), 'metadata.json: not JSON'),
  (lambda root: _shard(root).with_name('metadata.json').write_text('{}'), 'has no metadata'),
  (lambda root: _shard(root).unlink(), 'array_record-00000-of-00001: no such file'),
  (lambda root: shutil.rmtree(_shard(root, 'primitives').parent), 'info.json: no such file'),
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


def test_features_json_runs_no_code(damaged, tmp_path, monkeypatch):
  """TFDS would import the module of a feature class."""
  (tmp_path / 'evil_feature.py').write_text("open('mark', 'w')\nclass Feature: pass\n")
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  path = _shard(damaged, 'primitives').with_name('features.json')
  whole = path.read_text()
  for old in ('tensor_feature.Tensor', 'text_feature.Text', 'features_dict.FeaturesDict'):
    old = f'tensorflow_datasets.core.features.{old}'
    assert old in whole
    for new in ('evil_feature.Feature', 'os.system', 'tensorflow_datasets.core.utils.evil.Text'):
      path.write_text(whole.replace(old, new, 1))
      with pytest.raises(InputError, match=f'features.json: names the feature class {new}'):
        reader.open_archive(str(damaged))
  path.write_text(
    whole.replace('pythonClassName', '\\u0070ythonClassName').replace('text_', 'evil.')
  )
  with pytest.raises(InputError, match='names the feature class'):
    reader.open_archive(str(damaged))
  assert not (tmp_path / 'mark').exists() and 'evil_feature' not in sys.modules


@pytest.mark.parametrize(
  'change, message',
  [
    ({'sequence': '../../out'}, "sequence is '../../out', but names a folder"),
    ({'sequence': 5}, 'sequence is 5'),
    ({'cameras': ['image_00', '/etc']}, "cameras is '/etc', but names a folder"),
    ({'stereo': ['..', 'image_00']}, "stereo is '..'"),
    ({'cameras': 'image_00'}, 'has no metadata'),
    ({'primitives': None}, 'has no metadata'),
    ({'pose_from_velo': [[1e999] * 4] * 4}, 'pose_from_velo: inf'),
    ({'pose_from_velo': 3}, 'pose_from_velo: 3, expected 4 x 4'),
  ],
)
def test_metadata_is_checked(damaged, change, message):
  path = _shard(damaged).with_name('metadata.json')
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(InputError, match=f'metadata.json: {message}'):
    reader.open_archive(str(damaged))


def test_a_frame_without_a_view_of_every_camera_is_refused(damaged):
  path = _shard(damaged).with_name('metadata.json')
  path.write_text(json.dumps(json.loads(path.read_text()) | {'cameras': ['image_01', 'image_00']}))
  with pytest.raises(InputError, match='a frame lacks the view of a camera'):
    reader.open_archive(str(damaged))


def _write_records(path, *examples, options='group_size:1'):
  """Write an array_record file of examples: bytes, integers and lists of integers by name."""
  writer = ArrayRecordWriter(str(path), options)
  for example in examples:
    message = tf_example_pb2.Example()
    for name, value in example.items():
      feature = message.features.feature[name]
      if isinstance(value, bytes):
        feature.bytes_list.value.append(value)
      else:
        feature.int64_list.value.extend(value if isinstance(value, list) else [value])
    writer.write(message.SerializeToString())
  writer.close()


def _view(**changed):
  view = {
    'frame': 1,
    'camera': b'image_00',
    'size': [96, 64],
    'intrinsics': np.array([50.0, 50, 48, 32]),
  }
  view |= {'world_from_cam': np.eye(4), 'world_from_pose': np.eye(4)}
  view |= dict.fromkeys(reader.ENCODED_KINDS, b'') | changed
  return {
    k: zlib.compress(v.tobytes()) if isinstance(v, np.ndarray) else v for k, v in view.items()
  }


def _box(**changed):
  box = dict.fromkeys(reader.INTEGER_FIELDS, 1) | {
    'split': b'train',
    'label': b'car',
    'semantic': 26,
  }
  box |= {'vertices': primitives.CUBE_VERTICES, 'faces': primitives.CUBE_FACES} | changed
  return {k: zlib.compress(v.tobytes()) if isinstance(v, np.ndarray) else v for k, v in box.items()}


@pytest.mark.parametrize(
  'table, record, message',
  [
    ('views', _view(rgb=bytes(2**27)), '1342.* bytes of records in a file of 131072 bytes'),
    ('views', _view(size=[0, 64]), 'view 0: no pinhole camera has 0 x 64 pixels'),
    ('views', _view(size=[1, 2, 3]), 'example 0 cannot be read'),
    ('views', _view(size=[2**62, 2**62]), 'view 0: no pinhole camera'),
    ('views', _view(intrinsics=np.full(4, np.nan)), 'view 0: no pinhole camera'),
    ('views', _view(world_from_cam=np.full((4, 4), np.nan)), 'view 0 holds nan'),
    ('views', _view(world_from_pose=zlib.compress(bytes(2**27))), 'example 0 cannot be read'),
    ('views', _view(camera=b'\xff'), 'example 0 cannot be read'),
    ('views', _view(camera=b'../../out'), 'view 0 is of camera .*out'),
    ('views', {}, 'example 0 cannot be read'),
    ('primitives', _box(faces=np.full((4, 3), 8, np.int32)), 'primitive 0: faces refer to'),
    ('primitives', _box(faces=np.zeros((0, 3), np.int32)), 'primitive 0: degenerate'),
    ('primitives', _box(vertices=np.zeros((2**20, 3))), 'vertices is incomplete or too large'),
    (
      'primitives',
      _box(vertices=zlib.compress(np.zeros((8, 3)).tobytes())[:-5]),
      'vertices is incomplete or too large',
    ),
    ('primitives', _box(vertices=np.zeros((0, 3))), 'primitive 0: faces refer to'),
    ('primitives', _box(vertices=np.full((8, 3), np.inf)), 'primitive 0: .*holds inf'),
    ('primitives', _box(semantic=99), 'primitive 0 has no known class'),
    ('primitives', _box(split=b'other'), 'primitive 0 has no known class or list'),
  ],
)
def test_hostile_records_are_refused(damaged, table, record, message):
  _write_records(_shard(damaged, table), record)
  with pytest.raises(InputError, match=message) as error:
    reader.open_archive(str(damaged))
  assert str(damaged) in str(error.value) and 'prepare pack' in str(error.value)


@pytest.mark.parametrize('record, group', [(_box(), 1000), (_box(), 40_000), ({}, 100_000)])
def test_many_records_in_few_bytes_are_refused(damaged, record, group):
  path = _shard(damaged, 'primitives')
  _write_records(path, *[record] * max(group, 40_000), options=f'group_size:{group}')
  start = time.process_time()
  with pytest.raises(InputError, match='[0-9]{8} bytes of records in a file of [0-9]{6} bytes'):
    reader.open_archive(str(damaged))
  assert time.process_time() - start < 2


def test_shards_of_another_number_are_not_read(packed, damaged):
  shard = _shard(damaged, 'primitives')
  shutil.copy(shard, shard.with_name(_SHARD.replace('00000-of-00001', '00001-of-00009')))
  assert _read_all(damaged) == _read_all(packed)


def test_written_records_are_read(damaged):
  _write_records(_shard(damaged), _view(frame=7))
  _write_records(_shard(damaged, 'primitives'), _box(instance=3))
  archive = reader.open_archive(str(damaged))
  assert list(archive.views) == [(7, 'image_00')]
  np.testing.assert_array_equal(archive.primitives['train'][0].vertices, primitives.CUBE_VERTICES)
  assert archive.primitives['train'][0].instance == 3
  os.unlink(_shard(damaged))
  os.mkfifo(_shard(damaged, 'primitives').parent.parent.parent / 'views/2.0.0' / _SHARD)
  with pytest.raises(InputError, match='is not a regular file'):
    reader.open_archive(str(damaged))


@pytest.mark.parametrize('name', ['views', 'primitives'])
def test_a_flipped_bit_never_changes_the_content(packed, damaged, name):
  expected, original = _read_all(packed), _shard(packed, name).read_bytes()
  rejected = 0
  for position in range(0, len(original), len(original) // 30):
    _shard(damaged, name).write_bytes(original)
    _flip(_shard(damaged, name), position)
    try:
      assert _read_all(damaged) == expected  # the end of the file is padding
    except InputError:
      rejected += 1
  assert rejected > (15 if name == 'views' else 2)


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
