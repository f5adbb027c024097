"""Rays against shapes with known distances, shadows and colours."""

import numpy as np

from pnerf_jax.contrib.street import illumination, raycast, solids, textures
from pnerf_jax.contrib.street.solids import Paint

GREY = Paint('sign', (0.4, 0.4, 0.4), (0.4, 0.4, 0.4))  # a flat colour
LIGHT = illumination.Light(
  np.array([0.0, 0.0, 1.0]),
  np.array([1.0, 0.9, 0.8]),
  np.array([0.3, 0.4, 0.5]),
  np.full(3, 0.9),
  np.full(3, 0.5),
  0.0,
  1e9,
  np.zeros(2),
)
FLOOR = solids.quad([(-20, -20, 0), (20, -20, 0), (20, 20, 0), (-20, 20, 0)], GREY)
PLATE = solids.quad([(1, -1, 2), (3, -1, 2), (3, 1, 2), (1, 1, 2)], GREY)


def test_cast_matches_closed_form():
  rng = np.random.default_rng(0)
  scene = raycast.Scene([FLOOR, solids.box((2, 2, 2), GREY, (0, 0, 0))])
  origins = rng.uniform(-8, 8, (500, 3)) + [0, 0, 12]
  directions = rng.uniform(-3, 3, (500, 3)) - origins
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  hits = scene.cast(origins, directions)
  # Slabs of the box [-1, 1] x [-1, 1] x [0, 2].
  near = np.minimum(
    (np.array([-1, -1, 0]) - origins) / directions, (np.array([1, 1, 2]) - origins) / directions
  ).max(1)
  far = np.maximum(
    (np.array([-1, -1, 0]) - origins) / directions, (np.array([1, 1, 2]) - origins) / directions
  ).min(1)
  floor = -origins[:, 2] / directions[:, 2]
  at = origins + floor[:, None] * directions
  floor[(floor <= 0) | (np.abs(at[:, :2]).max(1) > 20)] = np.inf
  expected = np.where(near < far, np.minimum(near, floor), floor)
  clear = np.abs(near - far) > 1e-3  # rays at an edge may hit or miss
  np.testing.assert_allclose(hits.distance[clear], expected[clear], rtol=1e-5)
  hit = clear & np.isfinite(expected)
  np.testing.assert_array_equal(scene.owner[hits.face[hit]], (near < far)[hit])
  assert (hits.face[np.isinf(hits.distance)] == -1).all()


def test_nearest_takes_the_nearest_scene():
  scenes = [raycast.Scene([FLOOR]), raycast.Scene([PLATE])]
  origins = np.array([[2.0, 0, 5], [0.0, 0, 5], [2.0, 0, 5]])
  directions = np.array([[0.0, 0, -1], [0, 0, -1], [0, 0, 1]])
  scene_index, hits = raycast.nearest(scenes, origins, directions)
  np.testing.assert_array_equal(scene_index[:2], [1, 0])
  np.testing.assert_allclose(hits.distance, [3, 5, np.inf])


def test_radiance_has_shadows_of_other_scenes():
  scenes = [raycast.Scene([FLOOR]), raycast.Scene([PLATE])]
  x = np.array([2.0, 0.0, 2.9, 3.1])
  origins = np.stack([x, np.zeros(4), np.full(4, 1.0)], 1)
  directions = np.tile([0.0, 0.0, -1.0], (4, 1))
  color = raycast.radiance(scenes, LIGHT, origins, directions, 1e-3)
  lit = 0.4 * (LIGHT.skylight + LIGHT.sunlight)
  dark = 0.4 * LIGHT.skylight
  np.testing.assert_allclose(color, [dark, lit, dark, lit], rtol=1e-6)


def test_radiance_of_missing_rays_is_the_sky():
  up = np.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])
  color = raycast.radiance([raycast.Scene([FLOOR])], LIGHT, np.ones((2, 3)), up, 1e-3)
  np.testing.assert_allclose(color, illumination.sky(LIGHT, up))


def test_noise_is_periodic_and_fades_with_the_sample_width():
  rng = np.random.default_rng(1)
  uv = rng.uniform(-40, 40, (4000, 2))
  sharp = textures.noise(uv, np.full(4000, 0.02))
  np.testing.assert_allclose(sharp.std(), 1.0, atol=0.15)
  period = 512 * textures.TEXEL
  np.testing.assert_allclose(
    textures.noise(uv + [period, -period], np.full(4000, 0.02)), sharp, atol=1e-4
  )
  blurred = textures.noise(uv, np.full(4000, 2.0), rough=True)
  assert blurred.std() < 0.5


def test_every_pattern_is_finite_and_bounded():
  rng = np.random.default_rng(2)
  n = 300
  samples = textures.SurfaceSamples(
    rng.uniform(-9, 9, (n, 2)),
    rng.uniform(0.005, 2, n),
    rng.uniform(0, 1, (n, 3)),
    rng.uniform(0, 1, (n, 3)),
    rng.uniform(0.1, 2, n),
    rng.integers(0, 10**6, n),
  )
  for pattern in range(len(textures.PATTERN_NAMES)):
    out = textures.albedo(np.full(n, pattern), samples)
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
