"""Loss terms of the paper's program in both released forms; they have no floor on probabilities.

On 2 December 2022 the authors changed what is rendered in training, from probabilities to logits,
and with it the two 2D semantic terms. All terms are means over the rays of a step, unweighted.

Letters: B rays of a batch, S samples of a ray, K intervals (slots) of a ray, C = 50 channels.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, section 3.4, and the authors' released program.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.rendering import compositing
from pnerf_jax.rendering.paper_rendering import PaperRendered, multi_hot
from pnerf_jax.training import losses
from pnerf_jax.training.ray_table import Batch

_MAX_DEPTH_TERM = 0.1  # larger ones are clamped, without gradient
_MIN_WEIGHT = 0.05  # of the samples in L_3D
_OFFSET = 1e-5  # added to rendered probabilities in the earlier form
_MERGED_CLASS = np.array([labels.paper_merged_class(i) for i in range(labels.NUM_IDS)], np.int32)


def loss_terms(
  out: PaperRendered,
  class_id: jax.Array,
  batch: Batch,
  *,
  depth_classes: Sequence[int],
  depth_max: float,
  logits_rendered: bool,
) -> dict[str, jax.Array]:
  """Compute every loss term of a batch.

  Args:
    out: rendered rays [B].
    class_id: [B, K] int32, label ids of the slots, -1 for unused ones.
    batch: B pixels with a ray each; all but the colour is of the supervised ones alone.
    depth_classes: label ids; the depth term is of rays with a slot of one of these; () = all rays.
    depth_max: metres; larger depth targets are not used.
    logits_rendered: the current form (rendered logits) instead of the earlier one (probabilities).

  Returns:
    The terms by the names of config.loss, unweighted scalars.
  """
  merged = merge_classes(class_id)
  label = jnp.asarray(_MERGED_CLASS)[batch.label]
  hot = multi_hot(out.samples, merged)
  reached = jnp.any(merged == label[:, None], axis=-1) | (label == labels.SKY)
  has_depth = (batch.depth > 0) & (batch.depth < depth_max)
  if depth_classes:
    wanted = jnp.asarray(tuple(depth_classes), jnp.int32)
    has_depth &= jnp.any(class_id[..., None] == wanted, axis=(-2, -1))
  fixed_nll, learned_nll = semantic_2d_nll(out, hot, label, logits_rendered=logits_rendered)
  depth = losses.depth_huber(out.depth, batch.depth, has_depth & batch.supervised)
  return {
    'rgb': losses.color(out.rgb, batch.rgb),
    'depth': jnp.minimum(depth, _MAX_DEPTH_TERM),
    'semantic_2d_fixed': losses.masked_mean(fixed_nll, batch.supervised),
    'semantic_2d': losses.masked_mean(learned_nll, reached & batch.supervised),
    'semantic_3d': _semantic_3d(out, hot, batch.supervised),
  }


def merge_classes(class_id: jax.Array) -> jax.Array:
  """Return the classes into which the paper merges label ids for training; -1 stays."""
  return jnp.where(class_id >= 0, jnp.asarray(_MERGED_CLASS)[class_id], -1)


def semantic_2d_nll(
  out: PaperRendered, hot: jax.Array, label: jax.Array, *, logits_rendered: bool
) -> tuple[jax.Array, jax.Array]:
  """Return the negative log-likelihoods [B] of labels under the rendered fields: L_fix and L_2D.

  Args:
    out: rendered rays [B].
    hot: [B, S, C], fixed field of merged classes; its rendered mass is not normalised, and the
      current form takes it for logits.
    label: [B] int32, merged label ids.
    logits_rendered: as of loss_terms.
  """
  fixed = compositing.integrate(out.weights, hot)
  at_label = lambda values: jnp.take_along_axis(values, label[:, None], axis=-1)[:, 0]
  if logits_rendered:
    learned = compositing.integrate(out.weights, out.logits)
    return -at_label(jax.nn.log_softmax(fixed)), -at_label(jax.nn.log_softmax(learned))
  learned = compositing.integrate(out.weights, jax.nn.softmax(out.logits))
  return -jnp.log(at_label(fixed) + _OFFSET), -jnp.log(at_label(learned) + _OFFSET)


def _semantic_3d(out: PaperRendered, hot: jax.Array, supervised: jax.Array) -> jax.Array:
  """Return L_3D: the cross-entropy of samples in one class alone, the sky included."""
  nll = -jnp.sum(hot * jax.nn.log_softmax(out.logits), axis=-1)
  visible = jax.lax.stop_gradient(out.weights) > _MIN_WEIGHT  # a gate, without gradient
  one_class = jnp.sum(hot, axis=-1) == 1.0
  return losses.masked_mean(nll, visible & one_class & supervised[:, None])
