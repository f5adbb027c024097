"""A tiny street on disk: deterministic, complete, consistent with independent readers."""

import dataclasses
import filecmp
import functools
import json
import pathlib
import shutil
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.street import camera, generate, scenery
from pnerf_jax.data import kitti360, labels, primitives
from pnerf_jax.errors import InputError

PARAMETERS = scenery.Parameters('boulevard', 7, 3, 0.1, predictions='noise')
SEQUENCE = PARAMETERS.sequence
build = functools.cache(scenery.build)  # of both fixtures


@pytest.fixture(name='root', scope='module')
def _root(tmp_path_factory):
  root = tmp_path_factory.mktemp('street') / 'data'
  with mock.patch.object(scenery, 'build', build):
    assert generate.generate(root, PARAMETERS)
  return root


@pytest.fixture(name='street', scope='module')
def _street():
  return build(PARAMETERS)


def all_files(root: pathlib.Path) -> list[str]:
  return sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())


def pixels(root: pathlib.Path, folder: str, eye: int = 0, number: int = 1) -> np.ndarray:
  frame = PARAMETERS.frame_numbers[number]
  path = root / folder.format(seq=SEQUENCE, cam=f'image_0{eye}') / f'{frame:010d}.png'
  return np.asarray(Image.open(path))


def test_generate_writes_all_files(root):
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
      assert all((root / path).is_file() for path in line.split())
  stamps = (root / f'data_2d_raw/{SEQUENCE}/image_00/timestamps.txt').read_text().splitlines()
  assert len(stamps) == PARAMETERS.frame_numbers[-1] + 1
  for frame in frames:
    assert (root / f'data_3d_raw/{SEQUENCE}/velodyne_points/data/{frame}.bin').exists()


@pytest.mark.parametrize('eye', [0, 1])
def test_images_have_kitti360_encodings(root, eye):
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


def test_simulated_pseudo_labels_have_the_intended_accuracy(root):
  accuracy = []
  for eye in (0, 1):
    for number in range(3):
      pseudo = pixels(root, 'data_2d_pseudo_semantics/train/{seq}/{cam}/semantic', eye, number)
      truth = pixels(root, 'data_2d_semantics/train/{seq}/{cam}/semantic', eye, number)
      assert set(np.unique(pseudo)) <= {0, *(x.id for x in labels.LABELS if x.train_id < 19)}
      assert not set(np.unique(pseudo)) & {9, 34, 35, 36, 37, 38, 39, 40, 41, 44}
      accuracy.append((pseudo == truth).mean())
  assert 0.74 < np.mean(accuracy) < 0.9


@pytest.mark.slow
def test_pseudo_labels_of_the_network(tmp_path):
  parameters = scenery.Parameters('village', 7, 2, 0.25)
  assert generate.generate(tmp_path / 'a', parameters)
  folder = tmp_path / f'a/data_2d_pseudo_semantics/train/{parameters.sequence}'
  accuracy, margin, correct = [], [], []
  for path in sorted(folder.glob('image_0*/semantic/*.png')):
    predicted = np.asarray(Image.open(path))
    truth = np.asarray(
      Image.open(str(path).replace('data_2d_pseudo_semantics', 'data_2d_semantics'))
    )
    confidence = np.asarray(Image.open(path.parent.with_name('confidence') / path.name)) / 65535
    assert predicted.shape == truth.shape == confidence.shape == (94, 352)
    assert set(np.unique(predicted)) <= {x.id for x in labels.LABELS if x.train_id < 19}
    is_correct = predicted == truth
    correct.append(is_correct)
    accuracy.append(is_correct.mean())
    margin.append(confidence[is_correct].mean() - confidence[~is_correct].mean())
  assert len(accuracy) == 4 and 0.7 < np.mean(accuracy) < 0.95
  assert min(margin) > 0.1
  # Errors are correlated between consecutive frames, which show the same objects.
  both_wrong = (~correct[0] & ~correct[1]).mean()
  assert both_wrong > 2 * (~correct[0]).mean() * (~correct[1]).mean()
  # It is incomplete without its confidence, and differs from a street with other predictions.
  assert not generate.generate(tmp_path / 'a', parameters)
  with pytest.raises(InputError, match='holds another street.*predictions=network'):
    generate.generate(tmp_path / 'a', dataclasses.replace(parameters, predictions='noise'))
  next(folder.glob('image_01/confidence/*.png')).unlink()
  assert not generate._is_complete(tmp_path / 'a', parameters)  # pylint: disable=protected-access


def test_markers_without_predictions_are_accepted(root, tmp_path):
  root = shutil.copytree(root, tmp_path / 'data')
  path = root / generate.MARKER
  content = json.loads(path.read_text())
  assert content.pop('predictions') == 'noise'
  path.write_text(json.dumps(content))
  assert not generate.generate(root, PARAMETERS)


def test_scan_agrees_with_the_true_depth(root, street):
  """Project the scan into the image with the published formulas and the written calibration."""
  rows = {}
  for line in (root / 'calibration/perspective.txt').read_text().splitlines():
    key, _, values = line.partition(':')
    rows[key] = values.split()
  projection = np.array(rows['P_rect_00'], float).reshape(3, 4)[:, :3]
  rect = np.array(rows['R_rect_00'], float).reshape(3, 3)
  velo_from_cam = np.eye(4)
  velo_from_cam[:3] = np.loadtxt(root / 'calibration/calib_cam_to_velo.txt').reshape(3, 4)
  rig = camera.rig(PARAMETERS.scale)
  image = generate.render_image(street, rig, 1, 0, 1.0, rng=np.random.default_rng(0))
  frame = f'{PARAMETERS.frame_numbers[1]:010d}'
  scan = np.fromfile(
    root / f'data_3d_raw/{SEQUENCE}/velodyne_points/data/{frame}.bin', '<f4'
  ).reshape(-1, 4)
  assert 50_000 < len(scan) < 130_000
  assert scan[:, 3].min() >= 0 and scan[:, 3].max() <= 1
  points = np.c_[scan[:, :3], np.ones(len(scan))] @ np.linalg.inv(velo_from_cam).T
  projected = points[:, :3] @ rect.T @ projection.T
  front = projected[:, 2] > 1
  u, v = np.rint(projected[front, :2] / projected[front, 2:]).astype(int).T
  inside = (u >= 0) & (u < rig.width) & (v >= 0) & (v < rig.height)
  z = projected[front, 2][inside]
  error = np.abs(z - image.depth[v[inside], u[inside]]) / z
  # Pixels are large, and scanner and camera have different positions.
  assert len(z) > 1000
  assert np.median(error) < 0.02
  assert (error < 0.1).mean() > 0.85


def test_poses_match_the_rendered_cameras(root, street):
  calibration = kitti360.read_calibration(root)
  rig = camera.rig(PARAMETERS.scale)
  poses = kitti360.read_poses(root, SEQUENCE, calibration)
  table = np.loadtxt(root / 'data_poses' / SEQUENCE / 'cam0_to_world.txt')[:, 1:].reshape(-1, 4, 4)
  for number, frame in enumerate(PARAMETERS.frame_numbers):
    for eye, name in enumerate(kitti360.PERSPECTIVE_CAMERAS):
      rendered = street.street_from_pose[number] @ rig.pose_from_rect[eye]
      rendered[:3, 3] += street.center
      read = poses[frame] @ calibration.pose_from_cam[name]
      np.testing.assert_allclose(read, rendered, atol=2e-6)
    np.testing.assert_allclose(
      table[number], poses[frame] @ calibration.pose_from_cam['image_00'], atol=1e-3
    )
  assert np.abs(table[:, :2, 3]).min() > 500  # world coordinates in the thousands


def test_instances_of_images_and_primitives_agree(root):
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
  assert len(missing) <= 2  # objects without a primitive


def test_moving_car_has_one_primitive_per_frame(root):
  found = primitives.read_primitives_xml(root / f'data_3d_bboxes/train_full/{SEQUENCE}.xml')
  moving = [b for b in found if b.timestamp >= 0]
  assert [b.timestamp for b in moving] == PARAMETERS.frame_numbers
  assert {b.label for b in moving} == {'car'} and len({b.instance for b in moving}) == 1
  steps = np.diff([b.vertices.mean(0) for b in moving], axis=0)
  np.testing.assert_allclose(np.linalg.norm(steps[:, :2], axis=1), 1.0, atol=0.35)


def modification_times(root: pathlib.Path) -> list[int]:
  return [(root / name).stat().st_mtime_ns for name in all_files(root)]


def test_complete_folders_are_reused(root):
  before = modification_times(root)
  assert not generate.generate(root, PARAMETERS)
  with pytest.raises(InputError, match='holds another street.*frames=3'):
    generate.generate(root, dataclasses.replace(PARAMETERS, frames=4))
  assert modification_times(root) == before


@pytest.mark.slow
def test_incomplete_folders_are_regenerated_with_identical_files(root, tmp_path):
  again = shutil.copytree(root, tmp_path / 'again')
  before = modification_times(again)
  (again / f'data_3d_bboxes/train_full/{SEQUENCE}.xml').unlink()
  assert generate.generate(again, PARAMETERS)
  assert not set(modification_times(again)) & set(before)
  names = all_files(root)
  assert names == all_files(again)
  same, different, errors = filecmp.cmpfiles(root, again, names, shallow=False)
  assert not different and not errors and len(same) == len(names)


def test_other_folders_are_not_changed(tmp_path):
  (tmp_path / 'notes.txt').write_text('text')
  with pytest.raises(InputError, match='is not empty'):
    generate.generate(tmp_path, PARAMETERS)
  (tmp_path / generate.MARKER).write_text('{')
  with pytest.raises(InputError, match='is damaged'):
    generate.generate(tmp_path, PARAMETERS)
  with pytest.raises(InputError, match='is a file'):
    generate.generate(tmp_path / 'notes.txt', PARAMETERS)
  assert all_files(tmp_path) == ['notes.txt', generate.MARKER]


def test_a_street_is_generated_by_one_process_at_a_time(root):
  before = {name: (root / name).read_bytes() for name in all_files(root)}
  (root / generate.MARKER).write_bytes(generate._marker(PARAMETERS, False))  # half written
  with generate._locked(root), pytest.raises(InputError) as error:
    generate.generate(root, PARAMETERS)
  (root / generate.MARKER).write_bytes(before[generate.MARKER])
  assert str(error.value) == (
    f'--out={root}: another process is generating a street there. Wait until it ends, or use'
    ' another folder.'
  )
  assert {name: (root / name).read_bytes() for name in all_files(root)} == before


@pytest.mark.parametrize(
  'name, value, remedy',
  [
    ('preset', 'desert', 'Use one of boulevard, '),
    ('frames', 0, 'Use 1 to '),
    ('scale', 2.0, 'Use 0.05 to 1'),
    ('scale', float('nan'), 'Use 0.05 to 1'),
    ('seed', -1, 'Use 0 to '),
    ('predictions', 'oracle', 'not one of network, '),
  ],
)
def test_parameters_out_of_range_name_their_flag(tmp_path, name, value, remedy):
  with pytest.raises(InputError, match=f'^--{name}: .*{remedy}'):
    generate.generate(tmp_path / 'out', scenery.Parameters(**{name: value}))
  assert not (tmp_path / 'out').exists()


def test_marker_contains_the_parameters(root):
  marker = json.loads((root / generate.MARKER).read_text())
  assert marker['complete'] and marker['preset'] == 'boulevard' and marker['seed'] == 7
