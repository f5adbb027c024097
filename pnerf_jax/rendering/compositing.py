"""Volume rendering of the samples of a ray.

Letters: S samples of a ray, D dimensions of a value.

References:
  Max, Optical models for direct volume rendering, IEEE TVCG, 1995.
"""

import jax
import jax.numpy as jnp


@jax.named_scope('composite')
def composite_weights(sigma: jax.Array, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Return the weights of samples and the remaining transmittance, which sum to 1.

  Args:
    sigma: [..., S] density, 1/m, >= 0.
    delta: [..., S] segment lengths, metres.

  Returns:
    weights: [..., S], w_i = T_i (1 - exp(-sigma_i delta_i)).
    transmittance: [...] after the last sample, i.e. the weight of the sky.
  """
  optical_depth = sigma * delta
  accumulated = jnp.cumsum(optical_depth, axis=-1)
  # Shifted instead of `accumulated - optical_depth`, which cancels in front of an opaque sample.
  before = jnp.concatenate([jnp.zeros_like(accumulated[..., :1]), accumulated[..., :-1]], axis=-1)
  weights = jnp.exp(-before) * -jnp.expm1(-optical_depth)
  return weights, jnp.exp(-accumulated[..., -1])


def integrate(weights: jax.Array, values: jax.Array) -> jax.Array:
  """Return the weighted sum over samples. weights: [..., S]; values: [..., S, D] -> [..., D]."""
  # Full precision: accelerators otherwise round the weights, whose sum is then no longer 1.
  return jnp.einsum('...s,...sd->...d', weights, values, precision='highest')


def median(weights: jax.Array, values: jax.Array) -> jax.Array:
  """Return the value at which half of the total weight is reached, [..., S] x 2 -> [...]."""
  total = jnp.cumsum(weights, axis=-1)
  index = jnp.sum(total < 0.5 * total[..., -1:], axis=-1, keepdims=True)
  index = jnp.minimum(index, values.shape[-1] - 1)
  return jnp.take_along_axis(values, index, axis=-1)[..., 0]
