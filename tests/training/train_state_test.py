"""The learning rate in closed form, and Adam worked out by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.config.schema import OptimConfig
from pnerf_jax.training import train_state


def _optim(rate, final, warmup, epsilon=1e-15) -> OptimConfig:
  return OptimConfig(
    learning_rate=rate, final_lr_fraction=final, warmup_steps=warmup, adam_eps=epsilon
  )


@pytest.mark.parametrize('step', [0, 1, 49, 50, 500, 1000, 2000])
def test_learning_rate_is_a_warm_up_times_an_exponential_decay(step):
  got = float(train_state.learning_rate(jnp.int32(step), _optim(0.01, 0.05, 50), 1000))
  decay = math.exp(math.log(0.05) * min(step / 1000, 1))
  assert got == pytest.approx(0.01 * decay * min(1, (step + 1) / 50), rel=1e-5)


def test_learning_rate_ends():
  rate = lambda step, warmup: float(
    train_state.learning_rate(jnp.int32(step), _optim(0.01, 0.05, warmup), 1000)
  )
  assert rate(0, 50) == pytest.approx(0.01 / 50)
  assert rate(0, 0) == pytest.approx(0.01)
  assert rate(1000, 50) == pytest.approx(0.01 * 0.05)
  assert rate(5000, 50) == pytest.approx(0.01 * 0.05)
  rates = [rate(step, 50) for step in range(50, 1000, 50)]
  ratios = np.divide(rates[1:], rates[:-1])
  np.testing.assert_allclose(ratios, 0.05 ** (50 / 1000), rtol=1e-4)


@pytest.mark.parametrize('step', [0, 999, 1000, 1999, 40000, 79999])
def test_learning_rate_decays_in_stairs(step):
  optim = dataclasses.replace(_optim(5e-4, 0.5, 0), decay_every=1000)
  got = float(train_state.learning_rate(jnp.int32(step), optim, 80000))
  assert got == pytest.approx(5e-4 * 0.5 ** (step // 1000 / 80), rel=1e-6)


def test_gradient_components_are_clipped_before_adam():
  optim = dataclasses.replace(_optim(0.1, 1.0, 0, 1e-8), clip_value=40.0, adam_b2=0.999)
  optimizer = train_state.make_optimizer(optim, 10)
  state = train_state.init_state(jnp.zeros(3), optimizer, None)
  value, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
  for count, gradient in enumerate(([1e6, -30.0, 0.5], [2.0, -1e3, 0.1])):
    state = train_state.apply_gradients(state, jnp.array(gradient), optimizer, None)
    g = np.clip(gradient, -40.0, 40.0)
    first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
    step = first / (1 - 0.9 ** (count + 1))
    value = value - 0.1 * step / (np.sqrt(second / (1 - 0.999 ** (count + 1))) + 1e-8)
  np.testing.assert_allclose(state.params, value, rtol=1e-5)


@pytest.mark.parametrize('epsilon', [1e-15, 0.1])
def test_two_updates_are_those_of_adam_by_hand(epsilon):
  rate, final, steps, warmup = 0.1, 0.25, 10, 2
  optimizer = train_state.make_optimizer(_optim(rate, final, warmup, epsilon), steps)
  state = train_state.init_state(
    {'a': jnp.array([1.0, -2.0]), 'b': jnp.array(3.0)}, optimizer, jnp.zeros((3, 45))
  )
  assert int(state.step) == 0 and not state.aux.any()
  gradients = [([0.5, -4.0], 1e-6), ([-0.25, 1.0], 0.0)]
  update = jax.jit(lambda s, g: train_state.apply_gradients(s, g, optimizer, s.aux + 1))
  value, first, second = np.array([1.0, -2.0, 3.0]), np.zeros(3), np.zeros(3)
  for count, (a, b) in enumerate(gradients):
    state = update(state, {'a': jnp.array(a), 'b': jnp.array(b)})
    g = np.array([*a, b])
    # Kingma and Ba, algorithm 1, with beta_1 = 0.9 and beta_2 = 0.99.
    first = 0.9 * first + 0.1 * g
    second = 0.99 * second + 0.01 * g**2
    unbiased_first = first / (1 - 0.9 ** (count + 1))
    unbiased_second = second / (1 - 0.99 ** (count + 1))
    step_size = rate * final ** (count / steps) * min(1, (count + 1) / warmup)
    value = value - step_size * unbiased_first / (np.sqrt(unbiased_second) + epsilon)
    assert int(state.step) == count + 1 and float(state.aux[2, 44]) == count + 1
    np.testing.assert_allclose([*state.params['a'], state.params['b']], value, rtol=1e-5)


def test_parameters_without_gradient_do_not_move():
  # Rows of a hash table that no sample uses: 0 / (0 + epsilon) must stay 0.
  optimizer = train_state.make_optimizer(_optim(0.1, 0.5, 0, 1e-15), 10)
  state = train_state.init_state(jnp.ones(3), optimizer, jnp.zeros((3, 45)))
  update = jax.jit(lambda s, g: train_state.apply_gradients(s, g, optimizer, s.aux + 1))
  for _ in range(3):
    state = update(state, jnp.array([0.0, 1e-12, 0.0]))
  first, second, third = np.asarray(state.params)
  assert first == third == 1.0
  assert np.isfinite(second) and second < 1.0
