"""Visibility of LiDAR points against hand-made scenes and against exact sight lines."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import visibility


def _wall(z, x, y, step):
  """Points [N, 3] of a wall across the camera's axis."""
  xs, ys = np.meshgrid(np.arange(x[0], x[1], step), np.arange(y[0], y[1], step))
  return np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, z)], axis=1)


def test_visible_excludes_points_behind_a_nearer_wall():
  front = _wall(5.0, (-1, 1), (-1, 1), 0.03)  # covers 11 degrees to each side
  points = np.array(
    [[0, 0, 20.0], [3.8, 0, 20], [4.5, 0, 20], [0, 5, 20], [0, 0, 5.2], [0, 0, 4.9]]
  )
  expected = [False, False, True, True, True, True]  # on the wall and before it is not behind it
  np.testing.assert_array_equal(
    visibility.visible(points, np.concatenate([front, points])), expected
  )
  np.testing.assert_array_equal(visibility.visible(points, front), expected)


def test_visible_keeps_a_road_at_grazing_angle():
  # A camera 1.6 m above it; beams 0.4 degrees apart hit it up to 60 m away.
  z = 1.6 / np.tan(np.deg2rad(np.arange(1.5, 25, 0.4)))
  x, z = np.meshgrid(np.linspace(-4, 4, 200), z)
  road = np.stack([x.ravel(), np.full(x.size, 1.6), z.ravel()], axis=1)
  assert visibility.visible(road, road).mean() > 0.97


def test_visible_agrees_with_exact_lines_of_sight():
  """A scanner 1.2 m above the camera looks over boxes at a wall 25 m away."""
  rng = np.random.default_rng(0)
  tops = rng.uniform(-0.5, 1.5, 12)  # y of the boxes' tops, downwards; their fronts are at z = 8
  edges = np.linspace(-8, 8, 13)

  def hit(origin, direction):
    """First of the fronts and the wall that a ray meets."""
    out = []
    for z in (8.0, 25.0):
      x, y, _ = origin + direction * (z - origin[2]) / direction[2]
      box = int(np.searchsorted(edges, x)) - 1
      out.append((z == 25) or (0 <= box < 12 and y > tops[box]))
    return 8.0 if out[0] else 25.0

  scanner, scan = np.array([0, -1.2, 0]), []
  for azimuth in np.deg2rad(np.arange(-20, 20, 0.18)):
    for elevation in np.deg2rad(np.arange(-2, 26, 0.45)):
      ray = np.array(
        [
          np.sin(azimuth) * np.cos(elevation),
          np.sin(elevation),
          np.cos(azimuth) * np.cos(elevation),
        ]
      )
      scan.append(scanner + ray * (hit(scanner, ray) / ray[2]))
  scan = np.array(scan)
  hidden = np.array([hit(np.zeros(3), point) < point[2] - 1 for point in scan])
  found = ~visibility.visible(scan, scan)
  assert hidden.sum() > 300
  assert found[hidden].mean() > 0.9  # the rest lies just behind an edge, between two beams
  assert found[~hidden].mean() < 0.06


@pytest.mark.parametrize('scan', [np.zeros((0, 3)), np.array([[0, 0, -3.0]])])
def test_visible_keeps_all_points_without_occluders(scan):
  assert visibility.visible(np.array([[0, 0, 4.0]]), scan).all()
  assert visibility.visible(np.zeros((0, 3)), scan).shape == (0,)
