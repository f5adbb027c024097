"""How the 2D network uses its words, learned from what the field itself says while it is trained.

Expectation-maximisation without a separate step: the field's classes are counted against the pseudo
labels in moving averages, and the losses read the labels by those counts.

Letters: B rays or pixels, C classes present in the window, y pseudo label (id, 0 = none), o the
label beside it (batches.nearest_other), P [C + 1, 45] how plausibly class c is called y by the 2D
network; the last row is void's.
"""
import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.data import labels
from pnerf_jax.data.batches import RINGS

_FEW = 1e-4  # share of all pixels that prove little of the sides of a label's end
_WIDEST = 0.8  # of a label's outermost pixels; some must speak for it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Words:
  """What the classes are called by the 2D network.

  first: [C + 1, 45] P before training.   anything: [45] what a plain error may be called, sums to
  1.   named: [C, 45] bool, whether class c may be called y at all.   trust: [] how far the network
  may be followed, in [0, 1]: a factor of the weight of L_2D.
  """
  first: jax.Array
  anything: jax.Array
  named: jax.Array
  trust: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Usage:
  """Moving averages of shares of the pixels.

  called: [C + 1, 45] that are of each class (void last) and called each word.
  sides: [RINGS, 45, 45, 2] that are a pixel from their label's end, two, ...; by their label y, the
    label o beside it, and whether their class is rather called y or o.
  """
  called: jax.Array
  sides: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reading:
  """How the labels of a step are read.

  probability: [C + 1, 45] P.   overhang: [45, 45] of `overhang`.   even: [] weight of
  losses.semantic_even within L_2D.
  """
  probability: jax.Array
  overhang: jax.Array
  even: jax.Array


def unknown(num_classes: int) -> Usage:
  """Nothing counted yet. num_classes: C."""
  return Usage(jnp.zeros((num_classes + 1, labels.NUM_IDS)),
               jnp.zeros((RINGS, labels.NUM_IDS, labels.NUM_IDS, 2)))


def word_probability(called: jax.Array, words: Words, prior: float, floor: float) -> jax.Array:
  """P(y | c) of what the field's own classes were called, with the first estimate as its prior.

  The maximisation step of expectation-maximisation, in closed form; nothing called yet gives the
  first estimate.

  Args:
    called: [C + 1, 45] mass of each class called y, of all rays together at most 1.
    words: of the window.
    prior: mass that the first estimate counts as, in each row.
    floor: share of plain errors.

  Returns:
    [C + 1, 45].
  """
  mass = called + prior * words.first
  probability = mass / jnp.maximum(jnp.sum(mass, axis=-1, keepdims=True), 1e-12)
  learned = (1.0 - floor) * probability + floor * words.anything
  return jnp.where(jnp.sum(called, axis=-1, keepdims=True) > 0, learned, words.first)


def overhang(sides: jax.Array) -> jax.Array:
  """Share of the outermost pixels of label y, beside label o, that belong to what is called o.

  Foreground labels of a network spill over their outline. What tells that from a label that
  wavers, or is wrong all over, is the pixel behind: only what is true there and false at the end is
  counted, and only by how much more it is so than on the other side of the same border. Labels that
  waver without a bias are left as they are: their mean is right.

  Args:
    sides: [RINGS, 45, 45, 2] of Usage.

  Returns:
    [45, 45] in [0, 1], by y and o; 0 where too little was counted.
  """
  true = (sides[..., 0] + 0.5 * _FEW) / (jnp.sum(sides, axis=-1) + _FEW)
  lost = true[1] - true[0]
  return jnp.clip(lost - jnp.maximum(lost.T, 0.0), 0.0, _WIDEST)


def plausibility(probability: jax.Array, label: jax.Array, beside: jax.Array, spilt: jax.Array
                 ) -> jax.Array:
  """How plausible its pseudo label makes each class of a pixel.

  Args:
    probability: [C + 1, 45] P.
    label, beside: [B] y and o.
    spilt: [B] chance that the label is o's, spilt over by y.

  Returns:
    [B, C + 1].
  """
  spilt = spilt[:, None]
  return (1.0 - spilt) * probability.T[label] + spilt * probability.T[beside]


def _with_void(probabilities: jax.Array) -> jax.Array:
  """[B, C] rendered -> [B, C + 1]; what misses to 1 is held by void."""
  void = jnp.maximum(1.0 - jnp.sum(probabilities, axis=-1, keepdims=True), 0.0)
  return jnp.concatenate([probabilities, void], axis=-1)


def count(probabilities: jax.Array, label: jax.Array, beside: jax.Array, ring: jax.Array,
          probability: jax.Array) -> Usage:
  """What the pixels of a step say.

  Args:
    probabilities: [B, C] rendered.
    label: [B] y, 0 = none.
    beside, ring: [B] of batches.nearest_other.
    probability: [C + 1, 45] P.

  Returns:
    Usage of these B pixels alone.
  """
  mass = _with_void(probabilities)
  word = jax.nn.one_hot(label, labels.NUM_IDS) * (label > 0)[:, None]
  called = jnp.einsum('bc,by->cy', mass, word) / label.shape[0]
  own, other = (jnp.einsum('bc,bc->b', mass, probability.T[x]) for x in (label, beside))
  share = own / jnp.maximum(own + other, 1e-9)
  pair = jnp.stack([share, 1.0 - share], axis=-1) / label.shape[0]
  none = unknown(probabilities.shape[-1]).sides
  # Ring 0 is nowhere: index -1 would be the last ring.
  row = jnp.where(ring > 0, ring - 1, RINGS)
  return Usage(called, none.at[row, label, beside].add(pair, mode='drop'))
