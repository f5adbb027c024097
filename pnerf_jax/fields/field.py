"""Interface of the radiance and semantic fields.

Letters: S samples of a ray, C classes present in the window, F features of a point, E features of
a view.
"""

import dataclasses
from typing import Any, Protocol

import jax
from flax import linen as nn


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FieldOutput:
  """Output of a field at points.

  Attributes:
    sigma: [...] density, 1/m, >= 0.
    rgb: [..., 3] colour in [0, 1].
    semantic_logits: [..., C] before the softmax.
  """

  sigma: jax.Array
  rgb: jax.Array
  semantic_logits: jax.Array


class Field(Protocol):
  """A radiance and semantic field with its parameters bound."""

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOutput:
    """Evaluate the field.

    Args:
      points: [..., S, 3] metres, recentred world.
      directions: [..., 3] unit, one for all samples of a ray.
      image: [...] int32 index of the source image (appearance), -1 = none.

    Returns:
      The output, leading dimensions [..., S].
    """

  def density(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return sigma [...] in 1/m and features [..., F] at points [..., 3], metres."""

  def encode_view(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return the view features [..., E] of directions [..., 3] and image [...]."""

  def heads(self, features: jax.Array, view: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return rgb [..., 3] and logits [..., C] from features [..., F] and view [..., E]."""

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return the sky's colour [..., 3] from origins, directions [..., 3] and image [...]."""


class FieldModule(nn.Module):
  """Base class of the fields: calls `density`, then `heads`, which subclasses define."""

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOutput:
    """Evaluate the field; see `Field.__call__`."""
    sigma, features = self.density(points)
    rgb, logits = self.heads(features, self.encode_view(directions, image)[..., None, :])
    return FieldOutput(sigma, rgb, logits)


@dataclasses.dataclass(frozen=True)
class BoundField:
  """A `Field` made of a module and its parameters.

  Attributes:
    module: a FieldModule.
    params: its parameters.
  """

  module: FieldModule
  params: Any

  def _apply(self, *args: jax.Array, method: str = '__call__') -> Any:
    return self.module.apply({'params': self.params}, *args, method=method)

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOutput:
    """Evaluate the field; see `Field.__call__`."""
    return self._apply(points, directions, image)

  def density(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return density and features; see `Field.density`."""
    return self._apply(points, method='density')

  def encode_view(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return view features; see `Field.encode_view`."""
    return self._apply(directions, image, method='encode_view')

  def heads(self, features: jax.Array, view: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return colour and logits; see `Field.heads`."""
    return self._apply(features, view, method='heads')

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Return the colour of the sky; see `Field.sky`."""
    return self._apply(origins, directions, image, method='sky')
