"""Loss terms over a batch of pixels; each is a pure function of arrays that returns a scalar.

Letters: B pixels of a batch, S samples of a pixel, C classes present in the window (the sky is the
last), T [C + 1, 45] the transition matrix P(y | c) of the pseudo-labels y (id, 0 = none); its last
row is that of free space.

References:
  Fu et al., Panoptic NeRF: 3D-to-2D label transfer for panoptic urban scene segmentation, 3DV 2022,
    section 3.4 (terms in its order).
  Patrini et al., Making deep neural networks robust to label noise, CVPR 2017 (forward correction).
"""

import jax
import jax.numpy as jnp

from pnerf_jax.label_noise.stereo import depth_tolerance

_SMALLEST_PROBABILITY = 1e-6  # of a pseudo-label, for the logarithm


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Return the mean over a mask; 0 where the mask is empty."""
  return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def _negative_log(probability: jax.Array) -> jax.Array:
  """Return -log(p), continued linearly below _SMALLEST_PROBABILITY.

  The gradient is that of -log(p) above it and constant below, so that it is bounded and never 0.
  """
  missing = jnp.maximum(_SMALLEST_PROBABILITY - probability, 0.0)
  nll = -jnp.log(jnp.maximum(probability, _SMALLEST_PROBABILITY))
  return nll + missing / _SMALLEST_PROBABILITY


def _weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
  """Return the weighted sum divided by the number of non-zero weights; 0 without any."""
  return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights > 0), 1)


def color(rgb: jax.Array, target: jax.Array) -> jax.Array:
  """Return the mean squared colour error. rgb, target: [B, 3], in [0, 1]."""
  return jnp.mean(jnp.square(rgb - target))


def depth_huber(depth: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
  """Return the Huber loss of the mean depth. depth, target: [B], metres; mask: [B] bool."""
  error = jnp.abs(depth - target)
  return masked_mean(jnp.where(error < 1.0, 0.5 * error**2, error - 0.5), mask)


def depth_mixture_nll(
  weights: jax.Array,
  t: jax.Array,
  target: jax.Array,
  mask: jax.Array,
  *,
  sigma: float,
  outlier_prob: float,
) -> jax.Array:
  """Return the negative log-likelihood of stereo depth: a Gaussian mixed with outliers.

  The outlier component bounds the gradient of rays with a wrong stereo match.

  Args:
    weights: [B, S], of volume rendering.
    t: [B, S], metres along the ray.
    target: [B], metres along the ray.
    mask: [B] bool.
    sigma: scale of label_noise.stereo.depth_tolerance, metres.
    outlier_prob: probability of a wrong match.
  """
  tolerance = depth_tolerance(target, sigma)
  near = jnp.exp(-0.5 * jnp.square((t - target[:, None]) / tolerance[:, None]))
  likelihood = jnp.sum(weights * near, axis=-1)
  return masked_mean(-jnp.log((1.0 - outlier_prob) * likelihood + outlier_prob), mask)


def forward_corrected_nll(
  probabilities: jax.Array, label: jax.Array, label_weight: jax.Array, transition: jax.Array
) -> jax.Array:
  """Return -log P(y) of the pseudo-labels under rendered class probabilities and T.

  Args:
    probabilities: [B, C], rendered; the mass that is missing to 1 is free space.
    label: [B], ids.
    label_weight: [B], 0 = no supervision.
    transition: [C + 1, 45], T.
  """
  likelihood = transition.T[label]  # [B, C + 1]
  free_space = jnp.maximum(1.0 - jnp.sum(probabilities, axis=-1), 0.0)
  explained = jnp.einsum('bc,bc->b', probabilities, likelihood[:, :-1], precision='highest')
  label_probability = explained + free_space * likelihood[:, -1]
  return _weighted_mean(_negative_log(label_probability), label_weight)


def posterior_cross_entropy(
  probabilities: jax.Array,
  fixed: jax.Array,
  label: jax.Array,
  label_weight: jax.Array,
  *,
  transition: jax.Array,
  class_prior: jax.Array,
) -> jax.Array:
  """Return the cross-entropy with the class posterior given the primitives and one pseudo-label.

  The gradient of `forward_corrected_nll` with respect to a logit is proportional to that class's
  own probability, so a class near zero receives no gradient, and classes with equal likelihood are
  not separated. Here the gradient is the difference between prediction and posterior; it does not
  vanish, and falls back to the class prior where the label is uninformative. Posterior mass of
  free space is not supervised, since it may be of any class. The geometry receives no gradient
  through `fixed`.

  Args:
    probabilities: [B, C], rendered learned semantics.
    fixed: [B, C], rendered fixed semantics; the mass that is missing to 1 is free space.
    label: [B], ids.
    label_weight: [B], 0 = no supervision.
    transition: [C + 1, 45], T.
    class_prior: [C], unnormalised class prior.
  """
  likelihood = transition.T[label]  # [B, C + 1]
  fixed = jax.lax.stop_gradient(fixed)
  free_space = jnp.maximum(1.0 - jnp.sum(fixed, axis=-1), 0.0) * likelihood[:, -1]
  posterior = fixed * class_prior * likelihood[:, :-1]
  posterior = posterior / jnp.maximum(jnp.sum(posterior, axis=-1) + free_space, 1e-9)[:, None]
  nll = -jnp.sum(posterior * jnp.log(probabilities + 1e-6), axis=-1)
  return _weighted_mean(nll, label_weight)


def label_on_ray(ray_classes: jax.Array, label: jax.Array, compatible: jax.Array) -> jax.Array:
  """Return u(r): whether a primitive on the ray, or the sky, supports the pseudo-label.

  Args:
    ray_classes: [B, C] bool, classes of the primitives that the ray intersects.
    label: [B], ids.
    compatible: [C, 45] bool, whether label y may denote class c.

  Returns:
    [B] bool.
  """
  sky = jnp.arange(ray_classes.shape[-1]) == ray_classes.shape[-1] - 1
  return jnp.any((ray_classes | sky) & compatible.T[label], axis=-1)


def semantic_3d(
  logits: jax.Array, fixed: jax.Array, weights: jax.Array, threshold: float = 0.05
) -> jax.Array:
  """Return the cross-entropy of the samples' learned class with an unambiguous fixed one: L_3D.

  Args:
    logits: [B, S, C], unmasked.
    fixed: [B, S, C], fixed semantic field.
    weights: [B, S], of volume rendering; only samples above `threshold` count.
    threshold: in [0, 1].
  """
  unambiguous = jnp.max(fixed, axis=-1) > 0.999
  nll = -jnp.sum(fixed * jax.nn.log_softmax(logits, axis=-1), axis=-1)
  # The weights only select the samples: this term must not move the geometry.
  mask = unambiguous & (jax.lax.stop_gradient(weights) > threshold)
  return masked_mean(nll, mask)
