"""Frequency encoding against the formula, one number at a time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields import encodings


@pytest.mark.parametrize('num_frequencies', [0, 1, 4, 15])
def test_frequency_agrees_with_the_formula(num_frequencies):
  x = np.random.default_rng(0).uniform(-1, 1, (5, 2, 3)).astype(np.float32)
  got = np.asarray(encodings.frequency(jnp.asarray(x), num_frequencies))
  assert got.shape == (5, 2, 3 * (1 + 2 * num_frequencies))
  for i in range(5):
    for j in range(2):
      want = [float(value) for value in x[i, j]]
      for octave in range(num_frequencies):
        for wave in (math.sin, math.cos):
          want += [wave(2**octave * float(value)) for value in x[i, j]]
      np.testing.assert_allclose(got[i, j], want, rtol=0, atol=1e-6)


def test_frequency_derivative_agrees_with_the_formula():
  x = jnp.array([0.3, -0.7])
  jacobian = np.asarray(jax.jacfwd(lambda v: encodings.frequency(v, 2))(x))
  want = np.zeros((10, 2))
  for d, value in enumerate((0.3, -0.7)):
    want[[d, 2 + d, 4 + d, 6 + d, 8 + d], d] = (
      1,
      math.cos(value),
      -math.sin(value),
      2 * math.cos(2 * value),
      -2 * math.sin(2 * value),
    )
  np.testing.assert_allclose(jacobian, want, atol=1e-6)
