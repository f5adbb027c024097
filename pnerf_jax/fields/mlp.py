"""The layer that all networks are made of."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


class Dense(nn.Module):
  """A dense layer with bfloat16 operands where asked, float32 sums and float32 output."""

  features: int
  compute_dtype: jnp.dtype
  kernel_init: Callable = nn.initializers.he_normal()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param('kernel', self.kernel_init, (x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    product = jnp.matmul(
      x.astype(self.compute_dtype),
      kernel.astype(self.compute_dtype),
      preferred_element_type=jnp.float32,
    )
    return product + bias
