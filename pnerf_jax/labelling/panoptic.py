"""From rendered class and instance mass to one label a pixel.

Letters: K intervals of a ray, C classes present in the window, M primitives.
Source: Fu et al., Panoptic NeRF, section 3.5.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering.rays import Pixels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PixelLabels:
  """Labels of pixels, and what speaks for them.

  semantic, fixed: [...] ids, the latter of the fixed field.
  instance: [...] instanceId within the class, 0 = none.
  mass, fixed_mass: [...] of the label in the field that gave it and in the fixed field.
  overflowed: [...] bool, the ray met more primitives than were kept.
  unnamed: [...] bool, most of what the ray saw lies in no primitive but void.
  unmet: [...] bool, the ray met no primitive but void.
  """

  semantic: jax.Array
  fixed: jax.Array
  instance: jax.Array
  mass: jax.Array
  fixed_mass: jax.Array
  overflowed: jax.Array
  unnamed: jax.Array
  unmet: jax.Array


def split_merged(semantics: jax.Array, fixed: jax.Array, groups: jax.Array) -> jax.Array:
  """Deals the mass of classes that were merged in training out by the primitives' weights.

  Args:
    semantics: [..., C] rendered learned field, whose classes of one group cannot be told apart.
    fixed: [..., C] rendered fixed field.
    groups: [C, C] bool, classes that were merged; the identity where none were.

  Returns:
    [..., C]; a group without any fixed mass keeps its own division.
  """
  same = groups.astype(semantics.dtype)
  mass, held = semantics @ same, fixed @ same
  return jnp.where(held > 1e-6, mass * fixed / jnp.maximum(held, 1e-6), semantics)


def label_pixels(
  rendered: Pixels,
  intervals: Intervals,
  class_ids: jax.Array,
  groups: jax.Array,
  primitive_semantic: jax.Array,
  primitive_instance: jax.Array,
  source: str,
) -> PixelLabels:
  """Picks each pixel's class, then the instance of that class with the largest mass.

  Ids come from the primitives, so they agree across views and windows.

  Args:
    rendered: of rays [...].
    intervals: [..., K].
    class_ids: [C] ids.
    groups: [C, C] bool, classes that were merged in training (split_merged).
    primitive_semantic, primitive_instance: [M].
    source: the field that labels, 'learned' or 'fixed'; static.
  """
  fixed_semantics = rendered.fixed_semantics
  unspoken = 1.0 - jnp.sum(fixed_semantics, axis=-1)  # held by a void primitive alone
  fixed_best = jnp.argmax(fixed_semantics, axis=-1)
  void = unspoken > jnp.max(fixed_semantics, axis=-1)
  fixed = jnp.where(void, 0, class_ids[fixed_best])
  if source == 'fixed':
    best, semantic, semantics = fixed_best, fixed, fixed_semantics
  else:
    semantics = split_merged(rendered.semantics, fixed_semantics, groups)
    best = jnp.argmax(semantics, axis=-1)
    semantic = class_ids[best]
  primitive = intervals.primitive.astype(jnp.int32)
  used = primitive >= 0
  same_class = used & (primitive_semantic[primitive] == semantic[..., None])
  instance = primitive_instance[primitive]
  # An instance may hold several slots: a concave primitive, or one object in several parts.
  same_instance = (instance[..., :, None] == instance[..., None, :]) & same_class[..., None, :]
  mass = jnp.sum(jnp.where(same_instance, rendered.slots[..., None, :], 0.0), axis=-1)
  heaviest = jnp.argmax(jnp.where(same_class, mass, -1.0), axis=-1, keepdims=True)
  chosen = jnp.take_along_axis(instance, heaviest, axis=-1)[..., 0]
  chosen = jnp.where(jnp.any(same_class, axis=-1), chosen, 0)
  of_label = lambda field: jnp.take_along_axis(field, best[..., None], axis=-1)[..., 0]
  return PixelLabels(
    semantic,
    fixed,
    chosen,
    mass=of_label(semantics),
    fixed_mass=of_label(fixed_semantics),
    overflowed=intervals.num_truncated > 0,
    unnamed=unspoken > 0.5,
    unmet=~jnp.any(used & (primitive_semantic[primitive] != 0), axis=-1),
  )
