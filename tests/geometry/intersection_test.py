"""`intersect` and `view_intervals` against hand-made cases and a slow float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial import transform

from pnerf_jax.geometry import cameras, intersection, tile_intersection

NEAR, FAR = 0.3, 60.0
WIDTH, HEIGHT = 44, 30
INTRINSICS = np.array([30.0, 31.0, 20.3, 15.9], np.float32)
MILLIMETRE = 1e-3
MAX_INTERVALS = 48  # more than any ray here has


def _cast(primitives, origins, directions, num_intervals=MAX_INTERVALS):
  """Intersect rays, padded to as many as a view has, for fewer compilations; also return them."""
  directions = np.asarray(directions, np.float64)
  directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
  origins, directions = (np.asarray(x, np.float32) for x in (origins, directions))
  origins = np.broadcast_to(origins, directions.shape)
  spare = ((0, max(0, WIDTH * HEIGHT - len(directions))), (0, 0))
  found = intersection.intersect(
    primitives,
    jnp.asarray(np.pad(origins, spare, mode='edge')),
    jnp.asarray(np.pad(directions, spare, mode='edge')),
    NEAR,
    FAR,
    num_intervals=num_intervals,
  )
  found = jax.tree.map(lambda x: x[: len(directions)], found)
  return found, origins, directions


def _camera(pose, frame=-1):
  return cameras.Camera(
    intrinsics=INTRINSICS,
    world_from_cam=np.asarray(pose, np.float32),
    width=WIDTH,
    height=HEIGHT,
    frame=frame,
  )


def _view(primitives, pose, num_intervals=MAX_INTERVALS, frame=-1):
  return intersection.view_intervals(primitives, _camera(pose, frame), NEAR, FAR, num_intervals)


def _pose(seed, origin):
  pose = np.eye(4)
  pose[:3, :3] = transform.Rotation.random(random_state=seed).as_matrix()
  pose[:3, 3] = origin
  return pose


def _view_rays(pose):
  return cameras.camera_rays(_camera(pose))


@pytest.mark.parametrize(
  'origin, direction, expected',
  [
    ((-5, 0, 0), (1, 0, 0), [(0, 4, 6), (1, 8, 10)]),
    ((-5, 0, 0), (-1, 0, 0), []),
    ((0, 0, 0), (1, 0, 0), [(0, NEAR, 1), (1, 3, 5)]),  # starts inside: from near
    ((-0.9, 0, 0), (-1, 0, 0), []),  # leaves before near
    ((-1.2, 0, 0), (1, 0, 0), [(0, NEAR, 2.2), (1, 4.2, 6.2)]),  # entered before near
    ((-58, 0, 0), (1, 0, 0), [(0, 57, 59)]),
    ((-60.5, 0, 0), (1, 0, 0), [(0, 59.5, FAR)]),  # left beyond far
    ((-62, 0, 0), (1, 0, 0), []),
    ((0, -5, 1.5), (0, 1, 0), []),
    ((-4, -5, 0), (1, 1, 0), [(0, np.sqrt(32), np.sqrt(50))]),  # through an edge
    ((-5, -5, -5), (1, 1, 1), [(0, np.sqrt(48), np.sqrt(108))]),  # through two corners
  ],
)
def test_intersect_boxes_by_hand(pack, box, as_lists, origin, direction, expected):
  primitives = pack([box((-1, -1, -1), (1, 1, 1)), box((3, -1, -1), (5, 1, 1))])
  found, _, _ = _cast(primitives, [origin], [direction])
  (found,) = as_lists(found)
  assert [m for m, *_ in found] == [m for m, *_ in expected]
  np.testing.assert_allclose([x[1:] for x in found], [x[1:] for x in expected], rtol=1e-6)


def test_crossings_are_paired_per_primitive(pack, box, as_lists):
  # The ray starts inside the first; then two overlap, and one is inside another. Pairing all
  # crossings along the ray would give other intervals.
  primitives = pack(
    [
      box((-1, -1, -1), (1, 1, 1)),
      box((0.5, -1, -1), (4, 1, 1)),
      box((3, -1, -1), (9, 1, 1)),
      box((5, -0.1, -0.1), (6, 0.1, 0.1)),
    ]
  )
  found, _, _ = _cast(primitives, [(0, 0, 0)], [(1, 0, 0)])
  np.testing.assert_allclose(
    as_lists(found)[0], [(0, NEAR, 1), (1, 0.5, 4), (2, 3, 9), (3, 5, 6)], rtol=1e-6
  )


def _shapes():
  rng = np.random.default_rng(5)
  sphere, torus = trimesh.creation.icosphere(1), trimesh.creation.torus(2, 0.7, 8, 6)
  outline = np.array([(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (4, 3), (4, 4), (0, 4.0)])
  vertices = np.array([(x, y, z) for z in (0, 2) for x, y in outline])
  caps = np.array([(0, i, i + 1) for i in range(1, 7)])  # a fan that overlaps itself
  i, j = np.arange(8), (np.arange(8) + 1) % 8
  sides = np.concatenate([np.stack([i, j, i + 8], 1), np.stack([j, j + 8, i + 8], 1)])
  prism = (vertices, np.concatenate([caps, caps + 8, sides]))
  shear = np.eye(3) + rng.normal(size=(3, 3)) * 0.3
  mirror = np.diag([1.0, 1.0, -1.0])
  plain = {
    'sphere': (sphere.vertices, sphere.faces),
    'torus': (torus.vertices, torus.faces),
    'concave prism': prism,
  }
  for name, (v, f) in plain.items():
    v, f = np.asarray(v, np.float64), np.asarray(f)
    mixed = np.where(rng.random(len(f))[:, None] < 0.5, f, f[:, ::-1])
    yield pytest.param((v, f), id=name)
    yield pytest.param((v, f[:, ::-1]), id=f'{name} reversed')
    yield pytest.param((v @ mirror, mixed), id=f'{name} mirrored, windings mixed')
    yield pytest.param((v @ shear.T * [1, 3, 0.4], f), id=f'{name} sheared')
    soup = v[f].reshape(-1, 3), np.arange(f.size).reshape(-1, 3)
    yield pytest.param(soup, id=f'{name} as soup')


@pytest.mark.slow
@pytest.mark.parametrize('mesh', list(_shapes()))
def test_intersect_any_closed_mesh_matches_reference(
  pack, slow_intervals, as_lists, differing, mesh
):
  rng = np.random.default_rng(0)
  vertices, faces = mesh
  place = vertices.mean(0)
  origins = place + rng.normal(size=(400, 3)) * [3, 3, 3]  # many inside, many outside
  directions = place + rng.normal(size=(400, 3)) - origins
  found, origins, directions = _cast(pack([mesh]), origins, directions)
  truth = slow_intervals([mesh], origins, directions, NEAR, FAR)
  assert any(len(x) > 0 for x in truth) and np.all(found.num_truncated == 0)
  assert differing(as_lists(found), truth, MILLIMETRE) == []


@pytest.mark.slow
def test_intersect_counts_crossings_at_edges_and_corners_consistently(pack):
  # The origins are outside: an odd number of crossings would show as an interval from near.
  meshes, origins, targets = [], [], []
  for seed in range(8):
    rng = np.random.default_rng(seed)
    mesh = (trimesh.creation.box, trimesh.creation.icosphere)[seed % 2]()
    turn = transform.Rotation.random(random_state=seed).as_matrix() if seed > 1 else np.eye(3)
    vertices = mesh.vertices @ turn.T * 3 + [100 * seed, *rng.integers(-30, 30, 2)]
    edges = vertices[mesh.edges_unique]
    points = np.concatenate([vertices, edges.mean(1), edges[:, 0] * 0.25 + edges[:, 1] * 0.75])
    above = vertices.mean(0) + [0, 0, 40]
    in_plane = vertices[mesh.faces[0]].T @ [9, -4, -4]  # sees a face exactly edge-on
    meshes.append((vertices, mesh.faces))
    for origin in (above, in_plane):
      targets.append(points)
      origins.append(np.broadcast_to(origin, points.shape))
  origins, targets = np.concatenate(origins), np.concatenate(targets)
  found, _, _ = _cast(pack(meshes), origins, targets - origins)
  assert np.all(found.enter > NEAR)
  assert np.all(found.exit[np.isfinite(found.exit)] < FAR)
  assert np.mean(np.isfinite(found.enter[:, 0])) > 0.3


@pytest.mark.slow
def test_view_intervals_inside_a_large_cuboid(pack, box, as_lists):
  primitives = pack([box((-900, -900, -900), (1100, 1000, 950)), box((-1, -1, 4), (1, 1, 6))])
  pose = _pose(0, (0, 0, 0))
  pose[:3, :3] = np.eye(3)
  found, _, _ = _view(primitives, pose)
  assert all(x[0] == (0, np.float32(NEAR), FAR) for x in as_lists(found))
  row, column = round(float(INTRINSICS[3])), round(float(INTRINSICS[2]))
  assert found.primitive[row, column, :3].tolist() == [0, 1, -1]


def _crowd(pack, seed):
  """Shapes around the origin: some contain it, some are partly behind a camera there."""
  rng = np.random.default_rng(seed)
  meshes = []
  for i in range(40):
    mesh = [
      trimesh.creation.box(),
      trimesh.creation.icosphere(1),
      trimesh.creation.torus(1, 0.3, 9, 7),
    ][i % 3]
    shape = transform.Rotation.random(random_state=rng).as_matrix() * rng.uniform(0.05, 9, 3)
    meshes.append((np.asarray(mesh.vertices) @ shape.T + rng.normal(size=3) * 7, mesh.faces))
  meshes.append((trimesh.creation.icosphere(1).vertices * 15, trimesh.creation.icosphere(1).faces))
  return pack(meshes), meshes


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(3))
def test_view_intervals_matches_intersect_and_reference(
  pack, slow_intervals, as_lists, differing, seed
):
  primitives, meshes = _crowd(pack, seed)
  pose = _pose(seed, np.random.default_rng(seed).normal(size=3))
  found, moving, moving_primitive = _view(primitives, pose)
  assert found.enter.shape == (HEIGHT, WIDTH, MAX_INTERVALS) and found.num_truncated.shape == (
    HEIGHT,
    WIDTH,
  )
  assert np.all(np.isinf(moving)) and np.all(moving_primitive == -1)
  rays = _view_rays(pose)
  origins, directions = np.asarray(rays.origins), np.asarray(rays.directions)
  same, _, _ = _cast(primitives, origins.reshape(-1, 3), directions.reshape(-1, 3))
  assert differing(as_lists(found), as_lists(same), 5e-4) == []
  subset = np.random.default_rng(seed).choice(WIDTH * HEIGHT, 300, replace=False)
  truth = slow_intervals(
    meshes, origins.reshape(-1, 3)[subset], directions.reshape(-1, 3)[subset], NEAR, FAR
  )
  assert differing([as_lists(found)[i] for i in subset], truth, MILLIMETRE) == []
  assert np.sum(np.isclose(found.enter, NEAR)) > 100  # the camera is inside some primitives


@pytest.mark.slow
def test_truncation_keeps_the_nearest_intervals(pack):
  primitives, _ = _crowd(pack, 7)
  pose = _pose(7, (0.2, 0.1, 0))
  everything, _, _ = _view(primitives, pose)
  number = np.sum(np.asarray(everything.primitive) >= 0, axis=-1)
  assert np.all(everything.num_truncated == 0) and number.max() > 6
  for k in (1, 4):
    view, _, _ = _view(primitives, pose, num_intervals=k)
    np.testing.assert_array_equal(view.enter, everything.enter[..., :k])
    np.testing.assert_array_equal(view.exit, everything.exit[..., :k])
    np.testing.assert_array_equal(view.primitive, everything.primitive[..., :k])
    np.testing.assert_array_equal(view.num_truncated, np.maximum(number - k, 0))
  rays = _view_rays(pose)
  cast, _, _ = _cast(primitives, rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3), 4)
  np.testing.assert_array_equal(cast.num_truncated, view.num_truncated.ravel())
  np.testing.assert_allclose(cast.enter, view.enter.reshape(-1, 4), atol=5e-4)


@pytest.mark.slow
def test_truncation_of_crossings_of_one_primitive(pack, comb, as_lists):
  # 11 teeth in a row: eight are kept, three are truncated.
  primitives = pack([comb(11)])
  along, _, _ = _cast(primitives, [(-3, 1, 0.5)], [(1, 0, 0)])
  expected = [(0, 3 + 2 * i, 4 + 2 * i) for i in range(8)]
  np.testing.assert_allclose(as_lists(along)[0], expected, rtol=1e-6)
  assert along.num_truncated.tolist() == [3]
  inside, _, _ = _cast(primitives, [(0.5, 1, 0.5)], [(1, 0, 0)])
  assert as_lists(inside)[0][0] == (0, np.float32(NEAR), 0.5) and inside.num_truncated.tolist() == [
    3
  ]
  pose = np.eye(4)
  pose[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]  # looks along x
  pose[:3, 3] = (-3, 1, 0.5)
  view, _, _ = _view(primitives, pose)
  rays = _view_rays(pose)
  cast, _, _ = _cast(primitives, rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3))
  assert view.num_truncated.max() == 3
  np.testing.assert_array_equal(view.num_truncated.ravel(), cast.num_truncated)
  np.testing.assert_allclose(view.exit.reshape(-1, MAX_INTERVALS), cast.exit, rtol=1e-5)


def test_moving_primitives_are_returned_separately(pack, box):
  meshes = [
    box((-1, -1, 8), (1, 1, 10)),
    box((-1, -1, 4), (1, 1, 5)),
    box((-0.2, -0.2, 2), (0.2, 0.2, 3)),
    box((-1, -1, -1), (1, 1, 1)),
  ]
  row, column = round(float(INTRINSICS[3])), round(float(INTRINSICS[2]))
  for timestamps, frame, depth, primitive in (
    ([-1, 5, 5, 6], -1, np.inf, -1),
    ([-1, 5, 5, 6], 4, np.inf, -1),
    ([-1, 5, 5, 6], 5, 2.0, 2),
    ([-1, 5, 6, 6], 5, 4.0, 1),
    ([-1, 5, 6, 6], 6, NEAR, 3),
  ):
    primitives = pack(meshes, timestamp=timestamps)
    found, moving, moving_primitive = _view(primitives, np.eye(4), frame=frame)
    assert set(np.unique(found.primitive)) == {-1, 0}
    np.testing.assert_allclose(moving[row, column], depth, rtol=1e-3)
    assert moving_primitive[row, column] == primitive
    assert np.all((np.asarray(moving_primitive) >= 0) == np.isfinite(moving))
  cast, _, _ = _cast(primitives, [(0, 0, 0)], [(0, 0, 1)])
  np.testing.assert_allclose(cast.enter[0, :2], [8, np.inf])


def test_intersection_without_primitives(pack):
  found, moving, _ = _view(pack([]), np.eye(4))
  assert (
    np.all(found.primitive == -1) and np.all(found.num_truncated == 0) and np.all(np.isinf(moving))
  )
  assert np.all(_cast(pack([]), [(0, 0, 0)], [(0, 0, 1)])[0].primitive == -1)


@pytest.mark.slow
def test_view_intervals_do_not_depend_on_the_group_size(pack, monkeypatch):
  primitives, _ = _crowd(pack, 3)
  pose = _pose(3, (0, 0, 0))
  whole, _, _ = _view(primitives, pose)
  monkeypatch.setattr(tile_intersection, '_GROUP_PAIRS', 24)  # fewer than some tiles have
  parts, _, _ = _view(primitives, pose)
  for a, b in zip(
    (whole.enter, whole.exit, whole.primitive, whole.num_truncated),
    (parts.enter, parts.exit, parts.primitive, parts.num_truncated),
  ):
    np.testing.assert_array_equal(a, b)
