"""Primitive XML: real files, names of the annotation tool, and refused files."""

import collections

import numpy as np
import pytest
import trimesh

from pnerf_jax.data import kitti360, labels, primitives
from pnerf_jax.errors import InputError

S = '2013_05_28_drive_{}_sync'
COUNTS = {  # as listed in the data's own notes
  ('train', '0000'): 'car 206',
  ('train_full', '0002'): (
    'vegetation 404, wall 118, terrain 74, sidewalk 56, building 50, ground 43, garage 36, '
    'parking 29, pole 28, box 22, lamp 22, fence 17, trash bin 16, car 15, gate 15, road 13, '
    'traffic sign 12, person 4, smallpole 2, truck 1'
  ),
  ('train_full', '0009'): (
    'vegetation 90, sidewalk 18, pole 14, unknown object 11, building 10, road 9, traffic sign '
    '8, car 7, terrain 7, lamp 5, parking 5, box 4, ground 4, fence 3, trash bin 2, unknown '
    'vehicle 2, bicycle 1, garage 1, gate 1, smallpole 1, stop 1, trailer 1, unknown '
    'construction 1, wall 1'
  ),
  ('train_full', '0000'): (
    'car 227, vegetation 58, building 30, sidewalk 24, road 17, terrain 10, wall 6, parking 5, '
    'fence 4, pole 3, box 2, gate 2, lamp 2, ground 1, trailer 1, garage 1, truck 1'
  ),
}


def counts(text):
  pairs = (item.rsplit(' ', 1) for item in text.split(', '))
  return {name: int(count) for name, count in pairs}


@pytest.mark.parametrize('split, drive', COUNTS)
def test_real_files(shared, split, drive):
  found = primitives.read_primitives_xml(
    kitti360.primitives_path(shared / 'kitti360_real', S.format(drive), split)
  )
  assert collections.Counter(record.label for record in found) == counts(COUNTS[split, drive])
  for record in found:
    assert record.annotation == record.index + 1 and record.timestamp == -1
    assert labels.BY_ID[record.semantic].name == record.label
    # Closed once equal vertices are merged, and of positive volume whatever the winding.
    mesh = trimesh.Trimesh(record.vertices - record.vertices.mean(0), record.faces, process=False)
    mesh.merge_vertices(digits_vertex=5)
    mesh.update_faces((np.diff(np.sort(mesh.faces), axis=-1) > 0).all(-1))  # the ellipsoids' poles
    assert mesh.is_watertight and abs(mesh.volume) > 1e-3


def test_real_cars_have_the_size_of_cars(shared):
  cars = primitives.read_primitives_xml(
    kitti360.primitives_path(shared / 'kitti360_real', S.format('0000'), 'train')
  )
  # Cuboid corners in the official order: 0 (+++), 5 (-++), 2 (+-+), 1 (++-).
  sizes = np.array(
    [[np.linalg.norm(c.vertices[0] - c.vertices[i]) for i in (5, 2, 1)] for c in cars]
  )
  np.testing.assert_allclose(np.median(sizes, 0), [4.4, 2.0, 1.6], atol=0.25)


def test_street_file(shared):
  path = kitti360.primitives_path(shared / 'streets' / 'street_a', S.format('0001'), 'train')
  found = collections.Counter(record.label for record in primitives.read_primitives_xml(path))
  assert sum(found.values()) == 249
  assert found['parking'] == 12 and found['terrain'] == 25 and found['person'] == 12


def test_annotation_tool_file(shared):
  folder = shared / 'kitti360_real' / 'extra' / 'labeltool'
  found = primitives.read_primitives_xml(folder / 'log0.xml')
  expected = 'vegetation 9, building 8, car 5, sidewalk 4, road 3, terrain 3, wall 2'
  assert collections.Counter(record.label for record in found) == counts(expected)
  with pytest.raises(InputError, match="log.xml: <object2>.*label 'ddd'"):
    primitives.read_primitives_xml(folder / 'log.xml')


def test_world_vertices_by_hand(tiny):
  tiny.primitives_path.write_text(tiny.boxes_xml(tiny.cube_xml(center=(5, 6, 7), size=(2, 4, 6))))
  (record,) = primitives.read_primitives_xml(tiny.primitives_path)
  np.testing.assert_array_equal(record.vertices[0], [4, 4, 4])
  np.testing.assert_array_equal(record.vertices[-1], [6, 8, 10])
  assert record.vertices.dtype == np.float64 and record.faces.dtype == np.int32
  assert (record.index, record.annotation, record.instance, record.semantic) == (1, 2, 1, 26)
  assert (record.start_frame, record.end_frame, record.timestamp) == (1, 240, -1)


@pytest.mark.parametrize(
  'label, kitti_id, name',
  [
    ('driveway', 2, 'parking'),
    ('ground', 4, 'terrain'),
    ('ground', -1, 'ground'),
    ('ground', None, 'terrain'),
    ('unknownGround', None, 'ground'),
    ('unknownGround', -1, 'ground'),
    ('driveway', None, 'parking'),
    ('railtrack', None, 'rail track'),
    ('bigPole', None, 'pole'),
    ('smallPole', None, 'smallpole'),
    ('pedestrian', None, 'person'),
    ('trafficLight', None, 'traffic light'),
    ('trafficSign', -1, 'traffic sign'),
    ('trashbin', None, 'trash bin'),
    ('vendingmachine', None, 'vending machine'),
    ('treeSphere', None, 'vegetation'),
    ('treeCube', None, 'vegetation'),
    ('bush', None, 'vegetation'),
    ('tree', None, 'vegetation'),
    ('van', None, 'car'),
    ('guardrail', None, 'guard rail'),
    ('unknownConstruction', None, 'unknown construction'),
    ('unknownVehicle', None, 'unknown vehicle'),
    ('unknownObject', None, 'unknown object'),
    ('traffic light', None, 'traffic light'),
    ('anything at all', 11, 'building'),
    (None, 11, 'building'),
    ('car', 14, 'truck'),
  ],
)
def test_class_names(tiny, label, kitti_id, name):
  tiny.primitives_path.write_text(tiny.boxes_xml(tiny.cube_xml(label=label, semanticId=kitti_id)))
  assert primitives.read_primitives_xml(tiny.primitives_path)[0].label == name


def test_every_kitti_id(tiny):
  ids = range(1, 38)
  tiny.primitives_path.write_text(
    tiny.boxes_xml(*(tiny.cube_xml(number=i, semanticId=i, label='?') for i in ids))
  )
  found = primitives.read_primitives_xml(tiny.primitives_path)
  assert [labels.BY_ID[record.semantic].kitti_id for record in found] == list(ids)


def test_missing_tags_and_foreign_children(tiny):
  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      '<note><text>no primitive</text></note>',
      tiny.cube_xml(
        number=7,
        index=None,
        semanticId=None,
        instanceId=None,
        start_frame=None,
        end_frame=None,
        timestamp=None,
      ),
    )
  )
  (record,) = primitives.read_primitives_xml(tiny.primitives_path)
  assert (record.label, record.instance, record.timestamp) == ('car', 0, -1)
  assert (record.start_frame, record.end_frame) == (-1, -1)


def test_deduplicate(tiny):
  def cube(x, number, instance, label='car', **tags):
    return tiny.cube_xml(
      center=(x, 0.0, 0.0),
      size=(4, 2, 2),
      number=number,
      instanceId=instance,
      label=label,
      semanticId=None,
      **tags,
    )

  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      cube(0.9, 1, 5),
      cube(1.2, 2, 5),  # the same car, drawn again in the next window
      cube(0.9, 3, 9),  # the same mesh under another number, as where two files are joined
      cube(1.2, 4, 9),  # not the same mesh, nor the same instance
      cube(6.0, 5, 5),  # one number for two cars
      cube(0.9, 6, 5, label='truck'),
      cube(0.9, 7, 5, timestamp=3),
      cube(1.0, 8, 5, timestamp=4),
      cube(1.0, 9, 5, timestamp=3),
    )
  )
  kept = primitives.deduplicate(primitives.read_primitives_xml(tiny.primitives_path))
  assert [record.index for record in kept] == [1, 4, 5, 6, 7, 8]


BOMB = (
  '<!DOCTYPE l [<!ENTITY a "ha">'
  + ''.join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip('abcdefgh', 'bcdefghi'))
  + ']>'
)


@pytest.mark.parametrize(
  'text, messages',
  [
    (None, ['no such file']),
    ('', ['not well-formed']),
    ('<opencv_storage><object1>', ['not well-formed']),
    (BOMB + '<l>&i;</l>', ['refused']),
    ('<!DOCTYPE l SYSTEM "file:///etc/passwd"><l/>', ['refused']),
    ('<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>', ['refused']),
  ],
)
def test_malformed_files(tiny, text, messages):
  tiny.primitives_path.unlink()
  if text is not None:
    tiny.primitives_path.write_text(text)
  with pytest.raises(InputError) as error:
    primitives.read_primitives_xml(tiny.primitives_path)
  for message in [str(tiny.primitives_path), *messages]:
    assert message in str(error.value)


FLAT = np.array([[x, y, 0] for x in (-1, 1) for y in (-1, 1)] * 2)


@pytest.mark.parametrize(
  'tags, old, new, messages',
  [
    ({}, '0 0 0 1', '0 0 0', ['transform', '15 numbers']),
    ({}, '<dt>f</dt><data>\n2 ', '<dt>f</dt><data>\nnan ', ['transform', 'not finite']),
    ({}, '<dt>f</dt><data>\n2 ', '<dt>f</dt><data>\n1e999 ', ['transform', 'not finite']),
    ({}, '<dt>f</dt><data>\n2 ', '<dt>f</dt><data>\ntwo ', ['transform', 'two']),
    ({}, '<rows>8</rows>', '<rows>9</rows>', ['vertices', '9x3', '24 numbers']),
    ({}, '<rows>8</rows>', '<rows>99999999999</rows>', ['vertices', "rows is '99999999999'"]),
    ({}, '<rows>8</rows>', '<rows>-8</rows>', ['vertices']),
    ({}, '<rows>8</rows>', '<rows>many</rows>', ['rows', "'many'"]),
    ({}, '<rows>4</rows><cols>4</cols>', '<rows>2</rows><cols>8</cols>', ['transform', '2x8']),
    ({}, 'vertices', 'points', ['no <vertices>']),
    ({}, '-0.5 -0.5 -0.5 ', 'inf -0.5 -0.5 ', ['vertices', 'not finite']),
    ({}, '<data>\n0 1 3 ', '<data>\n0 1 8 ', ['faces', '0..7']),
    ({}, '<data>\n0 1 3 ', '<data>\n0 1 -1 ', ['faces', '0..7']),
    ({}, '<data>\n0 1 3 ', '<data>\n0 1 1.5 ', ['faces', '0..7']),
    ({'size': (0, 2, 2)}, '', '', ['degenerate', '0 m thick']),
    ({'size': (2, 2, 1e-5)}, '', '', ['degenerate']),
    ({'vertices': FLAT}, '', '', ['degenerate']),
    ({'vertices': np.zeros((8, 3))}, '', '', ['degenerate']),
    ({'faces': np.array([[0, 1, 2]])}, '', '', ['degenerate', '1 faces']),
    ({'label': 'spaceship', 'semanticId': -1}, '', '', ["'spaceship'"]),
    ({'label': None, 'semanticId': None}, '', '', ["label ''", 'Use one of: ego vehicle, ']),
    ({'semanticId': 38}, '', '', ['semanticId 38']),
    ({'semanticId': 'x'}, '', '', ['semanticId', "'x'"]),
    ({'index': 'first'}, '', '', ['index', "'first'"]),
  ],
)
def test_malformed_objects(tiny, tags, old, new, messages):
  good, bad = tiny.cube_xml(number=1), tiny.cube_xml(number=2, **tags)
  assert old in bad
  tiny.primitives_path.write_text(tiny.boxes_xml(good, bad.replace(old, new) if old else bad))
  with pytest.raises(InputError) as error:
    primitives.read_primitives_xml(tiny.primitives_path)
  assert '\n' not in str(error.value)
  for message in [str(tiny.primitives_path), '<object2>', *messages]:
    assert message in str(error.value)


def test_rejected_primitives_are_not_checked(tiny):
  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      tiny.cube_xml(number=1, start_frame=900, end_frame=1100, label='spaceship', semanticId=-1),
      tiny.cube_xml(number=2),
    )
  )
  found = primitives.read_primitives_xml(
    tiny.primitives_path, lambda start_frame, end_frame, timestamp: start_frame < 500
  )
  assert [record.index for record in found] == [2]


@pytest.mark.parametrize(
  'start_frame, end_frame, timestamp, expected',
  [
    (100, 340, -1, True),
    (344, 500, -1, True),
    (360, 500, -1, True),
    (361, 500, -1, False),
    (0, 90, -1, True),
    (1, 89, -1, False),
    (2711, 2903, -1, False),
    (100, 100, -1, True),
    (-1, -1, -1, True),
    (0, 0, -1, True),
    (2000, 3000, 101, True),
    (100, 340, 99, False),
    (340, 100, -1, True),
  ],
)
def test_annotated_in_window(start_frame, end_frame, timestamp, expected):
  frames = tuple(range(100, 351))
  assert primitives.annotated_in_window(start_frame, end_frame, timestamp, frames, 10) == expected


def test_deduplicate_matches_a_loop_over_all_pairs():
  rng = np.random.default_rng(0)
  cube = primitives.CUBE_VERTICES
  records = [
    primitives.PrimitiveRecord(
      index=i,
      annotation=i + 1,
      label='car',
      semantic=int(rng.choice([26, 27])),
      instance=int(rng.integers(3)),
      timestamp=int(rng.choice([-1, 5])),
      start_frame=-1,
      end_frame=-1,
      vertices=np.concatenate([cube, cube[:1]][: rng.integers(1, 3)]) * rng.uniform(1, 1.2, 3)
      + rng.integers(0, 2, 3) * 0.95
      + rng.normal(size=3) * rng.choice([0.002, 0.2]),
      faces=primitives.CUBE_FACES,
    )
    for i in range(150)
  ]

  def same(new, old):
    if (new.semantic, new.timestamp) != (old.semantic, old.timestamp):
      return False
    a, b = (np.array([r.vertices.min(0), r.vertices.max(0)]) for r in (new, old))
    if new.instance == old.instance > 0:
      return np.abs(a - b).max() <= 0.15 * np.linalg.norm(a[1] - a[0])
    return new.vertices.shape == old.vertices.shape and np.abs(a - b).max() <= 0.01

  kept = []
  for record in records:
    if not any(same(record, other) for other in kept):
      kept.append(record)
  assert [r.index for r in primitives.deduplicate(records)] == [r.index for r in kept]
  assert 20 < len(kept) < 140
