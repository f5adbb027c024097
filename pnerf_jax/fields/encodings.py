"""Frequency encoding.

Letters: L octaves, D dimensions of the input.

References:
  Mildenhall et al., NeRF, ECCV 2020, section 5.1.
"""

import jax
import jax.numpy as jnp


def frequency(x: jax.Array, num_frequencies: int) -> jax.Array:
  """Encode x as (x, sin x, cos x, sin 2x, cos 2x, ..., cos 2^(L-1) x), without the factor pi.

  Args:
    x: [..., D].
    num_frequencies: L >= 0.

  Returns:
    [..., D * (1 + 2 L)]; each of the blocks above holds all D dimensions.
  """
  octaves = 2.0 ** jnp.arange(num_frequencies, dtype=x.dtype)
  angles = x[..., None, :] * octaves[:, None]  # [..., L, D]; powers of two are exact
  waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-2)  # [..., L, 2, D]
  return jnp.concatenate([x, waves.reshape(*x.shape[:-1], -1)], axis=-1)
