"""The noise model of 2D pseudo-labels in training: a transition matrix and class priors.

Letters: B pixels, C classes present in the window (the sky is the last), y pseudo-label id
(0 = none), T [C + 1, 45] the transition matrix P(y | c). Its last row is that of free space, the
space inside the scene bounds that no annotated primitive contains.

References:
  Patrini et al., Making deep neural networks robust to label noise: a loss correction approach,
    CVPR 2017 (transition matrix, forward correction).
  Dawid and Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm,
    1979; Mnih and Hinton, Learning to label aerial images from noisy data, 2012; Goldberger and
    Ben-Reuven, Training deep neural-networks using a noise adaptation layer, 2017 (re-estimation
    of T from the current predictions).
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.data import labels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelNoise:
  """The noise model of a window's pseudo-labels.

  Attributes:
    transition: [C + 1, 45], T; before training the prior, later its re-estimate.
    noise_distribution: [45], label distribution of class-independent errors; sums to 1.
    compatible: [C, 45] bool, whether label y may denote class c.
    class_prior: [C], unnormalised prior of the classes that a ray intersects.
    reliability: [], in [0, 1], scale of the weight of L_2D.
  """

  transition: jax.Array
  noise_distribution: jax.Array
  compatible: jax.Array
  class_prior: jax.Array
  reliability: jax.Array


def update_transition(
  prior: LabelNoise, label_counts: jax.Array, *, prior_mass: float, uniform_noise: float
) -> LabelNoise:
  """Return the noise model with T re-estimated from label counts: its posterior mean.

  Args:
    prior: the model before training.
    label_counts: [C + 1, 45], joint frequencies of class and label; they sum to at most 1.
    prior_mass: mass of the prior in each row.
    uniform_noise: probability of a class-independent error.

  Returns:
    The model; rows of classes without counts keep the prior.
  """
  mass = label_counts + prior_mass * prior.transition
  probability = mass / jnp.maximum(jnp.sum(mass, axis=-1, keepdims=True), 1e-12)
  estimate = (1.0 - uniform_noise) * probability + uniform_noise * prior.noise_distribution
  has_counts = jnp.sum(label_counts, axis=-1, keepdims=True) > 0
  return dataclasses.replace(prior, transition=jnp.where(has_counts, estimate, prior.transition))


def joint_label_frequencies(probabilities: jax.Array, label: jax.Array) -> jax.Array:
  """Return the joint frequencies of class and label in a batch.

  Args:
    probabilities: [B, C], rendered; the mass that is missing to 1 is free space.
    label: [B], ids; 0 is not counted.

  Returns:
    [C + 1, 45]; the last row is that of free space.
  """
  free_space = jnp.maximum(1.0 - jnp.sum(probabilities, axis=-1, keepdims=True), 0.0)
  mass = jnp.concatenate([probabilities, free_space], axis=-1)
  one_hot = jax.nn.one_hot(label, labels.NUM_IDS) * (label > 0)[:, None]
  return jnp.einsum('bc,by->cy', mass, one_hot, precision='highest') / label.shape[0]
