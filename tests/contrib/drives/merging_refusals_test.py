"""Merges that are refused: nothing is written, one line names the remedy."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.drives import merging
from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock


def test_merge_of_incomplete_windows_needs_partial(drive):
  (drive.folder(1).path / 'done.json').unlink()
  with pytest.raises(InputError, match=r'windows 1 are not done \(window 1: pending\).*--partial'):
    drive.merge()
  assert not drive.out.exists()
  result = drive.merge(partial=True)
  assert result['sequences'][drive.sequence]['frames'] == 4
  assert result['sequences'][drive.sequence]['skipped_windows'] == [1]
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
  image_io.write_instance(path, np.zeros((10, 20)))


def _unknown_class(path):
  buffer = np.full((10, 20), 45, np.uint8)
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


@pytest.mark.parametrize('name', ['merged.json', 'overlap_agreement.json'])
def test_damaged_files_of_an_earlier_merge_are_one_line(drive, name):
  drive.merge()
  path = drive.out / name
  content = json.loads(path.read_text())
  for changed in (
    [],
    {'by': 'python -m pnerf_jax.merge'},
    {**content, 'sequences': {drive.sequence: 3}},
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
