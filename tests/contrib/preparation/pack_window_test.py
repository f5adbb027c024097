"""Packing a window, replacing it, and reading the same window from it."""

import dataclasses
import itertools
import os
import pathlib
import shutil

import fsspec
import numpy as np
import pytest

from pnerf_jax.contrib.preparation import pack_window
from pnerf_jax.contrib.preparation.pack_window import pack_window as pack
from pnerf_jax.data import files, image_io
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.tfds import reader
from pnerf_jax.data.tfds.reader import ENCODED_KINDS
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError


@pytest.fixture
def config(config_of):
  return config_of()


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
  image_io.write_depth(path, np.full(folder.size(frame, camera)[::-1], 7.0))
  new = path.read_bytes()
  packed.data.derived_root = str(derived)
  archive = open_dataset(packed.data)
  assert archive.path_of('pseudo_depth', frame, camera) == path
  assert archive.path_of('pseudo_label', frame, camera).read_bytes()
  pack(packed.data, str(tmp_path / 'second'))  # a packed window can be packed again
  packed.data.root, packed.data.derived_root = str(tmp_path / 'second'), ''
  assert open_dataset(packed.data).path_of('pseudo_depth', frame, camera).read_bytes() == new


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
  replace, calls = os.replace, itertools.count()
  with monkeypatch.context() as patch:  # between the two moves into its place
    patch.setattr(os, 'replace', lambda *a: interrupted() if next(calls) == 1 else replace(*a))
    with pytest.raises(KeyboardInterrupt):
      pack(data, out, overwrite=True)
  assert reader.open_archive(out).metadata == before
  assert pack(data, out, overwrite=True)
  assert os.listdir(out) == ['kitti360_window']
  assert len(reader.open_archive(out).views) == 2


@pytest.fixture
def names(packed):
  """The files of a packed window, below its folder."""
  folder = pathlib.Path(packed.data.root, 'kitti360_window')
  return [path.relative_to(folder) for path in sorted(folder.rglob('*')) if path.is_file()]


def test_a_killed_pack_can_be_repeated(config, packed, names, tmp_path, monkeypatch):
  """Whatever a killed process or a full disk left, also of versions that moved single files."""
  whole = pathlib.Path(packed.data.root, 'kitti360_window')
  monkeypatch.setattr(
    pack_window, '_build', lambda *args: shutil.copytree(whole, pathlib.Path(args[2], 'new'))
  )
  for count in (0, 1, len(names) // 2, len(names) - 3, len(names) - 1):
    out = tmp_path / f'out {count} [0:1]'
    for name in names[:count]:
      (out / 'kitti360_window' / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(whole / name, out / 'kitti360_window' / name)
    (out / '.packing-killed' / 'kitti360_window' / 'views').mkdir(parents=True)
    complete = any(str(name) == reader.COMPLETE_FILE for name in names[:count])
    if complete:  # a file of a complete one is lost
      with pytest.raises(InputError, match='prepare pack'):
        pack(config.data, str(out))
    assert pack(config.data, str(out), overwrite=complete)
    assert [path.name for path in out.iterdir()] == ['kitti360_window']
    assert len(reader.open_archive(str(out)).views) == 4
    assert not pack(config.data, str(out))


def test_the_former_window_survives_a_kill_before_the_new_one_is_in_its_place(config, packed):
  root = pathlib.Path(packed.data.root)
  (root / '.packing-killed').mkdir()
  (root / 'kitti360_window').rename(root / '.packing-killed/replaced')
  (root / '.packing-other').mkdir()
  with files.file_lock(root / '.packing-other/lock'):  # of another process
    assert not pack(config.data, str(root))
  assert {path.name for path in root.iterdir()} == {'kitti360_window', '.packing-other'}
  assert len(reader.open_archive(str(root)).views) == 4


@pytest.mark.parametrize('step', ['put_file', 'mv'])
def test_the_former_window_at_an_address_survives_until_the_new_one_is_whole(
  config, packed, tmp_path, monkeypatch, step
):
  whole = pathlib.Path(packed.data.root, 'kitti360_window')
  built = shutil.copytree(whole, tmp_path / 'built')
  (built / reader.COMPLETE_FILE).write_text('{"is": "new"}')
  address = f'memory://{tmp_path.name}'
  memory = fsspec.filesystem('memory')
  pack_window._upload(whole, address)
  content = lambda: {path: memory.cat_file(path) for path in memory.find(address)}
  before = content()
  transfer, calls = getattr(memory, step), itertools.count()

  def interrupted(*args):
    if next(calls) == 3:
      raise KeyboardInterrupt
    return transfer(*args)

  with monkeypatch.context() as patch:
    patch.setattr(memory, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
      pack_window._upload(built, address)
  there = content()
  if step == 'put_file':
    assert there.items() > before.items()
  else:  # in two places, and not to be read
    assert len(there) == len(before) and not reader.exists(address)
  pack_window._upload(built, address)
  new = f'/{tmp_path.name}/kitti360_window/{reader.COMPLETE_FILE}'
  assert content() == before | {new: b'{"is": "new"}'}


def test_pack_replaces_no_other_folder(config, tmp_path):
  (tmp_path / 'kitti360_window').mkdir()
  (tmp_path / 'kitti360_window/notes.txt').write_text('mine')
  with pytest.raises(
    InputError, match='kitti360_window: holds notes.txt, which is not of a packed'
  ):
    pack(config.data, str(tmp_path), overwrite=True)
  assert (tmp_path / 'kitti360_window/notes.txt').read_text() == 'mine'


def test_pack_refuses_links_to_other_files(street, config, tmp_path, capfd):
  secret = tmp_path / 'secret.txt'
  secret.write_text('root:x:0:0')  # ten bytes; a scan has a multiple of 16
  root = shutil.copytree(street, tmp_path / 'street')
  config.data.root = str(root)
  for pattern in ('data_2d_raw/*/image_01/data_rect/*.png', 'data_3d_raw/**/*.bin'):
    path = sorted(root.glob(pattern))[-1]
    content = path.read_bytes()
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(InputError, match=path.name):
      pack(config.data, str(tmp_path / 'out'))
    assert not list((tmp_path / 'out').iterdir())
    path.unlink()
    path.write_bytes(content)
  assert pack(config.data, str(tmp_path / 'out'))
  assert '.packing' not in ''.join(capfd.readouterr())  # TFDS names the temporary folder


def test_pack_rejects_a_file_as_out(config, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='file is a file'):
    pack(config.data, str(tmp_path / 'file' / 'out'))
