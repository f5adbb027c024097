"""Renders a batch of rays: intervals -> samples -> field -> colour, depth, semantics, instances.

With a first look the field's density is asked for twice: at samples dealt to the intervals, and at
those that are put where the first ones found it.

Two ways to the same pixels: `render_rays` asks the field at every sample, as training must;
`render_pixels` only where the answer can be seen.

Letters: S samples, K intervals of a ray, C classes present in the window (the sky is the last),
W numbers of the field's features at a point, B rays.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import FieldOutput
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import compositing, sampling

_STAGES = 4  # of a ray's samples; before each it is looked at how much light is left
_LEAST_LIGHT = 1e-4  # share of a ray's light; what comes after is dark
_LEAST_WEIGHT = 1e-5  # of a sample; less is neither coloured nor named
_BLOCKS = 32  # of the samples of all rays; only as many are computed as the wanted ones fill


class Field(Protocol):
  """A radiance and semantic field with its parameters bound."""

  def __call__(self, points: jax.Array, directions: jax.Array, image: jax.Array) -> FieldOutput:
    """points [..., S, 3], directions [..., 3], image [...] -> FieldOut [..., S]."""

  def density(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first half of a call: points [..., 3] -> sigma [...] and features [..., W]."""

  def encode_view(self, directions: jax.Array, image: jax.Array) -> jax.Array:
    """What the second half needs to know of a ray: [..., 3], [...] -> [..., any number]."""

  def heads(self, features: jax.Array, view: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The second half: [..., W], [..., any number] -> rgb [..., 3] and logits [..., C]."""

  def sky(self, origins: jax.Array, directions: jax.Array, image: jax.Array) -> jax.Array:
    """Colour of the sky region, [..., 3]."""


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """How rays are rendered; static under jit.

  num_samples: S.
  first_samples: of a ray's first look, which is for density alone; 0 = there is none.
  blind: part of the samples that pays no heed to the first look (sampling.resample).
  share: part of the samples dealt evenly to the intervals (sampling.sample_intervals).
  restrict: restrict each sample's softmax to the classes of the primitives that contain it.
  labels_move: whether the gradients of the semantics reach the density through the weights.
  """

  num_samples: int
  num_coarse_samples: int
  blind: float
  share: float
  restrict: bool
  semantics_grad_to_density: bool = True


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pixels:
  """What is seen along rays.

  rgb: [..., 3] in [0, 1].   depth: [...] mean distance along the ray of what is not sky, metres.
  median_depth: [...] distance at which half of what is not sky is passed.
  opacity: [...] share of the ray that ends before the sky.
  fixed_semantics, semantics: [..., C]; the former misses the mass that only a void primitive holds.
  slots: [..., K] the fixed instance field over the ray's interval slots.
  """

  rgb: jax.Array
  depth: jax.Array
  median_depth: jax.Array
  opacity: jax.Array
  fixed_semantics: jax.Array
  semantics: jax.Array
  slots: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rendered(Pixels):
  """Pixels, and the samples that they are made of.

  samples: t and delta.   weights: [..., S].   logits: [..., S, C] of the learned field.
  member: what the primitives say of the samples.
  """

  samples: sampling.Samples
  weights: jax.Array
  logits: jax.Array
  member: fixed.Membership


@jax.named_scope('composite')
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
  samples, member, points = _place(field, rays, intervals, table, num_classes, options, key)
  out = field(points, rays.directions, rays.image)
  weights, passed = compositing.composite_weights(out.sigma, samples.delta)
  probabilities = class_probabilities(out.semantic_logits, _open_classes(member, options))
  pixels = _composite(
    field,
    rays,
    samples,
    member,
    weights,
    passed,
    out.rgb,
    probabilities,
    options.semantics_grad_to_density,
  )
  return Rendered(
    **{f.name: getattr(pixels, f.name) for f in dataclasses.fields(pixels)},
    samples=samples,
    weights=weights,
    logits=out.semantic_logits,
    member=member,
  )


def render_pixels(
  field: Field,
  rays: Rays,
  intervals: Intervals,
  table: fixed.ClassTable,
  num_classes: int,
  options: RenderOptions,
) -> Pixels:
  """What render_rays sees along B rays without a key, up to 1e-4 of the light, and sooner.

  Samples are asked for their density a few at a time, front to back, while light is left; colour
  and classes are asked for only where the weight counts. No gradient passes. After a first look
  nearly all samples can be seen: choosing among them would cost more than it saves.

  Args: as for render_rays, with leading dimension [B].
  """
  if options.num_coarse_samples:
    whole = render_rays(field, rays, intervals, table, num_classes, options, None)
    return Pixels(**{f.name: getattr(whole, f.name) for f in dataclasses.fields(Pixels)})
  samples, member, points = _place(field, rays, intervals, table, num_classes, options, None)
  shape, total = samples.t.shape, samples.t.size  # [B, S]
  rows = jnp.arange(total).reshape(shape)
  block = -(-total // _BLOCKS)
  flat = points.reshape(total, 3)

  def look_deeper(answers, stage):
    """Asks for the densities of the next samples [B, S / stages] of rays that are not yet dark."""
    rows, delta = stage
    light = jnp.exp(-jnp.sum(answers[0].reshape(shape) * samples.delta, axis=-1, keepdims=True))
    # A sample that stands for no length cannot be seen.
    wanted = (delta > 0) & (light > _LEAST_LIGHT)
    return _ask(rows, wanted, answers, lambda index: field.density(_pick(flat, index)), block), None

  one = jax.eval_shape(field.density, flat[:1])[1]
  dark = (jnp.zeros(total), jnp.zeros((total, one.shape[-1]), one.dtype))
  answers, _ = jax.lax.scan(look_deeper, dark, (_stages(rows, total), _stages(samples.delta, 0.0)))
  sigma, features = answers
  weights, passed = compositing.composite_weights(sigma.reshape(shape), samples.delta)

  view = field.encode_view(rays.directions, rays.image)
  open_classes = _open_classes(member, options).reshape(total, num_classes)

  def look(index):
    """Colour and class probabilities of some samples."""
    rgb, logits = field.heads(_pick(features, index), _pick(view, index // shape[1]))
    return rgb, class_probabilities(logits, _pick(open_classes, index))

  rgb, probabilities = _ask(
    rows,
    weights > _LEAST_WEIGHT,
    (jnp.zeros((total, 3)), jnp.zeros((total, num_classes))),
    look,
    block,
  )
  return _composite(
    field,
    rays,
    samples,
    member,
    weights,
    passed,
    rgb.reshape(*shape, 3),
    probabilities.reshape(*shape, num_classes),
    options.semantics_grad_to_density,
  )


def _points(rays: Rays, t: jax.Array) -> jax.Array:
  """Where samples are, [..., S, 3]. t: [..., S] metres."""
  return rays.origins[..., None, :] + t[..., None] * rays.directions[..., None, :]


@jax.named_scope('sampling')
def _place(
  field: Field,
  rays: Rays,
  intervals: Intervals,
  table: fixed.ClassTable,
  num_classes: int,
  options: RenderOptions,
  key: jax.Array | None,
):
  """Samples [..., S], what the primitives say of them, and where they are [..., S, 3]."""
  if options.num_coarse_samples:
    key_first, key = (None, None) if key is None else jax.random.split(key)
    t = sampling.sample_intervals(intervals, options.num_coarse_samples, options.share, key_first)
    first = sampling.assign_segments(t, fixed.is_inside(t, intervals), intervals)
    sigma, _ = field.density(_points(rays, t))
    weights, _ = compositing.composite_weights(sigma, first.delta)
    t = sampling.resample(first, weights, options.num_samples, options.blind, key)
  else:
    t = sampling.sample_intervals(intervals, options.num_samples, options.share, key)
  t = jax.lax.stop_gradient(t)  # where samples lie is never learned
  member = fixed.membership(t, intervals, table, num_classes)
  samples = sampling.assign_segments(t, member.inside, intervals)
  return samples, member, _points(rays, t)


def _open_classes(member: fixed.Membership, options: RenderOptions) -> jax.Array:
  """[..., S, C] bool, classes that the learned field may choose."""
  if options.restrict:
    return member.allowed
  return jnp.broadcast_to(member.occupied[..., None], member.allowed.shape)


@jax.named_scope('composite')
def _composite(
  field: Field,
  rays: Rays,
  samples: sampling.Samples,
  member: fixed.Membership,
  weights: jax.Array,
  passed: jax.Array,
  rgb: jax.Array,
  probabilities: jax.Array,
  semantics_grad_to_density: bool,
) -> Pixels:
  """Pixels [...] from the weights [..., S] of the samples, their colour and class probabilities."""
  num_classes = probabilities.shape[-1]
  sky = jax.nn.one_hot(num_classes - 1, num_classes)
  seen, beyond = (
    (weights, passed) if semantics_grad_to_density else jax.lax.stop_gradient((weights, passed))
  )
  sky_rgb = field.sky(rays.origins, rays.directions, rays.image)
  opacity = 1.0 - passed
  return Pixels(
    rgb=compositing.integrate(weights, rgb) + passed[..., None] * sky_rgb,
    depth=jnp.sum(weights * samples.t, axis=-1) / jnp.maximum(opacity, 1e-6),
    median_depth=compositing.median(weights, samples.t),
    opacity=opacity,
    fixed_semantics=compositing.integrate(seen, member.fixed) + beyond[..., None] * sky,
    semantics=compositing.integrate(seen, probabilities) + beyond[..., None] * sky,
    slots=compositing.integrate(weights, fixed.interval_responsibilities(member.inside)),
  )


def _stages(values: jax.Array, empty: Any) -> jax.Array:
  """[B, S] as [stages, B, some of the samples], near ones first, filled up with `empty`."""
  spare = -values.shape[1] % _STAGES
  filled = jnp.pad(values, ((0, 0), (0, spare)), constant_values=empty)
  return jnp.moveaxis(filled.reshape(len(values), _STAGES, -1), 1, 0)


def _pick(values: jax.Array, index: jax.Array) -> jax.Array:
  """Rows of values; an index beyond the last reaches the last."""
  return values.at[index].get(mode='clip')


def _ask(
  rows: jax.Array, wanted: jax.Array, answers: Any, question: Callable[[jax.Array], Any], block: int
) -> Any:
  """Fills in the answers of the samples that are wanted, `block` of them at a time.

  Args:
    rows: [...] int32, which of the N samples are looked at.
    wanted: [...] bool, which of those are wanted.
    answers: arrays [N, ...].
    question: of indices [block] -> arrays [block, ...] like the answers.
    block: how many samples at once; what is left of the last block is asked in vain.

  Returns:
    The answers.
  """
  nowhere = jax.tree.leaves(answers)[0].shape[0]
  chosen = jnp.flatnonzero(wanted, size=-(-wanted.size // block) * block, fill_value=wanted.size)
  order = rows.reshape(-1).at[chosen].get(mode='fill', fill_value=nowhere)

  def fill(i, answers):
    index = jax.lax.dynamic_slice_in_dim(order, i * block, block)
    return jax.tree.map(
      lambda old, new: old.at[index].set(new, mode='drop'), answers, question(index)
    )

  return jax.lax.fori_loop(0, -(-jnp.sum(wanted) // block), fill, answers)
