"""Joining: hand-made windows with known agreement, and a street trained for real."""

import dataclasses
import importlib
import json
import os
import shutil

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax import merge, render
from pnerf_jax.contrib.drives import manifest, split
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.errors import InputError
from pnerf_jax.training import field_task

_SEQUENCE = '2013_05_28_drive_0000_sync'
_CAR, _ROAD = 26, 7
_SHAPE = (10, 20)


class _Drive:
  """Two windows of four frames, 0-3 and 2-5, that agree but where a test says otherwise."""

  def __init__(self, path):
    self.path, self.runs, self.out = path, path / 'runs', path / 'labels'
    self.table = path / 'windows.txt'
    self.entries = (
      WindowSpec(0, _SEQUENCE, 0, 4, 4, 9, 0),
      WindowSpec(1, _SEQUENCE, 2, 6, 4, 9, 0),
    )
    self.table.write_text(manifest.to_text(WindowManifest((), self.entries), []))
    for entry in self.entries:
      self.config(entry.index, 'train', 'steps', 4)
      for frame in range(entry.start, entry.end):
        for camera in ('image_00', 'image_01'):
          self.write(entry.index, camera, frame)
      self.folder(entry.index).write_done([])

  def folder(self, index):
    return WindowFolder(self.runs / self.entries[index].name)

  def config(self, index, group, field, value):
    entry = self.entries[index]
    content = {
      'data': {
        'root': str(self.path / 'data'),
        'sequence': _SEQUENCE,
        'start': entry.start,
        'frames': 4,
        'cameras': ['image_00', 'image_01'],
      },
      'train': {'steps': 4},
    }
    content[group][field] = value
    self.folder(index).run.mkdir(parents=True, exist_ok=True)
    (self.folder(index).run / 'config.json').write_text(json.dumps(content))

  def write(self, index, camera, frame, confidence=0.5, cars=3, instance=1, shape=_SHAPE):
    """Road, and `cars` rows of one car."""
    semantic = np.full(shape, _ROAD, np.uint8)
    semantic[:cars] = _CAR
    place = lambda kind: self.folder(index).labels / camera / kind / f'{frame:010d}.png'
    image_io.write_label(place('semantic'), semantic)
    image_io.write_rgb(place('semantic_rgb'), labels.COLORS[semantic])
    image_io.write_instance(place('instance'), semantic * 1000.0 + (semantic == _CAR) * instance)
    image_io.write_confidence(place('confidence'), np.full(shape, confidence))

  def merge(self, **options):
    return merge.merge(self.table, self.runs, self.out, **options)

  def read(self, reader, kind, frame, camera='image_00'):
    folder = kitti360.truth_folder(self.out, _SEQUENCE, camera, kind)
    return reader(folder / f'{frame:010d}.png')


@pytest.fixture
def drive(tmp_path):
  return _Drive(tmp_path)


def test_every_frame_is_of_the_window_that_is_surer_of_it(drive):
  drive.write(1, 'image_00', 2, confidence=0.7, cars=5)  # surer in the mean of both cameras
  drive.write(0, 'image_01', 3, confidence=0.9, instance=2)
  result = drive.merge()
  assert result['drives'][_SEQUENCE]['window_of_frame'] == {
    '0': 0,
    '1': 0,
    '2': 1,
    '3': 0,
    '4': 1,
    '5': 1,
  }
  assert (drive.read(image_io.read_label, 'semantic', 2) == _CAR).sum() == 5 * 20
  assert drive.read(image_io.read_instance, 'instance', 3, 'image_01').max() == 26002
  assert drive.read(image_io.read_confidence, 'confidence', 2).mean() == pytest.approx(
    0.7, abs=1e-4
  )
  semantic = drive.read(image_io.read_label, 'semantic', 2)
  assert (drive.read(image_io.read_rgb, 'semantic_rgb', 2) == labels.COLORS[semantic]).all()
  # Of equals, the one in whose middle the frame lies: 1.5 and 3.5 are the middles.
  drive.write(1, 'image_00', 2)
  drive.write(0, 'image_01', 3)
  chosen = drive.merge()['drives'][_SEQUENCE]['window_of_frame']
  assert (chosen['2'], chosen['3']) == (0, 1)


def test_agreement_is_what_was_drawn(drive):
  drive.write(1, 'image_00', 2, cars=5)  # 2 of 10 rows differ; 3 of 5 are the same car
  drive.write(1, 'image_01', 3, instance=2)  # 3 rows are another car
  (seam,) = drive.merge()['seams']
  assert seam['windows'] == [0, 1] and seam['frames'] == [2, 3] and seam['images'] == 4
  assert seam['semantic'] == pytest.approx((8 + 10 + 10 + 10) / 40)
  assert seam['instance'] == pytest.approx((3 + 3 + 3 + 0) / (5 + 3 + 3 + 3))
  found = json.loads((drive.out / 'seams.json').read_text())
  assert found['seams'] == [seam]
  assert found['all'] == {key: seam[key] for key in ('images', 'semantic', 'instance')}


def test_the_official_lists(drive):
  line = (
    f'data_2d_raw/{_SEQUENCE}/image_00/data_rect/{{0:010d}}.png '
    f'data_2d_semantics/train/{_SEQUENCE}/image_00/semantic/{{0:010d}}.png'
  )
  lists = 'data_2d_semantics/train/2013_05_28_drive_{}_frames.txt'
  official = drive.path / 'data' / lists.format('val')
  official.parent.mkdir(parents=True)
  official.write_text(line.format(1) + '\n' + line.format(77) + '\n')
  drive.write(0, 'image_00', 1, instance=7)
  drive.merge()
  other = line.replace(_SEQUENCE, '2013_05_28_drive_0002_sync').format(5)
  (drive.out / lists.format('val')).write_text(other + '\nline of mine\n')
  drive.merge()
  read = lambda split: (drive.out / lists.format(split)).read_text().splitlines()
  assert read('train') == [line.format(frame) for frame in (0, 2, 3, 4, 5)]
  assert read('val') == [line.format(1), other, 'line of mine']  # other drives' lines stay
  path = drive.out / 'data_2d_semantics' / 'train' / _SEQUENCE / 'instanceDict.json'
  images = json.loads(path.read_text())
  name = '{:010d}.png'.format
  assert images == {
    '7000': [name(i) for i in range(6)],
    '26001': [name(i) for i in (0, 2, 3, 4, 5)],
    '26007': [name(1)],
  }


def test_what_is_there_is_kept_and_what_changed_is_written(drive):
  drive.merge()
  written = sorted((drive.out / 'data_2d_semantics').rglob('*.png'))
  assert len(written) == 6 * 2 * 4
  for path in written:
    os.utime(path, (1, 1))
  written[0].write_bytes(b'half a')  # as if by another program
  drive.write(0, 'image_00', 1, cars=9)
  drive.merge()
  changed = {path for path in written if path.stat().st_mtime != 1}
  assert written[0] in changed and len(changed) == 4  # 3 of frame 1; its confidence is the same
  assert drive.read(image_io.read_confidence, 'confidence', 0).shape == _SHAPE


def test_windows_that_are_not_done(drive):
  (drive.folder(1).path / 'done.json').unlink()
  with pytest.raises(InputError, match=r'windows 1 are not done\. .*--partial'):
    drive.merge()
  assert not drive.out.exists()
  result = drive.merge(partial=True)
  assert result['drives'][_SEQUENCE]['frames'] == 4
  assert result['drives'][_SEQUENCE]['windows_left_out'] == [1]
  assert result['all'] == {'images': 0, 'semantic': None, 'instance': None}
  (drive.folder(0).path / 'done.json').unlink()
  with pytest.raises(InputError, match='windows 0-1 are not done'):
    drive.merge(partial=True)


def test_windows_that_do_not_fit_each_other(drive):
  drive.config(1, 'train', 'steps', 8)
  with pytest.raises(InputError, match=r'config\.train\.steps is 8, but 4 in window 0'):
    drive.merge()
  drive.config(1, 'train', 'steps', 4)
  for frame in range(2, 6):
    drive.write(1, 'image_00', frame, shape=(20, 40))
  with pytest.raises(InputError, match=r'size \(40, 20\), but .* has \(20, 10\)'):
    drive.merge()
  shutil.rmtree(drive.folder(1).labels / 'image_01' / 'instance')
  with pytest.raises(InputError, match=r'image_01/instance: lacks frames 2-5\. Remove .*done'):
    drive.merge()
  assert not drive.out.exists()


def test_a_dataset_is_not_written_over(drive):
  (drive.out / 'data_2d_semantics').mkdir(parents=True)
  with pytest.raises(InputError, match='holds a dataset, whose labels would be written over'):
    drive.merge()


def test_a_trained_street_is_read_by_the_official_scripts(street, tmp_path, monkeypatch):
  official = pytest.importorskip(
    'kitti360scripts.evaluation.semantic_2d.evalPixelLevelSemanticLabeling'
  )
  runs, out = tmp_path / 'runs', tmp_path / 'labels'
  config = configs.get_config('tiny')
  config.data.update(root=str(street), frames=2)
  (whole,) = split.split_sequence(config, overlap=1).entries
  # Both frames, and the second alone, of which one training makes the labels: they agree wholly.
  part = dataclasses.replace(whole, index=1, start=whole.start + 1, frames=1)
  (tmp_path / 'windows.txt').write_text(manifest.to_text(WindowManifest((), (whole, part)), []))
  folder, other = (WindowFolder(runs / entry.name) for entry in (whole, part))
  field_task.train(config, folder.run)
  render.render(folder.run, folder.labels)
  render.render(folder.run, other.labels, frames=f'{part.start}:{part.end}')
  other.run.mkdir()
  shutil.copy(folder.run / 'config.json', other.run)
  for done in (folder, other):
    done.write_done([])
  result = merge.merge(tmp_path / 'windows.txt', runs, out)
  assert result['all'] == {'images': 2, 'semantic': 1.0, 'instance': 1.0}
  # The official evaluation reads what was joined as if it were the dataset's own labels.
  monkeypatch.setattr(np, 'in1d', np.isin, raising=False)  # gone from numpy 2
  monkeypatch.setenv('KITTI360_DATASET', str(out))
  lists = out / 'data_2d_semantics' / 'train'
  pairs = [
    pair
    for split in ('train', 'val')
    for path in [lists / f'2013_05_28_drive_{split}_frames.txt']
    if path.exists()
    for pair in official.getGroundTruth(str(path), eval_every=1)
  ]
  assert len(pairs) == 2
  truth = [pair[0].replace(str(out), str(street)) for pair in pairs]
  monkeypatch.setattr(official, 'writeDict2JSON', lambda *_: None)
  monkeypatch.setattr(official.args, 'exportFile', str(tmp_path / 'result.json'))
  monkeypatch.setattr(official.args, 'quiet', True)
  score = official.evaluateImgLists(truth, pairs, official.args)['averageScoreClasses']
  assert 0.3 < score < 1
  same = official.evaluateImgLists([p[0] for p in pairs], pairs, official.args)
  assert same['averageScoreClasses'] == pytest.approx(1)
  annotation = importlib.import_module('kitti360scripts.helpers.annotation')
  dictionary = annotation.Annotation2DInstance(str(lists / whole.sequence))
  instance = image_io.read_instance(pairs[0][0].replace('/semantic/', '/instance/'))
  value = int(instance[instance >= 26000][0])
  assert os.path.basename(pairs[0][0]) in dictionary(value // 1000, value % 1000)
