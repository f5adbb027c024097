"""Shapes against closed forms, measured by trimesh."""

import numpy as np
import pytest
import trimesh

from pnerf_jax.contrib.street import solids
from pnerf_jax.contrib.street.solids import Paint

RED = Paint('plain', (1.0, 0.0, 0.0))
BLUE = Paint('plain', (0.0, 0.0, 1.0))


def mesh_of(solid: solids.Solid) -> trimesh.Trimesh:
  mesh = trimesh.Trimesh(solid.vertices, solid.faces, process=True)
  mesh.fix_normals()
  return mesh


def test_box_has_its_size_and_base():
  solid = solids.box((2.0, 3.0, 4.0), RED, base=(10.0, 20.0, 30.0), yaw=np.pi / 2)
  mesh = mesh_of(solid)
  assert mesh.is_watertight
  np.testing.assert_allclose(mesh.volume, 24.0)
  # Rotation by 90 degrees exchanges x and y.
  np.testing.assert_allclose(mesh.bounds, [[8.5, 19.0, 30.0], [11.5, 21.0, 34.0]])


def test_tube_has_the_volume_of_a_frustum_of_a_pyramid():
  sides, r0, r1, height = 6, 1.0, 0.5, 3.0
  mesh = mesh_of(solids.tube((0, 0, 0), (0, 0, height), (r0, r1), RED, sides))
  polygon = 0.5 * sides * np.sin(2 * np.pi / sides)  # area of the unit polygon
  assert mesh.is_watertight
  np.testing.assert_allclose(mesh.volume, polygon * height * (r0**2 + r0 * r1 + r1**2) / 3)


def test_ball_approaches_the_ellipsoid():
  mesh = mesh_of(solids.ball((1, 2, 3), (1.0, 2.0, 3.0), RED, 3))
  assert mesh.is_watertight
  np.testing.assert_allclose(mesh.volume, 4 / 3 * np.pi * 6.0, rtol=0.02)
  np.testing.assert_allclose(mesh.centroid, [1, 2, 3], atol=1e-9)


def test_ring_is_a_torus_of_square_section():
  mesh = mesh_of(solids.ring((0, 0, 0), (0, 1, 0), 1.0, 0.2, RED, sides=64))
  assert mesh.is_watertight
  # Pappus's theorem: area of the section times the path of its centroid.
  np.testing.assert_allclose(mesh.volume, 0.5 * 0.2**2 * 2 * np.pi, rtol=0.01)
  np.testing.assert_allclose(np.ptp(mesh.vertices[:, 1]), 0.2)


def test_extrude_and_loft_agree():
  outline = np.array([(0, 0), (2, 0), (1, 1)], float)
  prism = mesh_of(solids.extrude(outline, 4.0, RED))
  sections = [np.stack([outline[:, 0], np.full(3, y), outline[:, 1]], 1) for y in (-2.0, 2.0)]
  lofted = mesh_of(solids.loft(sections, RED))
  for mesh in (prism, lofted):
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.volume, 4.0)


def test_join_keeps_all_triangles_and_merges_paints():
  parts = [solids.box((1, 1, 1), paint, (3 * i, 0, 0)) for i, paint in enumerate((RED, BLUE, RED))]
  whole = solids.join(*parts)
  assert whole.paints == (RED, BLUE)
  assert len(whole.faces) == 36
  where = whole.vertices[whole.faces].mean(1)[:, 0]
  blue = np.array([whole.paints[i] is BLUE for i in whole.paint])
  np.testing.assert_array_equal(blue, np.abs(where - 3) < 1)


@pytest.mark.parametrize('unit', [False, True])
def test_texture_moves_with_the_solid(unit):
  corners = np.array([(0, 0, 0), (2, 0, 0), (2, 0, 1), (0, 0, 1)], float)
  solid = solids.quad(corners, RED, unit=unit)
  uv = lambda s, p: np.einsum('ij,nj->ni', s.uv_map[0, :, :3], p) + s.uv_map[0, :, 3]
  moved = solid.moved((5.0, -3.0, 2.0), 0.7)
  np.testing.assert_allclose(uv(moved, moved.vertices), uv(solid, solid.vertices), atol=1e-12)
  expected = [(0, 0), (1, 0), (1, 1), (0, 1)] if unit else [(0, 0), (2, 0), (2, 1), (0, 1)]
  measured = np.abs(uv(solid, solid.vertices) - uv(solid, solid.vertices)[0])
  np.testing.assert_allclose(measured, expected, atol=1e-12)
