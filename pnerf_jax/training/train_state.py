"""What training carries from step to step, and the optimiser."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pnerf_jax.data.labels import NUM_IDS

Optimizer = optax.GradientTransformation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """`step` int32 steps done, `params`, `opt_state` of Adam, `called` [C + 1, 45] moving average of
  how often the classes (void last) were called each word; None where no field is trained.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  called: jax.Array | None


def learning_rate(step: jax.Array, rate: float, final: float, steps: int, warmup: int) -> jax.Array:
  """Exponential decay from `rate` to `rate * final` over `steps`, after a linear warm-up."""
  progress = jnp.clip(step / steps, 0.0, 1.0)
  return rate * final**progress * jnp.minimum(1.0, (step + 1) / max(warmup, 1))


def poly_rate(step: jax.Array, rate: float, power: float, steps: int, warmup: int) -> jax.Array:
  """rate * (1 - step / steps)^power (Zhao et al., PSPNet, section 4.1) after a linear warm-up."""
  left = jnp.clip(1.0 - step / steps, 0.0, 1.0)
  return rate * left**power * jnp.minimum(1.0, (step + 1) / max(warmup, 1))


def make_optimizer(rate: float, final: float, steps: int, warmup: int, epsilon: float) -> Optimizer:
  """Adam with the schedule of `learning_rate`.

  epsilon is tiny for hash tables, whose gradients are sparse and small.
  """
  schedule = lambda step: learning_rate(step, rate, final, steps, warmup)
  return optax.adam(schedule, b1=0.9, b2=0.99, eps=epsilon)


def make_poly_optimizer(
  rate: float, power: float, steps: int, warmup: int, decay: float
) -> Optimizer:
  """AdamW with the schedule of `poly_rate`. decay: of the weights, a step and unit of rate."""
  return optax.adamw(lambda step: poly_rate(step, rate, power, steps, warmup), weight_decay=decay)


def init_state(params: Any, optimizer: Optimizer, num_classes: int | None) -> TrainState:
  """The state before the first step. num_classes: C; None where no field is trained."""
  return TrainState(
    jnp.zeros((), jnp.int32),
    params,
    optimizer.init(params),
    None if num_classes is None else jnp.zeros((num_classes + 1, NUM_IDS)),
  )


@jax.named_scope('optimizer')
def apply_gradients(
  state: TrainState, grads: Any, optimizer: Optimizer, called: jax.Array | None
) -> TrainState:
  """One update of the optimiser; called: [C + 1, 45] after the step."""
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state, called)
