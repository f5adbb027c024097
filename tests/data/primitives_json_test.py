"""Cuboids in JSON: corners, frames, and refused values."""

import json

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from pnerf_jax.data import primitives_json
from pnerf_jax.errors import InputError

CAR = {'class': 'car', 'instance': 3, 'center': [10, 20, 1], 'size': [4, 2, 1.5], 'yaw': 0.0}


def read(tmp_path, *entries, **options):
  path = tmp_path / 'boxes.json'
  path.write_text(json.dumps({'boxes': entries}))
  return primitives_json.read_primitives(path, **options)


def test_cuboid_by_hand(tmp_path):
  (record,) = read(tmp_path, CAR | {'yaw': np.pi / 2})
  # Length 4 now along y, width 2 along x.
  np.testing.assert_allclose(record.vertices.min(0), [9, 18, 0.25], atol=1e-12)
  np.testing.assert_allclose(record.vertices.max(0), [11, 22, 1.75], atol=1e-12)
  assert (record.label, record.semantic, record.instance, record.timestamp) == ('car', 26, 3, -1)
  mesh = trimesh.Trimesh(record.vertices, record.faces, process=False)
  assert mesh.is_watertight and mesh.volume == pytest.approx(12)


def test_quaternions(tmp_path):
  for rotation in Rotation.random(20, random_state=0):
    x, y, z, w = rotation.as_quat()
    entry = {key: value for key, value in CAR.items() if key != 'yaw'}
    (record,) = read(tmp_path, entry | {'class': 26, 'rotation': [w, x, y, z]})
    local = rotation.inv().apply(record.vertices - [10, 20, 1])
    np.testing.assert_allclose(np.abs(local), np.tile([2, 1, 0.75], (8, 1)), atol=1e-9)
    # The corner (+, +, +) is the last one.
    np.testing.assert_allclose(record.vertices[-1], rotation.apply([2, 1, 0.75]) + [10, 20, 1])


def test_moving_cuboids(tmp_path):
  moving = CAR | {'frame': 10, 'frames': [8, 12], 'velocity': [1, 0, 0.5]}
  boxes = read(
    tmp_path,
    CAR | {'frame': 5},
    moving,
    predicate=lambda start, end, timestamp: timestamp in (5, 9, 12, 13),
  )
  assert [record.timestamp for record in boxes] == [5, 9, 12]
  np.testing.assert_allclose(
    [record.vertices.mean(0) for record in boxes], [[10, 20, 1], [9, 20, 0.5], [12, 20, 2]]
  )


def test_few_bytes_claim_no_more_frames_than_a_file_may_have(tmp_path):
  moving = [CAR | {'frame': 0, 'frames': [i, i + 49_999], 'velocity': [0, 0, 0]} for i in range(6)]
  none = lambda *_: False
  assert read(tmp_path, *moving[:5], *[CAR | {'frame': 1}] * 9, predicate=none) == []
  with pytest.raises(
    InputError, match=r'boxes\[5\]: frames is \[5, 50004\], which makes more than 2'
  ):
    read(tmp_path, *moving, predicate=none)


def test_static_cuboids_with_a_frame_range(tmp_path):
  boxes = read(tmp_path, CAR, CAR | {'frames': [0, 0]}, CAR | {'frames': [200, 300]})
  assert [(record.start_frame, record.end_frame) for record in boxes] == [
    (-1, -1),
    (0, 1),
    (200, 300),
  ]
  seen = []
  read(tmp_path, CAR | {'frames': [200, 300]}, predicate=lambda *args: bool(seen.append(args)))
  assert seen == [(200, 300, -1)]


def test_written_lists_are_read(tmp_path):
  primitives_json.write_primitives_json(
    tmp_path / 'a' / 'boxes.json', [CAR, CAR | {'class': 'truck'}]
  )
  assert [
    record.semantic
    for record in primitives_json.read_primitives_json(tmp_path / 'a' / 'boxes.json')
  ] == [26, 27]


WRONG = [
  ({'class': 'kart'}, "class is 'kart'"),
  ({'class': 'kart'}, 'label table. Use one of: ego vehicle, rectification border, '),
  ({'class': 0}, 'class is 0'),
  ({'class': 45}, '45'),
  ({'class': 26.0}, '26.0'),
  ({'class': ['car']}, "['car']"),
  ({'class': True}, 'True'),
  ({'class': None}, 'class is None'),
  ({'instance': 1000}, 'instance is 1000'),
  ({'instance': -1}, 'instance is -1'),
  ({'instance': 'a'}, "'a'"),
  ({'center': [1, 2]}, 'center: [1, 2], expected 3'),
  ({'center': [1, 2, float('nan')]}, 'center'),
  ({'center': [1, 2, 1e12]}, 'center'),
  ({'center': [1, 2, 10**400]}, 'center'),
  ({'center': '123'}, 'center'),
  ({'size': [4, 2, 0]}, 'size is [4.0, 2.0, 0.0]'),
  ({'size': [4, -2, 1]}, 'size'),
  ({'size': [1e7, 2, 1]}, 'size'),
  ({'yaw': float('inf')}, 'yaw'),
  ({'yaw': [1]}, 'yaw'),
  ({'yaw': 90}, 'yaw is 90, beyond a turn of 2 pi. Write radians, not degrees.'),
  ({'rotation': [1, 0, 0, 0]}, 'both rotation and yaw'),
  ({'colour': 1}, "'colour' is an unknown key"),
  ({'frame': 1.5}, 'frame is 1.5'),
  ({'frame': -2}, 'frame is -2'),
  ({'frames': [5, 2]}, 'frames is [5, 2]'),
  ({'frames': 5}, 'frames is 5'),
  ({'frames': [1, 2, 3]}, 'frames'),
  ({'velocity': [1, 0, 0]}, 'velocity without'),
  ({'frame': 1, 'velocity': [1, 0, 0]}, 'both or none'),
  ({'frame': 1, 'frames': [0, 3]}, 'both or none'),
  ({'frame': 1, 'frames': [0, 10**6], 'velocity': [1, 0, 0]}, 'makes more than 250000 boxes'),
  ({'frame': 1, 'frames': [0, 3], 'velocity': [1, 0]}, 'velocity: [1, 0]'),
]


@pytest.mark.parametrize('change, message', WRONG)
def test_wrong_values_are_refused(tmp_path, change, message):
  with pytest.raises(InputError) as error:
    read(tmp_path, CAR, CAR | change, predicate=lambda *_: False)  # even if not accepted
  assert message in str(error.value) and 'boxes.json: boxes[1]' in str(error.value)


def test_keys_beside_the_list_are_refused(tmp_path):
  path = tmp_path / 'boxes.json'
  path.write_text('{"boxes": [], "unit": "cm"}')
  with pytest.raises(InputError, match=r"boxes.json: 'unit' is an unknown key. Use \['boxes'\]."):
    primitives_json.read_primitives_json(path)


def test_rotations_are_refused(tmp_path):
  entry = {key: value for key, value in CAR.items() if key != 'yaw'}
  with pytest.raises(InputError, match='neither rotation nor yaw'):
    read(tmp_path, entry)
  with pytest.raises(InputError, match='of length 2, not 1'):
    read(tmp_path, entry | {'rotation': [2, 0, 0, 0]})


@pytest.mark.parametrize(
  'content, message',
  [
    ('', 'not JSON'),
    ('[]', 'no list "boxes"'),
    ('{"boxes": 3}', 'no list "boxes"'),
    ('{"boxes": [3]}', 'boxes[0]: 3 is not an object'),
    ('[' * 100_000, 'not JSON'),
    ('\xff', 'not JSON'),
  ],
)
def test_damaged_lists_are_refused(tmp_path, content, message):
  path = tmp_path / 'boxes.json'
  path.write_bytes(content.encode('latin-1'))
  with pytest.raises(InputError) as error:
    primitives_json.read_primitives(path)
  assert message in str(error.value) and str(path) in str(error.value)
