"""Tests of the nuScenes conversion: a street with six cameras, and a hand-written scene.

The cars of the street are projected with the numbers of the tables and scipy's rotations.
"""

import copy
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from configs import transforms as configs
from launch import nuscenes_example as example
from pnerf_jax.contrib.datasets import nuscenes
from pnerf_jax.data import image_io, primitives_json, transforms, window
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError


@pytest.fixture(scope='module')
def example_root(tmp_path_factory):
  """The example dataset, converted, with its labels."""
  root = tmp_path_factory.mktemp('example')
  example.write(root, samples=2, width=96, seed=0)
  nuscenes.convert(root / 'nuscenes', root / 'own', example.SCENE)
  shutil.copytree(root / 'labels', root / 'own', dirs_exist_ok=True)
  return root


def make_config(root):
  config = configs.get_config('tiny')
  config.data.root, config.scene.unannotated_space = str(root), 'void'
  return config


def read_tables(root):
  return {
    path.stem: {record['token']: record for record in json.loads(path.read_text())}
    for path in (root / 'nuscenes/v1.0-example').glob('*.json')
  }


def to_local(record, points):
  """Transform world points [N, 3] to the frame of a record."""
  w, x, y, z = record['rotation']
  return Rotation.from_quat([x, y, z, w]).inv().apply(points - np.array(record['translation']))


def corners_of(record):
  """Return the corners [8, 3] of an annotation: x along its length, y along its width."""
  w, x, y, z = record['rotation']
  width, length, height = record['size']
  half = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * [
    length / 2,
    width / 2,
    height / 2,
  ]
  return Rotation.from_quat([x, y, z, w]).apply(half) + record['translation']


def test_window_projects_boxes_like_the_tables(example_root):
  config, tables = make_config(example_root / 'own'), read_tables(example_root)
  found = window.load_window(config.data, config.scene)
  assert set(found.cameras) == set(example.CAMERAS) and found.frames == (0, 1)
  boxes = [box for box in found.primitives if box.timestamp < 0]
  num_compared = 0
  for record in tables['sample_data'].values():
    sensor = tables['calibrated_sensor'][record['calibrated_sensor_token']]
    channel = tables['sensor'][sensor['sensor_token']]['channel']
    frame = int(pathlib.Path(record['filename']).stem.split('__')[-1])
    view = found.frames.index(frame) * 6 + found.cameras.index(channel)
    fx, fy, cx, cy = found.intrinsics[view]
    k = np.array(sensor['camera_intrinsic'])
    for annotation in tables['sample_annotation'].values():
      if annotation['sample_token'] != record['sample_token']:
        continue
      corners = corners_of(annotation)
      points = to_local(sensor, to_local(tables['ego_pose'][record['ego_pose_token']], corners))
      if points[:, 2].min() < 0.5:
        continue
      uvw = points @ k.T
      expected = uvw[:, :2] / uvw[:, 2:]
      matching = [
        box
        for box in boxes
        if np.abs(box.vertices.mean(0) + found.center - annotation['translation']).max() < 0.01
      ]
      for box in matching[:1]:
        cam = (box.vertices - found.world_from_cam[view, :3, 3].astype(float)) @ (
          found.world_from_cam[view, :3, :3]
        )
        projected = cam[:, :2] / cam[:, 2:] * [fx, fy] + [cx, cy]
        np.testing.assert_allclose(projected, expected, atol=0.02)  # pixels
        num_compared += 1
  assert num_compared > 50


def test_boxes_cover_the_cars_of_the_ground_truth(example_root):
  """Pixels of a true car instance are inside the projected hull of one box."""
  config = make_config(example_root / 'own')
  dataset = open_dataset(config.data)
  found = window.load_window(config.data, config.scene)
  cars = [box for box in found.primitives if box.label == 'car']
  covered, total = 0, 0
  for view, (frame, camera) in enumerate(dataset.views()):
    instance = image_io.read_instance(dataset.path_of('true_instance', frame, camera))
    boxes = [box for box in cars if box.timestamp in (-1, frame)]
    hulls = []
    for box in boxes:
      cam = (box.vertices - found.world_from_cam[view, :3, 3]) @ found.world_from_cam[view, :3, :3]
      if cam[:, 2].min() > 0.5:
        uv = cam[:, :2] / cam[:, 2:] * found.intrinsics[view, :2] + found.intrinsics[view, 2:]
        hulls.append(np.concatenate([uv.min(0) - 1, uv.max(0) + 1]))
    for value in np.unique(instance[instance // 1000 == 26]):
      row, column = np.nonzero(instance == value)
      if len(row) < 25 or column.min() == 0 or column.max() == instance.shape[1] - 1:
        continue  # truncated by the image border: its corners may be behind the camera
      total += 1
      covered += any(
        low_u <= column.min()
        and low_v <= row.min()
        and column.max() <= high_u
        and row.max() <= high_v
        for low_u, low_v, high_u, high_v in hulls
      )
  assert total >= 8 and covered >= 0.9 * total, (covered, total)


def test_moving_objects_have_a_box_per_frame(example_root):
  entries = json.loads((example_root / 'own/boxes.json').read_text())['boxes']
  moving = [entry for entry in entries if 'frame' in entry]
  assert {entry['frame'] for entry in moving} == {0, 1}
  assert len({(entry['class'], entry['instance']) for entry in moving}) == len(moving) / 2
  static = [entry for entry in entries if 'frame' not in entry]
  assert len({tuple(entry['center']) for entry in static}) == len(static)
  assert all(entry['size'][0] > entry['size'][1] for entry in entries if entry['class'] == 'car')


def test_images_equal_those_of_the_dataset(example_root):
  found = transforms.read(example_root / 'own')
  for (frame, _), record in found.records.items():
    source = example_root / 'nuscenes' / example.image_name(record.camera, frame)
    assert (example_root / 'own' / record.files['rgb']).read_bytes() == source.read_bytes()
    assert Image.open(source).size == record.size


# A hand-written scene.

TABLES = {
  'scene': [{'token': 's', 'name': 'scene-7'}, {'token': 'other', 'name': 'scene-8'}],
  'sample': [
    {'token': 'b', 'timestamp': 20, 'scene_token': 's'},  # not in chronological order
    {'token': 'a', 'timestamp': 10, 'scene_token': 's'},
    {'token': 'x', 'timestamp': 5, 'scene_token': 'other'},
  ],
  'sensor': [
    {'token': 'c', 'channel': 'CAM', 'modality': 'camera'},
    {'token': 'l', 'channel': 'LIDAR_TOP', 'modality': 'lidar'},
  ],
  'calibrated_sensor': [
    {
      'token': 'cc',
      'sensor_token': 'c',
      'translation': [1, 0, 2],
      'rotation': [0.5, -0.5, 0.5, -0.5],
      'camera_intrinsic': [[30, 0, 20], [0, 31, 12], [0, 0, 1]],
    },
    {
      'token': 'cl',
      'sensor_token': 'l',
      'translation': [0, 0, 0],
      'rotation': [1, 0, 0, 0],
      'camera_intrinsic': [],
    },
  ],
  'ego_pose': [
    {'token': 'e1', 'translation': [100, 50, 0], 'rotation': [1, 0, 0, 0]},
    {'token': 'e2', 'translation': [100, 52, 0], 'rotation': [0.5**0.5, 0, 0, 0.5**0.5]},
  ],
  'sample_data': [
    {
      'token': f'd{i}',
      'sample_token': sample,
      'ego_pose_token': pose,
      'calibrated_sensor_token': sensor,
      'filename': name,
      'is_key_frame': key,
      'width': 40,
      'height': 24,
    }
    for i, (sample, pose, sensor, name, key) in enumerate(
      [
        ('a', 'e1', 'cc', 'samples/CAM/1.png', True),
        ('b', 'e2', 'cc', 'samples/CAM/2.png', True),
        ('b', 'e2', 'cc', 'sweeps/CAM/3.png', False),
        ('b', 'e2', 'cl', 'samples/LIDAR_TOP/2.bin', True),
      ]
    )
  ],
  'category': [{'token': 'k', 'name': 'vehicle.car'}, {'token': 'q', 'name': 'vehicle.ufo'}],
  'instance': [
    {'token': 'i', 'category_token': 'k'},
    {'token': 'j', 'category_token': 'k'},
    {'token': 'u', 'category_token': 'q'},
  ],
  'sample_annotation': [
    {
      'token': f'n{i}',
      'sample_token': sample,
      'instance_token': instance,
      'translation': place,
      'size': [2, 4, 1.5],
      'rotation': [1, 0, 0, 0],
    }
    for i, (sample, instance, place) in enumerate(
      [
        ('a', 'i', [110, 50, 1]),
        ('b', 'i', [110.1, 50, 1]),
        ('a', 'j', [120, 40, 1]),
        ('b', 'j', [124, 40, 1]),
        ('a', 'u', [0, 0, 0]),
        ('x', 'i', [0, 0, 0]),
      ]
    )
  ],
}


@pytest.fixture
def write(tmp_path):
  def call(tables):
    root = tmp_path / 'set'
    for name, records in tables.items():
      path = root / 'v1.0-mini' / f'{name}.json'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(json.dumps(records, indent=2))
    for name in ('1', '2'):
      image_io.write_rgb(root / f'samples/CAM/{name}.png', np.full((24, 40, 3), int(name)))
    return root

  return call


def test_convert_a_hand_written_scene(write, tmp_path, caplog):
  found = nuscenes.convert(write(TABLES), tmp_path / 'out', 'scene-7')
  assert found == transforms.Transforms('scene-7', found.records, ('CAM',), (), 'boxes.json')
  again = transforms.read(tmp_path / 'out')
  assert list(again.records) == [(0, 'CAM'), (1, 'CAM')]
  np.testing.assert_allclose(again.records[0, 'CAM'].intrinsics, [30, 31, 20, 12])
  # The camera looks along the vehicle's x axis; its x axis is the vehicle's -y, its y axis down.
  np.testing.assert_allclose(
    again.records[0, 'CAM'].world_from_cam,
    [[0, 0, 1, 101], [-1, 0, 0, 50], [0, -1, 0, 2], [0, 0, 0, 1]],
    atol=1e-12,
  )
  # Turned to the left, it looks along the world's y axis.
  np.testing.assert_allclose(
    again.records[1, 'CAM'].world_from_cam,
    [[1, 0, 0, 100], [0, 0, 1, 53], [0, -1, 0, 2], [0, 0, 0, 1]],
    atol=1e-12,
  )
  boxes = primitives_json.read_primitives_json(tmp_path / 'out/boxes.json')
  assert [(box.label, box.instance, box.timestamp) for box in boxes] == [
    ('car', 1, -1),
    ('car', 2, 0),
    ('car', 2, 1),
  ]
  np.testing.assert_allclose(np.ptp(boxes[1].vertices, axis=0), [4, 2, 1.5])  # length along x
  np.testing.assert_allclose(boxes[2].vertices.mean(0), [124, 40, 1])
  assert 'vehicle.ufo' in caplog.text


def _set(table, number, key, value):
  return lambda tables: tables[table][number].update({key: value})


WRONG = [
  (lambda tables: tables.pop('ego_pose'), 'ego_pose.json: no such file'),
  (lambda tables: tables.update(sensor={'a': 1}), 'sensor.json: is not a JSON list'),
  (lambda tables: tables.update(instance=[3]), '3 is not a record'),
  (lambda tables: tables['ego_pose'].pop(), "ego_pose.json: no record 'e2'"),
  (_set('instance', 0, 'category_token', 'gone'), "category.json: no record 'gone'"),
  (_set('instance', 0, 'category_token', 5), 'is not a record'),
  (_set('calibrated_sensor', 0, 'camera_intrinsic', [[1, 2]]), 'camera_intrinsic is [[1, 2]]'),
  (_set('calibrated_sensor', 0, 'rotation', [2, 0, 0, 0]), 'not of length 1'),
  (_set('ego_pose', 0, 'translation', [0, float('nan'), 0]), 'translation is [0, nan, 0]'),
  (_set('ego_pose', 0, 'translation', [0, 1e12, 0]), 'magnitude up to 1e+08'),
  (_set('sample_data', 0, 'filename', '../../etc/passwd'), 'does not lie below'),
  (_set('sample_data', 0, 'filename', 'samples/CAM/9.png'), '9.png: no such file (1 of 2'),
  (_set('sample_data', 0, 'width', None), 'width is None'),
  (_set('sample_annotation', 0, 'size', [2, 4]), 'size is [2, 4]'),
  (
    _set('sample_annotation', 0, 'size', [2, -4, 1]),
    "sample_annotation.json: record 'n0': size is [2.0, -4.0, 1.0] (width",
  ),
  (_set('sensor', 0, 'channel', '../CAM'), "channel is '../CAM'"),
  (lambda tables: tables['scene'].pop(0), '--scene=scene-7: '),
  (lambda tables: tables.update(sample_data=[]), 'no camera image'),
  (lambda tables: tables.update(sample=[]), 'no sample'),
  (
    _set('sample_annotation', 2, 'size', [2, 4, 0]),
    "sample_annotation.json: record 'n2': size is [2.0, 4.0, 0.0] (width, length, height)",
  ),
  (_set('sample_annotation', 0, 'rotation', [0, 0, 0, 0]), "record 'n0': rotation is [0.0, 0.0, 0"),
  (_set('sample_annotation', 1, 'sample_token', 'a'), "records of instance 'i' are of one sample"),
  (_set('sample_annotation', 0, 'attribute_tokens', ['z']), 'attribute.json: no such file'),
  (
    _set('sample_data', 2, 'is_key_frame', True),
    "sample_data.json: record 'd2': is another key frame of CAM in sample 'b'",
  ),
  (
    _set('sample_data', 0, 'width', 41),
    '1.png: has 40 x 24 pixels, but sample_data.json states 41',
  ),
  (
    _set('calibrated_sensor', 0, 'camera_intrinsic', [[1, 0, 0], [0, 900, 0], [0, 0, 1]]),
    "calibrated_sensor.json: record 'cc': no pinhole camera",
  ),
  (lambda tables: tables['sample'][0].update(token='a'), 'a token of scene scene-7 is there twice'),
  (
    _set('sample', 0, 'timestamp', 10),
    "sample.json: record 'a': timestamp is 10, that of sample 'b' too",
  ),
  (
    lambda tables: tables['ego_pose'].append(dict(tables['ego_pose'][1])),
    "ego_pose.json: record 'e2': is there twice",
  ),
  (
    lambda tables: tables['sensor'].append(tables['sensor'][0] | {'channel': 'CAM2'}),
    "sensor.json: record 'c': is there twice",
  ),
]


@pytest.mark.parametrize('damage, expected', WRONG)
def test_invalid_tables_are_refused(write, tmp_path, damage, expected):
  tables = copy.deepcopy(TABLES)
  damage(tables)
  with pytest.raises(InputError) as error:
    nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  assert expected in str(error.value), str(error.value)
  assert not (tmp_path / 'out').exists()  # everything is checked first


def test_links_to_other_files_are_refused(write, tmp_path):
  secret = tmp_path / 'secret'
  secret.write_text('root:x:0:0')
  root = write(TABLES)
  path = root / 'samples/CAM/2.png'
  path.unlink()
  path.symlink_to(secret)
  with pytest.raises(InputError, match='CAM/2.png: cannot be read as a PNG or JPEG'):
    nuscenes.convert(root, tmp_path / 'out', 'scene-7')
  assert not (tmp_path / 'out').exists() and secret.stat().st_nlink == 1


def _scene(num_samples, tracks):
  """Return tables of a scene at 2 Hz.

  tracks: category, places by sample number, and names of the attributes of all annotations.
  """
  tables = {name: [] for name in ('sample', 'sample_data', 'sample_annotation', 'instance')}
  tables |= {'scene': [{'token': 's', 'name': 'scene-7'}], 'category': [], 'attribute': []}
  tables |= {name: copy.deepcopy(TABLES[name]) for name in ('sensor', 'calibrated_sensor')}
  tables['ego_pose'] = TABLES['ego_pose'][:1]
  for i in range(num_samples):
    time = 1_532_402_927_647_951 + i * 500_000
    tables['sample'].append({'token': f's{i}', 'timestamp': time, 'scene_token': 's'})
    tables['sample_data'].append(
      TABLES['sample_data'][0] | {'token': f'd{i}', 'sample_token': f's{i}'}
    )
  for category, places, states in tracks:
    name = f'{len(tables["instance"])}'
    tables['category'].append({'token': name, 'name': category})
    tables['instance'].append({'token': name, 'category_token': name})
    tables['attribute'] += [{'token': f'{name}{state}', 'name': state} for state in states]
    for i, place in places.items():
      tables['sample_annotation'].append(
        TABLES['sample_annotation'][0]
        | {'token': f'{name} {i}', 'sample_token': f's{i}', 'instance_token': name}
        | {'translation': place, 'attribute_tokens': [f'{name}{state}' for state in states]}
      )
  return tables


def _line(speed, samples, jitter=0.0):
  """Places of an object at a speed in metres per second."""
  return {i: [100 + speed * i / 2 + jitter * (-1) ** i, 50, 1] for i in samples}


@pytest.mark.parametrize(
  'category, places, states, static',
  [
    ('vehicle.car', _line(10, [3]), (), False),
    ('vehicle.car', _line(10, [3]), ('vehicle.moving',), False),
    ('vehicle.car', _line(0, [3]), ('vehicle.parked',), True),
    ('vehicle.car', _line(0, [3]), ('vehicle.stopped',), False),
    ('vehicle.car', _line(0, range(6)), ('vehicle.stopped',), False),
    ('vehicle.car', _line(0.8, [1, 2, 3]), (), False),
    ('vehicle.car', _line(0.8, [1, 2, 3]), ('vehicle.parked',), False),  # a wrong attribute
    ('vehicle.car', _line(0.02, range(6), 0.05), (), True),  # inaccurate annotations
    ('vehicle.car', _line(0, [2, 3, 4]), (), True),
    ('vehicle.car', _line(0, [2, 3]), (), False),  # cannot tell
    ('human.pedestrian.adult', _line(1.4, [2, 3]), (), False),
    ('human.pedestrian.adult', _line(0.5, [2, 3]), (), False),
    ('human.pedestrian.adult', _line(0, range(6)), ('pedestrian.standing',), False),
    ('human.pedestrian.adult', _line(0, [2]), ('pedestrian.sitting_lying_down',), True),
    ('vehicle.bicycle', _line(0, [2, 3, 4]), ('cycle.with_rider',), False),
    ('vehicle.bicycle', _line(0, [2]), ('cycle.without_rider',), True),
    ('static_object.bicycle_rack', _line(0, [2]), (), True),
    ('movable_object.trafficcone', _line(0, [2]), (), True),
    ('movable_object.debris', _line(0, [2]), (), False),
    ('car', _line(0, [2, 3, 4]), ('object_action_parked',), True),  # Lyft's names
    ('car', _line(0, [2, 3, 4]), ('object_action_driving_straight_forward',), False),
    ('bicycle', _line(0, [2]), (), False),
  ],
)
def test_only_objects_that_surely_rest_are_static(
  write, tmp_path, category, places, states, static
):
  tables = _scene(6, [(category, places, states)])
  nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  boxes = json.loads((tmp_path / 'out/boxes.json').read_text())['boxes']
  if static:
    assert len(boxes) == 1 and 'frame' not in boxes[0]
    assert boxes[0]['center'] in places.values()
  else:
    assert {box['frame']: box['center'] for box in boxes} == places
    assert len({(box['class'], box['instance']) for box in boxes}) == 1


def test_too_many_objects_are_refused(write, tmp_path):
  cars = [('vehicle.car', _line(0, [0]), ())] * 1000
  with pytest.raises(InputError, match="instance.json: record '999': is another car of the scene"):
    nuscenes.convert(write(_scene(1, cars)), tmp_path / 'out', 'scene-7')
  assert not (tmp_path / 'out').exists()


def test_the_name_of_a_scene_names_a_folder(write, tmp_path):
  tables = copy.deepcopy(TABLES)
  for name in ('a scene', '../scene', 'scene\n7'):
    tables['scene'][0]['name'] = name
    with pytest.raises(InputError, match='v1.0-mini/scene.json: name is .*, but names a folder'):
      nuscenes.convert(write(tables), tmp_path / 'out', name)
  assert not (tmp_path / 'out').exists()


def test_velocities_are_used(write, tmp_path):
  tables = _scene(6, [('vehicle.car', _line(0, range(6)), ())])
  for record, velocity in zip(tables['sample_annotation'], (None, [float('nan')] * 3, [0.1, 0, 0])):
    record['velocity'] = velocity
  read = lambda: json.loads((tmp_path / 'out/boxes.json').read_text())['boxes']
  nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  assert len(read()) == 1
  tables['sample_annotation'][4]['velocity'] = [0, 3, 0]
  nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  assert [box['frame'] for box in read()] == list(range(6))


def test_tables_of_lyft_are_found(write, tmp_path):
  root = write(_scene(2, [('other_vehicle', _line(0, [0, 1]), ())]))
  (root / 'v1.0-mini').rename(root / 'v1.01-train')
  nuscenes.convert(root, tmp_path / 'out', 'scene-7')
  (box,) = primitives_json.read_primitives_json(tmp_path / 'out/boxes.json')
  assert box.label == 'unknown vehicle'


@pytest.mark.parametrize(
  'content',
  [
    '',
    '[',
    '[{"token": "a"}',
    '[{"token": "a"} 3]',
    '[{"token": "a", "token": "b"}]',
    '[' * 9999,
    '{"token": "a"}',
    '\0',
  ],
)
def test_truncated_tables_are_refused(write, tmp_path, content):
  root = write(TABLES)
  (root / 'v1.0-mini/sample.json').write_text(content)
  with pytest.raises(InputError, match='sample.json: is not a JSON list of records'):
    nuscenes.convert(root, tmp_path / 'out', 'scene-7')
