"""Volume rendering of a batch of rays: intervals -> samples -> field -> pixels.

Density exists only inside primitives. The remaining transmittance is the weight of the sky, the
last of the classes, so that the weights of a ray always sum to one.

Letters: S samples of a ray, K intervals of a ray, C classes present in the window.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import Field
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import compositing, sampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderOptions:
  """Rendering options, static under jit.

  Attributes:
    num_samples: S, of the final pass.
    num_coarse_samples: samples of the coarse (proposal) pass, which queries density only; 0 = no
      coarse pass.
    uniform_fraction: fraction of the final samples that ignores the coarse weights
      (sampling.resample).
    per_interval_fraction: fraction of the samples divided evenly among the intervals
      (sampling.sample_intervals).
    mask_semantics: restrict the softmax of each sample to the classes of the primitives around it.
    semantics_grad_to_density: propagate gradients of the semantics to the density.
  """

  num_samples: int
  num_coarse_samples: int
  uniform_fraction: float
  per_interval_fraction: float
  mask_semantics: bool
  semantics_grad_to_density: bool = True


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
  """Rendered values of rays.

  Attributes:
    rgb: [..., 3] in [0, 1].
    depth: [...] mean distance along the ray, sky excluded, metres.
    median_depth: [...] distance at which half of the opacity is reached, metres.
    opacity: [...] 1 - transmittance after the last sample.
    fixed_semantics: [..., C] class distribution of the fixed field; sums to less than 1 where only
      a void primitive contains samples.
    semantics: [..., C] class distribution of the learned field.
    interval_weights: [..., K] fixed instance field: weight of each interval.
  """

  rgb: jax.Array
  depth: jax.Array
  median_depth: jax.Array
  opacity: jax.Array
  fixed_semantics: jax.Array
  semantics: jax.Array
  interval_weights: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered(Pixels):
  """Pixels and their samples.

  Attributes:
    samples: [..., S].
    weights: [..., S].
    logits: [..., S, C] of the learned field.
    membership: [..., S] of the samples in the intervals.
  """

  samples: sampling.Samples
  weights: jax.Array
  logits: jax.Array
  membership: fixed.Membership


def render_rays(
  field: Field,
  rays: Rays,
  intervals: Intervals,
  table: fixed.ClassTable,
  options: RenderOptions,
  *,
  key: jax.Array | None,
) -> Rendered:
  """Render rays.

  Args:
    field: the field with its parameters bound.
    rays: [...].
    intervals: [..., K].
    table: classes of the primitives.
    options: static options.
    key: jitters the samples; None = deterministic samples.
  """
  samples, membership = sample_rays(field, rays, intervals, table, options, key=key)
  out = field(points_on_rays(rays, samples.t), rays.directions, rays.image)
  weights, transmittance = compositing.composite_weights(out.sigma, samples.delta)
  pixels = composite_pixels(
    field,
    rays,
    samples,
    membership,
    weights=weights,
    transmittance=transmittance,
    rgb=out.rgb,
    probabilities=masked_softmax(out.semantic_logits, class_mask(membership, options)),
    semantics_grad_to_density=options.semantics_grad_to_density,
  )
  return Rendered(
    **vars(pixels),
    samples=samples,
    weights=weights,
    logits=out.semantic_logits,
    membership=membership,
  )


@jax.named_scope('sampling')
def sample_rays(
  field: Field,
  rays: Rays,
  intervals: Intervals,
  table: fixed.ClassTable,
  options: RenderOptions,
  *,
  key: jax.Array | None,
) -> tuple[sampling.Samples, fixed.Membership]:
  """Place samples along rays, with a coarse pass if the options have one.

  Args: as of render_rays.

  Returns:
    The samples [..., S] and their membership in the intervals.
  """
  if options.num_coarse_samples:
    key_coarse, key = (None, None) if key is None else jax.random.split(key)
    t = sampling.sample_intervals(
      intervals, options.num_coarse_samples, options.per_interval_fraction, key_coarse
    )
    coarse = sampling.assign_segments(t, fixed.is_inside(t, intervals), intervals)
    sigma, _ = field.density(points_on_rays(rays, t))
    weights, _ = compositing.composite_weights(sigma, coarse.delta)
    t = sampling.resample(coarse, weights, options.num_samples, options.uniform_fraction, key)
  else:
    t = sampling.sample_intervals(
      intervals, options.num_samples, options.per_interval_fraction, key
    )
  t = jax.lax.stop_gradient(t)  # sample positions are not learned
  membership = fixed.find_membership(t, intervals, table)
  return sampling.assign_segments(t, membership.inside, intervals), membership


def points_on_rays(rays: Rays, t: jax.Array) -> jax.Array:
  """Return the points [..., S, 3] at distances t [..., S] along rays [...], metres."""
  return rays.origins[..., None, :] + t[..., None] * rays.directions[..., None, :]


def class_mask(membership: fixed.Membership, options: RenderOptions) -> jax.Array:
  """Return the classes that the learned field may predict at samples, [..., S, C] bool."""
  if options.mask_semantics:
    return membership.class_mask
  return jnp.broadcast_to(membership.occupied[..., None], membership.class_mask.shape)


@jax.named_scope('composite')
def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
  """Return the softmax of logits over the classes of a mask, 0 where it is empty; [..., C] all."""
  # Finite instead of -inf: keeps the gradient finite where the mask is empty.
  masked = jnp.where(mask, logits, -1e9)
  return jnp.where(mask, jax.nn.softmax(masked, axis=-1), 0.0)


@jax.named_scope('composite')
def composite_pixels(
  field: Field,
  rays: Rays,
  samples: sampling.Samples,
  membership: fixed.Membership,
  *,
  weights: jax.Array,
  transmittance: jax.Array,
  rgb: jax.Array,
  probabilities: jax.Array,
  semantics_grad_to_density: bool,
) -> Pixels:
  """Composite the samples of rays into pixels.

  Args:
    field: for the colour of the sky.
    rays: [...].
    samples: [..., S].
    membership: [..., S] of the samples.
    weights: [..., S].
    transmittance: [...] after the last sample.
    rgb: [..., S, 3] in [0, 1].
    probabilities: [..., S, C] of the learned field.
    semantics_grad_to_density: as in RenderOptions.
  """
  num_classes = probabilities.shape[-1]
  sky = jax.nn.one_hot(num_classes - 1, num_classes)
  semantic_weights, sky_weight = (
    (weights, transmittance)
    if semantics_grad_to_density
    else jax.lax.stop_gradient((weights, transmittance))
  )
  sky_rgb = field.sky(rays.origins, rays.directions, rays.image)
  opacity = 1.0 - transmittance
  semantics = lambda values: (
    compositing.integrate(semantic_weights, values) + sky_weight[..., None] * sky
  )
  return Pixels(
    rgb=compositing.integrate(weights, rgb) + transmittance[..., None] * sky_rgb,
    depth=jnp.sum(weights * samples.t, axis=-1) / jnp.maximum(opacity, 1e-6),
    median_depth=compositing.median(weights, samples.t),
    opacity=opacity,
    fixed_semantics=semantics(membership.fixed),
    semantics=semantics(probabilities),
    interval_weights=compositing.integrate(
      weights, fixed.interval_responsibilities(membership.inside)
    ),
  )
