"""A window packed into one dataset: nothing is missing, and nothing wrong is built or kept."""

import os
import pathlib
import re
import shutil

import pytest

from configs import kitti360 as configs
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.tfds import builder, pack
from pnerf_jax.errors import InputError


@pytest.fixture
def data(street):
  config = configs.get_config('tiny')
  config.data.root = str(street)
  return config.data


def test_all_files_of_a_street_are_in_it(data, street):
  dataset = open_dataset(data)
  inside = {item['path'] for item in pack.window_files(dataset)}
  there = {path.relative_to(street).as_posix() for path in street.rglob('*') if path.is_file()}
  assert inside <= there
  # All frames of this street are in the window: left out is only what nothing here reads.
  unread = {
    path
    for path in there - inside
    if not re.search(
      r'timestamps.txt|_frames.txt|street.json|semantic_rgb/|calib_sick_to_velo|image_0[23].yaml',
      path,
    )
  }
  assert not unread
  kinds = {item['kind'] for item in pack.window_files(dataset)}
  assert {
    'calibration',
    'poses',
    'primitives',
    'rgb',
    'pseudo_label',
    'pseudo_depth',
    'true_semantic',
    'true_instance',
    'true_confidence',
    'lidar',
  } <= kinds


def test_derived_files_and_chosen_frames(data, street, tmp_path):
  derived = shutil.copytree(
    next(street.glob('data_2d_pseudo_depth')), tmp_path / 'data_2d_pseudo_depth'
  ).parent
  data.derived_root, data.frames, data.cameras = str(derived), 1, ('image_01',)
  items = pack.window_files(open_dataset(data))
  depth = [item for item in items if item['kind'] == 'pseudo_depth']
  assert len(depth) == 1 and pathlib.Path(depth[0]['source']).is_relative_to(derived)
  assert {item['camera'] for item in items} == {'', 'image_01'}
  assert len({item['frame'] for item in items}) == 2  # one, and none


def test_packed_once_kept_replaced(data, tmp_path, monkeypatch):
  out = str(tmp_path / 'out')
  assert pack.pack(data, out) and not pack.pack(data, out)
  packed = builder.open_packed(out)
  for item in pack.window_files(open_dataset(data)):
    assert packed.joinpath(item['path']).read_bytes() == pathlib.Path(item['source']).read_bytes()
  data.frames = 1
  with pytest.raises(InputError, match=r'kitti360_window/1.0.0: .* another window.*--overwrite'):
    pack.pack(data, out)

  def interrupted(*_):
    raise KeyboardInterrupt

  # Stopped after the old one was taken away: nothing is left that could be read as whole.
  with monkeypatch.context() as patch:
    patch.setattr(builder, 'build', interrupted)
    with pytest.raises(KeyboardInterrupt):
      pack.pack(data, out, overwrite=True)
  assert builder.open_packed(out).sizes == packed.sizes  # the old one still
  os.makedirs(os.path.join(out, '.packing-killed', 'x'))
  assert pack.pack(data, out, overwrite=True)
  assert os.listdir(out) == ['kitti360_window']
  assert len(builder.open_packed(out).sizes) < len(packed.sizes)


def test_a_file_in_the_way(data, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='file is a file'):
    pack.pack(data, str(tmp_path / 'file' / 'out'))
