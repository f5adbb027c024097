"""AdamW with the polynomial learning rate schedule of PSPNet (Zhao et al., 2017, section 4.1)."""

import jax
import jax.numpy as jnp
import optax

from pnerf_jax.contrib.segmentation.config import OptimConfig


def poly_learning_rate(step: jax.Array | int, optim: OptimConfig, num_steps: int) -> jax.Array:
  """Return learning_rate * (1 - step / num_steps)^poly_power, after a linear warm-up."""
  remaining = jnp.clip(1.0 - step / num_steps, 0.0, 1.0)
  warmup = jnp.minimum(1.0, (step + 1) / max(optim.warmup_steps, 1))
  return optim.learning_rate * remaining**optim.poly_power * warmup


def make_poly_optimizer(optim: OptimConfig, num_steps: int) -> optax.GradientTransformation:
  """Return AdamW with the schedule of `poly_learning_rate`."""
  schedule = lambda step: poly_learning_rate(step, optim, num_steps)
  return optax.adamw(schedule, weight_decay=optim.weight_decay)
