"""Volume rendering of one ray's samples.

Letters: S samples, sigma density in 1/m, delta metres, weights w_i = T_i alpha_i.
Source: Max, Optical models for direct volume rendering, 1995; method equations of Panoptic NeRF.
"""

import jax
import jax.numpy as jnp


@jax.named_scope('composite')
def composite_weights(sigma: jax.Array, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Weights of the samples and what passes them all.

  Args:
    sigma: [..., S] density, 1/m, >= 0.
    delta: [..., S] metres.

  Returns:
    weights: [..., S], w_i = T_i (1 - exp(-sigma_i delta_i)).
    passed: [...], the transmittance behind the last sample; the sky takes it. The weights and it
      sum to 1.
  """
  optical = sigma * delta
  through = jnp.cumsum(optical, axis=-1)
  # Shifted, not `through - optical`: behind a wall that difference has lost the fog before it.
  before = jnp.concatenate([jnp.zeros_like(through[..., :1]), through[..., :-1]], axis=-1)
  weights = jnp.exp(-before) * -jnp.expm1(-optical)
  return weights, jnp.exp(-through[..., -1])


def integrate(weights: jax.Array, values: jax.Array) -> jax.Array:
  """Sum of w_i v_i. weights: [..., S]; values: [..., S, D] -> [..., D]."""
  return jnp.einsum('...s,...sd->...d', weights, values)


def median(weights: jax.Array, values: jax.Array) -> jax.Array:
  """Value at which half of the weight of the samples is reached, [..., S] x2 -> [...]."""
  total = jnp.cumsum(weights, axis=-1)
  index = jnp.sum(total < 0.5 * total[..., -1:], axis=-1, keepdims=True)
  index = jnp.minimum(index, values.shape[-1] - 1)
  return jnp.take_along_axis(values, index, axis=-1)[..., 0]
