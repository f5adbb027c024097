"""Tests of the conversion of the released archive: files, resuming, damage, training."""

import bz2
import gzip
import io
import lzma
import os
import pathlib
import shutil
import tarfile
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.contrib.release import dataset
from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.training import field_task


def contents(root):
  return {
    path.relative_to(root).as_posix(): path.read_bytes()
    for path in sorted(root.rglob('*'))
    if path.is_file()
  }


@pytest.fixture(scope='module')
def converted(archive, tmp_path_factory):
  out = tmp_path_factory.mktemp('converted') / 'root'
  assert dataset.convert(archive, out)['kept'] == 0
  return out


def test_convert_restores_the_files_of_the_street(street, converted):
  files, depths, label_maps, lidar = [], [], [], []
  for path in sorted(converted.rglob('*')):
    name = path.relative_to(converted).as_posix()
    if path.is_file():
      kind = (
        depths
        if 'pseudo_depth' in name
        else label_maps
        if 'pseudo_sem' in name
        else lidar
        if 'lidar' in name
        else files
      )
      kind.append(name)
  assert [len(kind) for kind in (files, depths, label_maps, lidar)] == [17, 2, 2, 2]
  for name in files:
    original = name.replace('data_3d_bboxes/train/', 'data_3d_bboxes/train_full/')
    assert (converted / name).read_bytes() == (street / original).read_bytes(), name
  for name in depths:
    np.testing.assert_array_equal(
      image_io.read_depth(converted / name), image_io.read_depth(street / name)
    )
  for name in label_maps:
    label = image_io.read_label(street / name, unknown_allowed=True)
    # 255 is unknown as well; fences were stored as gates, which no network predicts.
    np.testing.assert_array_equal(
      image_io.read_label(converted / name), np.where(label == 255, 0, label)
    )
    assert not (label == 35).any()
  for name in lidar:
    np.testing.assert_array_equal(
      image_io.read_depth(converted / name),
      image_io.read_depth(street / name.replace('lidar', 'pseudo'))[::-1],
    )


def packed(archive, path):
  names = sorted(p for p in archive.rglob('*') if p.is_file())
  if path.suffix == '.zip':
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
      for name in names:
        file.write(name, name.relative_to(archive))
  else:
    mode = f'w:{path.suffix[1:]}' if path.suffix != '.tar' else 'w'
    with tarfile.open(path, mode) as file:
      for name in names:
        file.add(name, name.relative_to(archive))
  return path


@pytest.mark.parametrize('name', ['a.zip', 'a.tar', 'a.tar.gz', 'a.tar.xz', 'a.tar.bz2'])
def test_packed_archives_give_equal_files(archive, converted, tmp_path, name):
  path = packed(archive, tmp_path / name)
  dataset.convert(path, tmp_path / 'out')
  assert contents(tmp_path / 'out') == contents(converted)
  assert [p.name for p in tmp_path.iterdir()] and not list((tmp_path / 'out').glob('.*'))


def test_images_are_linked_and_text_files_copied(archive, converted):
  image = next(archive.rglob('image_00/data_rect/*.png'))
  linked = next(converted.rglob(f'image_00/data_rect/{image.name}'))
  text = next(archive.rglob('perspective.txt'))
  assert os.path.samefile(image, linked)
  assert not os.path.samefile(text, converted / 'calibration' / 'perspective.txt')


def test_convert_resumes(archive, converted, tmp_path):
  out = shutil.copytree(converted, tmp_path / 'out')
  before = {path: path.stat().st_mtime_ns for path in out.rglob('*') if path.is_file()}
  depth, label = (
    sorted((out / f'data_2d_pseudo_{kind}').rglob('*.png'))[0] for kind in ('depth', 'semantics')
  )
  depth.write_bytes(depth.read_bytes()[:50])
  label.unlink()
  count = dataset.convert(archive, out)
  assert count == {'written': 2, 'kept': len(before) - 2}
  assert contents(out) == contents(converted)
  assert all(
    path.stat().st_mtime_ns == time for path, time in before.items() if path not in (depth, label)
  )


def numpy_bytes(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


HUGE = (
  numpy_bytes(np.zeros((2, 2))).replace(b'(2, 2), }  ', b'(2**40,), }').replace(b'2**40', b'99999')
)
DAMAGED = [
  ('calibration/perspective.txt', b'P_rect_00: 1', 'perspective.txt'),
  ('data_poses/*/poses.txt', b'1 2 3', '3 numbers'),
  ('data_3d_bboxes/train/*.xml', b'<a>', 'well-formed'),
  (
    'data_3d_bboxes/train/*.xml',
    b'<settings><password>root:</password></settings>',
    'no primitive',
  ),
  ('*/image_01/data_rect/*.png', b'', 'PNG'),
  ('pspnet/*/*/*.png', b'\x89PNG', 'PNG'),
  ('sgm/*/depth_*_0.txt', b'1 2\n3 4\n', '2 rows of 2'),
  ('sgm/*/depth_*_0.txt', b'1 2\n3\n', 'not a matrix'),
  ('sgm/*/depth_*_0.txt', b'\xff\xfe', 'not a matrix'),
  ('lidar_depth/*/*_0.npy', numpy_bytes(np.zeros((2, 2))), '(2, 2)'),
  ('lidar_depth/*/*_0.npy', HUGE, '99999'),
  ('lidar_depth/*/*_0.npy', numpy_bytes(np.array([{}], object)), '(1,)'),
  ('lidar_depth/*/*_0.npy', b'PK', 'not an array'),
  ('calibration/calib_sick_to_velo.txt', b'root:x:0:0', 'root:x:0:0'),
  ('calibration/image_02.yaml', b'root:x:0:0', 'no YAML file of OpenCV'),
  ('gt_2d_semantics/*/semantic/*.png', b'x', 'PNG'),
  ('gt_2d_panoptics/*/instance/*.png', b'x', 'PNG'),
]


@pytest.mark.parametrize('pattern, content, expected', DAMAGED)
def test_damaged_files_are_named(archive, tmp_path, pattern, content, expected):
  copy = shutil.copytree(archive, tmp_path / 'archive')
  path = sorted((copy / 'datasets/KITTI-360').glob(pattern))[-1]
  path.unlink()
  path.write_bytes(content)
  with pytest.raises(InputError) as error:
    dataset.convert(copy, tmp_path / 'out')
  assert str(path) in str(error.value) and expected in str(error.value)
  assert str(error.value).endswith('.')


@pytest.mark.parametrize(
  'pattern, expected',
  [
    ('calibration/calib_cam_to_velo.txt', 'calib_cam_to_velo.txt'),
    ('calibration/perspective.txt', 'calibration/perspective.txt'),
    ('data_poses/*/*.txt', 'poses.txt or '),
    ('data_3d_bboxes/train/*.xml', 'data_3d_bboxes/train/'),
    ('*/image_0?/data_rect/*.png', 'images'),
  ],
)
def test_missing_required_files_are_reported_first(archive, tmp_path, pattern, expected):
  copy = shutil.copytree(archive, tmp_path / 'archive')
  for path in (copy / 'datasets/KITTI-360').glob(pattern):
    path.unlink()
  with pytest.raises(InputError, match=expected):
    dataset.convert(copy, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_missing_supervision_is_logged(archive, tmp_path, caplog):
  copy = shutil.copytree(archive, tmp_path / 'archive')
  (path,) = (copy / 'datasets/KITTI-360').glob('sgm/*')
  shutil.rmtree(path)
  caplog.set_level('INFO', 'pnerf_jax')
  dataset.convert(copy, tmp_path / 'out')
  assert 'no stereo depth of image_00 for frames 1311-1312' in caplog.text
  assert 'visible_id' not in caplog.text and 'timestamps.txt' in caplog.text  # ignored


def test_nothing_is_written_outside_the_root(archive, tmp_path):
  """Members with malicious names do not match the layout; links are ignored."""
  path = packed(archive, tmp_path / 'a.tar')
  with tarfile.open(path, 'a') as file:
    for name in (
      '../evil.txt',
      str(tmp_path / 'evil2.txt'),
      'datasets/KITTI-360/../../calibration/image_02.yaml',
    ):
      member = tarfile.TarInfo(name)
      member.size = 4
      file.addfile(member, io.BytesIO(b'evil'))
    link = tarfile.TarInfo('datasets/KITTI-360/calibration/image_03.yaml')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    file.addfile(link)
  before = set(tmp_path.rglob('*'))
  dataset.convert(path, tmp_path / 'out')
  new = set(tmp_path.rglob('*')) - before
  assert new and all(p.is_relative_to(tmp_path / 'out') for p in new)
  yaml = tmp_path / 'out/calibration/image_03.yaml'
  assert not yaml.exists() or b'root' not in yaml.read_bytes()


@pytest.mark.parametrize('pattern', [pattern for pattern, _, _ in DAMAGED])
def test_links_to_other_files_are_not_converted(archive, tmp_path, pattern):
  secret = tmp_path / 'secret'
  secret.write_text('root:x:0:0')
  copy = shutil.copytree(archive, tmp_path / 'archive')
  path = sorted((copy / 'datasets/KITTI-360').glob(pattern))[-1]
  path.unlink()
  path.symlink_to(secret)
  with pytest.raises(InputError, match=path.name):
    dataset.convert(copy, tmp_path / 'out')
  for written in (tmp_path / 'out').rglob('*'):
    assert written.is_dir() or b'root:' not in written.read_bytes()


@pytest.mark.parametrize('pattern', ['sgm/*/*', 'lidar_depth/*/*', 'pspnet/*/*/*', 'calibration/*'])
def test_a_pipe_is_named_and_not_read(archive, tmp_path, pattern):
  copy = shutil.copytree(archive, tmp_path / 'archive')
  path = sorted((copy / 'datasets/KITTI-360').glob(pattern))[-1]
  path.unlink()
  os.mkfifo(path)
  with pytest.raises(InputError, match=f'{path}: is not a regular file'):
    dataset.convert(copy, tmp_path / 'out')


def test_links_to_folders_are_followed_but_not_out_of_the_archive_and_back(
  archive, converted, tmp_path, monkeypatch
):
  copy = shutil.copytree(archive, tmp_path / 'inside/archive')
  poses = copy / 'datasets/KITTI-360/data_poses'
  poses.rename(tmp_path / 'other_disk')
  poses.symlink_to(tmp_path / 'other_disk')
  for name, target in (('a', '/'), ('b', '..'), ('c', '.'), ('d', tmp_path)):
    (copy / name).symlink_to(target)
  listed, scandir = [], os.scandir
  monkeypatch.setattr(os, 'scandir', lambda path: listed.append(path) or scandir(path))
  dataset.convert(copy, tmp_path / 'out')
  monkeypatch.undo()
  assert contents(tmp_path / 'out') == contents(converted)
  assert len(listed) < 100


def _bombs(folder):
  """Archives of some kB that claim or become gigabytes."""
  name, zeros = 'datasets/KITTI-360/calibration/perspective.txt', bytes(2**20)
  for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    with zipfile.ZipFile(folder / f'{method}.zip', 'w', method) as file:
      for i in range(20 if method == zipfile.ZIP_DEFLATED else 1):
        file.writestr(f'{name}{i}', zeros)
    yield folder / f'{method}.zip', 'expected at most' if method == 8 else 'neither stored nor'
  for suffix, opener in (('gz', gzip.open), ('bz2', bz2.open), ('xz', lzma.open)):
    kinds = (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
    for kind in kinds if suffix == 'gz' else kinds[:1]:
      member = tarfile.TarInfo(name)
      member.type, member.size = kind, 20 << 20
      path = folder / f'{kind[0]}.tar.{suffix}'
      with opener(path, 'wb') as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(20):
          file.write(zeros)
        file.write(bytes(1024))
      yield path, 'more than 16777216 bytes'
  sparse = tarfile.TarInfo(name)
  sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 0
  header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
  header[483:495] = b'%011o\0' % 2**30  # the size with its holes
  header[148:156] = b'%06o\0 ' % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
  (folder / 'sparse.tar').write_bytes(header + bytes(1024))
  yield folder / 'sparse.tar', '1073741824 bytes in it, expected at most'
  negative = tarfile.TarInfo(name)
  negative.size = -512  # the next member would be this one again
  (folder / 'negative.tar').write_bytes(negative.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
  yield folder / 'negative.tar', 'has -512 bytes'


def test_what_an_archive_claims_is_bounded_by_its_size(tmp_path):
  for path, message in _bombs(tmp_path):
    assert path.stat().st_size < 70_000, path
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(InputError, match=f'{path.name}: cannot be read .*{message}'):
      dataset.convert(path, tmp_path / 'out')
    assert time.process_time() - start < 2 and tracemalloc.get_traced_memory()[1] < 2**26, path
    tracemalloc.stop()
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name, cut', [('a.zip', 2000), ('a.tar', 20000), ('a.tar.gz', 2000)])
def test_truncated_archives_are_refused(archive, tmp_path, name, cut):
  path = packed(archive, tmp_path / name)
  path.write_bytes(path.read_bytes()[:-cut])
  with pytest.raises(InputError, match=name):
    dataset.convert(path, tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('.*'))


def test_a_damaged_member_is_named_by_its_place_in_the_archive(archive, tmp_path):
  copy = shutil.copytree(archive, tmp_path / 'archive')
  next(copy.rglob('depth_*_0.txt')).write_text('1 2')
  path = packed(copy, tmp_path / 'a.zip')
  with pytest.raises(InputError) as error:
    dataset.convert(path, tmp_path / 'out')
  assert f'{path}: datasets/KITTI-360/sgm/' in str(error.value)
  assert 'staging' not in str(error.value)


@pytest.mark.slow
def test_converted_data_is_trained_and_evaluated(converted, tmp_path, monkeypatch):
  monkeypatch.setattr(field_task.FieldTask, 'write_preview', lambda *_: None)  # seconds
  config = configs.get_config('tiny')
  config.train.refine_fraction = 0.0  # one stage to compile
  config.data.root = str(converted)
  config.train.steps = config.train.preview_every = 2
  config.data.eval_frames = (1311,)
  field_task.train(config, tmp_path / 'run')
  metrics = evaluate(tmp_path / 'run')
  assert metrics['frames'] == 1 and metrics['step'] == 2
  for key in ('semantic.miou', 'panoptic.all.pq', 'depth.rmse', 'pseudo.miou', 'image.psnr'):
    assert metrics[key] is not None, key


def test_out_must_not_be_a_file(archive, tmp_path):
  path = tmp_path / 'file'
  path.touch()
  for out in (path, path / 'below'):
    with pytest.raises(InputError, match='is a file'):
      dataset.convert(archive, out)
  with pytest.raises(InputError, match='no such file or folder'):
    dataset.convert(pathlib.Path('/nowhere'), tmp_path / 'out')
