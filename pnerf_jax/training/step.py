"""The jitted train step: several optimiser steps a dispatch, rays split over the devices.

Letters: B rays of a step, P pixels of a step, S samples of a ray, C classes present in the window.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from pnerf_jax.distributed import sharding
from pnerf_jax.fields.fixed import ClassTable
from pnerf_jax.rendering.rays import RenderOptions, render_rays
from pnerf_jax.rendering.scene import BoundField
from pnerf_jax.training import losses
from pnerf_jax.training.ray_table import Batch, RayTable, draw, gather
from pnerf_jax.training.train_state import Optimizer, TrainState, apply_gradients


@dataclasses.dataclass(frozen=True)
class LossOptions:
  """Weights and settings of the loss terms; static under jit.

  weights: (name, weight) of every term.   depth_form: 'mixture' or 'huber'.
  depth_max: stereo depth beyond it is not used, metres.   depth_columns: the depth loss acts on
  rays that meet a primitive of one of these of the C classes; None = on all.   depth_spread,
  depth_outliers: of losses.depth_likelihood.   words_prior, label_floor: of
  losses.transition_matrix.   words_rate: of the moving average of what the classes are
  called; 0 keeps the first estimate.   words_after: steps before it begins.   posterior_first,
  posterior: weight of losses.posterior_cross_entropy within L_2D until then and from then on.
  reachable_only: mask L_2D by u(r).
  """

  weights: tuple[tuple[str, float], ...]
  depth_loss: str
  depth_max: float
  depth_columns: tuple[int, ...] | None
  depth_sigma: float
  depth_outlier_prob: float
  transition_prior_mass: float
  uniform_label_noise: float
  transition_ema_rate: float
  transition_warmup_steps: int
  posterior_weight_warmup: float
  posterior_weight: float
  mask_unsupported_labels: bool


@jax.named_scope('losses')
def loss_terms(
  field: BoundField,
  batch: Batch,
  table: ClassTable,
  words: losses.LabelNoise,
  called: jax.Array,
  posterior: jax.Array,
  options: RenderOptions,
  loss: LossOptions,
  key: jax.Array,
) -> tuple[dict[str, jax.Array], jax.Array]:
  """Every loss term of a batch, unweighted scalars, and how its rays' classes are called.

  Args:
    field: with its parameters bound.
    batch: B rays through P pixels.
    table: classes of the primitives.
    words: of the window.
    called: [C + 1, 45] P, what the classes are called.
    posterior: [] weight of losses.posterior_cross_entropy within L_2D.
    options: of the rendering.
    loss: of the terms.
    key: jitters the samples.

  Returns:
    The terms, and [C + 1, 45] losses.joint_label_frequencies of the batch.
  """
  num_classes = len(words.odds)
  out = render_rays(field, batch.rays, batch.intervals, table, num_classes, options, key)
  # What a photo shows of a pixel is the mean of what passes it; so is what is compared with it.
  pixels = len(batch.label)
  of_pixel = lambda x: x.reshape(pixels, -1, *x.shape[1:])
  mean = lambda x: jnp.mean(of_pixel(x), axis=1)
  semantics, fixed_semantics = mean(out.semantics), mean(out.fixed_semantics)
  target = batch.depth / mean(batch.rays.depth_per_t)
  measured = (batch.depth > 0) & (batch.depth < loss.depth_max) & (mean(out.opacity) > 0)
  met = jnp.any(of_pixel(jnp.any(out.member.allowed, axis=-2)), axis=1)
  if loss.depth_columns is not None:
    measured &= jnp.any(met[:, jnp.asarray(loss.depth_columns, jnp.int32)], axis=-1)
  if loss.depth_loss == 'mixture':
    samples = lambda x: of_pixel(x).reshape(pixels, -1)
    rays = len(out.weights) // pixels
    depth = losses.depth_likelihood(
      samples(out.weights) / rays,
      samples(out.samples.t),
      target,
      measured,
      loss.depth_sigma,
      loss.depth_outlier_prob,
    )
  else:
    depth = losses.depth_huber(mean(out.depth), target, measured)
  supervised = (batch.label > 0) * batch.label_weight
  reached = losses.label_on_ray(met, batch.label, words.named) | (not loss.mask_unsupported_labels)
  semantic = functools.partial(losses.forward_corrected_nll, label=batch.label, words=called)
  learned = semantic(semantics, mask=supervised * reached)
  learned += posterior * losses.posterior_cross_entropy(
    semantics, fixed_semantics, batch.label, supervised * reached, called, words.odds
  )
  # By the primitives in which the rays end, not by the learned field's classes: of a class that it
  # is losing it keeps what is called best, and then the labels would speak against the rest.
  share = losses.joint_label_frequencies(jax.lax.stop_gradient(fixed_semantics), batch.label)
  return {
    'rgb': losses.color(mean(out.rgb), batch.rgb),
    'depth': depth,
    'fixed': semantic(fixed_semantics, mask=supervised),
    'semantic_2d': learned,
    'semantic_3d': losses.semantic_3d(out.logits, out.member.fixed, out.weights),
  }, share


def _weighted(terms: dict[str, jax.Array], loss: LossOptions, trust: jax.Array) -> jax.Array:
  """Weighted sum of the terms; L_2D counts as far as the network is trusted (words.trust)."""
  weights = dict(loss.weights)
  weights['semantic_2d'] *= trust
  return sum(weights[name] * value for name, value in terms.items())


@jax.named_scope('batch')
def _draw_batch(
  table: RayTable, key: jax.Array, rays: int, side: int, focus: float, mesh: jax.sharding.Mesh
) -> Batch:
  """A step's rays, whole pixels of them on each device. Args: of make_dispatch."""
  index = draw(table, key, rays // side**2, focus)
  return gather(table, jax.lax.with_sharding_constraint(index, sharding.by_ray(mesh)), side)


def make_train_steps(
  module: object,
  optimizer: Optimizer,
  options: RenderOptions,
  loss: LossOptions,
  mesh: jax.sharding.Mesh,
  rays: int,
  side: int,
  focus: float,
  steps: int,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """Builds `dispatch(state, rays, class_table, words, root_key) -> state, metrics`.

  One call makes `steps` optimiser steps. The batch and the noise of a step depend on the root key
  and the step alone, so a resumed run repeats an undisturbed one exactly, on any device count.

  Args:
    module: the field (linen).
    optimizer: state.make_optimizer's.
    options, loss: static settings.
    mesh: ('data',).
    rays: B; side^2 times a multiple of the device count.
    side: a pixel is the mean of side x side rays (batches.gather).
    focus: share of the pixels aimed at what looks small.
    steps: optimiser steps a call.

  Returns:
    The jitted function; metrics are means over the call's steps.
  """
  replicated = sharding.replicated(mesh)

  def one_step(
    state: TrainState,
    rays_table: RayTable,
    table: ClassTable,
    words: losses.LabelNoise,
    root_key: jax.Array,
  ):
    """One optimiser step -> state after it, unweighted loss terms and their weighted sum."""
    key_rays, key_noise = jax.random.split(jax.random.fold_in(root_key, state.step))
    batch = _draw_batch(rays_table, key_rays, rays, side, focus, mesh)
    early = state.step < loss.transition_warmup_steps
    posterior = jnp.where(early, loss.posterior_weight_warmup, loss.posterior_weight)
    probability = losses.transition_matrix(
      state.called, words, loss.transition_prior_mass, loss.uniform_label_noise
    )

    def total(params):
      terms, share = loss_terms(
        BoundField(module, params),
        batch,
        table,
        words,
        probability,
        posterior,
        options,
        loss,
        key_noise,
      )
      return _weighted(terms, loss, words.trust), (terms, share)

    (value, (terms, share)), grads = jax.value_and_grad(total, has_aux=True)(state.params)
    rate = jnp.where(early, 0.0, loss.transition_ema_rate)
    called = state.called + rate * (share - state.called)
    return apply_gradients(state, grads, optimizer, called), {'loss': value, **terms}

  @functools.partial(jax.jit, in_shardings=replicated, out_shardings=replicated, donate_argnums=0)
  def dispatch(state, rays_table, table, words, root_key):
    body = lambda carry, _: one_step(carry, rays_table, table, words, root_key)
    state, metrics = jax.lax.scan(body, state, None, length=steps)
    return state, jax.tree.map(jnp.mean, metrics)

  return dispatch
