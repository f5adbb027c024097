"""Staged inference against the full evaluation of `render_rays`.

The classes are road, sidewalk, building, sky; primitive m < 3 is of class m, primitive 3 is void.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import FieldOutput
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering.rays import Pixels, RenderOptions, render_rays
from pnerf_jax.rendering.staged import evaluate_masked, render_pixels

_TABLE = fixed.make_class_table(np.array([7, 8, 11, 0]), (7, 8, 11, 23), 23)
_OPTIONS = RenderOptions(
  num_samples=24,
  num_coarse_samples=0,
  uniform_fraction=0.0,
  per_interval_fraction=0.5,
  mask_semantics=True,
)


class _Clouds:
  """Field with density, colour and logits from the point; NaN beyond `end` metres."""

  def __init__(self, scale: float, end: float = np.inf):
    self._scale, self._end = scale, end

  def __call__(self, points, directions, image):
    sigma, features = self.density(points)
    rgb, logits = self.heads(features, self.encode_view(directions, image)[..., None, :])
    return FieldOutput(sigma, rgb, logits)

  def density(self, points):
    sigma = self._scale * 10.0 ** jnp.sin(5.0 * points[..., 2])
    return jnp.where(points[..., 2] < self._end, sigma, jnp.nan), points

  def encode_view(self, directions, image):
    return directions + image[..., None]

  def heads(self, features, view):
    wave = jnp.sin(features[..., 2:] * jnp.arange(1.0, 5.0))
    return (wave[..., :3] + jnp.sin(view)) / 4.0 + 0.5, 5.0 * wave

  def sky(self, origins, directions, image):
    return jnp.broadcast_to(jnp.array([0.25, 0.5, 0.75]), origins.shape)


def _render(field, spans, options) -> tuple[Pixels, Pixels]:
  """Render rays along z, each of another image, in stages and in full.

  spans: a list of (enter, exit, primitive) for each ray.
  """
  count = len(spans)
  enter = np.full((count, 4), np.inf, np.float32)
  leave, primitive = enter.copy(), np.full(enter.shape, -1, np.int32)
  for ray, ray_spans in enumerate(spans):
    for k, (low, high, index) in enumerate(sorted(ray_spans)):
      enter[ray, k], leave[ray, k], primitive[ray, k] = low, high, index
  intervals = Intervals(
    enter=enter, exit=leave, primitive=primitive, num_truncated=np.zeros(count, np.int32)
  )
  rays = Rays(
    origins=jnp.broadcast_to(jnp.array([1.0, 2.0, 0.0]), (count, 3)),
    directions=jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (count, 3)),
    depth_per_t=jnp.ones(count),
    image=jnp.arange(count, dtype=jnp.int32),
  )
  staged = lambda rays, intervals: render_pixels(field, rays, intervals, _TABLE, options)
  full = lambda rays, intervals: render_rays(field, rays, intervals, _TABLE, options, key=None)
  return jax.device_get(tuple(jax.jit(f)(rays, intervals) for f in (staged, full)))


@pytest.mark.slow
@pytest.mark.parametrize(
  'num_samples, scale, mask_semantics', [(24, 0.03, True), (23, 1.0, False), (3, 100.0, True)]
)
def test_render_pixels_agrees_with_render_rays(num_samples, scale, mask_semantics):
  rng = np.random.default_rng(0)
  spans = []
  for ray in range(40):
    starts = rng.uniform(0.3, 30, ray % 5)
    spans.append([(low, low + rng.uniform(0.1, 8), int(rng.integers(4))) for low in starts])
  options = dataclasses.replace(_OPTIONS, num_samples=num_samples, mask_semantics=mask_semantics)
  staged, full = _render(_Clouds(scale), spans, options)
  assert 0 < np.mean(full.opacity > 0.5) < 1
  for field in dataclasses.fields(Pixels):
    # Errors of depth scale with the distance; the median may move to the next sample.
    tolerance = 0.02 if field.name == 'depth' else 3e-4
    np.testing.assert_allclose(
      getattr(staged, field.name), getattr(full, field.name), atol=tolerance, err_msg=field.name
    )


@pytest.mark.slow
def test_render_pixels_terminates_rays_behind_a_wall():
  # The field is NaN from 30 m on, hidden by a wall in the first ray and not reached by the others.
  spans = [[(5.0, 6.0, 0), (40.0, 50.0, 2)], [(5.0, 6.0, 0)], []]
  staged, full = _render(_Clouds(1e4, end=30.0), spans, _OPTIONS)
  assert np.isnan(full.rgb[0]).all() and np.isfinite(full.rgb[1:]).all()
  np.testing.assert_allclose(
    staged.semantics, [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-4
  )
  np.testing.assert_allclose(staged.rgb[1:], full.rgb[1:], atol=3e-4)
  np.testing.assert_allclose(staged.depth[:2], 5.0, atol=0.05)
  assert np.isfinite(staged.rgb).all() and np.isfinite(staged.interval_weights).all()


@pytest.mark.slow
@pytest.mark.parametrize('block_size', [1, 3, 7])
def test_evaluate_masked_changes_only_masked_samples(block_size):
  indices = jnp.array([[6, 2], [0, 5]])
  mask = jnp.array([[True, False], [True, True]])
  square = lambda index: jnp.float32(index) ** 2
  got = evaluate_masked(square, jnp.full(7, -1.0), indices, mask, block_size)
  np.testing.assert_array_equal(got, [0, -1, -1, -1, -1, 25, 36])
