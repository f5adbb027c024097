"""Network of the paper, compatible with the released checkpoints.

Layers have the names of the released checkpoint with `_` for `.`; a kernel is the transpose of the
released weight.

Letters: C classes present in the window.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, supplement, and the authors' released code.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from pnerf_jax.fields import encodings
from pnerf_jax.fields.field import FieldModule
from pnerf_jax.fields.mlp import Dense

_WIDTH = 256
_DEPTH = 8
_SKIP = 4  # the encoded point is concatenated to the output of this layer
_POINT_FREQUENCIES = 15
_DIRECTION_FREQUENCIES = 4
NUM_CHANNELS = 50  # semantic channels, indexed by label id
_SKY_OFFSET = 10.0  # metres past `scale`: middle of the 20 m in which the authors sample the sky


class PaperField(FieldModule):
  """8 x 256 trunk with a skip connection; density, colour and a 4 x 256 + 128 semantic head.

  Density and semantics are computed from the trunk's output and independent of the direction.
  There are no appearance embeddings; `image` arguments are unused.

  Attributes:
    scale: far bound of the window, metres; points are divided by it.
    class_ids: label ids of the C classes, each < 50: the semantic channels to return.
    compute_dtype: operand type of the matrix products.
  """

  scale: float
  class_ids: tuple[int, ...]
  compute_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Create the layers under their released names."""
    dense = lambda features: Dense(
      features,
      self.compute_dtype,
      kernel_init=nn.initializers.variance_scaling(2.0, 'fan_in', 'normal'),
    )
    self.pts_linears = [dense(_WIDTH) for _ in range(_DEPTH)]
    self.alpha_linear = dense(1)
    self.feature_linear = dense(_WIDTH)
    self.rgb_linears = [dense(_WIDTH // 2)]
    self.rgb_linear = dense(3)
    self.semantic_linears = [dense(_WIDTH) for _ in range(4)]
    self.semantic_output1 = dense(_WIDTH // 2)
    self.semantic_output2 = dense(NUM_CHANNELS)

  def raw(self, points: jax.Array, directions: jax.Array) -> jax.Array:
    """Return the output of the released network.

    Args:
      points: [..., 3], already divided by the far bound.
      directions: [..., 3] unit, one for each point.

    Returns:
      [..., 54]: colour before the sigmoid (3), density before the ReLU (1), class logits (50).
    """
    hidden = self._trunk(points)
    view = encodings.frequency(directions, _DIRECTION_FREQUENCIES)
    return jnp.concatenate(
      [self._color(hidden, view), self.alpha_linear(hidden), self._semantic(hidden)], axis=-1
    )

  def _trunk(self, points: jax.Array) -> jax.Array:
    """Return the trunk's output [..., 256] at points [..., 3], already divided by `scale`."""
    encoded = encodings.frequency(points, _POINT_FREQUENCIES)
    hidden = encoded
    for i, layer in enumerate(self.pts_linears):
      hidden = nn.relu(layer(hidden))
      if i == _SKIP:
        hidden = jnp.concatenate([encoded, hidden], axis=-1)
    return hidden

  def _color(self, hidden: jax.Array, view: jax.Array) -> jax.Array:
    """Return colour [..., 3] before the sigmoid. hidden: [..., 256]; view: [..., 27]."""
    # As released, there is no activation after feature_linear.
    color = jnp.concatenate([self.feature_linear(hidden), view], axis=-1)
    return self.rgb_linear(nn.relu(self.rgb_linears[0](color)))

  def _semantic(self, hidden: jax.Array) -> jax.Array:
    """Return class logits [..., 50]. hidden: [..., 256]."""
    for layer in (*self.semantic_linears, self.semantic_output1):
      hidden = nn.relu(layer(hidden))
    return self.semantic_output2(hidden)

  def density(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return density [...] in 1/m and features [..., 256] at points [..., 3], metres."""
    hidden = self._trunk(points / self.scale)
    return nn.relu(self.alpha_linear(hidden)[..., 0]), hidden

  def encode_view(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return encoded directions [..., 27]."""
    del image
    return encodings.frequency(directions, _DIRECTION_FREQUENCIES)

  def heads(self, features: jax.Array, view: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return colour [..., 3] and logits [..., C]. features: [..., 256]; view: [..., 27]."""
    view = jnp.broadcast_to(view, (*features.shape[:-1], view.shape[-1]))
    channels = jnp.asarray(self.class_ids, jnp.int32)
    return nn.sigmoid(self._color(features, view)), self._semantic(features)[..., channels]

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return the sky's colour [..., 3]: that of the field just beyond the far bound."""
    points = origins + (self.scale + _SKY_OFFSET) * directions
    return self(points[..., None, :], directions, image).rgb[..., 0, :]
