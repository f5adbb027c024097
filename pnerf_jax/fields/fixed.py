"""Fixed semantic and instance fields: what the primitives say of a point, without parameters.

Letters: S samples of a ray, K intervals of a ray, C classes present in the window, M primitives,
W 32-bit words that hold one bit a class.
Source: Fu et al., Panoptic NeRF, section 3.2 (fixed semantic field, fixed instance field).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry.intervals import Intervals


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassTable:
  """Which classes each primitive stands for.

  bits: [M + 1, W] uint32, the class bits of each primitive; the last row (reached by index -1) is
    empty. The void primitive's bits say which classes the learned field may choose in it.
  is_void: [M + 1] bool, primitives that vote for no class.
  """

  bits: jax.Array
  is_void: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Membership:
  """Where samples lie, and what may be said of them.

  inside: [..., S, K] bool, sample is within interval k.
  occupied: [..., S] bool, within any primitive: only there may density exist.
  allowed: [..., S, C] bool, classes that the containing primitives leave open.
  fixed: [..., S, C] the fixed semantic field, uniform over the distinct classes of the containing
    primitives; zero where none but a void primitive contains the sample.
  """

  inside: jax.Array
  occupied: jax.Array
  allowed: jax.Array
  fixed: jax.Array


def make_class_table(semantic: np.ndarray, class_ids: tuple[int, ...], sky: int) -> ClassTable:
  """Class bits of primitives.

  Args:
    semantic: [M] ids; 0 (void) marks a primitive that votes for nothing.
    class_ids: the C ids present in the window.
    sky: the sky's id; no primitive may say sky.
  """
  words = -(-len(class_ids) // 32)
  bits = np.zeros((len(semantic) + 1, words), np.uint32)
  for row, label in enumerate(semantic):
    for column, class_id in enumerate(class_ids):
      if class_id == label or (label == 0 and class_id != sky):
        bits[row, column // 32] |= np.uint32(1 << column % 32)
  is_void = np.append(np.asarray(semantic) == 0, False)
  return ClassTable(jnp.asarray(bits), jnp.asarray(is_void))


def _or_over_last(words: jax.Array) -> jax.Array:
  return jax.lax.reduce(words, jnp.uint32(0), jax.lax.bitwise_or, (words.ndim - 1,))


def is_inside(t: jax.Array, intervals: Intervals) -> jax.Array:
  """Which intervals contain samples. t: [..., S] metres; intervals: [..., K] -> [..., S, K]."""
  used = (intervals.primitive >= 0)[..., None, :]
  return (
    used
    & (t[..., None] >= intervals.enter[..., None, :])
    & (t[..., None] <= intervals.exit[..., None, :])
  )


def membership(
  t: jax.Array, intervals: Intervals, table: ClassTable, num_classes: int
) -> Membership:
  """Looks samples up in their ray's intervals.

  Args:
    t: [..., S] metres along the ray.
    intervals: [..., K] of the same rays.
    table: classes of the primitives.
    num_classes: C.
  """
  primitive = intervals.primitive.astype(jnp.int32)  # -1 reaches the empty last row
  inside = is_inside(t, intervals)
  votes = inside & ~table.is_void[primitive][..., None, :]
  voted = jnp.any(votes, axis=-1, keepdims=True)
  # A void primitive speaks only where no other primitive contains the sample.
  speaking = jnp.where(voted, votes, inside)
  slot_bits = table.bits[primitive]  # [..., K, W]
  classes = []
  for word in range(table.bits.shape[-1]):
    seen = _or_over_last(jnp.where(speaking, slot_bits[..., None, :, word], jnp.uint32(0)))
    here = jnp.arange(min(32, num_classes - 32 * word), dtype=jnp.uint32)
    classes.append((seen[..., None] >> here) & jnp.uint32(1))
  allowed = jnp.concatenate(classes, axis=-1).astype(bool)
  count = jnp.sum(allowed, axis=-1, keepdims=True)
  fixed = jnp.where(voted, allowed / jnp.maximum(count, 1), 0.0)
  return Membership(inside, jnp.any(inside, axis=-1), allowed, fixed)


def interval_responsibilities(inside: jax.Array) -> jax.Array:
  """The fixed instance field over a ray's interval slots, uniform over the containing ones.

  inside: [..., S, K] bool -> [..., S, K] that sums to 1 over K where any slot contains the sample.
  """
  count = jnp.sum(inside, axis=-1, keepdims=True)
  return inside / jnp.maximum(count, 1)
