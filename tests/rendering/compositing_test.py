"""Compositing against rays computed by hand, closed-form derivatives and slow loops.

Letters: w weights, T transmittance, alpha = 1 - exp(-sigma delta).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.rendering import compositing

_JACOBIAN = jax.jit(jax.jacrev(lambda *x: jnp.append(*compositing.composite_weights(*x))))


def _loop(sigma, delta):
  """Return weights and the remaining transmittance of one ray, one sample at a time."""
  weights, transmittance = [], 1.0
  for density, length in zip(np.float64(sigma), np.float64(delta)):
    weights.append(transmittance * -math.expm1(-density * length))
    transmittance *= math.exp(-density * length)
  return weights, transmittance


def test_composite_weights_of_four_samples_by_hand():
  # sigma delta = ln 2, ln 4, 0, ln 4/3 makes alpha = 1/2, 3/4, 0, 1/4.
  # T before each sample = 1, 1/2, 1/2 * 1/4 = 1/8, 1/8; after the last 1/8 * 3/4 = 3/32.
  # w = T alpha = 1/2, 3/8, 0, 1/32; 16/32 + 12/32 + 1/32 + 3/32 = 1.
  sigma = jnp.array([math.log(2), math.log(4) / 0.5, 7.0, math.log(4 / 3) / 2])
  delta = jnp.array([1.0, 0.5, 0.0, 2.0])
  weights, transmittance = compositing.composite_weights(sigma, delta)
  np.testing.assert_allclose(weights, [1 / 2, 3 / 8, 0, 1 / 32], atol=1e-6)
  np.testing.assert_allclose(transmittance, 3 / 32, atol=1e-6)


def test_composite_weights_of_fog_before_a_wall_by_hand():
  # Fog of sigma delta = 0.3: alpha = 1 - e^-0.3. The wall of 1e5 / m over 40 m is opaque:
  # T = e^-0.3, alpha = 1. The last sample and the sky have weight 0.
  weights, transmittance = compositing.composite_weights(
    jnp.array([0.3, 1e5, 3.0]), jnp.array([1.0, 40.0, 1.0])
  )
  np.testing.assert_allclose(weights, [1 - math.exp(-0.3), math.exp(-0.3), 0], atol=1e-6)
  assert transmittance == 0


def _random_rays(count: int, samples: int):
  rng = np.random.default_rng(0)
  sigma = 10.0 ** rng.uniform(-6, 5.2, (count, samples))
  delta = rng.uniform(0, 20, (count, samples)) * (rng.uniform(size=(count, samples)) > 0.2)
  sigma[rng.uniform(size=(count, samples)) < 0.2] = 0
  sigma[0] = 0  # an empty ray
  delta[1] = 0  # a ray outside all primitives
  sigma[2] = 1e5
  return sigma.astype(np.float32), delta.astype(np.float32)


def test_composite_weights_agree_with_a_loop_and_sum_to_one():
  sigma, delta = _random_rays(60, 24)
  # Short segments keep many rays translucent.
  delta[20:] *= np.float32(1e-4)
  weights, transmittance = map(np.asarray, compositing.composite_weights(sigma, delta))
  for ray in range(len(sigma)):
    want, rest = _loop(sigma[ray], delta[ray])
    np.testing.assert_allclose(weights[ray], want, atol=5e-6)
    np.testing.assert_allclose(transmittance[ray], rest, atol=5e-6)
  np.testing.assert_allclose(weights.sum(axis=-1) + transmittance, 1.0, atol=1e-5)
  np.testing.assert_array_equal(weights[:2], 0.0)
  np.testing.assert_array_equal(transmittance[:2], 1.0)


@pytest.mark.parametrize(
  'sigma, delta',
  [
    ([0.0, 0.0, 0.0], [0.3, 0.2, 0.1]),
    ([1e5, 1e5, 1e5], [0.3, 20.0, 0.1]),
    ([0.5, 1e5, 0.2], [0.3, 20.0, 0.1]),
    ([0.5, 2.0, 1.0], [0.0, 0.0, 0.0]),
    ([0.5, 2.0, 1.0], [0.3, 0.0, 0.7]),
    ([1e-10, 1e-10, 1e10], [1e-10, 1e10, 1e10]),
  ],
)
def test_composite_weights_gradients_agree_with_the_formula(sigma, delta):
  want_weights, rest = _loop(sigma, delta)
  want = np.zeros((4, 3))  # d (w, T) / d sigma
  transmittance = 1.0
  for i in range(3):
    transmittance *= math.exp(-sigma[i] * delta[i])
    want[i, i] = delta[i] * transmittance
    for later in range(i + 1, 3):
      want[later, i] = -delta[i] * want_weights[later]
    want[3, i] = -delta[i] * rest
  jacobian = _JACOBIAN(jnp.array(sigma), jnp.array(delta))
  assert np.isfinite(jacobian).all()
  np.testing.assert_allclose(jacobian, want, rtol=1e-5, atol=1e-6)


def test_integrate_agrees_with_a_loop():
  rng = np.random.default_rng(1)
  weights = rng.uniform(size=(2, 3, 7)).astype(np.float32)
  values = rng.normal(size=(2, 3, 7, 4)).astype(np.float32)
  want = np.zeros((2, 3, 4))
  for i, j, sample, d in np.ndindex(values.shape):
    want[i, j, d] += float(weights[i, j, sample]) * float(values[i, j, sample, d])
  np.testing.assert_allclose(compositing.integrate(weights, values), want, rtol=1e-5, atol=1e-5)


def test_median_by_hand():
  # Cumulative weight 0.1, 0.3, 0.7, 0.8: half of it, 0.4, is reached at the third sample.
  assert compositing.median(jnp.array([0.1, 0.2, 0.4, 0.1]), jnp.array([1.0, 2.0, 5.0, 9.0])) == 5.0


def test_median_agrees_with_a_loop():
  rng = np.random.default_rng(2)
  weights = rng.uniform(size=(50, 9)).astype(np.float32)
  weights *= rng.uniform(size=(50, 9)) > 0.5
  weights[:, 4] += 1e-3
  values = np.sort(rng.uniform(1, 50, (50, 9)), axis=-1).astype(np.float32)
  got = np.asarray(compositing.median(weights, values))
  for ray in range(50):
    half, reached, index = weights[ray].sum() / 2, 0.0, -1
    while reached < half:
      index += 1
      reached += weights[ray, index]
    assert got[ray] == values[ray, index]


def test_median_and_its_gradient_are_finite_for_an_empty_ray():
  value, gradient = jax.value_and_grad(compositing.median)(jnp.zeros(3), jnp.array([1.0, 2.0, 3.0]))
  assert np.isfinite(value) and np.isfinite(gradient).all()
