"""Tests of the nuScenes conversion: a street with six cameras, and a hand-written scene.

The cars of the street are projected with the numbers of the tables and scipy's rotations.
"""

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


def test_convert_a_hand_written_scene(tables, write, tmp_path, caplog):
  found = nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
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
