"""The jitted train step: several optimiser steps per call, rays sharded over the devices.

Letters: B rays of a step, P pixels of a step, S samples of a ray, C classes present in the window.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from pnerf_jax.config.schema import LossConfig
from pnerf_jax.distributed import sharding
from pnerf_jax.fields.field import BoundField, FieldModule
from pnerf_jax.fields.fixed import ClassTable
from pnerf_jax.label_noise.model import LabelNoise, joint_label_frequencies, update_transition
from pnerf_jax.rendering import paper_rendering
from pnerf_jax.rendering.paper_rendering import PaperOptions
from pnerf_jax.rendering.rays import Rendered, RenderOptions, render_rays
from pnerf_jax.training import losses, paper_losses
from pnerf_jax.training.ray_table import (
  Batch,
  RayTable,
  draw_pixels,
  draw_pixels_of_image,
  gather_batch,
)
from pnerf_jax.training.train_state import TrainState, apply_gradients

Metrics = dict[str, jax.Array]
TrainSteps = Callable[
  [TrainState, RayTable, ClassTable, LabelNoise, jax.Array], tuple[TrainState, Metrics]
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
  """Settings of one stage of training; static under jit.

  Attributes:
    render: options of rendering.
    paper: options of the paper's rendering, which select its losses too; None = this project's.
    loss: config.loss.
    weights: (name, weight) of every loss term.
    depth_columns: class indices in [0, C) whose rays have a depth loss; None = all rays.
    batch_rays: B, a multiple of supersampling^2.
    supersampling: rays per pixel side.
    importance_fraction: fraction of the pixels that are importance-sampled for small primitives.
    one_image: draw the pixels of a step from one image.
  """

  render: RenderOptions
  paper: PaperOptions | None
  loss: LossConfig
  weights: tuple[tuple[str, float], ...]
  depth_columns: tuple[int, ...] | None
  batch_rays: int
  supersampling: int
  importance_fraction: float
  one_image: bool


@jax.named_scope('losses')
def loss_terms(
  field: BoundField,
  batch: Batch,
  classes: ClassTable,
  noise: LabelNoise,
  options: StepOptions,
  *,
  posterior_weight: jax.Array | float,
  key: jax.Array | None,
) -> tuple[Metrics, jax.Array]:
  """Compute every loss term of a batch, and its joint frequencies of class and pseudo-label.

  Args:
    field: with its parameters bound.
    batch: B rays through P pixels.
    classes: classes of the primitives.
    noise: noise model of the pseudo-labels at this step.
    options: of the stage.
    posterior_weight: weight of losses.posterior_cross_entropy within L_2D.
    key: jitters the samples; None places them at the centres of their strata.

  Returns:
    The terms, unweighted scalars, and [C + 1, 45] label_noise.model.joint_label_frequencies.
  """
  loss = options.loss
  out = render_rays(field, batch.rays, batch.intervals, classes, options.render, key=key)
  # An image shows the mean over the area of a pixel, so the mean over its rays is supervised.
  group_by_pixel = lambda x: x.reshape(len(batch.label), -1, *x.shape[1:])
  mean = lambda x: jnp.mean(group_by_pixel(x), axis=1)
  semantics, fixed_semantics = mean(out.semantics), mean(out.fixed_semantics)
  ray_classes = jnp.any(group_by_pixel(jnp.any(out.membership.class_mask, axis=-2)), axis=1)
  label_weight = (batch.label > 0) * batch.label_weight
  supported = losses.label_on_ray(ray_classes, batch.label, noise.compatible) | (
    not loss.mask_unsupported_labels
  )
  learned = losses.forward_corrected_nll(
    semantics, batch.label, label_weight * supported, noise.transition
  )
  learned += posterior_weight * losses.posterior_cross_entropy(
    semantics,
    fixed_semantics,
    batch.label,
    label_weight * supported,
    transition=noise.transition,
    class_prior=noise.class_prior,
  )
  # Label counts are accumulated with the fixed field, not the learned one: once the learned field
  # drops a class, only its well-labelled pixels remain and the estimate becomes biased.
  frequencies = joint_label_frequencies(jax.lax.stop_gradient(fixed_semantics), batch.label)
  return {
    'rgb': losses.color(mean(out.rgb), batch.rgb),
    'depth': _depth_loss(out, batch, ray_classes, options),
    'semantic_2d_fixed': losses.forward_corrected_nll(
      fixed_semantics, batch.label, label_weight, noise.transition
    ),
    'semantic_2d': learned,
    'semantic_3d': losses.semantic_3d(out.logits, out.membership.fixed, out.weights),
  }, frequencies


def _depth_loss(
  out: Rendered, batch: Batch, ray_classes: jax.Array, options: StepOptions
) -> jax.Array:
  """Compute the depth term of the pixels with a stereo depth.

  Args:
    out: B rendered rays.
    batch: of the rays.
    ray_classes: [P, C] bool, classes of the primitives that the rays of a pixel intersect.
    options: of the stage.
  """
  loss, pixels = options.loss, len(batch.label)
  flatten_pixel = lambda x: x.reshape(pixels, -1)
  mean = lambda x: jnp.mean(flatten_pixel(x), axis=1)
  target = batch.depth / mean(batch.rays.depth_per_t)
  measured = (batch.depth > 0) & (batch.depth < loss.depth_max) & (mean(out.opacity) > 0)
  if options.depth_columns is not None:
    measured &= jnp.any(ray_classes[:, jnp.asarray(options.depth_columns, jnp.int32)], axis=-1)
  if loss.depth_loss == 'huber':
    return losses.depth_huber(mean(out.depth), target, measured)
  rays_per_pixel = len(out.weights) // pixels
  return losses.depth_mixture_nll(
    flatten_pixel(out.weights) / rays_per_pixel,
    flatten_pixel(out.samples.t),
    target,
    measured,
    sigma=loss.depth_sigma,
    outlier_prob=loss.depth_outlier_prob,
  )


def paper_loss_terms(
  field: BoundField,
  batch: Batch,
  classes: ClassTable,
  loss: LossConfig,
  *,
  options: PaperOptions,
  key: jax.Array,
) -> Metrics:
  """Compute every loss term of a batch as the paper's program does.

  Args:
    field: the paper's field with its parameters bound.
    batch: B rays, one of each pixel.
    classes: classes of the primitives.
    loss: config.loss.
    options: of rendering.
    key: draws the samples in the sky.
  """
  out = paper_rendering.render_rays(field, batch.rays, batch.intervals, options, key=key)
  return paper_losses.loss_terms(
    out,
    classes.label_ids[batch.intervals.primitive],
    batch,
    depth_classes=loss.depth_classes,
    depth_max=loss.depth_max,
    logits_rendered=loss.form == 'paper',
  )


def _total_loss(terms: Metrics, options: StepOptions, reliability: jax.Array | float) -> jax.Array:
  """Return the weighted sum of the terms; the weight of L_2D is scaled by the reliability."""
  weights: dict[str, float | jax.Array] = dict(options.weights)
  weights['semantic_2d'] *= reliability
  return sum(weights[name] * value for name, value in terms.items())


@jax.named_scope('batch')
def _draw_batch(
  table: RayTable,
  root_key: jax.Array,
  step: jax.Array,
  options: StepOptions,
  mesh: jax.sharding.Mesh,
) -> tuple[Batch, jax.Array]:
  """Draw the rays of a step, whole pixels on each device; XLA pads what does not divide.

  Returns the batch and a key that jitters its samples.
  """
  key, key_jitter = jax.random.split(jax.random.fold_in(root_key, step))
  pixels = options.batch_rays // options.supersampling**2
  if options.one_image:
    index = draw_pixels_of_image(table, root_key, step, pixels)
  else:
    index = draw_pixels(table, key, pixels, options.importance_fraction)
  index = jax.lax.with_sharding_constraint(index, sharding.by_ray(mesh))
  return gather_batch(table, index, options.supersampling), key_jitter


def _one_step(
  module: FieldModule,
  optimizer: optax.GradientTransformation,
  options: StepOptions,
  mesh: jax.sharding.Mesh,
  state: TrainState,
  *,
  table: RayTable,
  classes: ClassTable,
  prior: LabelNoise,
  root_key: jax.Array,
) -> tuple[TrainState, Metrics]:
  """Make one optimiser step; return the state and the unweighted loss terms with their sum."""
  loss = options.loss
  batch, key_jitter = _draw_batch(table, root_key, state.step, options, mesh)
  warming_up = state.step < loss.transition_warmup_steps
  posterior_weight = jnp.where(warming_up, loss.posterior_weight_warmup, loss.posterior_weight)
  noise = update_transition(
    prior,
    state.aux,
    prior_mass=loss.transition_prior_mass,
    uniform_noise=loss.uniform_label_noise,
  )

  def total_loss(params):
    """Return the loss, and its terms with the label frequencies of the batch."""
    field = BoundField(module, params)
    if options.paper is not None:
      terms = paper_loss_terms(field, batch, classes, loss, options=options.paper, key=key_jitter)
      return _total_loss(terms, options, 1.0), (terms, jnp.zeros_like(state.aux))
    terms, frequencies = loss_terms(
      field,
      batch,
      classes,
      noise,
      options,
      posterior_weight=posterior_weight,
      key=key_jitter,
    )
    return _total_loss(terms, options, noise.reliability), (terms, frequencies)

  (value, (terms, frequencies)), grads = jax.value_and_grad(total_loss, has_aux=True)(state.params)
  rate = loss.transition_ema_rate if loss.label_noise == 'estimated' else 0.0
  label_counts = state.aux + jnp.where(warming_up, 0.0, rate) * (frequencies - state.aux)
  return apply_gradients(state, grads, optimizer, label_counts), {'loss': value, **terms}


def make_train_steps(
  module: FieldModule,
  optimizer: optax.GradientTransformation,
  options: StepOptions,
  mesh: jax.sharding.Mesh,
  num_steps: int,
) -> TrainSteps:
  """Build `train_steps(state, ray_table, class_table, label_noise, root_key) -> state, metrics`.

  One call makes `num_steps` optimiser steps. The batch and the jitter of a step depend on the root
  key and the step alone, so a resumed run repeats an uninterrupted one.

  Args:
    module: the field.
    optimizer: of the parameters.
    options: of the stage.
    mesh: ('data',).
    num_steps: optimiser steps per call.

  Returns:
    The jitted function; metrics are means over the steps of a call.
  """
  replicated = sharding.replicated(mesh)

  @functools.partial(jax.jit, in_shardings=replicated, out_shardings=replicated, donate_argnums=0)
  def train_steps(state, table, classes, prior, root_key):
    inputs = {'table': table, 'classes': classes, 'prior': prior, 'root_key': root_key}
    body = lambda carry, _: _one_step(module, optimizer, options, mesh, carry, **inputs)
    state, metrics = jax.lax.scan(body, state, None, length=num_steps)
    return state, jax.tree.map(jnp.mean, metrics)

  return train_steps
