"""Packing of meshes: merged vertices, duplicate faces, open meshes and meshes without volume."""

import logging

import numpy as np
import pytest
import trimesh

from pnerf_jax.errors import InputError
from pnerf_jax.geometry import primitives


def _edges_are_even(faces):
  edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])
  return np.all(np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0)


def test_make_primitives_keeps_order_and_attributes(box):
  meshes = [
    box((0, 0, 0), (1, 2, 3)),
    (
      np.array(trimesh.creation.icosphere(1).vertices) + 5,
      np.array(trimesh.creation.icosphere(1).faces),
    ),
  ]
  packed = primitives.make_primitives(
    [v for v, _ in meshes],
    [f for _, f in meshes],
    semantic=[26, 21],
    instance=[3, 0],
    annotation=[11, 12],
    timestamp=[-1, 99],
  )
  assert packed.valid.tolist() == [True, True]
  assert packed.semantic.tolist() == [26, 21] and packed.instance.tolist() == [3, 0]
  assert packed.timestamp.tolist() == [-1, 99]
  assert packed.face_start.tolist() == [0, 12, 92]
  faces, vertices = np.asarray(packed.faces), np.asarray(packed.vertices)
  assert vertices.dtype == np.float32 and np.all(np.diff(faces, axis=1) > 0)
  for m, (expected, _) in enumerate(meshes):
    own = faces[packed.face_start[m] : packed.face_start[m + 1]]
    assert {tuple(v) for v in vertices[own].reshape(-1, 3)} == {
      tuple(v) for v in expected.astype(np.float32)
    }
    assert _edges_are_even(own)
    centre, radius = np.split(np.asarray(packed.spheres[m]), [3])
    assert np.all(np.linalg.norm(expected - centre, axis=-1) < radius)
  a, b, c = np.moveaxis(vertices[faces], 1, 0)
  np.testing.assert_allclose(np.linalg.norm(packed.normals, axis=-1), 1, atol=1e-6)
  for edge in (b - a, c - a):
    assert np.abs(np.sum(edge * packed.normals, axis=-1)).max() < 1e-5


def test_make_primitives_merges_vertices_and_drops_degenerate_faces(box, pack):
  vertices, faces = box((0, 0, 0), (10, 10, 10))
  rng = np.random.default_rng(0)
  # Every face has its own corners, moved by less than 1e-6 of the size; two faces are degenerate.
  soup = vertices[faces].reshape(-1, 3) + rng.uniform(-1e-6, 1e-6, (36, 3))
  faces = np.concatenate([np.arange(36).reshape(-1, 3), [[0, 0, 5], [7, 7, 7]]])
  packed = pack([(soup, faces)])
  assert packed.vertices.shape == (8, 3) and packed.faces.shape == (12, 3)
  assert _edges_are_even(np.asarray(packed.faces))


def test_make_primitives_drops_duplicate_faces(box, pack):
  vertices, faces = box((0, 0, 0), (1, 1, 1))
  inner = np.array([[0, 1, 7], [7, 0, 1]])
  packed = pack([(vertices, np.concatenate([faces, inner]))])
  assert packed.faces.shape == (12, 3)


def test_make_primitives_replaces_open_mesh_by_convex_hull(box, pack, caplog):
  vertices, faces = box((0, 0, 0), (1, 1, 1))
  with caplog.at_level(logging.WARNING):
    packed = pack([(vertices, faces[2:])], annotation=[41])
  assert 'annotation 41' in caplog.text and 'hull' in caplog.text
  assert packed.faces.shape == (12, 3) and _edges_are_even(np.asarray(packed.faces))


def test_open_meshes_are_named_in_one_line(box, pack, caplog):
  vertices, faces = box((0, 0, 0), (1, 1, 1))
  names = [f'{i} (car)' for i in range(12)]
  with caplog.at_level(logging.WARNING):
    meshes = [(vertices, faces[2:] if i else faces) for i in range(12)]
    pack(meshes, annotation=names, source='a/boxes.xml')
  (record,) = caplog.records
  assert record.getMessage() == (
    'a/boxes.xml: 11 of 12 primitives are not watertight; their convex hulls are used: annotation'
    ' 1 (car), 2 (car), 3 (car), 4 (car), 5 (car), 6 (car), 7 (car), 8 (car), ...'
  )


def test_make_primitives_without_meshes(pack):
  packed = pack([])
  assert packed.valid.tolist() == [False]
  assert packed.face_start.tolist() == [0, 1]


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda v, f: (np.where(v == 1, np.nan, v), f), 'not finite'),
    (lambda v, f: (np.where(v == 1, np.inf, v), f), 'not finite'),
    (lambda v, f: (v[:0], f[:0]), '0 vertices'),
    (lambda v, f: (v, f[:0]), '0 faces'),
    (lambda v, f: (v, f + 1), '1..8 of 8'),
    (lambda v, f: (v * [1, 1, 0], f), 'no volume'),
    (lambda v, f: (v * 0, f), 'no volume'),
    (lambda v, f: (v, np.concatenate([f, f])), 'no volume'),
  ],
)
def test_make_primitives_rejects_meshes_without_volume(box, pack, damage, message):
  good, bad = box((0, 0, 0), (1, 1, 1)), damage(*box((0, 0, 0), (1, 1, 1)))
  with pytest.raises(InputError, match=message) as error:
    pack([good, bad], annotation=[8, 17])
  assert 'annotation 17' in str(error.value)
