"""Losses over a batch of rays; each term is a pure function of arrays and returns a scalar.

Letters: B rays, S samples, C classes present in the window.
Source: Fu et al., Panoptic NeRF, section 3.4, equations in its order.
"""
import jax
import jax.numpy as jnp


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean over the rays of the mask; 0 where there is none."""
  return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def color(rgb: jax.Array, target: jax.Array) -> jax.Array:
  """Mean squared error. rgb, target: [B, 3] in [0, 1]."""
  return jnp.mean(jnp.square(rgb - target))


def depth_huber(depth: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
  """Huber error in metres of the mean depth. depth, target, mask: [B]."""
  error = jnp.abs(depth - target)
  return _mean(jnp.where(error < 1.0, 0.5 * error**2, error - 0.5), mask)


def depth_likelihood(
    weights: jax.Array, t: jax.Array, target: jax.Array, mask: jax.Array,
    spread: float, outliers: float,
) -> jax.Array:
  """-log of the weight near the target depth, mixed with a share of outliers.

  Stereo errs by pixels of disparity, so the tolerance grows with the square of the depth; stereo
  is also plainly wrong at times, so that a few rays must not pull without bound.

  Args:
    weights, t: [B, S].
    target: [B] metres along the ray.
    mask: [B].
    spread: metres; the tolerance is spread * (0.3 + (target / 10)^2).
    outliers: share of the stereo depths that may lie anywhere.
  """
  sigma = spread * (0.3 + jnp.square(target / 10.0))
  near = jnp.exp(-0.5 * jnp.square((t - target[:, None]) / sigma[:, None]))
  found = jnp.sum(weights * near, axis=-1)
  return _mean(-jnp.log((1.0 - outliers) * found + outliers), mask)


def semantic(probabilities: jax.Array, plausible: jax.Array, mask: jax.Array) -> jax.Array:
  """-log of the probability that the ray's class is called by its pseudo label.

  Args:
    probabilities: [B, C] rendered; what misses to 1 is held by void.
    plausible: [B, C + 1] how plausible the label makes each class, void last (usage.plausibility).
    mask: [B] weights of the rays, 0 = no supervision.
  """
  void = jnp.maximum(1.0 - jnp.sum(probabilities, axis=-1), 0.0)
  found = jnp.einsum('bc,bc->b', probabilities, plausible[:, :-1]) + void * plausible[:, -1]
  nll = -jnp.log(jnp.maximum(found, 1e-6))
  return jnp.sum(nll * mask) / jnp.maximum(jnp.sum(mask > 0), 1)


def semantic_even(
    probabilities: jax.Array, fixed: jax.Array, plausible: jax.Array, mask: jax.Array
) -> jax.Array:
  """Cross-entropy with what a pseudo label alone says of the ray's primitives, at even odds.

  The gradient of `semantic` is proportional to a class's own share of the ray: a class that lost
  a place early hears no label any more, however many speak for it. This one's is the difference of
  two probabilities, so that a field begins with what all labels say of a place. It does not move
  the geometry through `fixed`.

  Args:
    probabilities: [B, C] rendered.
    fixed: [B, C] rendered fixed field: the odds before the label is read.
    plausible: [B, C + 1] of usage.plausibility.
    mask: [B] weights of the rays.
  """
  said = jax.lax.stop_gradient(fixed) * plausible[:, :-1]
  said = said / jnp.maximum(jnp.sum(said, axis=-1, keepdims=True), 1e-9)
  nll = -jnp.sum(said * jnp.log(probabilities + 1e-6), axis=-1)
  return jnp.sum(nll * mask) / jnp.maximum(jnp.sum(mask > 0), 1)


def reachable(met: jax.Array, label: jax.Array, named: jax.Array) -> jax.Array:
  """u(r): whether the label names the class of some primitive that the ray meets, or the sky.

  met: [B, C] bool, classes of the primitives met; label: [B]; named: [C, 45] bool -> [B] bool.
  """
  sky = jnp.arange(met.shape[-1]) == met.shape[-1] - 1
  return jnp.any((met | sky) & named.T[label], axis=-1)


def semantic_points(
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
