"""Fixed semantic and instance fields: parameter-free lookups in the primitives of a ray.

Letters: S samples of a ray, K intervals of a ray, C classes present in the window, M primitives,
W 32-bit integers that hold one bit per class.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, section 3.2.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry.intervals import Intervals


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassTable:
  """Classes of the primitives as bit masks.

  Attributes:
    bits: [M + 1, W] uint32, one bit per class; the last row (index -1) is empty. The bits of a void
      primitive are the classes that the learned field may predict in it.
    is_void: [M + 1] bool, primitives without a class of their own.
    label_ids: [M + 1] int32, label id of each primitive, -1 in the last row.
    num_classes: C, static.
  """

  bits: jax.Array
  is_void: jax.Array
  label_ids: jax.Array
  num_classes: int = dataclasses.field(metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Membership:
  """Primitives and classes at the samples of rays.

  Attributes:
    inside: [..., S, K] bool, sample lies within interval k.
    occupied: [..., S] bool, sample lies within any primitive; density is zero elsewhere.
    class_mask: [..., S, C] bool, classes of the primitives that contain the sample.
    fixed: [..., S, C] fixed semantic field: uniform over the distinct classes of the containing
      primitives; zero where only void primitives contain the sample.
  """

  inside: jax.Array
  occupied: jax.Array
  class_mask: jax.Array
  fixed: jax.Array


def make_class_table(semantic: np.ndarray, class_ids: tuple[int, ...], sky: int) -> ClassTable:
  """Build the class table of the primitives.

  Args:
    semantic: [M] label ids; 0 = void.
    class_ids: the C ids present in the window.
    sky: id of the sky, which no void primitive may hold.
  """
  bits = np.zeros((len(semantic) + 1, -(-len(class_ids) // 32)), np.uint32)
  for row, label in enumerate(semantic):
    for column, class_id in enumerate(class_ids):
      if class_id == label or (label == 0 and class_id != sky):
        bits[row, column // 32] |= np.uint32(1 << column % 32)
  is_void = np.append(np.asarray(semantic) == 0, False)
  return ClassTable(
    bits=jnp.asarray(bits),
    is_void=jnp.asarray(is_void),
    label_ids=jnp.asarray(np.append(np.asarray(semantic, np.int32), -1)),
    num_classes=len(class_ids),
  )


def is_inside(t: jax.Array, intervals: Intervals) -> jax.Array:
  """Return whether samples lie in intervals, ends included.

  Args:
    t: [..., S] metres along the ray.
    intervals: [..., K] of the same rays.

  Returns:
    [..., S, K] bool.
  """
  used = (intervals.primitive >= 0)[..., None, :]
  return (
    used
    & (t[..., None] >= intervals.enter[..., None, :])
    & (t[..., None] <= intervals.exit[..., None, :])
  )


def find_membership(t: jax.Array, intervals: Intervals, table: ClassTable) -> Membership:
  """Look up the intervals and classes that contain samples.

  Args:
    t: [..., S] metres along the ray.
    intervals: [..., K] of the same rays.
    table: classes of the primitives.
  """
  primitive = intervals.primitive.astype(jnp.int32)  # -1 selects the empty last row
  inside = is_inside(t, intervals)
  has_class = inside & ~table.is_void[primitive][..., None, :]
  labelled = jnp.any(has_class, axis=-1, keepdims=True)
  # A void primitive sets the classes only where no other primitive contains the sample.
  is_voting = jnp.where(labelled, has_class, inside)
  interval_bits = table.bits[primitive]  # [..., K, W]
  masks = []
  for bit_word in range(table.bits.shape[-1]):
    selected = jnp.where(is_voting, interval_bits[..., None, :, bit_word], jnp.uint32(0))
    union = jax.lax.reduce(selected, jnp.uint32(0), jax.lax.bitwise_or, (selected.ndim - 1,))
    position = jnp.arange(min(32, table.num_classes - 32 * bit_word), dtype=jnp.uint32)
    masks.append((union[..., None] >> position) & jnp.uint32(1))
  class_mask = jnp.concatenate(masks, axis=-1).astype(bool)
  count = jnp.sum(class_mask, axis=-1, keepdims=True)
  return Membership(
    inside=inside,
    occupied=jnp.any(inside, axis=-1),
    class_mask=class_mask,
    fixed=jnp.where(labelled, class_mask / jnp.maximum(count, 1), 0.0),
  )


def interval_responsibilities(inside: jax.Array) -> jax.Array:
  """Return the fixed instance field: uniform over the intervals that contain a sample.

  Args:
    inside: [..., S, K] bool.

  Returns:
    [..., S, K], sums to 1 over K where any interval contains the sample, else 0.
  """
  count = jnp.sum(inside, axis=-1, keepdims=True)
  return inside / jnp.maximum(count, 1)
