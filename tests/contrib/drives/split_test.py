"""Tests of splitting: covers against brute force, counts against those of training."""

import dataclasses
import itertools
import re
import shutil

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.drives import split
from pnerf_jax.contrib.preparation import export_transforms
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError


def make_config(root, **data):
  config = configs.get_config('tiny')
  config.data.root = str(root)
  config.data.update(data)
  return parse_config(config)


@pytest.mark.parametrize('length, overlap', [(1, 0), (4, 0), (4, 1), (4, 3), (7, 2)])
def test_spread_windows_covers_a_run_with_the_fewest_windows(length, overlap):
  for count in range(1, 30):
    windows = split.spread_windows((100, 99 + count), length, overlap)
    assert windows[0][0] == 100 and windows[-1][1] == 99 + count
    assert all(last - first + 1 == min(length, count) for first, last in windows)
    shared = [a[1] - b[0] + 1 for a, b in itertools.pairwise(windows)]
    assert all(overlap <= s < length for s in shared)
    # With exactly this overlap, one window fewer does not reach the end.
    fewer = len(windows) - 1
    assert fewer == 0 or fewer * length - (fewer - 1) * overlap < count


def test_runs_of_frames_end_at_jumps_and_unusable_frames():
  x = np.array([0, 1, 2, 40, 41, 42, 43, 44, 80.0])
  usable = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1], bool)
  positions = np.stack([x, 0 * x, 0 * x], -1)
  assert list(split.runs_of_frames(positions, usable)) == [(0, 2), (3, 4), (6, 7), (8, 8)]
  assert list(split.runs_of_frames(positions[:1], usable[:1])) == [(0, 0)]
  assert not list(split.runs_of_frames(positions, np.zeros(9, bool)))


def test_annotated_frames_have_a_static_primitive_in_range_and_nearby():
  def primitive(x, start, end, timestamp=-1):
    vertices = np.array([[x, 0, 0], [x + 2.0, 1, 1]])
    return PrimitiveRecord(
      0, 1, 'car', 26, 1, timestamp, start, end, vertices, np.zeros((0, 3), np.int32)
    )

  frames = range(100, 1100, 50)
  positions = np.array([[frame - 100.0, 0, 0] for frame in frames])
  primitives = [
    primitive(0, 90, 300),
    primitive(500, 100, 200),
    primitive(900, 100, 1000, 1000),
    primitive(1200, 950, 960),
  ]
  found = split.annotated_frames(primitives, frames, positions, margin=20)
  expected = []
  for frame in frames:
    near = frame - 100 <= 250 + 2  # the first: its hull ends at 2 m, the range at 250 m
    expected.append(
      (near and frame <= 320)
      or (  # the second is in range from 250 m on
        80 <= frame <= 220 and abs(frame - 600) <= 250
      )
      or (930 <= frame <= 980 and frame >= 1050)
    )
  assert found.tolist() == expected and any(expected) and not all(expected)


def test_counts_equal_those_of_training(street):
  config = make_config(street, frames=1)
  found = split.split_sequence(config, overlap=0).windows
  assert [window.index for window in found] == [0, 1]
  for window in found:
    data = dataclasses.replace(
      config.data, sequence=window.sequence, start=window.start, frames=window.end - window.start
    )
    primitives = load_window(data, config.scene, supervision=False).primitives
    assert window.num_primitives == sum(p.timestamp < 0 for p in primitives) > 10
    moving = {(p.semantic, p.instance) for p in primitives if p.timestamp >= 0}
    assert window.num_moving == len(moving)
    assert window.num_frames == 1


def test_the_header_states_the_windows_as_they_are(street, tmp_path, monkeypatch):
  monkeypatch.chdir(street.parent)
  out = tmp_path / 'my windows.txt'
  for frames, overlap, line in (
    (64, 16, '# 1 windows of 2 frames; no neighbours share frames.'),
    (1, 0, '# 2 windows of 1 frames; no neighbours share frames.'),
  ):
    config = make_config('data', frames=frames)
    split.write_manifest(config, [f'--config.data.frames={frames}'], out, overlap)
    lines = out.read_text().splitlines()
    assert lines[1] == line
    assert f'flag --config.data.root={street}' in lines
  found = split.SequenceSplit([], [], [])
  window = split.WindowSpec(0, 'a', 0, 90, 5, 1, 0)
  other = dataclasses.replace(window, num_frames=7)
  found = dataclasses.replace(found, windows=[window, other, window], shared=[2, 3])
  assert split._summary(found) == '3 windows of 5-7 frames; 2 pairs of neighbours share 2-3 frames.'


def test_jumps_are_relative_to_the_spacing_of_the_images():
  positions = np.array([[0.0, 0, 0], [12, 0, 0], [24, 0, 0], [36, 0, 0], [98, 0, 0]])
  assert list(split.runs_of_frames(positions, np.ones(5, bool))) == [(0, 3), (4, 4)]


@pytest.mark.parametrize('target', ['', 'a file/windows.txt'])
def test_a_target_that_cannot_be_a_file_is_refused_before_work(tmp_path, monkeypatch, target):
  (tmp_path / 'a file').touch()
  monkeypatch.setattr(split, 'split_sequence', None)
  out = tmp_path / target
  with pytest.raises(InputError, match=f'^--out={re.escape(str(out.parent if target else out))}: '):
    split.write_manifest(make_config('data'), [], out, 1)


def test_images_of_transforms_json_are_split(street, tmp_path):
  config = make_config(street, frames=2)
  export_transforms.export_transforms(config.data, tmp_path / 'own')
  data = dataclasses.replace(config.data, root=str(tmp_path / 'own'), source='transforms', frames=1)
  expected = split.split_sequence(make_config(street, frames=1), overlap=0)
  found = split.split_sequence(dataclasses.replace(config, data=data), overlap=0)
  assert found.windows == expected.windows and len(found.windows) == 2


def test_incomplete_sequences_and_frames_without_a_pose_are_skipped(street, tmp_path):
  root = tmp_path / 'data'
  shutil.copytree(street, root)
  sequence = split.list_sequences(root)[0]
  (root / 'data_2d_raw' / 'other').mkdir()
  for kind in ('raw', 'poses', 'bare'):
    shutil.copytree(root / 'data_2d_raw' / sequence, root / 'data_2d_raw' / kind)
  for kind in ('poses', 'bare'):
    shutil.copytree(root / 'data_poses' / sequence, root / 'data_poses' / kind)
  found = split.split_sequence(make_config(root, frames=2), overlap=1)
  assert [(window.sequence, window.num_frames) for window in found.windows] == [(sequence, 2)]
  assert found.notes == [
    'skipping bare: no primitives',
    'skipping other: no image of image_00',
    'skipping poses: no primitives',
    'skipping raw: no poses',
  ]
  poses = root / 'data_poses' / sequence / 'poses.txt'
  poses.write_text(poses.read_text().splitlines()[0] + '\n')
  found = split.split_sequence(make_config(root, frames=2, sequence=sequence), overlap=1)
  assert [window.num_frames for window in found.windows] == [1]
  assert '2 of 4 images used, because 2 have no pose' in found.notes[0]


def test_a_sequence_without_nearby_primitives_has_no_window(street, tmp_path):
  root = tmp_path / 'data'
  shutil.copytree(street, root)
  for path in root.glob('data_3d_bboxes/*/*.xml'):
    path.write_text('<opencv_storage/>')
  with pytest.raises(
    InputError, match='no usable window.*excluding 2 frames without a primitive nearby'
  ):
    split.split_sequence(make_config(root, frames=2), overlap=1)


@pytest.mark.parametrize(
  'group, field, value',
  [
    ('data', 'start', 3),
    ('data', 'eval_frames', (3,)),
    ('scene', 'center', (0.0, 0.0, 0.0)),
    ('scene', 'bounds', (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)),
  ],
)
def test_fields_of_a_single_window_are_refused(street, group, field, value):
  config = make_config(street)
  changed = dataclasses.replace(getattr(config, group), **{field: value})
  config = dataclasses.replace(config, **{group: changed})
  with pytest.raises(InputError, match=rf'{group}\.{field} is .* applies to a single window'):
    split.split_sequence(config, overlap=1)


@pytest.mark.parametrize('overlap', [-1, 4])
def test_an_invalid_overlap_is_refused(street, overlap):
  with pytest.raises(InputError, match=rf'--overlap={overlap}: is not in 0\.\.3'):
    split.split_sequence(make_config(street, frames=4), overlap)
