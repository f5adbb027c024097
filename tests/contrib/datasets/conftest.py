"""A hand-written scene in the tables of nuScenes."""

import copy
import json

import numpy as np
import pytest

from pnerf_jax.data import image_io

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
def tables():
  """Return the tables, which the test may change."""
  return copy.deepcopy(TABLES)


@pytest.fixture
def write(tmp_path):
  """Return a function that writes tables and the images of `TABLES`; it returns the root."""

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
