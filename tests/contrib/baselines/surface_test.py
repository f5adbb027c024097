"""Meshes of points on known surfaces; visible triangles against trimesh's own ray query."""

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree
from trimesh.ray.ray_triangle import RayMeshIntersector

from pnerf_jax.contrib.baselines import surface

_CELL = 0.1  # metres


def rays_to(target, origin, count, rng):
  """Random rays from a point, within 37 degrees of the direction to another point."""
  axis = np.asarray(target, float) - origin
  directions = rng.normal(size=(16 * count, 3))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  directions = directions[directions @ axis > 0.8 * np.linalg.norm(axis)][:count]
  return np.broadcast_to(np.asarray(origin, float), directions.shape), directions


def scan(mesh, origins, directions, noise=0.0, rng=None):
  """First hits [N, 3] of rays on a mesh, and their origins."""
  hits, ray, _ = RayMeshIntersector(mesh).intersects_location(
    origins, directions, multiple_hits=False
  )
  if noise:
    hits = hits + rng.normal(0, noise, (len(hits), 1)) * directions[ray]
  return hits, origins[ray]


@pytest.fixture(scope='module')
def car_and_wall():
  """A box of 3 x 1.5 x 1.5 m, 4 m in front of a wall, scanned from seven places by the road."""
  rng = np.random.default_rng(0)
  car = trimesh.creation.box((3, 1.5, 1.5)).apply_translation([0, 6, 0.75])
  wall = trimesh.creation.box((12, 0.2, 4)).apply_translation([0, 10.1, 1])
  scene = trimesh.util.concatenate([car, wall])
  parts = [
    scan(scene, *rays_to([0, 8, 0.7], [x, 0, 1.8], 8000, rng), noise=0.01, rng=rng)
    for x in np.linspace(-5, 5, 7)
  ]
  points, sensors = (np.concatenate(x) for x in zip(*parts))
  return SimpleNamespace(
    scene=scene,
    points=points,
    sensors=sensors,
    mesh=surface.reconstruct(points, sensors, _CELL),
    eye=np.array([0.5, 0, 1.6]),
  )


def plane(spacing=0.08):
  """Points on z = 0.25 x + 0.1 y over 8 x 6 m with jitter, the sensor above them."""
  rng = np.random.default_rng(1)
  xy = np.mgrid[0:8:spacing, 0:6:spacing].reshape(2, -1).T
  xy = xy + rng.uniform(-0.3, 0.3, xy.shape) * spacing
  points = np.concatenate([xy, xy @ [[0.25], [0.1]]], axis=1)
  return points, np.broadcast_to([4.0, 3.0, 8.0], points.shape)


def test_reconstruct_recovers_a_plane():
  mesh = surface.reconstruct(*plane(), _CELL)
  used = mesh.vertices[mesh.faces.ravel()]
  assert np.abs(used @ [0.25, 0.1, -1]).max() < 0.005  # metres
  triangles = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
  assert triangles.area == pytest.approx(48 * np.sqrt(1 + 0.25**2 + 0.1**2), rel=0.04)
  assert (triangles.face_normals[triangles.area_faces > 1e-6, 2] > 0).all()  # to the sensor
  edges = np.linalg.norm(np.diff(triangles.triangles[:, [0, 1, 2, 0]], axis=1), axis=-1)
  assert edges.max() <= np.sqrt(3) * _CELL * 1.001
  # No hole, over several blocks of the grid; nothing beyond the border.
  x, y = np.mgrid[0.3:7.7:0.05, 0.3:5.7:0.05].reshape(2, -1)
  from_above = np.stack([x, y, np.full_like(x, 9)], axis=1), np.tile([0.0, 0, -1], (len(x), 1))
  assert (surface.visible_faces(mesh, *from_above) >= 0).all()
  low, high = used.min(axis=0), used.max(axis=0)
  assert (low[:2] > -0.15).all() and (high[:2] < [8.1, 6.1]).all()


def test_reconstruct_joins_the_blocks_of_the_grid(monkeypatch):
  points, sensors = plane()
  whole = surface.reconstruct(points, sensors, _CELL)
  monkeypatch.setattr(surface, '_TILE', 17)
  blocks = surface.reconstruct(points, sensors, _CELL)
  assert len(blocks.faces) == len(whole.faces)
  for one, other in ((whole, blocks), (blocks, whole)):
    assert cKDTree(one.centres).query(other.centres)[0].max() < 1e-5


def test_reconstruct_is_near_the_true_surface(car_and_wall):
  _, distance, _ = trimesh.proximity.closest_point(
    car_and_wall.scene, car_and_wall.mesh.centres[::7]
  )
  # Noise of 1 cm; the box's edges are rounded; nothing between car and wall.
  assert distance.mean() < 0.01 and np.quantile(distance, 0.99) < 0.04 and distance.max() < 0.2


def test_reconstruct_keeps_occlusion(car_and_wall):
  rng = np.random.default_rng(2)
  origins, directions = rays_to([0, 8, 0.7], car_and_wall.eye, 4000, rng)
  truth, ray, _ = RayMeshIntersector(car_and_wall.scene).intersects_location(
    origins, directions, multiple_hits=False
  )
  want = np.full(len(origins), np.inf)
  want[ray] = np.linalg.norm(truth - origins[ray], axis=1)
  face = surface.visible_faces(car_and_wall.mesh, origins, directions)
  found = np.linalg.norm(car_and_wall.mesh.centres[face] - origins, axis=1)
  on_car = want < 7.5
  # Away from the silhouette, where neighbouring rays meet the car too.
  nearest = np.argsort(directions @ directions.T, axis=1)[:, -12:]
  inside = on_car & on_car[nearest].all(axis=1)
  assert inside.sum() > 200
  assert (face[inside] >= 0).mean() > 0.995
  np.testing.assert_allclose(found[inside & (face >= 0)], want[inside & (face >= 0)], atol=0.25)
  # What the car does not occlude shows the wall, or nothing at all behind its silhouette.
  beside = ~on_car & ~on_car[nearest].any(axis=1) & np.isfinite(want)
  assert (found[beside & (face >= 0)] > 8).all()


def test_reconstruct_is_deterministic(car_and_wall):
  again = surface.reconstruct(car_and_wall.points, car_and_wall.sensors, _CELL)
  np.testing.assert_array_equal(again.vertices, car_and_wall.mesh.vertices)
  np.testing.assert_array_equal(again.faces, car_and_wall.mesh.faces)


def test_a_vertical_line_of_points_faces_the_sensor():
  rng = np.random.default_rng(3)
  z = np.arange(0, 3, 0.02)
  points = np.stack([np.full_like(z, 5), np.zeros_like(z), z], axis=1)
  points += rng.normal(0, 1e-3, points.shape)
  mesh = surface.reconstruct(points, np.tile([0.0, 0, 1.5], (len(points), 1)), _CELL)
  triangles = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
  assert len(mesh.faces) and np.ptp(mesh.vertices[mesh.faces, 2]) > 2.5
  assert np.abs(mesh.vertices[mesh.faces] - [5, 0, 1.5]).max(axis=(0, 1))[:2].max() < 0.2
  assert np.average(triangles.face_normals[:, 0], weights=triangles.area_faces) < -0.9


def test_too_few_or_distant_points_give_no_mesh():
  rng = np.random.default_rng(4)
  for points in (np.zeros((0, 3)), rng.normal(size=(9, 3)), rng.uniform(-50, 50, (500, 3))):
    mesh = surface.reconstruct(points, np.zeros_like(points), _CELL)
    assert mesh.faces.shape == (0, 3)
    ray = np.array([[0.0, 0, 1]])
    assert surface.visible_faces(mesh, ray, ray).tolist() == [-1]


def test_visible_faces_agree_with_trimesh(shapes):
  meshes = [surface.Mesh(m.vertices, m.faces) for m in shapes.meshes]
  mesh = surface.join(meshes)
  rng = np.random.default_rng(5)
  origins, directions = rays_to([0, 0, 10], [0, 0, 0], 3000, rng)
  found = surface.visible_faces(mesh, origins, directions)
  whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
  location, ray, face = RayMeshIntersector(whole).intersects_location(origins, directions)
  want, nearest = np.full(len(origins), -1), np.full(len(origins), np.inf)
  for r, f, distance in zip(ray, face, np.linalg.norm(location, axis=1)):
    if distance < nearest[r]:
      want[r], nearest[r] = f, distance
  assert 500 < (want >= 0).sum() < 2900
  assert np.mean(found == want) > 0.999  # exceptions: rays through an edge
