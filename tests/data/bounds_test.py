"""Visibility, far bound and bounds against sampled points."""

import dataclasses

import numpy as np
import pytest

from pnerf_jax.data import bounds, primitives

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def cube(center, size=2.0, timestamp=-1):
  return primitives.PrimitiveRecord(
    0, 1, 'car', 26, 0, timestamp, -1, -1, CORNERS * size + center, np.zeros((12, 3), np.int32)
  )


def random_views(rng, count=4):
  """Return cameras of random orientation."""
  world_from_cam = np.tile(np.eye(4), (count, 1, 1))
  for pose in world_from_cam:
    pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose[:3, :3] *= np.sign(np.linalg.det(pose[:3, :3]))
    pose[:3, 3] = rng.normal(size=3) * 3
  intrinsics = np.tile([30.0, 28.0, 30.5, 13.0], (count, 1))
  return bounds.CameraArray(world_from_cam, intrinsics, np.tile([64, 24], (len(intrinsics), 1)))


def seen(points, views, far):
  """Return [V, N] whether a view sees a point, by projection."""
  result = []
  for pose, (fx, fy, cx, cy) in zip(views.world_from_cam, views.intrinsics):
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    u, v = fx * x / z + cx, fy * y / z + cy
    result.append(
      (z > 0) & (u >= -0.5) & (u < 63.5) & (v >= -0.5) & (v < 23.5) & (x**2 + y**2 + z**2 <= far**2)
    )
  return np.array(result)


def one_view():
  """Return a camera at the origin that looks along +x, z up."""
  pose = np.eye(4)
  pose[:3, :3] = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
  return bounds.CameraArray(pose[None], np.array([[32.0, 32.0, 31.5, 11.5]]), np.array([[64, 24]]))


def test_visible_has_no_false_negatives():
  rng = np.random.default_rng(0)
  ruled_out = 0
  for _ in range(150):
    views = random_views(rng)
    record = cube(rng.normal(size=3) * 12, size=rng.uniform(0.5, 8))
    far = rng.uniform(5, 30)
    points = record.vertices.mean(0) + rng.uniform(-0.5, 0.5, (2000, 3)) * np.ptp(
      record.vertices, 0
    )
    truth = seen(points, views, far).any(1)
    ours = bounds.visible(record, views, far)
    assert (ours | ~truth).all()
    ruled_out += (~ours).sum()
  assert ruled_out > 200  # of 600: not merely True


@pytest.mark.parametrize(
  'center, size, far, expected',
  [
    ((10, 0, 0), 2, 50, True),
    ((-10, 0, 0), 2, 50, False),
    ((10, 20, 0), 2, 50, False),
    ((10, 0, 20), 2, 50, False),
    ((60, 0, 0), 2, 50, False),
    ((51, 0, 0), 2.5, 50, True),
    ((0, 0, 0), 30, 50, True),
    ((0, 0, 0), 3, 50, True),
    ((10, 11, 0), 2, 50, True),
  ],
)
def test_visible_by_hand(center, size, far, expected):
  # 90 degrees wide: |y| < x.
  assert bounds.visible(cube(center, size), one_view(), far).tolist() == [expected]


def test_far_bound_ignores_a_single_giant():
  near = [cube((10 + i, 0, 0)) for i in range(60)]  # the last ends at x = 70
  assert bounds.far_bound(near, one_view()) == 80  # 69 + 5 beyond where it begins, in tens
  giant = dataclasses.replace(cube((1500, 0, 0)), vertices=CORNERS * [3000, 800, 2] + [1500, 0, -3])
  assert bounds.far_bound([*near, giant], one_view()) == 80
  assert bounds.far_bound([*near, cube((100, 0, 0))], one_view()) == 110
  behind = cube((-200, 0, 0))
  assert bounds.far_bound([*near, behind], one_view()) == 80
  assert bounds.far_bound([cube((5, 0, 0))], one_view()) == 30
  assert bounds.far_bound([cube((900, 0, 0))], one_view()) == 100  # sees nothing within 250 m
  assert bounds.far_bound([cube((249, 0, 0))], one_view()) == bounds.MAX_FAR
  assert bounds.far_bound([], one_view()) == 100


def test_far_bound_covers_the_first_and_last_camera():
  # Two cameras 40 m apart look along x at one wall, 100 and 60 m away.
  views = one_view()
  behind = views.world_from_cam.copy()
  behind[:, 0, 3] -= 40
  both = dataclasses.replace(
    views,
    world_from_cam=np.concatenate([views.world_from_cam, behind]),
    intrinsics=np.tile(views.intrinsics, (2, 1)),
    sizes=np.tile(views.sizes, (2, 1)),
  )
  assert bounds.far_bound([cube((59.5, 0, 0))], views) == 70
  assert bounds.far_bound([cube((59.5, 0, 0))], both) == 110
  # What only the nearer one may see counts from there.
  assert bounds.far_bound([cube((59.5, 0, 0)), cube((230, 0, 0))], both) == 240


def test_bounds_hold_all_visible_points():
  rng = np.random.default_rng(1)
  for _ in range(30):
    views, far = random_views(rng), rng.uniform(10, 30)
    around = rng.uniform(-40, 40, (20000, 3))
    inside = around[seen(around, views, far).any(0)]
    low, high = bounds.view_bounds(views, far)
    assert (inside >= low).all() and (inside <= high).all()
    spread = np.ptp(np.concatenate([inside, views.origins]), axis=0)
    assert (high - low <= 1.25 * spread + 2).all()  # tight, as far as the sampling tells
    found = [cube(rng.normal(size=3) * 8, size=rng.uniform(1, 9)) for _ in range(4)]
    found = [record for record in found if bounds.visible(record, views, far).any()]
    if found:
      low, high = bounds.primitive_bounds(found, views, far)
      for record in found:
        points = record.vertices.mean(0) + rng.uniform(-0.5, 0.5, (500, 3)) * np.ptp(
          record.vertices, 0
        )
        points = points[seen(points, views, far).any(0)]
        assert (points >= low - 1e-9).all() and (points <= high + 1e-9).all()


def test_primitive_bounds_by_hand():
  low, high = bounds.primitive_bounds([cube((10, 1, 0)), cube((100, 0, 0), 20)], one_view(), 95)
  np.testing.assert_allclose(low, [9, -10, -10])
  np.testing.assert_allclose(high, [95 * 1.01, 10, 10], rtol=1e-2)


def test_far_from_depth_covers_98_percent():
  rng = np.random.default_rng(3)
  views = random_views(rng, 2)
  depth = rng.uniform(5, 60, (2, 24, 64)) * (rng.uniform(size=(2, 24, 64)) < 0.7)
  depth[0, :2, :5] = 250.0  # less than 2 %
  distances = []
  for (v, row, column), z in np.ndenumerate(depth):
    fx, fy, cx, cy = views.intrinsics[v]
    if z:
      distances.append(z * np.linalg.norm([(column - cx) / fx, (row - cy) / fy, 1]))
  far = bounds.far_from_depth(depth, views)
  assert far % 10 == 0 and far < 100
  assert np.mean(np.array(distances) <= far) >= 0.98 > np.mean(np.array(distances) <= far - 10)
  assert bounds.far_from_depth(None, views) == bounds.far_from_depth(0 * depth, views) == 100
