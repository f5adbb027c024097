"""Primitives of a street: closed meshes in the real formats, and an XML round trip."""

import numpy as np
import pytest
import trimesh

from pnerf_jax.contrib.street import annotation, objects, scenery, solids, writer
from pnerf_jax.contrib.street.solids import Paint
from pnerf_jax.data import labels, primitives

GREY = Paint('plain', (0.4, 0.4, 0.4))


@pytest.fixture(name='street', scope='module')
def _street():
  return scenery.build(scenery.Parameters('village', 3, 3, 0.1))


def mesh_of(item: annotation.Annotation) -> trimesh.Trimesh:
  mesh = trimesh.Trimesh(item.vertices, item.faces, process=False)
  mesh.merge_vertices(digits_vertex=6)
  mesh.update_faces(mesh.nondegenerate_faces())
  mesh.apply_transform(item.street_from_local)
  return mesh


def test_meshes_have_the_sizes_of_the_real_files(street):
  counts = {(len(a.vertices), len(a.faces)) for a in street.annotations}
  assert {(8, 12), (63, 80)} <= counts
  for n, f in counts - {(63, 80)}:
    assert f == 2 * n - 4  # 2n x (4n - 4)
  cuboids = [a for a in street.annotations if a.name == 'person' and len(a.vertices) == 8]
  first = 0.5 * np.array(
    [
      (1, 1, 1),
      (1, 1, -1),
      (1, -1, 1),
      (1, -1, -1),
      (-1, 1, -1),
      (-1, 1, 1),
      (-1, -1, -1),
      (-1, -1, 1),
    ]
  )
  np.testing.assert_array_equal(cuboids[0].vertices, first)


def test_ellipsoid_matches_the_real_mesh(shared):
  path = shared / 'kitti360_real/data_3d_bboxes/train_full/2013_05_28_drive_0002_sync.xml'
  root = primitives._parse(path)  # pylint: disable=protected-access
  real = next(o for o in root if o.findtext('vertices/rows') == '63')
  vertices = np.array(real.findtext('vertices/data').split(), float).reshape(-1, 3)
  faces = np.array(real.findtext('faces/data').split(), int).reshape(-1, 3)
  np.testing.assert_allclose(annotation._BALL, vertices, atol=1e-6)  # pylint: disable=protected-access
  ours, expected = (
    trimesh.Trimesh(vertices, f, process=False) for f in (annotation._BALL_FACES, faces)
  )  # pylint: disable=protected-access
  np.testing.assert_allclose(ours.volume, expected.volume, rtol=1e-6)
  np.testing.assert_allclose(ours.area, expected.area, rtol=1e-6)


def test_meshes_are_closed_and_few_are_inside_out(street):
  reversed_ = 0
  for item in street.annotations:
    mesh = mesh_of(item)
    assert mesh.is_watertight, item.name
    assert abs(mesh.volume) > 1e-5
    reversed_ += mesh.volume < 0
  assert reversed_ < 0.1 * len(street.annotations)


def test_cuboids_contain_their_objects(street):
  """Check that nearly all surfaces are inside a primitive with the same instanceId."""
  rng = np.random.default_rng(0)
  own = [a for a in street.annotations if a.timestamp < 0 and a.window == 'own']
  fractions = []
  for obj, number in zip(street.objects, street.instance):
    if number == 0 or obj.name == 'building' and rng.random() < 0.7:
      continue
    mine = [a for a in own if a.name == obj.name and a.instance == number]
    if not mine:
      continue
    part = obj.parts[0]
    points, _ = trimesh.sample.sample_surface(
      trimesh.Trimesh(part.solid.vertices, part.solid.faces, process=False), 200, seed=1
    )
    points = points[points[:, 2] > obj.ground_z - 0.05]
    inside = np.zeros(len(points), bool)
    for item in mine:
      if len(item.vertices) == 8:  # a cuboid
        local = (points - item.street_from_local[:3, 3]) @ np.linalg.inv(
          item.street_from_local[:3, :3]
        ).T
        inside |= (np.abs(local) < 0.5 + 1e-9).all(1)
    if len(mine[0].vertices) == 8:
      fractions.append(inside.mean())
  fractions = np.array(fractions)
  assert len(fractions) > 60
  assert (fractions > 0.97).mean() > 0.8  # some are displaced on purpose
  assert fractions.mean() > 0.95
  assert (fractions < 0.999).any()


def test_cuboids_are_5_to_30_percent_too_large():
  rng = np.random.default_rng(3)
  cube = objects.make_object('box', solids.box((1, 1, 1), GREY)).moved((5, 5, 0), 0.4)
  sizes = np.array(
    [
      np.linalg.norm(annotation.annotate(cube, 1, rng)[0].street_from_local[:3, :3], axis=0)
      for _ in range(200)
    ]
  )
  assert 1.04 < sizes.min() and sizes.max() < 1.35
  np.testing.assert_allclose(sizes.mean(), 1.175, atol=0.02)


def test_some_objects_lack_a_primitive_and_ghosts_an_object(street):
  own = {(a.name, a.instance) for a in street.annotations if a.window == 'own'}
  real = {(t.name, int(n)) for t, n in zip(street.objects, street.instance) if n}
  missing = real - own
  assert 1 <= len(missing) <= 2
  ghosts = {(a.name, a.instance) for a in street.annotations if a.window == 'ghost'}
  assert ghosts and not ghosts & real
  twice = {(a.name, a.instance) for a in street.annotations if a.window == 'next'}
  assert twice and twice <= own


def test_write_primitives_round_trip(street, tmp_path):
  parameters = scenery.Parameters('village', 3, 3, 0.1)
  frames = parameters.frame_numbers
  writer.write_primitives(tmp_path, 'seq', street.annotations, street.center, frames)
  full = primitives.read_primitives_xml(tmp_path / 'data_3d_bboxes/train_full/seq.xml')
  assert len(full) == len(street.annotations)
  for record, item in zip(full, street.annotations):
    assert (record.label, record.instance, record.timestamp) == (
      item.name,
      item.instance,
      item.timestamp,
    )
    # The XML has nine digits, coordinates are in the thousands.
    np.testing.assert_allclose(record.vertices, item.world() + street.center, atol=2e-4)
    np.testing.assert_array_equal(record.faces, item.faces)
    span = record.start_frame <= frames[0] and frames[-1] <= record.end_frame
    assert span == (item.window == 'own')
  assert {b.timestamp for b in full} == {-1, *frames}
  things_only = primitives.read_primitives_xml(tmp_path / 'data_3d_bboxes/train/seq.xml')
  assert {b.index for b in things_only} == {b.index for b in full if labels.IS_THING[b.semantic]}


@pytest.mark.parametrize('corners', [4, 6, 8, 16])
def test_prism_of_a_curved_band_is_closed_and_has_its_volume(corners):
  half = corners // 2
  angle = np.linspace(0, 1.2, half)
  inner, outer = ([(r * np.cos(a), r * np.sin(a), 0.0) for a in angle] for r in (4.0, 6.0))
  top = np.array(outer + inner[::-1])
  mesh = trimesh.Trimesh(*annotation.prism(top, top - [0, 0, 0.5]))
  assert mesh.is_watertight
  x, y = top[:, 0], top[:, 1]
  area = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))  # shoelace
  np.testing.assert_allclose(mesh.volume, 0.5 * area)
  assert len(mesh.faces) == 4 * corners - 4
