"""Labels of pixels by the rules of the paper's program, for the config's `loss.form` of the paper.

Letters: S samples of a ray, K intervals (slots) of a ray, C = 50 channels indexed by label id.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, section 3.5, and the authors' released program.
"""

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.geometry.primitives import Primitives
from pnerf_jax.labelling.panoptic import PixelLabels
from pnerf_jax.rendering import compositing
from pnerf_jax.rendering.paper_rendering import PaperRendered, multi_hot

INSTANCE_CLASSES = (11, 26, 29, 30)  # building, car, caravan, trailer
_TRASH_BIN, _BOX = labels.BY_NAME['trash bin'].id, labels.BY_NAME['box'].id
# Classes that are told apart by the primitives alone: the merged class, the others, and the factor
# of the merged class's probability in primitives of the others.
_SPLIT = ((26, (27, 28, 29, 30, 31), 4.0), (8, (9,), 2.0), (13, (35,), 2.0))


def label_pixels(
  out: PaperRendered,
  intervals: Intervals,
  primitives: Primitives,
  *,
  label_field: str,
  logits_rendered: bool,
) -> tuple[PixelLabels, jax.Array]:
  """Choose the class of each pixel among all channels, then its primitive of the largest weight.

  Args:
    out: rendered rays [...].
    intervals: [..., K].
    primitives: the M primitives that the intervals refer to.
    label_field: the field that predicts the labels, 'learned' or 'fixed'; static.
    logits_rendered: as of render_semantics.

  Returns:
    The labels, void for a channel that belongs to no class, and the weight [...] of the sky.
  """
  primitive = intervals.primitive
  used = primitive >= 0
  class_id = jnp.where(used, primitives.semantic[primitive], -1)
  learned, fixed = render_semantics(out, class_id, logits_rendered=logits_rendered)
  values = fixed if label_field == 'fixed' else learned
  semantic, fixed_label = jnp.argmax(values, axis=-1), jnp.argmax(fixed, axis=-1)
  slot = heaviest_slot(out, class_id, primitive, semantic)
  instance = jnp.take_along_axis(
    primitives.instance[primitive], jnp.maximum(slot, 0)[..., None], axis=-1
  )[..., 0]
  is_class = lambda label: jnp.where(label < labels.NUM_IDS, label, labels.VOID)
  # The values of a pixel do not sum to 1; its share of them is what a probability comes closest to.
  share = lambda x: jnp.take_along_axis(
    x / jnp.maximum(jnp.sum(x, axis=-1, keepdims=True), 1e-6), semantic[..., None], axis=-1
  )[..., 0]
  pixel_labels = PixelLabels(
    semantic=is_class(semantic),
    fixed=is_class(fixed_label),
    instance=jnp.where(slot >= 0, instance, 0),
    mass=share(values),
    fixed_mass=share(fixed),
    truncated=intervals.num_truncated > 0,
    mostly_free_space=fixed_label == labels.VOID,
    no_primitive_hit=~jnp.any(used, axis=-1),
  )
  return pixel_labels, jnp.sum(jnp.where(out.samples.is_sky, out.weights, 0.0), axis=-1)


def render_semantics(
  out: PaperRendered, class_id: jax.Array, *, logits_rendered: bool
) -> tuple[jax.Array, jax.Array]:
  """Return the rendered class values and the rendered fixed field, [..., C] each.

  Args:
    out: rendered rays [...].
    class_id: [..., K] int32, label ids of the slots, -1 for unused ones.
    logits_rendered: the current form; the earlier one applies a softmax to the class values of each
      sample once more.
  """
  hot = multi_hot(out.samples, jnp.where(class_id == _TRASH_BIN, _BOX, class_id))
  values = split_classes(jax.nn.softmax(out.logits), hot)
  if not logits_rendered:
    values = jax.nn.softmax(values)
  return compositing.integrate(out.weights, values), compositing.integrate(out.weights, hot)


def split_classes(probabilities: jax.Array, hot: jax.Array) -> jax.Array:
  """Divide the classes that were merged in training by the primitives around each sample.

  Args:
    probabilities: [..., S, C], of the network.
    hot: [..., S, C], fixed field with the trash bin counted as box.

  Returns:
    [..., S, C]; a merged class and its parts are 0 outside of their primitives.
  """
  fixed = hot / jnp.maximum(jnp.sum(hot, axis=-1, keepdims=True), 1.0)
  # source[c]: the channel whose probability class c takes, factor[c] its multiple.
  source, factor = np.arange(probabilities.shape[-1]), np.ones(probabilities.shape[-1], np.float32)
  is_split = np.zeros(len(source), bool)
  for merged_class, parts, multiple in _SPLIT:
    source[list(parts)], factor[list(parts)] = merged_class, multiple
    is_split[[merged_class, *parts]] = True
  split = probabilities[..., source] * factor * jnp.where(is_split, fixed, 1.0)
  box = probabilities[..., _BOX] + probabilities[..., _TRASH_BIN]
  return split.at[..., _BOX].set(box).at[..., _TRASH_BIN].set(0.0)


def heaviest_slot(
  out: PaperRendered, class_id: jax.Array, primitive: jax.Array, label: jax.Array
) -> jax.Array:
  """Return a slot of the primitive with the largest weight among those of the pixel's class.

  Only the classes of INSTANCE_CLASSES have instances. A primitive's weight is that of the samples
  in any of its slots.

  Args:
    out: rendered rays [...].
    class_id: [..., K] int32.
    primitive: [..., K] int32.
    label: [...] int32.

  Returns:
    [...] int32, -1 where no primitive of the class has any weight.
  """
  same = (primitive[..., :, None] == primitive[..., None, :]) & (primitive >= 0)[..., None, :]
  inside = out.samples.inside.astype(jnp.float32)  # [..., S, K]
  in_primitive = jnp.einsum(
    '...sk,...jk->...sj', inside, same.astype(jnp.float32), precision='highest'
  )
  mass = compositing.integrate(out.weights, jnp.minimum(in_primitive, 1.0))
  candidate = (class_id == label[..., None]) & (mass > 0.0)
  candidate &= jnp.isin(label, jnp.asarray(INSTANCE_CLASSES))[..., None]
  best = jnp.argmax(jnp.where(candidate, mass, -1.0), axis=-1)
  return jnp.where(jnp.any(candidate, axis=-1), best, -1)
