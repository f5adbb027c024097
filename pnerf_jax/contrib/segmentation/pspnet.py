"""PSPNet: a dilated residual network, pyramid pooling, and an auxiliary head.

From the paper: the pyramid of 1, 2, 3 and 6 bins, the auxiliary loss on the third stage, dilation
instead of strides in the last stages. Different here: basic residual blocks and group norm (small,
trainable on a CPU with a few crops per step, no running statistics), and a strided convolution
instead of max pooling in the stem.

Letters: N images, H and W their size, F channels, C classes, w width, B bins of a pooling level in
each direction.

References:
  Zhao et al., Pyramid Scene Parsing Network, CVPR 2017.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pnerf_jax.contrib.segmentation.cityscapes import NUM_CLASSES

BINS = (1, 2, 3, 6)
# Mean and standard deviation of ImageNet.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


class _ConvNorm(nn.Module):
  """Convolution without bias, then group norm."""

  features: int
  kernel: int = 3
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = nn.Conv(
      self.features, (self.kernel,) * 2, self.stride, use_bias=False, kernel_dilation=self.dilation
    )(x)
    return nn.GroupNorm(num_groups=math.gcd(8, self.features))(x)


class _Block(nn.Module):
  """Basic residual block."""

  features: int
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = nn.relu(_ConvNorm(self.features, 3, self.stride, self.dilation)(x))
    y = _ConvNorm(self.features, 3, 1, self.dilation)(y)
    if y.shape != x.shape:
      x = _ConvNorm(self.features, 1, self.stride)(x)
    return nn.relu(x + y)


def bin_means(x: jax.Array, bins: int) -> jax.Array:
  """Return the means over B x B bins of x (adaptive average pooling).

  Args:
    x: [N, H, W, F].
    bins: B; bin i covers the rows from floor(i H / B) to ceil((i + 1) H / B).

  Returns:
    [N, B, B, F].
  """
  rows, columns = (_bin_weights(size, bins) for size in x.shape[1:3])
  return jnp.einsum('bh,nhwf,cw->nbcf', rows, x, columns, precision='highest')


def _bin_weights(size: int, bins: int) -> np.ndarray:
  """Return [B, size] float32, the weights of the mean over each bin."""
  weights = np.zeros((bins, size), np.float32)
  for i in range(bins):
    low, high = i * size // bins, -(-(i + 1) * size // bins)
    weights[i, low:high] = 1 / (high - low)
  return weights


class PSPNet(nn.Module):
  """A network that predicts the logits of the classes.

  Attributes:
    width: w; the stages have w, 2w, 4w and 8w channels.
    blocks: residual blocks of each of the four stages.
    stride: pixels between the features of the last stages, 4 or 8 (8 in the paper).
  """

  width: int = 16
  blocks: int = 2
  stride: int = 8

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the logits [N, H, W, C] of the main and of the auxiliary head.

    Args:
      images: [N, H, W, 3] uint8.
    """
    w = self.width
    x = (images.astype(jnp.float32) / 255 - _MEAN) / _STD
    x = nn.relu(_ConvNorm(w, stride=2)(x))
    x = nn.relu(_ConvNorm(w)(x))
    x = nn.relu(_ConvNorm(w, stride=2)(x))
    stages = []
    for stage, dilation in enumerate((1, 1, 2, 4)):
      for block in range(self.blocks):
        stride = 2 if self.stride == 8 and (stage, block) == (1, 0) else 1
        x = _Block(w * 2**stage, stride, dilation)(x)
      stages.append(x)
    # Pyramid pooling: context from the whole image down to a sixth of it.
    pyramid = [x]
    for bins in BINS:
      level = nn.relu(_ConvNorm(x.shape[-1] // len(BINS), 1)(bin_means(x, bins)))
      pyramid.append(jax.image.resize(level, (*x.shape[:3], level.shape[-1]), 'bilinear'))
    x = nn.relu(_ConvNorm(4 * w)(jnp.concatenate(pyramid, axis=-1)))
    auxiliary = nn.relu(_ConvNorm(2 * w)(stages[2]))
    return tuple(
      jax.image.resize(
        nn.Conv(NUM_CLASSES, (1, 1))(y), (*images.shape[:3], NUM_CLASSES), 'bilinear'
      )
      for y in (x, auxiliary)
    )


def init_params(network: PSPNet, key: jax.Array) -> dict:
  """Return random parameters; their shapes do not depend on the size of the images."""
  # XLA removes the forward pass from the compiled function, which halves the time.
  return jax.jit(network.init)(key, jnp.zeros((1, 48, 48, 3), jnp.uint8))['params']
