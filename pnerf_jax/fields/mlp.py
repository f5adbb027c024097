"""Dense layer of the fields."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


class Dense(nn.Module):
  """Dense layer with operands of a chosen type, float32 accumulation and float32 output.

  Attributes:
    features: output size.
    compute_dtype: operand type of the matrix product. Products of float32 operands, and those of
      their gradients, are float32 on every platform; with bfloat16 the products of the gradients
      have the platform's default precision.
    kernel_init: initialiser of the kernel.
  """

  features: int
  compute_dtype: jnp.dtype
  kernel_init: Callable = nn.initializers.he_normal()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map x [..., D] to [..., features]."""
    kernel = self.param('kernel', self.kernel_init, (x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    product = jnp.matmul(
      x.astype(self.compute_dtype),
      kernel.astype(self.compute_dtype),
      # By default NVIDIA rounds float32 operands to 10 bits (TF32) and TPU to 7 (bfloat16).
      precision='highest' if self.compute_dtype == jnp.float32 else 'default',
      preferred_element_type=jnp.float32,
    )
    return product + bias
