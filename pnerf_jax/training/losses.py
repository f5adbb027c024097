"""Losses over a batch of rays; each term is a pure function of arrays and returns a scalar.

Letters: B rays, S samples, C classes present in the window, y pseudo label (id, 0 = none),
P [C + 1, 45] how plausibly class c is called y by the 2D network; the last row is void's.
Source: Fu et al., Panoptic NeRF, section 3.4, equations in its order.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.data import labels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LabelNoise:
  """What the classes are called by the 2D network, and what is thought of them before it is heard.

  first: [C + 1, 45] P before training.   anything: [45] what a plain error may be called, sums to
  1.   named: [C, 45] bool, whether class c may be called y at all.   odds: [C] of the classes where
  a ray meets primitives of several.   trust: [] how far the network may be followed, in [0, 1]:
  a factor of the weight of L_2D.
  """

  first: jax.Array
  anything: jax.Array
  named: jax.Array
  odds: jax.Array
  trust: jax.Array


def transition_matrix(
  called: jax.Array, words: LabelNoise, prior: float, floor: float
) -> jax.Array:
  """P(y | c) of what the classes were called in training, with the first estimate as its prior.

  Args:
    called: [C + 1, 45] mass of each class called y, of all rays together at most 1.
    words: of the window.
    prior: mass that the first estimate counts as, in each row.
    floor: share of plain errors.

  Returns:
    [C + 1, 45]; the first estimate of a class of which nothing was seen yet.
  """
  mass = called + prior * words.first
  probability = mass / jnp.maximum(jnp.sum(mass, axis=-1, keepdims=True), 1e-12)
  learned = (1.0 - floor) * probability + floor * words.anything
  return jnp.where(jnp.sum(called, axis=-1, keepdims=True) > 0, learned, words.first)


def joint_label_frequencies(probabilities: jax.Array, label: jax.Array) -> jax.Array:
  """Share of the rays on which each class is called each word.

  probabilities: [B, C] rendered; label: [B], 0 = none -> [C + 1, 45]; the last row is void's.
  """
  void = jnp.maximum(1.0 - jnp.sum(probabilities, axis=-1, keepdims=True), 0.0)
  mass = jnp.concatenate([probabilities, void], axis=-1)
  word = jax.nn.one_hot(label, labels.NUM_IDS) * (label > 0)[:, None]
  return jnp.einsum('bc,by->cy', mass, word) / label.shape[0]


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean over the rays of the mask; 0 where there is none."""
  return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def _mean_supervised(values: jax.Array, weights: jax.Array) -> jax.Array:
  """Weighted sum over the rays by the number of those that weigh anything; 0 where none does."""
  return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights > 0), 1)


def color(rgb: jax.Array, target: jax.Array) -> jax.Array:
  """Mean squared error. rgb, target: [B, 3] in [0, 1]."""
  return jnp.mean(jnp.square(rgb - target))


def depth_huber(depth: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
  """Huber error in metres of the mean depth. depth, target, mask: [B]."""
  error = jnp.abs(depth - target)
  return _mean(jnp.where(error < 1.0, 0.5 * error**2, error - 0.5), mask)


def depth_tolerance(depth: jax.Array, spread: float) -> jax.Array:
  """Metres by which stereo depth may err: pixels of disparity, so the square of the depth.

  depth: [...] metres.   spread: metres; the tolerance is spread * (0.3 + (depth / 10)^2).
  """
  return spread * (0.3 + (depth / 10.0) ** 2)


def depth_likelihood(
  weights: jax.Array,
  t: jax.Array,
  target: jax.Array,
  mask: jax.Array,
  spread: float,
  outliers: float,
) -> jax.Array:
  """-log of the weight near the target depth, mixed with a share of outliers.

  Stereo is also plainly wrong at times, so that a few rays must not pull without bound.

  Args:
    weights, t: [B, S].
    target: [B] metres along the ray.
    mask: [B].
    spread: metres, of depth_tolerance.
    outliers: share of the stereo depths that may lie anywhere.
  """
  sigma = depth_tolerance(target, spread)
  near = jnp.exp(-0.5 * jnp.square((t - target[:, None]) / sigma[:, None]))
  found = jnp.sum(weights * near, axis=-1)
  return _mean(-jnp.log((1.0 - outliers) * found + outliers), mask)


def forward_corrected_nll(
  probabilities: jax.Array, label: jax.Array, mask: jax.Array, words: jax.Array
) -> jax.Array:
  """-log of the probability that the ray's class is called by its pseudo label.

  Args:
    probabilities: [B, C] rendered; what misses to 1 is held by void.
    label: [B] ids.
    mask: [B] weights of the rays, 0 = no supervision.
    words: [C + 1, 45] P.
  """
  called = words.T[label]  # [B, C + 1]
  void = jnp.maximum(1.0 - jnp.sum(probabilities, axis=-1), 0.0)
  plausible = jnp.einsum('bc,bc->b', probabilities, called[:, :-1]) + void * called[:, -1]
  nll = -jnp.log(jnp.maximum(plausible, 1e-6))
  return _mean_supervised(nll, mask)


def posterior_cross_entropy(
  probabilities: jax.Array,
  fixed: jax.Array,
  label: jax.Array,
  mask: jax.Array,
  words: jax.Array,
  odds: jax.Array,
) -> jax.Array:
  """Cross-entropy with what the primitives and one pseudo label say of a ray, by Bayes' rule.

  The gradient of `semantic` is proportional to a class's own share of the ray: a class that lost
  a place hears no label any more, however many speak for it, and where two classes are called
  alike nothing decides. This one's is the difference of two probabilities, so that a field begins
  with what all labels say of a place, and keeps to the odds where they say nothing. What void holds
  may be any class: as far as the label speaks for void, nothing is asked. The geometry is not moved
  through `fixed`.

  Args:
    probabilities: [B, C] rendered.
    fixed: [B, C] rendered fixed field; what misses to 1 is held by void.
    label: [B] ids.
    mask: [B] weights of the rays, 0 = no supervision.
    words: [C + 1, 45] P.
    odds: [C] of Words, before the label is read.
  """
  fixed, called = jax.lax.stop_gradient(fixed), words.T[label]  # [B, C], [B, C + 1]
  void = jnp.maximum(1.0 - jnp.sum(fixed, axis=-1), 0.0) * called[:, -1]
  said = fixed * odds * called[:, :-1]
  said = said / jnp.maximum(jnp.sum(said, axis=-1) + void, 1e-9)[:, None]
  nll = -jnp.sum(said * jnp.log(probabilities + 1e-6), axis=-1)
  return _mean_supervised(nll, mask)


def label_on_ray(met: jax.Array, label: jax.Array, named: jax.Array) -> jax.Array:
  """u(r): whether the label names the class of some primitive that the ray meets, or the sky.

  met: [B, C] bool, classes of the primitives met; label: [B]; named: [C, 45] bool -> [B] bool.
  """
  sky = jnp.arange(met.shape[-1]) == met.shape[-1] - 1
  return jnp.any((met | sky) & named.T[label], axis=-1)


def semantic_3d(
  logits: jax.Array, fixed: jax.Array, weights: jax.Array, threshold: float = 0.05
) -> jax.Array:
  """Cross-entropy of the samples' learned class with an unambiguous fixed one.

  Args:
    logits: [B, S, C] before any restriction.
    fixed: [B, S, C] fixed semantic field.
    weights: [B, S]; only samples above `threshold` count.
  """
  certain = jnp.max(fixed, axis=-1) > 0.999
  nll = -jnp.sum(fixed * jax.nn.log_softmax(logits, axis=-1), axis=-1)
  # The weights only choose the samples: this term must not move the geometry.
  mask = certain & (jax.lax.stop_gradient(weights) > threshold)
  return _mean(nll, mask)
