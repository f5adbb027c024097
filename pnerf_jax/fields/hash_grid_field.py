"""Field of a multiresolution hash grid and small MLPs.

Density and semantic logits are independent of the viewing direction.

Letters: C classes present in the window, F features per grid level, D hidden units, V images.

References:
  Mueller et al., Instant neural graphics primitives, SIGGRAPH 2022.
  Martin-Brualla et al., NeRF in the wild, CVPR 2021 (appearance embeddings).
  Fu et al., Panoptic NeRF, 3DV 2022, section 3.2 (semantic head).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from pnerf_jax.fields import encodings, hash_grid
from pnerf_jax.fields.field import FieldModule
from pnerf_jax.fields.mlp import Dense

_RAW_DENSITY_LIMIT = 12.0  # exp(12) = 1.6e5 / m: opaque within a tenth of a millimetre


class HashGridField(FieldModule):
  """Hash grid -> trunk -> density, semantic logits; trunk + direction + appearance -> colour.

  Attributes:
    low: lower corner of the grid, metres.
    levels: of the grid (hash_grid.make_levels).
    num_classes: C.
    num_images: V, images with an appearance embedding.
    grid_features: F.
    hidden_dim: D, of every hidden layer.
    appearance_embed_dim: size of the appearance embeddings; 0 = none.
    density_bias: added before the exponential; sets the initial density.
    compute_dtype: operand type of the matrix products.
  """

  low: tuple[float, float, float]
  levels: tuple[hash_grid.Level, ...]
  num_classes: int
  num_images: int
  grid_features: int = 4
  hidden_dim: int = 64
  appearance_embed_dim: int = 8
  density_bias: float = -1.0
  compute_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Create tables, layers and appearance embeddings."""
    init = nn.initializers.uniform(2e-4)
    centred = lambda *args: init(*args) - 1e-4
    self.tables = [
      self.param(f'grid_{i}', centred, (level.rows, self.grid_features))
      for i, level in enumerate(self.levels)
    ]
    dense = lambda features, **kw: Dense(features, self.compute_dtype, **kw)
    self.trunk_0 = dense(self.hidden_dim)
    self.trunk_1 = dense(self.hidden_dim)
    self.raw_density = dense(1, name='density')
    self.semantic_0 = dense(self.hidden_dim)
    self.semantic_1 = dense(self.num_classes)
    self.color_0 = dense(self.hidden_dim)
    self.color_1 = dense(3)
    self.color_ray = dense(self.hidden_dim)
    self.sky_0 = dense(self.hidden_dim)
    self.sky_1 = dense(3)
    if self.appearance_embed_dim:  # a checkpoint cannot hold an empty array
      self.embeddings = self.param(
        'codes', nn.initializers.zeros, (self.num_images, self.appearance_embed_dim)
      )

  def _view_features(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return encoded directions and appearance embeddings; image -1 gets the mean embedding."""
    encoded = encodings.frequency(directions, 2)
    if not self.appearance_embed_dim:
      return encoded
    own = self.embeddings[jnp.maximum(image, 0)]
    embedding = jnp.where((image >= 0)[..., None], own, jnp.mean(self.embeddings, axis=0))
    return jnp.concatenate([encoded, embedding], axis=-1)

  def density(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return density [...] in 1/m and features [..., D] at points [..., 3], metres."""
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
    return jnp.exp(raw).reshape(lead), trunk.reshape(*lead, self.hidden_dim)

  def encode_view(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return the view's contribution [..., D] to the first colour layer.

    The layer is linear, so the product with the view features is computed once per ray and added
    to that of every sample.
    """
    return self.color_ray(self._view_features(directions, image))

  def heads(self, features: jax.Array, view: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return colour [..., 3] and logits [..., C]. features: [..., D]; view broadcasts to them."""
    lead = features.shape[:-1]
    trunk = features.reshape(-1, self.hidden_dim)
    logits = self.semantic_1(nn.relu(self.semantic_0(trunk)))
    hidden = self.color_0(trunk).reshape(*lead, self.hidden_dim) + view
    rgb = nn.sigmoid(self.color_1(nn.relu(hidden)))
    return rgb, logits.reshape(*lead, self.num_classes)

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return the sky's colour [..., 3] from directions [..., 3] and image [...]."""
    del origins  # the sky is infinitely far
    return nn.sigmoid(self.sky_1(nn.relu(self.sky_0(self._view_features(directions, image)))))
