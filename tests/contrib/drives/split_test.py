"""Cutting: covers against brute force, counts against what training itself would use."""

import itertools
import shutil

import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.contrib.drives import split
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError


def config_of(root, **data):
  config = configs.get_config('tiny')
  config.data.root = str(root)
  config.data.update(data)
  return config


@pytest.mark.parametrize('length, overlap', [(1, 0), (4, 0), (4, 1), (4, 3), (7, 2)])
def test_windows_cover_a_stretch_with_as_few_as_can_be(length, overlap):
  for count in range(1, 30):
    windows = split.windows_of((100, 99 + count), length, overlap)
    assert windows[0][0] == 100 and windows[-1][1] == 99 + count
    assert all(last - first + 1 == min(length, count) for first, last in windows)
    shared = [a[1] - b[0] + 1 for a, b in itertools.pairwise(windows)]
    assert all(overlap <= s < length for s in shared)
    # Laid with exactly this overlap, one window fewer would not reach the end.
    fewer = len(windows) - 1
    assert fewer == 0 or fewer * length - (fewer - 1) * overlap < count


def test_stretches_end_at_jumps_and_at_frames_that_cannot_be_used():
  x = np.array([0, 1, 2, 40, 41, 42, 43, 44, 80.0])
  usable = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1], bool)
  positions = np.stack([x, 0 * x, 0 * x], -1)
  assert list(split.runs_of_frames(positions, usable)) == [(0, 2), (3, 4), (6, 7), (8, 8)]
  assert list(split.runs_of_frames(positions[:1], usable[:1])) == [(0, 0)]
  assert not list(split.runs_of_frames(positions, np.zeros(9, bool)))


def test_a_frame_is_annotated_by_a_still_primitive_of_its_own_stretch_within_sight():
  def box(x, start, end, timestamp=-1):
    vertices = np.array([[x, 0, 0], [x + 2.0, 1, 1]])
    return PrimitiveRecord(
      0, 1, 'car', 26, 1, timestamp, start, end, vertices, np.zeros((0, 3), np.int32)
    )

  frames = range(100, 1100, 50)
  positions = np.array([[frame - 100.0, 0, 0] for frame in frames])
  boxes = [box(0, 90, 300), box(500, 100, 200), box(900, 100, 1000, 1000), box(1200, 950, 960)]
  found = split.annotated(boxes, frames, positions, margin=20)
  expected = []
  for frame in frames:
    near = frame - 100 <= 250 + 2  # the first: its hull ends at 2, sight at 250
    expected.append(
      (near and frame <= 320)
      or (  # the second is in sight from 250 m on
        80 <= frame <= 220 and abs(frame - 600) <= 250
      )
      or (930 <= frame <= 980 and frame >= 1050)
    )
  assert found.tolist() == expected and any(expected) and not all(expected)


def test_counts_are_those_of_training(street):
  config = config_of(street, frames=1)
  found = split.split_sequence(config, overlap=0).entries
  assert [entry.index for entry in found] == [0, 1]
  for entry in found:
    config.data.update(sequence=entry.sequence, start=entry.start, frames=entry.end - entry.start)
    boxes = load_window(config.data, config.scene, supervision=False).boxes
    assert entry.primitives == sum(box.timestamp < 0 for box in boxes) > 10
    assert entry.moving == len({(b.semantic, b.instance) for b in boxes if b.timestamp >= 0})
    assert entry.frames == 1


def test_drives_that_lack_something_are_left_out_and_frames_without_a_pose_skipped(
  street, tmp_path
):
  root = tmp_path / 'data'
  shutil.copytree(street, root)
  sequence = split.sequences_in(root)[0]
  (root / 'data_2d_raw' / 'other').mkdir()
  for kind in ('raw', 'poses', 'bare'):
    shutil.copytree(root / 'data_2d_raw' / sequence, root / 'data_2d_raw' / kind)
  for kind in ('poses', 'bare'):
    shutil.copytree(root / 'data_poses' / sequence, root / 'data_poses' / kind)
  found = split.split_sequence(config_of(root, frames=2), overlap=1)
  assert [(entry.sequence, entry.frames) for entry in found.entries] == [(sequence, 2)]
  assert found.comments == [
    'bare is left out: it has no primitives',
    'other is left out: it has no image of image_00',
    'poses is left out: it has no primitives',
    'raw is left out: it has no poses',
  ]
  poses = root / 'data_poses' / sequence / 'poses.txt'
  poses.write_text(poses.read_text().splitlines()[0] + '\n')
  found = split.split_sequence(config_of(root, frames=2, sequence=sequence), overlap=1)
  assert [entry.frames for entry in found.entries] == [1]
  assert '1 frames have no pose and are skipped' in found.comments[0]


def test_a_drive_whose_annotation_is_of_elsewhere_gives_no_window(street, tmp_path):
  root = tmp_path / 'data'
  shutil.copytree(street, root)
  for path in root.glob('data_3d_bboxes/*/*.xml'):
    path.write_text('<opencv_storage/>')
  with pytest.raises(InputError, match='no window can be cut.*2 frames have no primitive near by'):
    split.split_sequence(config_of(root, frames=2), overlap=1)


@pytest.mark.parametrize(
  'group, field, value',
  [
    ('data', 'start', 3),
    ('data', 'eval_frames', (3,)),
    ('scene', 'center', (0.0, 0.0, 0.0)),
    ('scene', 'bounds', (0.0,) * 6),
  ],
)
def test_what_holds_for_one_window_is_refused(street, group, field, value):
  config = config_of(street)
  config[group][field] = value
  with pytest.raises(InputError, match=rf'{group}\.{field} is .* holds for one window only'):
    split.split_sequence(config, overlap=1)


@pytest.mark.parametrize('overlap', [-1, 4])
def test_an_overlap_that_cannot_be_is_refused(street, overlap):
  with pytest.raises(InputError, match=rf'--overlap={overlap}: is not in 0\.\.3'):
    split.split_sequence(config_of(street, frames=4), overlap)
