"""Tables of nuScenes that are refused."""

import pytest

from pnerf_jax.contrib.datasets import nuscenes
from pnerf_jax.errors import InputError


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
def test_invalid_tables_are_refused(write, tables, tmp_path, damage, expected):
  damage(tables)
  with pytest.raises(InputError) as error:
    nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  assert expected in str(error.value), str(error.value)
  assert not (tmp_path / 'out').exists()  # everything is checked first


def test_links_to_other_files_are_refused(write, tables, tmp_path):
  secret = tmp_path / 'secret'
  secret.write_text('root:x:0:0')
  root = write(tables)
  path = root / 'samples/CAM/2.png'
  path.unlink()
  path.symlink_to(secret)
  with pytest.raises(InputError, match='CAM/2.png: cannot be read as a PNG or JPEG'):
    nuscenes.convert(root, tmp_path / 'out', 'scene-7')
  assert not (tmp_path / 'out').exists() and secret.stat().st_nlink == 1


def test_the_name_of_a_scene_names_a_folder(write, tables, tmp_path):
  for name in ('a scene', '../scene', 'scene\n7'):
    tables['scene'][0]['name'] = name
    with pytest.raises(InputError, match='v1.0-mini/scene.json: name is .*, but names a folder'):
      nuscenes.convert(write(tables), tmp_path / 'out', name)
  assert not (tmp_path / 'out').exists()


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
def test_truncated_tables_are_refused(write, tables, tmp_path, content):
  root = write(tables)
  (root / 'v1.0-mini/sample.json').write_text(content)
  with pytest.raises(InputError, match='sample.json: is not a JSON list of records'):
    nuscenes.convert(root, tmp_path / 'out', 'scene-7')
