"""Semantic and instance labels of pixels from rendered class and instance weights.

Letters: C classes present in the window, K intervals of a ray, M primitives.

References:
  Fu et al., Panoptic NeRF: 3D-to-2D Label Transfer for Panoptic Urban Scene Segmentation, 3DV 2022,
  section 3.5.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.geometry.primitives import Primitives
from pnerf_jax.rendering.rays import Pixels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelLabels:
  """Labels of pixels and the quantities that their confidence depends on.

  Attributes:
    semantic: [...], label id.
    fixed: [...], label id of the fixed field.
    instance: [...], instanceId within the class, 0 for none.
    mass: [...], probability of the label in the field that predicted it.
    fixed_mass: [...], probability of the label in the fixed field.
    truncated: [...] bool, the ray intersects more primitives than are kept.
    mostly_free_space: [...] bool, more than half of the ray's weight lies in void primitives alone.
    no_primitive_hit: [...] bool, the ray intersects no primitive, or void primitives only.
  """

  semantic: jax.Array
  fixed: jax.Array
  instance: jax.Array
  mass: jax.Array
  fixed_mass: jax.Array
  truncated: jax.Array
  mostly_free_space: jax.Array
  no_primitive_hit: jax.Array


def label_pixels(
  rendered: Pixels,
  intervals: Intervals,
  primitives: Primitives,
  class_ids: jax.Array,
  *,
  label_field: str,
) -> PixelLabels:
  """Choose the most probable class of each pixel, then its instance with the largest weight.

  Instance ids are those of the primitives, so they are consistent across views and windows.

  Args:
    rendered: pixels [...].
    intervals: [..., K].
    primitives: the M primitives that the intervals refer to.
    class_ids: [C], label ids.
    label_field: the field that predicts the labels, 'learned' or 'fixed'; static.
  """
  fixed_semantics = rendered.fixed_semantics
  free_space_mass = 1.0 - jnp.sum(fixed_semantics, axis=-1)
  fixed_best = jnp.argmax(fixed_semantics, axis=-1)
  is_free_space = free_space_mass > jnp.max(fixed_semantics, axis=-1)
  fixed = jnp.where(is_free_space, labels.VOID, class_ids[fixed_best])
  if label_field == 'fixed':
    best, semantic, semantics = fixed_best, fixed, fixed_semantics
  else:
    semantics = rendered.semantics
    best = jnp.argmax(semantics, axis=-1)
    semantic = class_ids[best]
  primitive = intervals.primitive.astype(jnp.int32)
  is_used = primitive >= 0
  interval_class = primitives.semantic[primitive]
  same_class = is_used & (interval_class == semantic[..., None])
  instance = primitives.instance[primitive]
  # An instance may have several intervals: of a concave primitive, or of several primitives.
  same_instance = (instance[..., :, None] == instance[..., None, :]) & same_class[..., None, :]
  mass = jnp.sum(jnp.where(same_instance, rendered.interval_weights[..., None, :], 0.0), axis=-1)
  heaviest = jnp.argmax(jnp.where(same_class, mass, -1.0), axis=-1, keepdims=True)
  chosen = jnp.take_along_axis(instance, heaviest, axis=-1)[..., 0]
  chosen = jnp.where(jnp.any(same_class, axis=-1), chosen, 0)
  at_best = lambda values: jnp.take_along_axis(values, best[..., None], axis=-1)[..., 0]
  return PixelLabels(
    semantic=semantic,
    fixed=fixed,
    instance=chosen,
    mass=at_best(semantics),
    fixed_mass=at_best(fixed_semantics),
    truncated=intervals.num_truncated > 0,
    mostly_free_space=free_space_mass > 0.5,
    no_primitive_hit=~jnp.any(is_used & (interval_class != labels.VOID), axis=-1),
  )
