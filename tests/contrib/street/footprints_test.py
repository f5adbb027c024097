"""Overlap of footprints against points sampled in them."""

import numpy as np

from pnerf_jax.contrib.street import footprints, objects, solids
from pnerf_jax.contrib.street.solids import Paint

GREY = Paint('plain', (0.4, 0.4, 0.4))


def test_overlap_agrees_with_sampled_points():
  rng = np.random.default_rng(0)
  square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
  grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 60)] * 2), -1).reshape(-1, 2)
  agreed = 0
  for _ in range(200):
    size, yaw, center = rng.uniform(0.2, 4, 2), rng.uniform(0, np.pi), rng.uniform(-2.5, 2.5, 2)
    turn = solids.rotation_z(yaw)[:2, :2]
    other = square * size @ turn.T + center
    inside = np.abs(((grid * 2 - center) @ turn) / size).max(1) < 0.5  # of the square of two metres
    thin = np.abs(np.abs(((grid * 2 - center) @ turn) / size).max(1) - 0.5).min() < 0.02
    if inside.any() or not thin:
      agreed += 1
      assert footprints.overlap(square * 2, other[None]) == inside.any()
  assert agreed > 150


def test_rectangles_follow_the_yaw_and_ignore_overhead_parts():
  pole = objects.make_object(
    'pole', solids.box((0.2, 0.2, 5), GREY), solids.box((0.2, 3, 0.2), GREY, (0, 0, 5))
  )
  found = footprints.rectangles([pole.moved((3, 4, 1), 0.5)], margin=0)
  assert found.shape == (1, 4, 2)
  np.testing.assert_allclose(found[0].mean(0), [3, 4])
  np.testing.assert_allclose(np.linalg.norm(found[0] - [3, 4], axis=1), 0.1 * 2**0.5)
  assert (
    footprints.rectangles([objects.make_object('building', solids.box((5, 5, 5), GREY))]).size == 0
  )
