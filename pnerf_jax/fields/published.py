"""The network of the paper, layer for layer, so that its released checkpoints fit.

Letters: S samples of a ray, C classes present in the window. Layers carry the names of the released
checkpoint with `_` for `.`; a kernel is the transpose of the released weight.
Source: Fu et al., Panoptic NeRF, 3DV 2022, supplement, and the authors' released network.
"""
from flax import linen as nn
import jax
import jax.numpy as jnp

from pnerf_jax.fields import encodings
from pnerf_jax.fields.outputs import FieldOut

_WIDTH = 256
_DEPTH = 8
_SKIP = 4  # the encoded point joins the output of this layer
_POINT_FREQUENCIES = 15
_DIRECTION_FREQUENCIES = 4
_NUM_CHANNELS = 50  # semantic channels, indexed by label id
_SKY_BEYOND = 10.0  # metres past `scale`: middle of the 20 m in which the authors sample the sky


class PublishedField(nn.Module):
  """8 x 256 trunk with a skip; density, colour and a 4 x 256 + 128 semantic head.

  The semantic head reads the trunk's last activations, as the density does; neither sees the
  direction. There is no appearance code.

  Attributes:
    scale: far bound of the window in metres; points are divided by it.
    class_ids: label ids of the C classes, each < 50: the channels that are answered.
  """
  scale: float
  class_ids: tuple[int, ...]

  def setup(self):
    """Layers by their released names; called by linen."""
    dense = lambda features: nn.Dense(
        features, kernel_init=nn.initializers.variance_scaling(2.0, 'fan_in', 'normal'))
    self.pts_linears = [dense(_WIDTH) for _ in range(_DEPTH)]
    self.alpha_linear = dense(1)
    self.feature_linear = dense(_WIDTH)
    self.rgb_linears = [dense(_WIDTH // 2)]
    self.rgb_linear = dense(3)
    self.semantic_linears = [dense(_WIDTH) for _ in range(4)]
    self.semantic_output1 = dense(_WIDTH // 2)
    self.semantic_output2 = dense(_NUM_CHANNELS)

  def raw(self, points: jax.Array, directions: jax.Array) -> jax.Array:
    """The released network's own output.

    Args:
      points: [..., 3], already divided by the far bound.
      directions: [..., 3] unit, one for each point.

    Returns:
      [..., 54]: colour before the sigmoid (3), density before the ReLU (1), class logits (50).
    """
    encoded = encodings.frequency(points, _POINT_FREQUENCIES)
    hidden = encoded
    for i, layer in enumerate(self.pts_linears):
      hidden = nn.relu(layer(hidden))
      if i == _SKIP:
        hidden = jnp.concatenate([encoded, hidden], axis=-1)
    density = self.alpha_linear(hidden)
    semantic = hidden
    for layer in (*self.semantic_linears, self.semantic_output1):
      semantic = nn.relu(layer(semantic))
    color = jnp.concatenate([
        self.feature_linear(hidden),  # no activation in between
        encodings.frequency(directions, _DIRECTION_FREQUENCIES)], axis=-1)
    color = self.rgb_linear(nn.relu(self.rgb_linears[0](color)))
    return jnp.concatenate([color, density, self.semantic_output2(semantic)], axis=-1)

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOut:
    """Evaluates the field.

    Args:
      points: [..., S, 3] metres, recentred world.
      directions: [..., 3] unit, one for all samples of a ray.
      image: [...] unused: there is no appearance code.

    Returns:
      FieldOut with leading dimensions [..., S].
    """
    del image
    raw = self.raw(
        points / self.scale, jnp.broadcast_to(directions[..., None, :], points.shape))
    channels = 4 + jnp.asarray(self.class_ids, jnp.int32)
    return FieldOut(nn.relu(raw[..., 3]), nn.sigmoid(raw[..., :3]), raw[..., channels])

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Colour of the sky: the field just beyond the far bound.

    Args:
      origins: [..., 3] metres, recentred world.
      directions: [..., 3] unit.
      image: [...] unused.

    Returns:
      [..., 3] in [0, 1].
    """
    points = origins + (self.scale + _SKY_BEYOND) * directions
    return self(points[..., None, :], directions, image).rgb[..., 0, :]
