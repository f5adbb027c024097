"""Renders a batch of rays: intervals -> samples -> field -> colour, depth, semantics, instances.

Letters: S samples, K intervals of a ray, C classes present in the window (the sky is the last).
"""
import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from pnerf_jax.fields import fixed
from pnerf_jax.fields.outputs import FieldOut
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import sampling, volume


class Field(Protocol):
  """A radiance and semantic field with its parameters bound."""

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOut:
    """points [..., S, 3], directions [..., 3], image [...] -> FieldOut [..., S]."""

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Colour of the sky region, [..., 3]."""


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """How rays are rendered; static under jit.

  num_samples: S.
  share: part of the samples dealt evenly to the intervals (sampling.place).
  restrict: restrict each sample's softmax to the classes of the primitives that contain it.
  """
  num_samples: int
  share: float
  restrict: bool


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rendered:
  """What the fields say of rays.

  rgb: [..., 3] in [0, 1].   depth: [...] mean distance along the ray of what is not sky, metres.
  median_depth: [...] distance at which half of what is not sky is passed.
  opacity: [...] share of the ray that ends before the sky.
  fixed_semantics, semantics: [..., C]; the former misses the mass that only a void primitive holds.
  slots: [..., K] the fixed instance field over the ray's interval slots.
  samples: t and delta.   weights: [..., S].
  logits: [..., S, C] of the learned field.   member: what the primitives say of the samples.
  """
  rgb: jax.Array
  depth: jax.Array
  median_depth: jax.Array
  opacity: jax.Array
  fixed_semantics: jax.Array
  semantics: jax.Array
  slots: jax.Array
  samples: sampling.Samples
  weights: jax.Array
  logits: jax.Array
  member: fixed.Membership


def class_probabilities(logits: jax.Array, allowed: jax.Array) -> jax.Array:
  """Softmax over the allowed classes; zero everywhere where none is allowed. [..., C] both."""
  # A finite stand-in for -inf keeps the gradient finite where no class is allowed.
  masked = jnp.where(allowed, logits, -1e9)
  return jnp.where(allowed, jax.nn.softmax(masked, axis=-1), 0.0)


def render_rays(
    field: Field,
    rays: Rays,
    intervals: Intervals,
    table: fixed.ClassTable,
    num_classes: int,
    options: RenderOptions,
    key: jax.Array | None,
) -> Rendered:
  """Renders rays [...] with their intervals [..., K]; the sky is the last of the C classes.

  Geometry exists only inside primitives; what passes them all is sky, so the sky needs no
  primitive and the weights of a ray always sum to one.

  Args:
    field: the field with its parameters bound.
    rays: [...].
    intervals: [..., K].
    table: classes of the primitives.
    num_classes: C.
    options: static options.
    key: jitters the samples in training; None at inference.
  """
  t = jax.lax.stop_gradient(sampling.place(intervals, options.num_samples, options.share, key))
  member = fixed.membership(t, intervals, table, num_classes)
  samples = sampling.with_deltas(t, member.inside, intervals)
  points = rays.origins[..., None, :] + t[..., None] * rays.directions[..., None, :]
  out = field(points, rays.directions, rays.image)
  weights, passed = volume.composite_weights(out.sigma, samples.delta)

  sky = jax.nn.one_hot(num_classes - 1, num_classes)
  open_classes = member.allowed if options.restrict else (
      member.occupied[..., None] & jnp.ones(num_classes, bool))
  probabilities = class_probabilities(out.semantic_logits, open_classes)
  opacity = 1.0 - passed
  safe = jnp.maximum(opacity, 1e-6)
  sky_rgb = field.sky(rays.origins, rays.directions, rays.image)
  return Rendered(
      rgb=volume.integrate(weights, out.rgb) + passed[..., None] * sky_rgb,
      depth=jnp.sum(weights * t, axis=-1) / safe,
      median_depth=volume.median(weights, t),
      opacity=opacity,
      fixed_semantics=volume.integrate(weights, member.fixed) + passed[..., None] * sky,
      semantics=volume.integrate(weights, probabilities) + passed[..., None] * sky,
      slots=volume.integrate(weights, fixed.instance_votes(member.inside)),
      samples=samples,
      weights=weights,
      logits=out.semantic_logits,
      member=member,
  )
