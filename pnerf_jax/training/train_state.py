"""The state of training, and the optimiser of a field."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pnerf_jax.config.schema import OptimConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """What training carries from step to step.

  Attributes:
    step: [] int32, steps done.
    params: pytree of parameters.
    opt_state: state of the optimiser.
    aux: pytree that the task owns: the [C + 1, 45] label counts of a field, None for a PSPNet.
  """

  step: jax.Array
  params: Any
  opt_state: optax.OptState
  aux: Any


def learning_rate(step: jax.Array | int, optim: OptimConfig, num_steps: int) -> jax.Array:
  """Return the learning rate: exponential decay, in stairs if so configured, after a warm-up.

  Args:
    step: steps done.
    optim: config.optim.
    num_steps: steps of the run, at whose end the rate is learning_rate * final_lr_fraction.
  """
  progress = jnp.clip(step // optim.decay_every * optim.decay_every / num_steps, 0.0, 1.0)
  warmup = jnp.minimum(1.0, (step + 1) / max(optim.warmup_steps, 1))
  return optim.learning_rate * optim.final_lr_fraction**progress * warmup


def make_optimizer(optim: OptimConfig, num_steps: int) -> optax.GradientTransformation:
  """Return Adam with the schedule of `learning_rate`, after clipping of gradient components."""
  schedule = lambda step: learning_rate(step, optim, num_steps)
  adam = optax.adam(schedule, b1=0.9, b2=optim.adam_b2, eps=optim.adam_eps)
  return optax.chain(optax.clip(optim.clip_value), adam) if optim.clip_value else adam


def init_state(params: Any, optimizer: optax.GradientTransformation, aux: Any) -> TrainState:
  """Return the state before the first step."""
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), aux)


@jax.named_scope('optimizer')
def apply_gradients(
  state: TrainState, grads: Any, optimizer: optax.GradientTransformation, aux: Any
) -> TrainState:
  """Return the state after one update of the optimiser. aux: after the step."""
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state, aux)
