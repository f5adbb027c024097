"""Tests of the error lines of `train` and `prepare` for invalid transforms.json and boxes.json.

The checks themselves are tested in tests/data/transforms_test.py and primitives_json_test.py.
"""

import json

import numpy as np
import pytest

from pnerf_jax.data import image_io

OWN = '--config=configs/transforms.py:tiny'
TRANSFORMS, BOXES = 'transforms.json', 'boxes.json'


@pytest.fixture
def own(tmp_path):
  root = tmp_path / 'own'
  image_io.write_rgb(root / 'front/0.png', np.zeros((24, 40, 3)))
  matrix = [[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 1]]
  (root / TRANSFORMS).write_text(
    json.dumps(
      {
        'boxes_path': BOXES,
        'w': 40,
        'h': 24,
        'fl_x': 30,
        'fl_y': 30,
        'cx': 20,
        'cy': 12,
        'frames': [{'file_path': 'front/0.png', 'transform_matrix': matrix}],
      }
    )
  )
  (root / BOXES).write_text(
    json.dumps({'boxes': [{'class': 'car', 'center': [12, 0, 1], 'size': [4, 2, 2], 'yaw': 0}]})
  )
  return root


def set_value(*path, value):
  """Return a function that sets one value inside a JSON file."""

  def damage(file):
    content = json.loads(file.read_text())
    parent = content
    for key in path[:-1]:
      parent = parent[key]
    parent[path[-1]] = value
    file.write_text(json.dumps(content))

  return damage


MATRIX = ('frames', 0, 'transform_matrix')
DAMAGES = [
  (TRANSFORMS, lambda file: file.unlink(), 'no such file'),
  (TRANSFORMS, lambda file: (file.unlink(), file.mkdir()), 'not a regular file'),
  (TRANSFORMS, lambda file: file.write_bytes(b'\xff\xfe{'), 'not JSON'),
  (TRANSFORMS, lambda file: file.write_text('[' * 100_000), 'not JSON'),
  (
    TRANSFORMS,
    set_value('frames', 0, 'transform_matrix', 1, 3, value=float('nan')),
    'transform_matrix: nan',
  ),
  (TRANSFORMS, set_value(*MATRIX, 0, 0, value=0.5), 'no rotation'),
  (TRANSFORMS, set_value('frames', 0, 'file_path', value='../../etc/x1.png'), '../../etc/x1.png'),
  (TRANSFORMS, set_value('frames', 0, 'file_path', value='front/9.png'), 'front/9.png: no such'),
  (TRANSFORMS, set_value('k1', value=-0.3), 'Undistort the images first'),
  (TRANSFORMS, set_value('fl_x', value=float('inf')), 'fl_x: inf'),
  (TRANSFORMS, set_value('w', value=41), '40x24, expected 41x24'),
  (TRANSFORMS, set_value('fl_x', value=0.78), 'focal lengths 0.78 and 30 pixels'),
  (TRANSFORMS, set_value('mask_path', value='masks/0.png'), 'the image is masked'),
  (TRANSFORMS, set_value('applied_scale', value=0.2), 'applied_scale is 0.2'),
  (
    TRANSFORMS,
    set_value('frames', 0, 'file_path', value='front/0.100.png'),
    'every entry a "frame"',
  ),
  (
    TRANSFORMS,
    lambda file: file.write_text(file.read_text().replace('"w": 40', '"w": 40, "w": 40')),
    "twice in one object: 'w'",
  ),
  (BOXES, lambda file: file.unlink(), 'no such file'),
  (BOXES, lambda file: file.write_text('{"boxes"'), 'not JSON'),
  (BOXES, set_value('boxes', 0, 'class', value='spaceship'), 'Use one of: ego vehicle, '),
  (BOXES, set_value('boxes', 0, 'size', 2, value=float('inf')), 'size'),
  (BOXES, set_value('boxes', 0, 'yaw', value=None), 'yaw'),
  (BOXES, set_value('boxes', 0, 'center', 0, value=-400), 'no primitive is in view'),
  ('front/0.png', lambda file: file.write_bytes(file.read_bytes()[:50]), 'damaged PNG'),
]


@pytest.mark.parametrize('name, damage, expected', DAMAGES)
def test_train_reports_invalid_files(binary, check_line, own, tmp_path, name, damage, expected):
  damage(own / name)
  code, err = binary('train', OWN, f'--config.data.root={own}', f'--workdir={tmp_path / "run"}')
  check_line(code, err, str(own), expected)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'module, arguments, expected',
  [
    ('prepare', ['depth'], 'rectified stereo pair'),
    ('prepare', ['transforms'], '--out'),
    ('prepare', ['transforms', '--out=README.md'], 'README.md'),
    ('prepare', ['transforms', '--out=OUT', '--config.data.cameras=rear'], 'rear'),
    ('train', ['--workdir=OUT', '--config.data.cameras=rear'], 'config.data.cameras'),
    ('train', ['--workdir=OUT', '--config.data.primitives=union'], 'config.data.primitives'),
    ('prepare', ['check', '--out=OUT.png', '--config.eval.camera=rear'], 'config.eval.camera'),
    ('windows', ['cut', '--out=OUT', '--config.data.cameras=rear'], 'rear'),
    ('train', ['--workdir=OUT', '--config.data.source=folder'], '--config=configs/transforms.py.'),
  ],
)
def test_invalid_options_are_reported(
  binary, check_line, own, tmp_path, module, arguments, expected
):
  arguments = [argument.replace('OUT', str(tmp_path / 'out')) for argument in arguments]
  command = [arguments.pop(0)] if module != 'train' else []
  check_line(*binary(module, *command, OWN, f'--config.data.root={own}', *arguments), expected)
  assert not (tmp_path / 'out').exists()
