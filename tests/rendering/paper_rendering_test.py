"""Sampling and compositing of the paper's program against its arrays, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import paper_rendering
from pnerf_jax.rendering.paper_rendering import PaperOptions

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', params=['inference', 'losses', 'published_network'])
def numbers(request, golden):
  """Return golden arrays of rays and samples; distances of the network's file are derived."""
  arrays = golden(request.param)
  if 'distance' not in arrays:
    length = np.linalg.norm(arrays['rays_d'], axis=-1)
    arrays['distance'] = arrays['z_planar'] * length[:, None]
  return arrays


def intervals_of(arrays) -> Intervals:
  """Return the slots of golden rays; their primitives are the annotation ids."""
  enter, leave, annotation, _ = np.moveaxis(arrays['intersections'], -1, 0)
  used = annotation >= 0
  return Intervals(
    enter=jnp.asarray(np.where(used, enter, np.inf)),
    exit=jnp.asarray(np.where(used, leave, np.inf)),
    primitive=jnp.asarray(annotation, jnp.int32),
    num_truncated=jnp.zeros(len(enter), jnp.int32),
  )


@pytest.mark.parametrize('key', [None, 3])
def test_samples_are_placed_as_in_the_paper(numbers, key):
  far, expected = float(numbers['far']), numbers['distance']
  options = PaperOptions(num_samples=expected.shape[1], far=far)
  key = None if key is None else jax.random.key(key)
  t = np.asarray(paper_rendering.place_samples(intervals_of(numbers), options, key))
  # The samples in the sky are random draws; their number is not.
  assert np.all(np.diff(t, axis=-1) >= 0)
  near, expected_near = t < far, expected < far
  np.testing.assert_array_equal(near.sum(axis=-1), expected_near.sum(axis=-1))
  # The program sums the quantiles of up to 99 gaps in float32; the first gap, from an unused slot
  # at -1 m to the nearest primitive, may be 100 m long.
  np.testing.assert_allclose(t[near], expected[expected_near], rtol=1e-5, atol=2e-3)
  sky = t[~near]
  assert np.all((sky >= far) & (sky <= far + 20.0))


def test_slots_and_empty_space(numbers):
  if 'inside' not in numbers:
    pytest.skip('the file does not hold the membership of its samples')
  samples = paper_rendering.locate_samples(
    jnp.asarray(numbers['distance']),
    jnp.asarray(numbers['z_planar']),
    intervals_of(numbers),
    float(numbers['far']),
  )
  np.testing.assert_array_equal(samples.inside, numbers['inside'])
  np.testing.assert_array_equal(samples.is_empty, numbers['zero_density'])
  outside = ~numbers['inside'].any(axis=-1)
  np.testing.assert_array_equal(samples.is_sky, outside & (numbers['distance'] > numbers['far']))
  np.testing.assert_array_equal(samples.is_void, outside & (numbers['distance'] < numbers['far']))


def test_weights_color_and_depth(numbers):
  if 'raw_density' not in numbers:
    pytest.skip('the file does not hold raw values of its samples')
  density = np.where(numbers['zero_density'], 0.0, np.maximum(numbers['raw_density'], 0.0))
  weights = paper_rendering.composite_weights(
    jnp.asarray(density), jnp.asarray(numbers['z_planar'])
  )
  np.testing.assert_allclose(weights, numbers['weights'], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    np.sum(weights * numbers['z_planar'], axis=-1), numbers['depth'], rtol=1e-5
  )


def test_weights_against_a_loop():
  sigma, depth = np.array([0.0, 0.7, 2.0, 0.3]), np.array([1.0, 1.5, 1.5, 4.0])
  delta = [0.5, 0.0, 2.5, 1e10]
  transmittance, expected = 1.0, []
  for density, length in zip(sigma, delta):
    alpha = 1.0 - np.exp(-density * length)
    expected.append(transmittance * alpha)
    transmittance *= 1.0 - alpha + 1e-10
  weights = paper_rendering.composite_weights(jnp.asarray(sigma), jnp.asarray(depth))
  np.testing.assert_allclose(weights, expected, rtol=1e-6)
  assert float(weights.sum()) == pytest.approx(1.0)


def test_gradients_are_finite_without_any_primitive():
  intervals = Intervals(
    jnp.full((2, 3), jnp.inf), jnp.full((2, 3), jnp.inf), jnp.full((2, 3), -1), jnp.zeros(2)
  )
  t = paper_rendering.place_samples(intervals, PaperOptions(num_samples=9, far=50.0), None)
  samples = paper_rendering.locate_samples(t, t, intervals, 50.0)
  assert bool(samples.is_sky.all())

  def depth(sigma):
    return jnp.sum(paper_rendering.composite_weights(sigma, samples.depth) * samples.depth)

  gradient = jax.grad(depth)(jnp.full(t.shape, 0.1))
  assert bool(jnp.isfinite(gradient).all()) and bool(jnp.any(gradient != 0))
