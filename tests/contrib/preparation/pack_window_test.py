"""Packing a window, replacing it, and reading the same window from it."""

import dataclasses
import os

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.contrib.preparation import pack_window
from pnerf_jax.contrib.preparation.pack_window import pack_window as pack
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.tfds import reader
from pnerf_jax.data.tfds.reader import ENCODED_KINDS
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError


@pytest.fixture
def config(street):
  config = configs.get_config('tiny')
  config.data.root = str(street)
  return config


@pytest.fixture
def packed(config, tmp_path):
  """The config of the same window, packed."""
  pack(config.data, str(tmp_path / 'packed'))
  packed = config.copy_and_resolve_references()
  packed.data.source, packed.data.root = 'tfds', str(tmp_path / 'packed')
  return packed


def _arrays(fields):
  return {name: value for name, value in vars(fields).items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize('split', ['auto', 'train', 'union'])
def test_pack_preserves_the_window(config, packed, split):
  config.data.primitives = packed.data.primitives = split
  folder, archive = (load_window(each.data, each.scene) for each in (config, packed))
  assert len(_arrays(folder)) >= 12
  for name, array in _arrays(folder).items():
    np.testing.assert_array_equal(getattr(archive, name), array, err_msg=name)
    assert getattr(archive, name).dtype == array.dtype
  assert (archive.sequence, archive.frames, archive.cameras) == (
    folder.sequence,
    folder.frames,
    folder.cameras,
  )
  assert len(archive.primitives) == len(folder.primitives) > 0
  for ours, theirs in zip(archive.primitives, folder.primitives):
    for name, value in vars(theirs).items():
      np.testing.assert_array_equal(getattr(ours, name), value, err_msg=name)
      assert type(getattr(ours, name)) is type(value)


def test_pack_preserves_files_and_poses(config, packed):
  folder, archive = open_dataset(config.data), open_dataset(packed.data)
  seen = set()
  for frame, camera in folder.views():
    for kind in ENCODED_KINDS[:-1]:
      path, packed_file = folder.path_of(kind, frame, camera), archive.path_of(kind, frame, camera)
      assert (path is None or not path.exists()) == (
        packed_file is None or not packed_file.exists()
      )
      if path is not None and path.exists():
        seen.add(kind)
        assert packed_file.read_bytes() == path.read_bytes()
  assert {'rgb', 'pseudo_label', 'pseudo_depth', 'true_semantic', 'true_instance'} <= seen
  for frame in folder.frames:
    assert archive.scan_path(frame).read_bytes() == folder.scan_path(frame).read_bytes()
    np.testing.assert_array_equal(archive.world_from_velo(frame), folder.world_from_velo(frame))
  for field in dataclasses.fields(folder):
    if field.name not in ('root', 'derived_root', 'notes', 'primitives', 'explicit_paths'):
      np.testing.assert_array_equal(
        getattr(archive, field.name), getattr(folder, field.name), err_msg=field.name
      )


def test_open_dataset_selects_frames_and_cameras(config, packed):
  last = open_dataset(config.data).frames[-1]
  for data in (config.data, packed.data):
    data.start, data.frames, data.cameras = last, 1, ('image_01',)
  folder, archive = (load_window(each.data, each.scene) for each in (config, packed))
  assert archive.frames == folder.frames and archive.cameras == ('image_01',)
  for name, array in _arrays(folder).items():
    np.testing.assert_array_equal(getattr(archive, name), array, err_msg=name)


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('sequence', 'other', 'config.data.sequence'),
    ('cameras', ('image_02',), 'config.data.cameras'),
    ('primitives', 'all', 'config.data.primitives'),
    ('start', 9999, 'config.data.start'),
  ],
)
def test_open_dataset_rejects_what_is_not_packed(packed, field, value, message):
  packed.data[field] = value
  with pytest.raises(InputError, match=message):
    load_window(packed.data, packed.scene)


def test_derived_root_precedes_the_packed_window(config, packed, tmp_path):
  folder = open_dataset(config.data)
  frame, camera = folder.views()[0]
  derived = tmp_path / 'derived'
  path = derived / folder.path_of('pseudo_depth', frame, camera).relative_to(folder.root)
  path.parent.mkdir(parents=True)
  path.write_bytes(b'new')
  packed.data.derived_root = str(derived)
  archive = open_dataset(packed.data)
  assert archive.path_of('pseudo_depth', frame, camera) == path
  assert archive.path_of('pseudo_label', frame, camera).read_bytes()
  pack(packed.data, str(tmp_path / 'second'))  # a packed window can be packed again
  packed.data.root, packed.data.derived_root = str(tmp_path / 'second'), ''
  assert open_dataset(packed.data).path_of('pseudo_depth', frame, camera).read_bytes() == b'new'


def test_pack_keeps_or_replaces(config, tmp_path, monkeypatch):
  data, out = config.data, str(tmp_path / 'out')
  assert pack(data, out) and not pack(data, out)
  before = reader.open_archive(out).metadata
  data.frames = 1
  with pytest.raises(InputError, match=r'kitti360_window: holds another window.*--overwrite'):
    pack(data, out)

  def interrupted(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(pack_window, '_build', interrupted)
    with pytest.raises(KeyboardInterrupt):
      pack(data, out, overwrite=True)
  assert reader.open_archive(out).metadata == before
  os.makedirs(os.path.join(out, '.packing-killed', 'x'))
  assert pack(data, out, overwrite=True)
  assert os.listdir(out) == ['kitti360_window']
  assert len(reader.open_archive(out).views) == 2


def test_pack_rejects_a_file_as_out(config, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='file is a file'):
    pack(config.data, str(tmp_path / 'file' / 'out'))
