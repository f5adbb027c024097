"""Culling is conservative: every face that a ray of a tile crosses is a candidate."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import transform

from pnerf_jax.geometry import cameras, tiles

WIDTH, HEIGHT = 52, 37  # not multiples of the tile size
INTRINSICS = np.array([40.0, 42.0, 24.3, 17.9])


def _pose(rotation, origin):
  world_from_cam = np.eye(4)
  world_from_cam[:3, :3] = rotation.as_matrix()
  world_from_cam[:3, 3] = origin
  return world_from_cam


def _find(primitives, pose, *, far, frame=-1):
  camera = cameras.Camera(
    intrinsics=INTRINSICS, world_from_cam=pose, width=WIDTH, height=HEIGHT, frame=frame
  )
  return tiles.find_candidates(primitives, camera, 0.3, far)


def _crossed(primitives, pose, near):
  """Return all (tile, face) with a ray that crosses the face beyond near, by brute force."""
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
def test_find_candidates_includes_all_crossed_faces(pack, seed):
  rng = np.random.default_rng(seed)
  meshes = []
  for _ in range(12):  # around the camera, some of them contain it
    mesh = trimesh.creation.box() if rng.random() < 0.5 else trimesh.creation.icosphere(1)
    shape = transform.Rotation.random(random_state=rng).as_matrix() * rng.uniform(0.1, 12, 3)
    meshes.append((mesh.vertices @ shape.T + rng.normal(size=3) * 8, mesh.faces))
  primitives = pack(meshes)
  pose = _pose(transform.Rotation.random(random_state=rng), rng.normal(size=3))
  found = _find(primitives, pose, far=200.0)
  pairs = set()
  owner = np.repeat(np.arange(12), np.diff(primitives.face_start))
  for tile, primitive, start, count in zip(found.tile, found.primitive, found.start, found.count):
    faces = found.faces[start : start + count]
    assert np.all(owner[faces] == primitive)
    pairs |= {(tile, face) for face in faces}
  crossed = _crossed(primitives, pose, 0.3)
  assert crossed and crossed <= pairs
  assert len(pairs) < 3 * len(crossed) + 20  # most candidates are needed
  assert np.all(np.diff(found.tile) >= 0)


def test_find_candidates_selects_static_primitives_and_those_of_the_frame(pack, box):
  boxes = [box((-1, -1, z), (1, 1, z + 1)) for z in (2, 4, 6, 300, -5)]
  primitives = pack(boxes, timestamp=[-1, 8, 9, -1, -1])
  for frame, expected in ((-1, {0}), (8, {0, 1}), (9, {0, 2}), (10, {0})):
    found = _find(primitives, np.eye(4), far=200, frame=frame)
    assert set(found.primitive) == expected


def test_find_candidates_keeps_faces_beyond_far_of_near_primitives(pack, box):
  primitives = pack([box((-1, -1, 5), (1, 1, 90))])
  found = _find(primitives, np.eye(4), far=20.0)
  far_end = np.flatnonzero(
    np.all(np.asarray(primitives.vertices)[np.asarray(primitives.faces)][..., 2] == 90, axis=1)
  )
  assert set(far_end) <= set(found.faces)
