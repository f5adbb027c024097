"""Tests of the readiness check and its picture."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.preparation import (
  check,
  estimate_cost,
  export_transforms,
  limitations,
  overlay,
)
from pnerf_jax.data import kitti360, labels, transforms
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError


def make_config(root, **changes):
  """Return a config with fields such as data__frames changed."""
  config = configs.get_config('tiny')
  config.data.root = str(root)
  config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
  return parse_config(config)


def record(semantic, instance, timestamp):
  return PrimitiveRecord(
    index=0,
    annotation=1,
    label='',
    semantic=semantic,
    instance=instance,
    timestamp=timestamp,
    start_frame=-1,
    end_frame=-1,
    vertices=np.zeros((8, 3)),
    faces=np.zeros((12, 3), np.int32),
  )


def test_primitive_lines_count_every_moving_object_once():
  records = [
    record(26, 1, -1),
    record(26, 2, -1),
    record(11, 1, -1),
    record(26, 3, 5),
    record(26, 3, 6),
    record(24, 3, 5),
  ]
  assert check.primitive_lines(records) == [
    'static primitives: car 2, building 1',
    'moving objects (their pixels are not trained): person 1, car 1',
  ]
  assert check.primitive_lines([])[0] == 'static primitives: none'


@pytest.mark.slow
def test_check_reports_files_and_cost(street, tmp_path, monkeypatch):
  monkeypatch.setattr(estimate_cost, '_MIN_SECONDS', 0.0)  # a single call is measured
  lines = check.check(make_config(street), tmp_path / 'check.png')
  text = '\n'.join(lines)
  assert lines[-1] == 'ready' and (tmp_path / 'check.png').exists()
  assert 'images 113 x 30, trained at 113 x 30' in text
  assert 'pseudo-labels, image_01: 2 of 2 frames' in text and 'LiDAR: 2 of 2 frames' in text
  assert (
    re.search(r'static primitives: .*road \d+', text)
    and 'semantic ground truth, image_00: 2' in text
  )
  milliseconds = float(re.search(r'over \d+ steps: ([\d.e+]+) ms per step', text).group(1))
  gibibytes = float(re.search(r'computed: ([\d.]+) GiB', text).group(1))
  assert milliseconds > 0 and 0 <= gibibytes < 1


def run_check(root, tmp_path, **changes):
  """Return the lines of the check of a street."""
  config = make_config(root, **changes)
  return check.check(
    config, tmp_path / 'check.png', estimates_cost=False, config_flags='--config=C.py'
  )


@pytest.fixture
def copied(street, tmp_path):
  """Return a copy of the street and the name of its sequence."""
  root = shutil.copytree(street, tmp_path / 'data')
  (sequence,) = (path.name for path in (root / 'data_2d_raw').iterdir())
  return root, sequence


def rewrite(folder, change):
  """Replace the pixels of all PNG files below a folder."""
  paths = sorted(folder.rglob('*.png'))
  assert paths
  for path in paths:
    pixels = np.asarray(Image.open(path))
    Image.fromarray(change(pixels.astype(int)).astype(pixels.dtype)).save(path)


def starting_with(prefix, lines):
  return [line for line in lines if line.startswith(prefix)]


def test_check_warns_of_missing_files(copied, tmp_path):
  root, sequence = copied
  shutil.rmtree(kitti360.pseudo_depth_folder(root, sequence, 'image_01'))
  next(kitti360.pseudo_label_folder(root, sequence, 'image_00').iterdir()).unlink()
  shutil.rmtree(root / 'data_3d_raw')
  lines = run_check(root, tmp_path)
  warnings = starting_with('warning: ', lines)
  assert len(warnings) == 2
  assert lines[-1] == (
    'ready, but 1 of 4 images have no pseudo-label of their own. Make pseudo-labels: python -m'
    ' pnerf_jax.prepare labels --config=C.py --network=transformers:FOLDER (2 warnings)'
  )
  assert (
    'pseudo-labels, image_00: 1 of 2' in warnings[0]
    and 'the label losses are off there' in warnings[0]
  )
  assert 'stereo depth, image_01: 0 of 2' in warnings[1] and 'depth loss' in warnings[1]
  assert 'LiDAR: 0 of 2 frames have a scan' in lines
  assert not any(' ms per step' in line for line in lines)


def test_check_of_labels_of_other_names_and_of_a_scan_that_was_cut(copied, tmp_path):
  root, sequence = copied
  for camera in ('image_00', 'image_01'):
    for path in list(kitti360.pseudo_label_folder(root, sequence, camera).iterdir()):
      path.rename(path.with_name(path.name[4:]))  # six digits
  lines = run_check(root, tmp_path)
  (warning,) = starting_with('warning: no label loss is on', lines)
  assert 'since there are no pseudo-labels: ' in warning and '--overwrite' not in warning
  scan = sorted(root.glob('data_3d_raw/*/velodyne_points/data/*.bin'))[-1]
  content = scan.read_bytes()[:-3]
  scan.unlink()
  scan.write_bytes(content)
  with pytest.raises(InputError, match=f'{scan.name}: {len(content)} bytes, expected a multiple'):
    run_check(root, tmp_path)


@pytest.mark.parametrize('space, rest', [('empty', 'labelled sky'), ('void', 'unlabelled')])
def test_check_without_labels_says_so_first_and_what_they_are_worth(copied, tmp_path, space, rest):
  root, sequence = copied
  shutil.rmtree(root / 'data_2d_pseudo_semantics')
  shutil.rmtree(root / 'data_2d_pseudo_depth')
  lines = run_check(root, tmp_path, scene__unannotated_space=space)
  worth = f'the labels are those of the primitives alone, all else is {rest}'
  command = (
    'Make pseudo-labels: python -m pnerf_jax.prepare labels --config=C.py'
    ' --network=transformers:FOLDER'
  )
  assert lines[1:3] == [
    f'warning: no label loss is on, since there are no pseudo-labels: {worth}. {command}',
    'warning: no depth loss is on, so colour is the only supervision: the geometry comes from'
    ' colour alone. Make depth: python -m pnerf_jax.prepare depth --config=C.py',
  ]
  assert lines[-1] == (
    f'ready, but {worth}; the geometry comes from colour alone. {command} (2 warnings)'
  )


@pytest.mark.slow
def test_check_on_a_cpu_names_the_variant_for_it(street, tmp_path, monkeypatch):
  monkeypatch.setattr(estimate_cost, '_MIN_SECONDS', 0.0)
  monkeypatch.setattr(limitations, '_LONG', 0.0)
  config = make_config(street, train__batch_rays=2 * limitations._CPU_BATCH_RAYS)
  lines = check.check(config, tmp_path / 'check.png', config_flags='--config=configs/kitti360.py')
  hint = 'this config is meant for a GPU or TPU: use --config=configs/kitti360.py:cpu'
  assert lines[-1] == f'ready, but {hint} (1 warning)'
  assert re.fullmatch(f'warning: training takes about .+ on this CPU: {hint}', lines[-2])


@pytest.mark.parametrize('derived', [False, True])
def test_remedies_name_another_folder_if_the_root_cannot_be_written(copied, tmp_path, derived):
  root, _ = copied
  shutil.rmtree(root / 'data_2d_pseudo_depth')
  changes = {'data__derived_root': str(tmp_path)} if derived else {}
  os.chmod(root, 0o555)
  try:
    lines = run_check(root, tmp_path, **changes)
  finally:
    os.chmod(root, 0o755)
  folder = '' if derived else ' --config.data.derived_root=DIR'
  reason = f'{root} cannot be written: name another folder DIR, also to train. ' * (not derived)
  command = f'python -m pnerf_jax.prepare depth --config=C.py{folder}'
  assert lines[-1] == (
    f'ready, but the geometry comes from colour and labels. {reason}Make depth: {command} (1'
    ' warning)'
  )


def test_picture_shows_a_frame_with_labels(copied, tmp_path, monkeypatch):
  root, sequence = copied
  folder = kitti360.pseudo_label_folder(root, sequence, 'image_00')
  titles = []
  monkeypatch.setattr(
    overlay.panels, 'sheet', lambda pictures, *_, **__: titles.extend(t for t, _ in pictures)
  )
  monkeypatch.setattr(overlay.panels, 'save', lambda *_: None)
  (folder / '0000001312.png').unlink()  # of the middle frame
  lines = run_check(root, tmp_path)
  assert starting_with('picture of frame 1311', lines) and 'pseudo-labels' in titles
  (folder / '0000001311.png').unlink()
  titles.clear()
  lines = run_check(root, tmp_path)
  assert starting_with('picture of frame 1312', lines) and 'pseudo-labels: none' in titles


def test_check_of_labels_without_a_class_names_the_command_that_replaces_them(copied, tmp_path):
  root, sequence = copied
  rewrite(
    root / 'data_2d_pseudo_semantics' / 'train' / sequence / 'image_00' / 'semantic', np.zeros_like
  )
  rewrite(
    root / 'data_2d_pseudo_semantics' / 'train' / sequence / 'image_01' / 'semantic',
    lambda pixels: np.full_like(pixels, 255),
  )
  lines = run_check(root, tmp_path)
  cause = 'the pseudo-labels hold no class with a confidence above 0'
  assert lines[1].startswith(f'warning: no label loss is on, since {cause}: ')
  name = 'warning: pseudo-labels, image_0'
  assert starting_with(name, lines) == [
    f'{name}0, frames 1311-1312: every pixel is 0, i.e. unknown',
    f'{name}1, frames 1311-1312: every pixel is 255, i.e. unknown',
  ]
  assert lines[-1].endswith('--network=transformers:FOLDER --overwrite (3 warnings)')


def test_check_of_train_ids_is_not_ready(copied, tmp_path):
  root, _ = copied
  train_ids = np.array([labels.BY_ID[i].train_id for i in range(labels.NUM_IDS)])
  rewrite(root / 'data_2d_pseudo_semantics', lambda x: train_ids[x] if x.max() < 45 else x)
  lines = run_check(root, tmp_path)
  assert re.match(
    r'warning: the reliability of the pseudo-labels is 0\.0\d: the labels are', lines[1]
  )
  assert starting_with('error: ', lines) == [
    f'error: pseudo-labels, image_0{i}, frames 1311-1312: only 0 to 18 occur, i.e. train ids.'
    ' Write ids: 7 = road, not 0; 26 = car, not 13'
    for i in (0, 1)
  ]
  assert lines[-1] == 'not ready: correct the errors above (2 errors, 1 warning)'


@pytest.mark.parametrize('has_lidar', [False, True])
def test_check_compares_depth_with_primitives_and_lidar(copied, tmp_path, has_lidar):
  root, _ = copied
  rewrite(root / 'data_2d_pseudo_depth', lambda x: x * 0.256)
  if not has_lidar:
    shutil.rmtree(root / 'data_3d_raw')
  lines = run_check(root, tmp_path)
  unit = 'Check its unit: metres * 256, or depth_unit_scale_factor of transforms.json'
  expected = [
    'warning: stereo depth lies inside the primitives if multiplied by 4, in 4 of 4 images.'
    f' {unit}',
    f'warning: stereo depth is 0.26 times that of LiDAR, image_00. {unit}',
  ]
  assert starting_with('warning: ', lines) == expected[: 1 + has_lidar]
  first = expected[0].removeprefix('warning: ')
  assert (
    lines[-1]
    == f'ready, but the labels may be wrong: {first} ({["1 warning", "2 warnings"][has_lidar]})'
  )


def boxes_of_cars(root, tmp_path, ahead=1):
  """Export the first frame of a street with nine cars, ahead of it or behind, as primitives."""
  export_transforms.export_transforms(make_config(root, data__frames=1).data, tmp_path / 'own')
  content = json.loads((tmp_path / 'own' / transforms.NAME).read_text())
  pose = np.array(content['frames'][0]['transform_matrix'])
  centers = [
    (pose @ [x, -1, -z * ahead, 1])[:3].tolist()
    for x in (-4.0, 0.0, 4.0)
    for z in (10.0, 20.0, 30.0)
  ]
  content['boxes_path'] = 'cars.json'
  (tmp_path / 'own' / transforms.NAME).write_text(json.dumps(content))
  boxes = [
    {'class': 'car', 'instance': i + 1, 'center': center, 'size': [2, 2, 2], 'yaw': 0}
    for i, center in enumerate(centers)
  ]
  (tmp_path / 'own' / 'cars.json').write_text(json.dumps({'boxes': boxes}))
  return tmp_path / 'own'


@pytest.mark.parametrize('has_labels', [False, True])
def test_check_of_things_in_empty_space_is_not_ready(copied, tmp_path, has_labels):
  root, _ = copied
  if not has_labels:
    shutil.rmtree(root / 'data_2d_pseudo_semantics')
  own = boxes_of_cars(root, tmp_path)
  lines = run_check(own, tmp_path, data__source='transforms', data__primitives='auto')
  assert 'static primitives: car 9' in lines
  (error,) = starting_with('error: ', lines)
  assert error == (
    'error: only things are annotated, in 2 of 2 images: all that no primitive contains is labelled'
    ' sky. Check the poses, or set --config.scene.unannotated_space=void'
  )
  assert lines[-1].startswith('not ready: correct the errors above (1 error,')


def test_check_without_a_primitive_in_view_names_the_usual_cause(copied, tmp_path):
  root, _ = copied
  own = boxes_of_cars(root, tmp_path, ahead=-1)
  changes = {'data__source': 'transforms', 'scene__unannotated_space': 'void'}
  lines = run_check(own, tmp_path, **changes)
  worth = 'there are no instances, and the classes are those of the pseudo-labels'
  remedy = 'Check poses, primitives, config.data.start and config.data.primitives.'
  assert lines[1] == f'warning: no primitive is used: {worth}. {remedy}'
  assert (
    'warning: 0% of the primitives within 100 m are in view. The cameras look the other way: set'
    ' the key "camera_axes" (OPENGL or OPENCV).'
  ) in lines
  assert lines[-1] == f'ready, but {worth}. {remedy} (2 warnings)'


def test_check_exits_with_1_unless_ready(copied, tmp_path, binary):
  root, _ = copied
  flags = [
    'check',
    '--config=configs/kitti360.py:tiny',
    f'--config.data.root={root}',
    f'--out={tmp_path / "check.png"}',
    '--probe=false',
  ]
  assert binary('prepare', *flags)[0] == 0
  train_ids = np.array([labels.BY_ID[i].train_id for i in range(labels.NUM_IDS)])
  to_train_ids = lambda x: train_ids[x] if x.max() < 45 else x
  rewrite(root / 'data_2d_pseudo_semantics', to_train_ids)
  code, errors = binary('prepare', *flags)
  assert code == 1 and 'error' not in errors  # the report and its verdict are on stdout
  rewrite(root / 'data_2d_semantics', to_train_ids)
  code, errors = binary('prepare', *flags)
  assert code == 1 and 'the true labels are train ids (values 0-' in errors.splitlines()[-1]


def test_check_fails_on_input_on_which_training_fails(street, tmp_path):
  root = shutil.copytree(street, tmp_path / 'data')
  path = sorted((root / 'data_2d_raw').rglob('image_01/*/*.png'))[1]
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(InputError, match=path.name):
    check.check(make_config(root), tmp_path / 'check.png', estimates_cost=False)
  for out in ('check.jpg', '', 'check'):
    with pytest.raises(InputError, match='PNG'):
      check.check(make_config(street), tmp_path / out, estimates_cost=False)


def test_overlay_primitives_colours_and_outlines():
  image = np.full((5, 8, 3), 100, np.uint8)
  first = np.array([[-1] * 2 + [0] * 3 + [1] * 3] * 5)
  semantic = np.array([0] * 2 + [7] * 3 + [7] * 3) * np.ones((5, 1), int)
  moving = np.zeros((5, 8), bool)
  moving[0, 0] = True
  picture = overlay.overlay_primitives(image, first, semantic, moving)
  assert (picture[1, 0] == 100).all()  # no primitive
  np.testing.assert_array_equal(picture[1, 3], (0.45 * 100 + 0.55 * np.array([128, 64, 128])) // 1)
  assert (picture[:, 5] == 255).all() and (picture[1, 7] == picture[1, 3]).all()
  np.testing.assert_allclose(picture[0, 0], [185, 45, 185], atol=1)  # magenta


def test_overlay_lidar_draws_nearer_points_over_farther_ones():
  image = np.zeros((9, 9, 3), np.uint8)
  picture = overlay.overlay_lidar(image, np.array([[4.2, 4.0, 3.0], [5.0, 4.0, 100.0]]))
  assert picture[4, 4, 0] > picture[4, 4, 2]  # red, near
  assert picture[4, 6, 2] > picture[4, 6, 0]  # blue, far
  assert not picture[0].any()
