"""Tests of merging: windows with known agreement, and a trained street."""

import dataclasses
import importlib
import json
import os
import pathlib

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.drives import manifest, merging, split
from pnerf_jax.contrib.drives.manifest import WindowManifest
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.data import image_io, labels
from pnerf_jax.runs.config_file import SCHEMA, to_json
from pnerf_jax.runs.render import render
from pnerf_jax.training import field_task


def test_merge_takes_frames_from_the_most_confident_window(drive):
  drive.write_labels(1, 'image_00', 2, confidence=0.7, cars=5)  # higher mean
  drive.write_labels(0, 'image_01', 3, confidence=0.9, instance=2)
  result = drive.merge()
  assert result['sequences'][drive.sequence]['window_of_frame'] == {
    '0': 0,
    '1': 0,
    '2': 1,
    '3': 0,
    '4': 1,
    '5': 1,
  }
  assert (drive.read(image_io.read_label, 'semantic', 2) == drive.CAR).sum() == 5 * 20
  assert drive.read(image_io.read_instance, 'instance', 3, 'image_01').max() == 26002
  assert drive.read(image_io.read_confidence, 'confidence', 2).mean() == pytest.approx(
    0.7, abs=1e-4
  )
  semantic = drive.read(image_io.read_label, 'semantic', 2)
  assert (drive.read(image_io.read_rgb, 'semantic_rgb', 2) == labels.COLORS[semantic]).all()
  # Of equals, the one whose centre is nearer: the centres are 1.5 and 3.5.
  drive.write_labels(1, 'image_00', 2)
  drive.write_labels(0, 'image_01', 3)
  window_of_frame = drive.merge()['sequences'][drive.sequence]['window_of_frame']
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
    f'data_2d_raw/{drive.sequence}/image_00/data_rect/{{0:010d}}.png '
    f'data_2d_semantics/train/{drive.sequence}/image_00/semantic/{{0:010d}}.png'
  )
  lists = 'data_2d_semantics/train/2013_05_28_drive_{}_frames.txt'
  official = drive.path / 'data' / lists.format('val')
  official.parent.mkdir(parents=True)
  official.write_text(line.format(1) + '\n' + line.format(77) + '\n')
  drive.write_labels(0, 'image_00', 1, instance=7)
  drive.merge()
  other = line.replace(drive.sequence, '2013_05_28_drive_0002_sync').format(5)
  (drive.out / lists.format('val')).write_text(other + '\nline of mine\n')
  drive.merge()
  read = lambda split: (drive.out / lists.format(split)).read_text().splitlines()
  assert read('train') == [line.format(frame) for frame in (0, 2, 3, 4, 5)]
  assert read('val') == [line.format(1), other, 'line of mine']  # lines of other sequences are kept
  path = drive.out / 'data_2d_semantics' / 'train' / drive.sequence / 'instanceDict.json'
  images = json.loads(path.read_text())
  name = '{:010d}.png'.format
  assert images == {
    '7000': [name(i) for i in range(6)],
    '26001': [name(i) for i in (0, 2, 3, 4, 5)],
    '26007': [name(1)],
  }


def test_names_with_blanks_are_in_no_frame_list(make_drive, tmp_path, caplog):
  drive = make_drive(tmp_path, 'my\ndrive')
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
  assert drive.read(image_io.read_confidence, 'confidence', 0).shape == drive.SHAPE


def test_agreement_and_report_keep_the_sequences_of_earlier_merges(drive, make_drive, tmp_path):
  drive.write_labels(1, 'image_00', 2, cars=5)
  first = drive.merge()
  (tmp_path / 'second').mkdir()
  other = make_drive(tmp_path / 'second', '2013_05_28_drive_0002_sync')
  result = merging.merge(other.manifest, other.runs, drive.out)
  assert result['overlaps'][:1] == first['overlaps'] and len(result['overlaps']) == 2
  assert sorted(result['sequences']) == [drive.sequence, '2013_05_28_drive_0002_sync']
  # Of 2 * 4 images of 200 pixels, 40 pixels differ.
  assert result['all']['images'] == 8
  assert result['all']['semantic'] == pytest.approx(1 - 40 / 1600)
  page = (drive.out / 'report.html').read_text()
  assert (
    page.count('<figcaption>Windows from above') == 2 and 'drive_0002_sync: Worst images' in page
  )
  repeated = drive.merge()  # replaces its own sequence only
  assert repeated['all'] == result['all'] and len(repeated['overlaps']) == 2


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
  assert shapes == [drive.SHAPE, drive.SHAPE, (6, 8)]


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
  flags = [
    f'--config={pathlib.Path(configs.__file__).absolute()}:tiny',
    f'--config.data.root={street}',
  ]
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
