"""Tests of merging: windows with known agreement, and a trained street."""

import dataclasses
import importlib
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from pnerf_jax import __version__
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.drives import drive_report, manifest, merging, split
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.data import files, image_io, kitti360, labels
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock
from pnerf_jax.runs.config_file import SCHEMA, to_json
from pnerf_jax.runs.render import render
from pnerf_jax.training import field_task

_SEQUENCE = '2013_05_28_drive_0000_sync'
_CAR, _ROAD = 26, 7
_SHAPE = (10, 20)
_CONFIG = pathlib.Path(configs.__file__).absolute()


class _Drive:
  """Two windows of four frames, 0-3 and 2-5, with equal labels unless a test changes them."""

  def __init__(self, path, sequence=_SEQUENCE):
    self.sequence = sequence
    self.path, self.runs, self.out = path, path / 'runs', path / 'labels'
    self.manifest = path / 'windows.txt'
    self.windows = (
      WindowSpec(0, sequence, 0, 4, 4, 9, 0),
      WindowSpec(1, sequence, 2, 6, 4, 9, 0),
    )
    self.flags = (f'--config={_CONFIG}:tiny', f'--config.data.root={path / "data"}')
    self.write_manifest(self.windows)
    for window in self.windows:
      self.write_config(window.index, 'train', 'steps', 4)
      for frame in range(window.start, window.end):
        for camera in ('image_00', 'image_01'):
          self.write_labels(window.index, camera, frame)
      self.write_views(window.index)
      self.folder(window.index).write_done([])

  def write_manifest(self, windows, *flags):
    self.manifest.write_text(manifest.to_text(WindowManifest((*self.flags, *flags), windows), []))

  def folder(self, index):
    return WindowFolder(self.runs / self.windows[index].name)

  def write_config(self, index, group, field, value):
    config = configs.get_config('tiny')
    window = self.windows[index]
    config.data.update(root='moved since', sequence=self.sequence, start=window.start, frames=4)
    content = {'schema': SCHEMA, **to_json(parse_config(config))}
    content[group][field] = value
    self.folder(index).run.mkdir(parents=True, exist_ok=True)
    (self.folder(index).run / 'config.json').write_text(json.dumps(content))

  def write_labels(self, index, camera, frame, confidence=0.5, cars=3, instance=1, shape=_SHAPE):
    """Write labels of one image: road, and `cars` rows of one car."""
    semantic = np.full(shape, _ROAD, np.uint8)
    semantic[:cars] = _CAR
    path = lambda kind: self.folder(index).labels / camera / kind / f'{frame:010d}.png'
    image_io.write_label(path('semantic'), semantic)
    image_io.write_rgb(path('semantic_rgb'), labels.COLORS[semantic])
    image_io.write_instance(path('instance'), semantic * 1000.0 + (semantic == _CAR) * instance)
    image_io.write_confidence(path('confidence'), np.full(shape, confidence))
    image_io.write_rgb(path('rgb'), np.full((*shape, 3), 90, np.uint8))
    image_io.write_depth(path('depth'), np.full(shape, 9.0))

  def write_views(self, index, shape=_SHAPE):
    """Write views.json: the left camera drives east, one metre a frame."""
    pose = lambda frame: [[1, 0, 0, 100.0 + frame], [0, 1, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]]
    window = self.windows[index]
    views = [
      {'camera': camera, 'frame': frame, 'height': shape[0], 'width': shape[1]}
      | {'world_from_cam': pose(frame)}
      for frame in range(window.start, window.end)
      for camera in ('image_00', 'image_01')
    ]
    (self.folder(index).labels / 'views.json').write_text(json.dumps({'views': views}))

  def merge(self, **options):
    return merging.merge(self.manifest, self.runs, self.out, **options)

  def read(self, reader, kind, frame, camera='image_00'):
    folder = kitti360.truth_folder(self.out, _SEQUENCE, camera, 'semantic').with_name(kind)
    return reader(folder / f'{frame:010d}.png')


@pytest.fixture
def drive(tmp_path):
  return _Drive(tmp_path)


def test_merge_takes_frames_from_the_most_confident_window(drive):
  drive.write_labels(1, 'image_00', 2, confidence=0.7, cars=5)  # higher mean
  drive.write_labels(0, 'image_01', 3, confidence=0.9, instance=2)
  result = drive.merge()
  assert result['sequences'][_SEQUENCE]['window_of_frame'] == {
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
  # Of equals, the one whose centre is nearer: the centres are 1.5 and 3.5.
  drive.write_labels(1, 'image_00', 2)
  drive.write_labels(0, 'image_01', 3)
  window_of_frame = drive.merge()['sequences'][_SEQUENCE]['window_of_frame']
  assert (window_of_frame['2'], window_of_frame['3']) == (0, 1)


def test_merge_reports_the_agreement_of_overlaps(drive):
  drive.write_labels(1, 'image_00', 2, cars=5)  # 2 of 10 rows differ; 3 of 5 are the same car
  drive.write_labels(1, 'image_01', 3, instance=2)  # 3 rows are another car
  (overlap,) = drive.merge()['overlaps']
  assert overlap['windows'] == [0, 1] and overlap['frames'] == [2, 3] and overlap['images'] == 4
  assert overlap['semantic'] == pytest.approx((8 + 10 + 10 + 10) / 40)
  assert overlap['instance'] == pytest.approx((3 + 3 + 3 + 0) / (5 + 3 + 3 + 3))
  found = json.loads((drive.out / 'overlap_agreement.json').read_text())
  assert found['overlaps'] == [overlap]
  assert found['all'] == {key: overlap[key] for key in ('images', 'semantic', 'instance')}


def test_merge_writes_the_official_lists(drive):
  line = (
    f'data_2d_raw/{_SEQUENCE}/image_00/data_rect/{{0:010d}}.png '
    f'data_2d_semantics/train/{_SEQUENCE}/image_00/semantic/{{0:010d}}.png'
  )
  lists = 'data_2d_semantics/train/2013_05_28_drive_{}_frames.txt'
  official = drive.path / 'data' / lists.format('val')
  official.parent.mkdir(parents=True)
  official.write_text(line.format(1) + '\n' + line.format(77) + '\n')
  drive.write_labels(0, 'image_00', 1, instance=7)
  drive.merge()
  other = line.replace(_SEQUENCE, '2013_05_28_drive_0002_sync').format(5)
  (drive.out / lists.format('val')).write_text(other + '\nline of mine\n')
  drive.merge()
  read = lambda split: (drive.out / lists.format(split)).read_text().splitlines()
  assert read('train') == [line.format(frame) for frame in (0, 2, 3, 4, 5)]
  assert read('val') == [line.format(1), other, 'line of mine']  # lines of other sequences are kept
  path = drive.out / 'data_2d_semantics' / 'train' / _SEQUENCE / 'instanceDict.json'
  images = json.loads(path.read_text())
  name = '{:010d}.png'.format
  assert images == {
    '7000': [name(i) for i in range(6)],
    '26001': [name(i) for i in (0, 2, 3, 4, 5)],
    '26007': [name(1)],
  }


def test_names_with_blanks_are_in_no_frame_list(tmp_path, caplog):
  drive = _Drive(tmp_path, 'my\ndrive')
  for _ in range(2):
    drive.merge()
  lists = drive.out / 'data_2d_semantics' / 'train'
  assert not list(lists.glob('*.txt')) and len(list(lists.rglob('*.png'))) == 6 * 2 * 4
  assert "'my\\ndrive' is not in the frame lists, whose names have no blanks" in caplog.text


def test_merge_keeps_equal_files_and_writes_changed_ones(drive):
  drive.merge()
  written = sorted((drive.out / 'data_2d_semantics').rglob('*.png'))
  assert len(written) == 6 * 2 * 4
  for path in written:
    os.utime(path, (1, 1))
  written[0].write_bytes(b'half a')  # as if by another program
  drive.write_labels(0, 'image_00', 1, cars=9)
  drive.merge()
  changed = {path for path in written if path.stat().st_mtime != 1}
  assert written[0] in changed and len(changed) == 4  # 3 of frame 1, whose confidence is unchanged
  assert drive.read(image_io.read_confidence, 'confidence', 0).shape == _SHAPE


def test_merge_of_incomplete_windows_needs_partial(drive):
  (drive.folder(1).path / 'done.json').unlink()
  with pytest.raises(InputError, match=r'windows 1 are not done \(window 1: pending\).*--partial'):
    drive.merge()
  assert not drive.out.exists()
  result = drive.merge(partial=True)
  assert result['sequences'][_SEQUENCE]['frames'] == 4
  assert result['sequences'][_SEQUENCE]['skipped_windows'] == [1]
  assert result['all'] == {'images': 0, 'semantic': None, 'instance': None}
  (drive.folder(0).path / 'done.json').unlink()
  with pytest.raises(InputError, match='windows 0-1 are not done'):
    drive.merge(partial=True)


def test_merge_refuses_inconsistent_windows(drive):
  drive.write_config(1, 'train', 'steps', 8)
  with pytest.raises(InputError, match=r'window 1: failed was done with other flags: .*steps is 8'):
    drive.merge()
  drive.write_config(1, 'train', 'steps', 4)
  drive.write_views(1, (20, 40))
  with pytest.raises(InputError, match='size 40x20, but .* has 20x10. Render all windows at one'):
    drive.merge()
  drive.write_views(1)
  path = drive.folder(1).labels / 'views.json'
  path.write_text(json.dumps({'views': json.loads(path.read_text())['views'][:-1]}))
  with pytest.raises(InputError, match=r'has frames 2-5 of image_00, image_01, not the 4 frames'):
    drive.merge()
  assert not drive.out.exists()


def _cut(path):
  path.write_bytes(path.read_bytes()[:40])


def _text(path):
  path.write_text('a label')


def _resize(path):
  image_io.write_label(path, np.zeros((5, 5), np.uint8))


def _other_type(path):
  image_io.write_instance(path, np.zeros(_SHAPE))


def _unknown_class(path):
  buffer = np.full(_SHAPE, 45, np.uint8)
  Image.fromarray(buffer).save(path)


@pytest.mark.parametrize(
  'damage, reason',
  [
    (pathlib.Path.unlink, 'no such file'),
    (_cut, 'cannot be read as a PNG'),
    (_text, 'cannot be read as a PNG'),
    (_resize, 'size 5x5, expected 20x10'),
    (_other_type, 'pixel type I;16, expected 8 bit grey'),
    (_unknown_class, 'label id 45'),
  ],
)
def test_damaged_labels_are_refused_before_anything_is_written(drive, damage, reason):
  path = drive.folder(1).labels / 'image_01' / 'semantic' / '0000000005.png'
  damage(path)
  line = f'{path}: {reason}.* Window 1 has 1 such images: .*windows run --index=1 renders'
  with pytest.raises(InputError, match=line):
    drive.merge()
  assert not drive.out.exists()


def test_a_damaged_views_json_names_the_command_that_repairs_it(drive):
  path = drive.folder(1).labels / 'views.json'
  path.write_text('{')
  with pytest.raises(InputError) as error:
    drive.merge()
  assert str(error.value).startswith(f'{path}: not JSON (')
  assert str(error.value).endswith('. Render again: python -m pnerf_jax.windows run --index=1')


def test_table_of_windows_has_no_empty_column(drive):
  drive.merge()
  page = (drive.out / 'report.html').read_text()
  header = lambda: re.findall('<th[^>]*>([^<]*)</th>', page)
  assert 'confidence' not in header() and 'mean IoU' not in header()
  assert header()[-4:] == ['window', 'frames', 'minutes', 'trained']
  metrics = {'confidence.mean': 0.5, 'image.psnr': 20.0}
  files.write_bytes(drive.folder(1).run / 'eval' / 'metrics.json', json.dumps(metrics).encode())
  drive.merge()
  page = (drive.out / 'report.html').read_text()
  assert header()[-6:] == ['window', 'frames', 'confidence', 'PSNR', 'minutes', 'trained']
  for damaged in ('[]', 'null', '3', '"x"', '{"image.psnr": "x"}', '{'):
    (drive.folder(1).run / 'eval' / 'metrics.json').write_text(damaged)
    drive.merge()
    page = (drive.out / 'report.html').read_text()
    assert header()[-4:] == ['window', 'frames', 'minutes', 'trained']


def test_labels_of_another_config_are_never_merged(drive):
  drive.write_manifest(drive.windows, '--config.train.steps=6')
  for partial in (False, True):
    with pytest.raises(InputError, match=r'windows 0-1 are not done .*train\.steps is 4 .*but 6'):
      drive.merge(partial=partial)
  drive.write_manifest(drive.windows, '--config.train.log_every=6', '--config.eval.num_panels=1')
  drive.merge()  # the labels do not depend on these
  drive.write_manifest(drive.windows, '--config.eval.label_field=fixed')
  with pytest.raises(InputError, match=r"label_field is 'learned' .*but 'fixed'"):
    drive.merge()


def test_frames_of_an_earlier_merge_are_not_left_unlisted(drive):
  drive.merge()
  before = {path: path.read_bytes() for path in drive.out.rglob('*') if path.is_file()}
  drive.write_manifest(drive.windows[:1])
  with pytest.raises(InputError, match='holds frames 4-5 of an earlier merge.*another --out'):
    drive.merge()
  assert {path: path.read_bytes() for path in drive.out.rglob('*') if path.is_file()} == before


def test_agreement_and_report_keep_the_sequences_of_earlier_merges(drive, tmp_path):
  drive.write_labels(1, 'image_00', 2, cars=5)
  first = drive.merge()
  (tmp_path / 'second').mkdir()
  other = _Drive(tmp_path / 'second', '2013_05_28_drive_0002_sync')
  result = merging.merge(other.manifest, other.runs, drive.out)
  assert result['overlaps'][:1] == first['overlaps'] and len(result['overlaps']) == 2
  assert sorted(result['sequences']) == [_SEQUENCE, '2013_05_28_drive_0002_sync']
  # Of 2 * 4 images of 200 pixels, 40 pixels differ.
  assert result['all']['images'] == 8
  assert result['all']['semantic'] == pytest.approx(1 - 40 / 1600)
  page = (drive.out / 'report.html').read_text()
  assert (
    page.count('<figcaption>Windows from above') == 2 and 'drive_0002_sync: Worst images' in page
  )
  repeated = drive.merge()  # replaces its own sequence only
  assert repeated['all'] == result['all'] and len(repeated['overlaps']) == 2


@pytest.mark.parametrize('name', ['merged.json', 'overlap_agreement.json'])
def test_damaged_files_of_an_earlier_merge_are_one_line(drive, name):
  drive.merge()
  path = drive.out / name
  content = json.loads(path.read_text())
  for changed in (
    [],
    {'by': 'python -m pnerf_jax.merge'},
    {**content, 'sequences': {_SEQUENCE: 3}},
    {**content, 'sequences': [1]},
    {**content, 'overlaps': [{}]},
    {**content, 'overlaps': [{'counts': {'pixels': 1, 'x': 2}}]},
    {**content, 'overlaps': 5},
  ):
    path.write_text(json.dumps(changed))
    if name == 'merged.json' and 'overlaps' in changed:
      continue  # is not read there
    with pytest.raises(InputError) as error:
      drive.merge()
    expected = f'{path}: is damaged or of another version. Merge into another --out.'
    assert str(error.value) == expected, changed


def test_images_of_transforms_json_may_differ_in_size(drive):
  for index in (0, 1):
    drive.write_config(index, 'data', 'source', 'transforms')
  for camera in ('image_00', 'image_01'):
    drive.write_labels(1, camera, 5, shape=(6, 8))
  path = drive.folder(1).labels / 'views.json'
  views = json.loads(path.read_text())['views']
  for view in views[-2:]:
    view.update(width=8, height=6)
  path.write_text(json.dumps({'views': views}))
  drive.write_manifest(drive.windows, '--config.data.source=transforms')
  drive.merge()
  shapes = [drive.read(image_io.read_label, 'semantic', frame).shape for frame in (0, 4, 5)]
  assert shapes == [_SHAPE, _SHAPE, (6, 8)]


def test_outputs_are_checked_before_labels_are_read(drive, monkeypatch):
  monkeypatch.setattr(merging, 'check_images', None)
  drive.out.write_text('mine')
  with pytest.raises(InputError) as error:
    drive.merge()
  assert str(error.value) == f'--out={drive.out}: {drive.out} is a file. Name a folder.'
  drive.runs = drive.out
  drive.out = drive.path / 'labels of mine'
  with pytest.raises(InputError, match=f'^--runs={drive.runs}: .* is a file'):
    drive.merge()
  assert not drive.out.exists()


def test_merging_twice_at_once_is_refused(drive):
  drive.out.mkdir()
  with lock.acquire(drive.out, '--out'):
    with pytest.raises(InputError, match=f'process {os.getpid()} .* another --out'):
      drive.merge()


def test_report_shows_the_worst_images_and_links_to_all_windows(drive):
  drive.write_labels(0, 'image_01', 1, confidence=0.2)
  drive.write_labels(1, 'image_00', 2, cars=5)
  report = drive.folder(1).run / 'eval' / 'report.html'
  report.parent.mkdir()
  report.touch()
  (report.parent / 'metrics.json').write_text('{"semantic.miou": 0.347, "image.psnr": 23.51}')
  drive.merge()
  page = (drive.out / 'report.html').read_text()
  figures = re.findall('<figcaption>(.*?)</figcaption>', page)
  assert figures[0] == 'image_01, frame 1, window 0: mean confidence 0.200'
  assert 'image_00, frame 2, windows 0 and 1: 80.0 % of the pixels have one class' in figures
  assert page.index('<img') < page.index('<table')
  assert not re.search('<(img|script|link)[^>]*(src|href)="(?!data:)', page)  # self-contained
  assert f'href="../runs/{_SEQUENCE}/0000000002_0000000005/run/eval/report.html"' in page
  for text in ('34.7%', '23.5 dB', '95.0 %', str(drive.manifest), drive.flags[0], __version__):
    assert text in page, text
  # 6 frames of 2 cameras and 10 rows: road in 7, a car in 3 but for 5 in one image.
  shares = json.loads((drive.out / 'merged.json').read_text())['sequences'][_SEQUENCE]
  road = shares['class_shares']['road']
  assert road == pytest.approx((7 * 12 - 2 * (shares['window_of_frame']['2'] == 1)) / 120)
  assert shares['windows'][1]['positions'] == [[102.0 + i, 7] for i in range(4)]


def test_report_needs_no_window_of_an_earlier_merge(drive, tmp_path):
  drive.merge()
  shutil.rmtree(drive.runs)
  records = json.loads((drive.out / 'merged.json').read_text())['sequences']
  agreement = json.loads((drive.out / 'overlap_agreement.json').read_text())
  drive_report.write(drive.out, records, agreement)
  page = (drive.out / 'report.html').read_text()
  assert 'Worst images' not in page and 'Camera paths' not in page and 'from above' in page


@pytest.mark.parametrize('name', ['data_2d_semantics', 'data_2d_raw', 'report', 'report.html'])
def test_merge_refuses_to_overwrite_a_dataset_or_a_report(drive, name):
  (drive.out / name).mkdir(parents=True)
  (drive.out / name / 'mine').touch()
  with pytest.raises(InputError) as error:
    drive.merge()
  assert str(error.value) == (
    f'--out={drive.out}: contains {name}, which no merge has written. Use another folder.'
  )
  assert list(drive.out.iterdir()) == [drive.out / name] and (drive.out / name / 'mine').exists()


@pytest.mark.slow
def test_official_scripts_read_the_merged_labels_of_a_trained_street(street, tmp_path, monkeypatch):
  official = pytest.importorskip(
    'kitti360scripts.evaluation.semantic_2d.evalPixelLevelSemanticLabeling'
  )
  monkeypatch.setattr(field_task.FieldTask, 'write_preview', lambda *_: None)  # seconds
  runs, out = tmp_path / 'runs', tmp_path / 'labels'
  config = configs.get_config('tiny')
  config.train.refine_fraction = 0.0  # one stage to compile
  config.data.update(root=str(street), frames=2)
  (both,) = split.split_sequence(parse_config(config), overlap=1).windows
  # Windows of both frames and of the second frame, labelled by one training: they agree exactly.
  part = dataclasses.replace(both, index=1, start=both.start + 1, num_frames=1)
  flags = [f'--config={_CONFIG}:tiny', f'--config.data.root={street}']
  table = WindowManifest((*flags, '--config.train.refine_fraction=0.0'), (both, part))
  (tmp_path / 'windows.txt').write_text(manifest.to_text(table))
  folder, other = (WindowFolder(runs / window.name) for window in (both, part))
  config.data.update(sequence=both.sequence, start=both.start)
  field_task.train(config, folder.run)
  render(folder.run, folder.labels)
  render(folder.run, other.labels, frames=f'{part.start}:{part.end}')
  other.run.mkdir()
  config.data.update(start=part.start, frames=1)
  content = {'schema': SCHEMA, **to_json(parse_config(config))}
  (other.run / 'config.json').write_text(json.dumps(content))
  for each in (folder, other):
    each.write_done([])
  result = merging.merge(tmp_path / 'windows.txt', runs, out)
  assert result['all'] == {'images': 2, 'semantic': 1.0, 'instance': 1.0}
  # The official evaluation reads the merged labels like those of the dataset.
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
  dictionary = annotation.Annotation2DInstance(str(lists / both.sequence))
  instance = image_io.read_instance(pathlib.Path(pairs[0][0].replace('/semantic/', '/instance/')))
  value = int(instance[instance >= 26000][0])
  assert os.path.basename(pairs[0][0]) in dictionary(value // 1000, value % 1000)
