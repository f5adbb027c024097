"""The fast hybrid field: a multiresolution hash grid with small MLPs.

Letters: B points, C classes present in the window, L levels, F features a level, V images.
Density and semantic logits never see the direction (Fu et al., Panoptic NeRF, section 3.2).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from pnerf_jax.fields import encodings, hash_grid
from pnerf_jax.fields.field import FieldOutput
from pnerf_jax.fields.mlp import Dense

_RAW_DENSITY_LIMIT = 12.0  # exp(12) = 1.6e5 / m: opaque within a tenth of a millimetre


class HashGridField(nn.Module):
  """Hash grid -> trunk -> density, semantic logits; trunk + direction + image code -> colour.

  Attributes:
    low: lower corner of the box, metres.
    levels: the grid's levels (hashgrid.make_levels).
    num_classes: C.
    num_images: V, images with an appearance code of their own.
    features: F.
    width: width of every hidden layer.
    code: size of the appearance code; 0 = none.
    density_bias: added before the exponential; sets the density at the start.
    compute_dtype: operand type of the matrix products.
  """

  low: tuple[float, float, float]
  levels: tuple[hash_grid.Level, ...]
  num_classes: int
  num_images: int
  features: int = 4
  width: int = 64
  code: int = 8
  density_bias: float = -1.0
  compute_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Tables, layers and appearance codes; called by linen."""
    init = nn.initializers.uniform(2e-4)
    centred = lambda *args: init(*args) - 1e-4
    self.tables = [
      self.param(f'grid_{i}', centred, (level.rows, self.features))
      for i, level in enumerate(self.levels)
    ]
    dense = lambda features, **kw: Dense(features, self.compute_dtype, **kw)
    self.trunk_0 = dense(self.width)
    self.trunk_1 = dense(self.width)
    self.raw_density = dense(1, name='density')
    self.semantic_0 = dense(self.width)
    self.semantic_1 = dense(self.num_classes)
    self.color_0 = dense(self.width)
    self.color_1 = dense(3)
    self.color_ray = dense(self.width)
    self.sky_0 = dense(self.width)
    self.sky_1 = dense(3)
    if self.code:  # a checkpoint cannot hold an empty array
      self.codes = self.param('codes', nn.initializers.zeros, (self.num_images, self.code))

  def _code(self, image: jax.Array) -> jax.Array:
    """Appearance codes; images without one of their own (index -1) get the mean code."""
    if not self.code:
      return jnp.zeros((*image.shape, 0))
    own = self.codes[jnp.maximum(image, 0)]
    return jnp.where((image >= 0)[..., None], own, jnp.mean(self.codes, axis=0))

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOutput:
    """Evaluates the field.

    Args:
      points: [..., S, 3] metres, recentred world.
      directions: [..., 3] unit, one for all samples of a ray.
      image: [...] int32 index of the image whose appearance code is used, -1 for the mean.

    Returns:
      FieldOut with leading dimensions [..., S].
    """
    sigma, features = self.density(points)
    rgb, logits = self.heads(features, self.encode_view(directions, image)[..., None, :])
    return FieldOutput(sigma, rgb, logits)

  def density(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Density [...] in 1/m and features [..., width] at points [..., 3], metres."""
    lead = points.shape[:-1]
    flat = points.reshape(-1, 3) - jnp.asarray(self.low, jnp.float32)
    with jax.named_scope('lookup'):
      grid = [
        hash_grid.lookup(level, table, flat) for level, table in zip(self.levels, self.tables)
      ]
      grid = jnp.concatenate(grid, axis=-1) * 10.0
    trunk = nn.relu(self.trunk_0(grid))
    trunk = nn.relu(self.trunk_1(trunk))
    raw = jnp.minimum(self.raw_density(trunk)[..., 0] + self.density_bias, _RAW_DENSITY_LIMIT)
    return jnp.exp(raw).reshape(lead), trunk.reshape(*lead, self.width)

  def encode_view(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """What direction and image code add to the colour's first layer, [..., width].

    They enter it once a ray, not once a sample: the layer is linear, so its products can be added.
    """
    ray = jnp.concatenate([encodings.frequency(directions, 2), self._code(image)], axis=-1)
    return self.color_ray(ray)

  def heads(self, features: jax.Array, view: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Colour [..., 3] and logits [..., C]. features: [..., width]; view broadcasts to them."""
    lead = features.shape[:-1]
    trunk = features.reshape(-1, self.width)
    logits = self.semantic_1(nn.relu(self.semantic_0(trunk)))
    hidden = self.color_0(trunk).reshape(*lead, self.width) + view
    rgb = nn.sigmoid(self.color_1(nn.relu(hidden)))
    return rgb, logits.reshape(*lead, self.num_classes)

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Colour of the sky. origins unused; directions: [..., 3]; image: [...] -> [..., 3]."""
    del origins  # the sky is infinitely far
    ray = jnp.concatenate([encodings.frequency(directions, 2), self._code(image)], axis=-1)
    return nn.sigmoid(self.sky_1(nn.relu(self.sky_0(ray))))
