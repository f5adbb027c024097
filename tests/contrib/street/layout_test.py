"""The road against closed forms; strips of ground without gaps; placement of objects."""

import numpy as np
import trimesh

from pnerf_jax.contrib.street import layout, objects, raycast, solids
from pnerf_jax.contrib.street.solids import Paint

GREY = Paint('plain', (0.4, 0.4, 0.4))


def straight(grade=0.0):
  return layout.make_road(-50.0, 150.0, 0.3, 0.0, 100.0, grade=grade, roll=0.0)


def test_straight_road_matches_closed_form():
  road = straight(0.05)
  ahead, left = np.array([np.cos(0.3), np.sin(0.3)]), np.array([-np.sin(0.3), np.cos(0.3)])
  point = road.at(40.0, 2.0, 0.5)
  np.testing.assert_allclose(point[:2], 40 * ahead + 2 * left, atol=1e-6)
  np.testing.assert_allclose(point[2], 40 * 0.05 + 0.5, atol=1e-6)
  np.testing.assert_allclose(road.slope_at(10.0), np.arctan(0.05), atol=1e-6)
  np.testing.assert_allclose(road.at(0.0, 0.0), 0, atol=1e-9)


def test_curved_road_has_its_curvature_and_length():
  road = layout.make_road(-30.0, 120.0, -1.0, 0.012, 95.0, grade=0.0, roll=0.0)
  s = 95.0 / 4  # the sine is one here
  turn = road.heading_at(s + 0.5) - road.heading_at(s - 0.5)
  np.testing.assert_allclose(turn, 0.012, rtol=1e-3)
  steps = np.linalg.norm(np.diff(road.point, axis=0), axis=1)
  np.testing.assert_allclose(steps, 0.25, rtol=1e-6)


def test_put_and_face_place_objects():
  builder = layout.Builder(straight(), np.random.default_rng(0), 10.0)
  flag = objects.make_object('box', solids.box((1, 1, 1), GREY, (0, -2, 0)))  # its front is at -y
  builder.put(flag, 20.0, 5.0, 0.1)
  for side in (1, -1):
    builder.face(flag, 20.0, side, 5.0, 0.1)
  away = [
    obj.parts[0].solid.vertices.mean(0) @ [-np.sin(0.3), np.cos(0.3), 0] for obj in builder.objects
  ]
  np.testing.assert_allclose(away, [3.0, 3.0, -3.0])
  np.testing.assert_allclose([obj.ground_z for obj in builder.objects], 0.1)


def test_oncoming_movers_are_turned():
  obj = objects.make_object('car', solids.box((4, 2, 1), GREY))
  road = straight()
  for speed, yaw in ((0.5, 0.3), (-1.0, 0.3 + np.pi)):
    moved = layout.Mover((obj,), 10.0, speed, 1.5).at(road, 6)[0]
    np.testing.assert_allclose(moved.yaw, yaw)
    center = moved.parts[0].solid.vertices.mean(0)
    np.testing.assert_allclose(center[:2], road.at(10 + 6 * speed, 1.5)[:2])


def test_strips_cover_the_ground_and_contain_their_outlines():
  road = layout.make_road(-60.0, 160.0, 1.0, 0.01, 90.0, grade=0.03, roll=0.1)
  builder = layout.Builder(road, np.random.default_rng(1), 10.0)
  builder.ground(layout.Strip('road', -3.0, 3.0, 0.0, GREY), 1)
  gap = ((12.0, 16.0, 'parking', GREY, 0.05),)
  for side in (1, -1):
    builder.ground(layout.Strip('sidewalk', 3.0, 5.0, 0.12, GREY, 0.004, True, gap), side)
  scene = raycast.Scene([part.solid for t in builder.objects for part in t.parts])
  names = [t.name for t in builder.objects]
  rng = np.random.default_rng(2)
  s, d = rng.uniform(-30, 110, 3000), rng.uniform(-4.99, 4.99, 3000)
  down = np.tile([0.0, 0, -1], (3000, 1))
  hits = scene.cast(road.at(s, d, 3.0), down)
  assert (hits.face >= 0).all()
  inside = (np.abs(np.abs(d) - 3) > 0.2) & (np.abs(s - 12) > 0.2) & (np.abs(s - 16) > 0.2)
  expected = np.where(np.abs(d) < 3, 0.0, np.where((s > 12) & (s < 16), 0.05, 0.12))
  np.testing.assert_allclose(3 - hits.distance[inside], expected[inside], atol=0.05)
  classes = np.array(names)[scene.owner[hits.face]]
  expected_classes = np.where(
    np.abs(d) < 3, 'road', np.where((s > 12) & (s < 16), 'parking', 'sidewalk')
  )
  assert (classes == expected_classes)[inside].all()
  for obj in builder.objects:
    part = obj.parts[0]
    _, distance, _ = trimesh.proximity.closest_point(
      trimesh.Trimesh(part.solid.vertices, part.solid.faces), part.outline
    )
    assert distance.max() < 0.02


def test_put_shifts_movable_objects_or_drops_them():
  builder = layout.Builder(straight(), np.random.default_rng(0), 10.0)
  bin_ = objects.make_object('trash bin', solids.box((1, 1, 1), GREY))
  for _ in range(3):
    builder.put(bin_, 20.0, 5.0)
  builder.put(objects.make_object('wall', solids.box((9, 0.3, 1), GREY)), 20.0, 5.0)  # not movable
  builder.reserve(0.0, 60.0, -2.0, 2.0)
  builder.put(bin_, 20.0, -2.2)  # no free place
  builder.put(bin_, 20.0, 5.0, ghost=True)
  along = [
    t.parts[0].solid.vertices.mean(0) @ [np.cos(0.3), np.sin(0.3), 0] for t in builder.objects
  ]
  np.testing.assert_allclose(along, [20.0, 21.6, 18.4, 20.0], atol=1e-6)
  assert len(builder.ghosts) == 1
