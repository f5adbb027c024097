"""PSPNet: a dilated residual network, pyramid pooling, and an auxiliary head.

Letters: N images, C classes, w width, B bins of a pooling level in each direction.
Source: H. Zhao et al., Pyramid Scene Parsing Network, CVPR 2017: the pyramid of 1, 2, 3 and 6 bins,
the auxiliary loss on the third stage, strides of the last stages replaced by dilation. Different
here: basic residual blocks and group norm, so that it is small, trains on a CPU with a few crops a
step, and has no running statistics; strided convolution instead of max pooling in the stem.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pnerf_jax.contrib.segmentation.cityscapes import NUM_CLASSES

BINS = (1, 2, 3, 6)
# Mean and deviation of photos, as of ImageNet.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


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
  """Means [N, B, B, F] over B x B bins of x [N, H, W, F], from floor(i H / B) to ceil((i+1) H / B)."""
  rows, columns = (_bin_weights(size, bins) for size in x.shape[1:3])
  return jnp.einsum('bh,nhwf,cw->nbcf', rows, x, columns, precision='highest')


def _bin_weights(size: int, bins: int) -> np.ndarray:
  """[B, size] float32: each row the mean over its bin."""
  weights = np.zeros((bins, size), np.float32)
  for i in range(bins):
    low, high = i * size // bins, -(-(i + 1) * size // bins)
    weights[i, low:high] = 1 / (high - low)
  return weights


class PSPNet(nn.Module):
  """Logits of the classes.

  Attributes:
    width: w; the stages have w, 2w, 4w, 8w channels.
    blocks: residual blocks of each of the four stages.
    stride: pixels between the features of the last stages, 4 or 8 (8 in the paper).
  """

  width: int = 16
  blocks: int = 2
  stride: int = 8

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits of the main and of the auxiliary head, [N, H, W, C] each. images: [N, H, W, 3] uint8."""
    w = self.width
    x = (images.astype(jnp.float32) / 255 - _MEAN) / _DEVIATION
    x = nn.relu(_ConvNorm(w, stride=2)(x))
    x = nn.relu(_ConvNorm(w)(x))
    x = nn.relu(_ConvNorm(w, stride=2)(x))
    stages = []
    for stage, dilation in enumerate((1, 1, 2, 4)):
      for block in range(self.blocks):
        stride = 2 if self.stride == 8 and (stage, block) == (1, 0) else 1
        x = _Block(w * 2**stage, stride, dilation)(x)
      stages.append(x)
    # The pyramid: what surrounds a pixel, from the whole image to a sixth of it.
    pyramid = [x]
    for bins in BINS:
      level = nn.relu(_ConvNorm(x.shape[-1] // len(BINS), 1)(bin_means(x, bins)))
      pyramid.append(jax.image.resize(level, (*x.shape[:3], level.shape[-1]), 'bilinear'))
    x = nn.relu(_ConvNorm(4 * w)(jnp.concatenate(pyramid, axis=-1)))
    aside = nn.relu(_ConvNorm(2 * w)(stages[2]))
    return tuple(
      jax.image.resize(
        nn.Conv(NUM_CLASSES, (1, 1))(y), (*images.shape[:3], NUM_CLASSES), 'bilinear'
      )
      for y in (x, aside)
    )


def init_params(network: PSPNet, key: jax.Array) -> dict:
  """Fresh parameters; they do not depend on the images' size."""
  # Compiled, since nothing is then computed for the image, and half the time is saved.
  return jax.jit(network.init)(key, jnp.zeros((1, 48, 48, 3), jnp.uint8))['params']
