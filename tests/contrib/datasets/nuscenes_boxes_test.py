"""Boxes of nuScenes: which objects move, and their classes."""

import json

import pytest

from pnerf_jax.contrib.datasets import nuscenes
from pnerf_jax.data import primitives_json
from pnerf_jax.errors import InputError


def _scene(examples, num_samples, tracks):
  """Return tables of a scene at 2 Hz, with records like the examples.

  tracks: category, places by sample number, and names of the attributes of all annotations.
  """
  tables = {name: [] for name in ('sample', 'sample_data', 'sample_annotation', 'instance')}
  tables |= {'scene': [{'token': 's', 'name': 'scene-7'}], 'category': [], 'attribute': []}
  tables |= {name: examples[name] for name in ('sensor', 'calibrated_sensor')}
  tables['ego_pose'] = examples['ego_pose'][:1]
  for i in range(num_samples):
    time = 1_532_402_927_647_951 + i * 500_000
    tables['sample'].append({'token': f's{i}', 'timestamp': time, 'scene_token': 's'})
    tables['sample_data'].append(
      examples['sample_data'][0] | {'token': f'd{i}', 'sample_token': f's{i}'}
    )
  for category, places, states in tracks:
    name = f'{len(tables["instance"])}'
    tables['category'].append({'token': name, 'name': category})
    tables['instance'].append({'token': name, 'category_token': name})
    tables['attribute'] += [{'token': f'{name}{state}', 'name': state} for state in states]
    for i, place in places.items():
      tables['sample_annotation'].append(
        examples['sample_annotation'][0]
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
  write, tables, tmp_path, category, places, states, static
):
  tables = _scene(tables, 6, [(category, places, states)])
  nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  boxes = json.loads((tmp_path / 'out/boxes.json').read_text())['boxes']
  if static:
    assert len(boxes) == 1 and 'frame' not in boxes[0]
    assert boxes[0]['center'] in places.values()
  else:
    assert {box['frame']: box['center'] for box in boxes} == places
    assert len({(box['class'], box['instance']) for box in boxes}) == 1


def test_too_many_objects_are_refused(write, tables, tmp_path):
  cars = [('vehicle.car', _line(0, [0]), ())] * 1000
  with pytest.raises(InputError, match="instance.json: record '999': is another car of the scene"):
    nuscenes.convert(write(_scene(tables, 1, cars)), tmp_path / 'out', 'scene-7')
  assert not (tmp_path / 'out').exists()


def test_velocities_are_used(write, tables, tmp_path):
  tables = _scene(tables, 6, [('vehicle.car', _line(0, range(6)), ())])
  for record, velocity in zip(tables['sample_annotation'], (None, [float('nan')] * 3, [0.1, 0, 0])):
    record['velocity'] = velocity
  read = lambda: json.loads((tmp_path / 'out/boxes.json').read_text())['boxes']
  nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  assert len(read()) == 1
  tables['sample_annotation'][4]['velocity'] = [0, 3, 0]
  nuscenes.convert(write(tables), tmp_path / 'out', 'scene-7')
  assert [box['frame'] for box in read()] == list(range(6))


def test_tables_of_lyft_are_found(write, tables, tmp_path):
  root = write(_scene(tables, 2, [('other_vehicle', _line(0, [0, 1]), ())]))
  (root / 'v1.0-mini').rename(root / 'v1.01-train')
  nuscenes.convert(root, tmp_path / 'out', 'scene-7')
  (box,) = primitives_json.read_primitives_json(tmp_path / 'out/boxes.json')
  assert box.label == 'unknown vehicle'
