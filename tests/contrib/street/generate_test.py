"""A tiny street on disk: the same twice, complete, readable by independent means, consistent."""

import dataclasses
import filecmp
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.street import camera, generate, scenery
from pnerf_jax.data import kitti360, labels, primitives
from pnerf_jax.errors import InputError

PARAMETERS = scenery.Parameters('boulevard', 7, 3, 0.1, predictions='noise')
SEQUENCE = PARAMETERS.sequence


@pytest.fixture(name='root', scope='module')
def _root(tmp_path_factory):
  root = tmp_path_factory.mktemp('street') / 'data'
  assert generate.generate(root, PARAMETERS)
  return root


@pytest.fixture(name='street', scope='module')
def _street():
  return scenery.build(PARAMETERS)


def all_files(root: pathlib.Path) -> list[str]:
  return sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())


def pixels(root: pathlib.Path, folder: str, eye: int = 0, number: int = 1) -> np.ndarray:
  frame = PARAMETERS.frame_numbers[number]
  path = root / folder.format(seq=SEQUENCE, cam=f'image_0{eye}') / f'{frame:010d}.png'
  return np.asarray(Image.open(path))


def test_same_parameters_same_bytes(root, tmp_path):
  again = tmp_path / 'again'
  generate.generate(again, PARAMETERS)
  names = all_files(root)
  assert names == all_files(again)
  same, different, errors = filecmp.cmpfiles(root, again, names, shallow=False)
  assert not different and not errors and len(same) == len(names)


def test_layout_is_complete(root):
  frames = [f'{frame:010d}' for frame in PARAMETERS.frame_numbers]
  for name in (
    'calib_cam_to_pose.txt',
    'calib_cam_to_velo.txt',
    'perspective.txt',
    'image_02.yaml',
    'image_03.yaml',
    'calib_sick_to_velo.txt',
  ):
    assert (root / 'calibration' / name).stat().st_size > 50
  for split in ('train', 'train_full'):
    assert (root / f'data_3d_bboxes/{split}/{SEQUENCE}.xml').exists()
  for name, numbers in (('poses.txt', 13), ('cam0_to_world.txt', 17)):
    table = np.loadtxt(root / 'data_poses' / SEQUENCE / name)
    assert table.shape == (3, numbers)
    np.testing.assert_array_equal(table[:, 0], PARAMETERS.frame_numbers)
  assert not [name for name in all_files(root) if '.tmp' in name]
  for list_name in ('train', 'val'):
    lines = (root / f'data_2d_semantics/train/2013_05_28_drive_{list_name}_frames.txt').read_text()
    for line in lines.splitlines():
      assert all((root / word).is_file() for word in line.split())
  stamps = (root / f'data_2d_raw/{SEQUENCE}/image_00/timestamps.txt').read_text().splitlines()
  assert len(stamps) == PARAMETERS.frame_numbers[-1] + 1
  for frame in frames:
    assert (root / f'data_3d_raw/{SEQUENCE}/velodyne_points/data/{frame}.bin').exists()


@pytest.mark.parametrize('eye', [0, 1])
def test_encodings(root, eye):
  truth = 'data_2d_semantics/train/{seq}/{cam}/'
  rgb = pixels(root, 'data_2d_raw/{seq}/{cam}/data_rect', eye)
  assert rgb.shape == (38, 141, 3) and rgb.dtype == np.uint8 and rgb.std() > 20
  semantic = pixels(root, truth + 'semantic', eye)
  assert semantic.dtype == np.uint8 and semantic.max() <= 44 and semantic.min() > 0
  instance = pixels(root, truth + 'instance', eye)
  assert instance.dtype == np.uint16
  np.testing.assert_array_equal(instance // 1000, semantic)
  np.testing.assert_array_equal(instance % 1000 > 0, labels.IS_THING[semantic])
  confidence = pixels(root, truth + 'confidence', eye)
  assert confidence.dtype == np.uint16 and confidence.max() == 65535
  assert 0.5 < (confidence == 65535).mean() < 0.95
  colors = pixels(root, truth + 'semantic_rgb', eye)
  np.testing.assert_array_equal(colors, labels.COLORS[semantic])
  depth = pixels(root, 'data_2d_pseudo_depth/{seq}/{cam}', eye)
  assert depth.dtype == np.uint16 and (depth > 0).mean() > 0.3


def test_pseudo_labels_err_as_much_as_intended(root):
  right = []
  for eye in (0, 1):
    for number in range(3):
      pseudo = pixels(root, 'data_2d_pseudo_semantics/train/{seq}/{cam}/semantic', eye, number)
      truth = pixels(root, 'data_2d_semantics/train/{seq}/{cam}/semantic', eye, number)
      assert set(np.unique(pseudo)) <= {0, *(x.id for x in labels.LABELS if x.train_id < 19)}
      assert not set(np.unique(pseudo)) & {9, 34, 35, 36, 37, 38, 39, 40, 41, 44}
      right.append((pseudo == truth).mean())
  assert 0.74 < np.mean(right) < 0.9


def test_predictions_of_the_network(tmp_path):
  parameters = scenery.Parameters('village', 7, 2, 0.25)
  assert generate.generate(tmp_path / 'a', parameters)
  folder = tmp_path / f'a/data_2d_pseudo_semantics/train/{parameters.sequence}'
  right, sure, agreeing = [], [], []
  for path in sorted(folder.glob('image_0*/semantic/*.png')):
    called = np.asarray(Image.open(path))
    truth = np.asarray(
      Image.open(str(path).replace('data_2d_pseudo_semantics', 'data_2d_semantics'))
    )
    confidence = np.asarray(Image.open(path.parent.with_name('confidence') / path.name)) / 65535
    assert called.shape == truth.shape == confidence.shape == (94, 352)
    assert set(np.unique(called)) <= {x.id for x in labels.LABELS if x.train_id < 19}
    right.append((called == truth).mean())
    sure.append(confidence[called == truth].mean() - confidence[called != truth].mean())
    agreeing.append((called == truth).ravel())
  assert len(right) == 4 and 0.7 < np.mean(right) < 0.95
  assert min(sure) > 0.1
  # Errors come again in the next frame, which saw the same things from a metre before.
  both = (~agreeing[0] & ~agreeing[1]).mean()
  assert both > 2 * (~agreeing[0]).mean() * (~agreeing[1]).mean()
  # It is complete with its confidence alone, and is not taken for a street with other predictions.
  assert not generate.generate(tmp_path / 'a', parameters)
  next(folder.glob('image_01/confidence/*.png')).unlink()
  assert generate.generate(tmp_path / 'a', parameters)
  with pytest.raises(InputError, match='holds another street.*predictions=network'):
    generate.generate(tmp_path / 'a', dataclasses.replace(parameters, predictions='noise'))


def test_streets_of_before_there_was_a_choice_are_reused(root):
  path = root / generate.MARKER
  content = json.loads(path.read_text())
  assert content.pop('predictions') == 'noise'
  path.write_text(json.dumps(content))
  assert not generate.generate(root, PARAMETERS)


def test_scan_agrees_with_the_depth_of_the_truth(root, street):
  """The published formulas, on the written numbers, bring the scan onto the images."""
  rows = {}
  for line in (root / 'calibration/perspective.txt').read_text().splitlines():
    key, _, values = line.partition(':')
    rows[key] = values.split()
  projection = np.array(rows['P_rect_00'], float).reshape(3, 4)[:, :3]
  rect = np.array(rows['R_rect_00'], float).reshape(3, 3)
  velo_from_cam = np.eye(4)
  velo_from_cam[:3] = np.loadtxt(root / 'calibration/calib_cam_to_velo.txt').reshape(3, 4)
  rig = camera.rig(PARAMETERS.scale)
  drawn = generate.draw(street, rig, 1, 0, 1.0, np.random.default_rng(0))
  frame = f'{PARAMETERS.frame_numbers[1]:010d}'
  scan = np.fromfile(
    root / f'data_3d_raw/{SEQUENCE}/velodyne_points/data/{frame}.bin', '<f4'
  ).reshape(-1, 4)
  assert 50_000 < len(scan) < 130_000
  assert scan[:, 3].min() >= 0 and scan[:, 3].max() <= 1
  points = np.c_[scan[:, :3], np.ones(len(scan))] @ np.linalg.inv(velo_from_cam).T
  image = points[:, :3] @ rect.T @ projection.T
  front = image[:, 2] > 1
  u, v = np.rint(image[front, :2] / image[front, 2:]).astype(int).T
  inside = (u >= 0) & (u < rig.width) & (v >= 0) & (v < rig.height)
  z = image[front, 2][inside]
  error = np.abs(z - drawn.depth[v[inside], u[inside]]) / z
  # Pixels are wide here, and the scanner stands elsewhere than the camera.
  assert len(z) > 1000
  assert np.median(error) < 0.02
  assert (error < 0.1).mean() > 0.85


def test_poses_follow_the_published_formula(root, street):
  calibration = kitti360.read_calibration(root)
  rig = camera.rig(PARAMETERS.scale)
  poses = kitti360.read_poses(root, SEQUENCE, calibration)
  table = np.loadtxt(root / 'data_poses' / SEQUENCE / 'cam0_to_world.txt')[:, 1:].reshape(-1, 4, 4)
  for number, frame in enumerate(PARAMETERS.frame_numbers):
    for eye, name in enumerate(kitti360.PERSPECTIVE_CAMERAS):
      rendered = street.street_from_pose[number] @ rig.pose_from_rect[eye]
      rendered[:3, 3] += street.center
      got = poses[frame] @ calibration.pose_from_cam[name]
      np.testing.assert_allclose(got, rendered, atol=2e-6)
    np.testing.assert_allclose(
      table[number], poses[frame] @ calibration.pose_from_cam['image_00'], atol=1e-3
    )
  assert np.abs(table[:, :2, 3]).min() > 500  # world coordinates in the thousands


def test_instances_of_pictures_and_primitives_are_the_same(root):
  found = primitives.read_primitives_xml(root / f'data_3d_bboxes/train_full/{SEQUENCE}.xml')
  known = {b.semantic * 1000 + b.instance for b in found}
  seen: set[int] = set()
  for eye in (0, 1):
    for number in range(3):
      seen |= set(
        np.unique(
          pixels(root, 'data_2d_semantics/train/{seq}/{cam}/instance', eye, number)
        ).tolist()
      )
  assert len({v for v in seen if v % 1000}) > 15
  missing = {v for v in seen if v % 1000} - known
  assert len(missing) <= 2  # the things that nobody annotated


def test_the_moving_car_has_a_box_a_frame(root):
  found = primitives.read_primitives_xml(root / f'data_3d_bboxes/train_full/{SEQUENCE}.xml')
  moving = [b for b in found if b.timestamp >= 0]
  assert [b.timestamp for b in moving] == PARAMETERS.frame_numbers
  assert {b.label for b in moving} == {'car'} and len({b.instance for b in moving}) == 1
  steps = np.diff([b.vertices.mean(0) for b in moving], axis=0)
  np.testing.assert_allclose(np.linalg.norm(steps[:, :2], axis=1), 1.0, atol=0.35)


def test_a_complete_folder_is_reused_and_a_broken_one_made_anew(root):
  path = root / f'data_3d_bboxes/train_full/{SEQUENCE}.xml'
  before, content = path.stat().st_mtime_ns, path.read_bytes()
  assert not generate.generate(root, PARAMETERS)
  assert path.stat().st_mtime_ns == before
  path.unlink()
  assert generate.generate(root, PARAMETERS)
  assert path.read_bytes() == content
  with pytest.raises(InputError, match='holds another street.*frames=3'):
    generate.generate(root, dataclasses.replace(PARAMETERS, frames=4))


def test_strange_folders_are_left_alone(tmp_path):
  (tmp_path / 'notes.txt').write_text('mine')
  with pytest.raises(InputError, match='is not empty'):
    generate.generate(tmp_path, PARAMETERS)
  (tmp_path / generate.MARKER).write_text('{')
  with pytest.raises(InputError, match='is damaged'):
    generate.generate(tmp_path, PARAMETERS)
  with pytest.raises(InputError, match='is a file'):
    generate.generate(tmp_path / 'notes.txt', PARAMETERS)
  assert all_files(tmp_path) == ['notes.txt', generate.MARKER]


@pytest.mark.parametrize(
  'change',
  [
    dict(preset='desert'),
    dict(frames=0),
    dict(scale=2.0),
    dict(seed=-1),
    dict(scale=float('nan')),
    dict(predictions='oracle'),
  ],
)
def test_bad_parameters(tmp_path, change):
  name = next(iter(change))
  with pytest.raises(InputError, match=f'^--{name}: '):
    generate.generate(tmp_path / 'out', scenery.Parameters(**change))
  assert not (tmp_path / 'out').exists()


def test_command_line_tells_in_one_line(tmp_path):
  run = subprocess.run(
    [sys.executable, '-m', 'pnerf_jax.street', f'--out={tmp_path / "x"}', '--preset=desert'],
    capture_output=True,
    text=True,
    check=False,
    cwd=pathlib.Path(__file__).resolve().parents[3],
  )
  assert run.returncode == 1
  assert run.stderr.count('\n') == 1 and '--preset' in run.stderr and 'boulevard' in run.stderr


def test_marker_holds_the_parameters(root):
  marker = json.loads((root / generate.MARKER).read_text())
  assert marker['complete'] and marker['preset'] == 'boulevard' and marker['seed'] == 7
