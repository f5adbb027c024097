"""Culling may keep too much but must never lose a face that a ray of the tile crosses."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import transform

from pnerf_jax.geometry import tiles

WIDTH, HEIGHT = 52, 37  # no multiple of a tile
INTRINSICS = np.array([40.0, 42.0, 24.3, 17.9])


def _pose(rotation, origin):
  world_from_cam = np.eye(4)
  world_from_cam[:3, :3] = rotation.as_matrix()
  world_from_cam[:3, 3] = origin
  return world_from_cam


def _crossed(primitives, pose, near):
  """All (tile, face) with a ray that crosses the face beyond near, by brute force."""
  v, u = np.mgrid[:HEIGHT, :WIDTH]
  x, y = (u - INTRINSICS[2]) / INTRINSICS[0], (v - INTRINSICS[3]) / INTRINSICS[1]
  rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
  tile = (v // tiles.TILE_HEIGHT * -(-WIDTH // tiles.TILE_WIDTH) + u // tiles.TILE_WIDTH).ravel()
  cam_from_world = np.linalg.inv(pose)
  vertices = np.asarray(primitives.vertices, np.float64)
  vertices = vertices @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
  found = set()
  for face, corners in enumerate(vertices[np.asarray(primitives.faces)]):
    if abs(np.linalg.det(corners)) < 1e-12:
      continue
    weights = rays @ np.linalg.inv(corners)  # ray = weights @ corners
    with np.errstate(divide='ignore'):
      depth = 1 / weights.sum(1)
    hit = (weights >= 0).all(1) & (depth * np.linalg.norm(rays, axis=1) > near)
    found |= {(t, face) for t in tile[hit]}
  return found


@pytest.mark.parametrize('seed', range(6))
def test_no_crossing_is_lost(pack, seed):
  rng = np.random.default_rng(seed)
  meshes = []
  for _ in range(12):  # around the camera, some of them containing it or beside it
    mesh = trimesh.creation.box() if rng.random() < 0.5 else trimesh.creation.icosphere(1)
    shape = transform.Rotation.random(random_state=rng).as_matrix() * rng.uniform(0.1, 12, 3)
    meshes.append((mesh.vertices @ shape.T + rng.normal(size=3) * 8, mesh.faces))
  primitives = pack(meshes)
  pose = _pose(transform.Rotation.random(random_state=rng), rng.normal(size=3))
  found = tiles.find_candidates(primitives, INTRINSICS, pose, WIDTH, HEIGHT, 0.3, 200.0, -1)
  pairs = set()
  owner = np.repeat(np.arange(12), np.diff(primitives.face_start))
  for tile, primitive, start, count in zip(found.tile, found.primitive, found.start, found.count):
    faces = found.faces[start : start + count]
    assert np.all(owner[faces] == primitive)
    pairs |= {(tile, face) for face in faces}
  crossed = _crossed(primitives, pose, 0.3)
  assert crossed and crossed <= pairs
  assert len(pairs) < 3 * len(crossed) + 20  # and most of what is kept is needed
  assert np.all(np.diff(found.tile) >= 0)


def test_only_static_primitives_and_those_of_the_frame(pack, box):
  boxes = [box((-1, -1, z), (1, 1, z + 1)) for z in (2, 4, 6, 300, -5)]
  primitives = pack(boxes, timestamp=[-1, 8, 9, -1, -1])
  for frame, expected in ((-1, {0}), (8, {0, 1}), (9, {0, 2}), (10, {0})):
    found = tiles.find_candidates(primitives, INTRINSICS, np.eye(4), WIDTH, HEIGHT, 0.3, 200, frame)
    assert set(found.primitive) == expected


def test_a_face_beyond_far_is_kept_with_its_primitive(pack, box):
  primitives = pack([box((-1, -1, 5), (1, 1, 90))])
  found = tiles.find_candidates(primitives, INTRINSICS, np.eye(4), WIDTH, HEIGHT, 0.3, 20.0, -1)
  far_end = np.flatnonzero(
    np.all(np.asarray(primitives.vertices)[np.asarray(primitives.faces)][..., 2] == 90, axis=1)
  )
  assert set(far_end) <= set(found.faces)
