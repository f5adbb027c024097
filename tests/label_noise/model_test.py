"""The transition matrix of training: by hand, against loops, and by expectation-maximisation.

Letters: C classes present.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.label_noise.model import LabelNoise, joint_label_frequencies, update_transition

_ROAD, _CAR = 7, 26


def _noise(transition, noise_distribution) -> LabelNoise:
  """Return a noise model of len(transition) - 1 classes that all labels are compatible with."""
  num_classes = len(transition) - 1
  return LabelNoise(
    transition=jnp.asarray(transition),
    noise_distribution=jnp.asarray(noise_distribution),
    compatible=jnp.ones((num_classes, 45), bool),
    class_prior=jnp.ones(num_classes),
    reliability=jnp.ones(()),
  )


def _update(noise, counts, prior_mass, uniform_noise) -> np.ndarray:
  """Return the re-estimated matrix."""
  return np.asarray(
    update_transition(noise, counts, prior_mass=prior_mass, uniform_noise=uniform_noise).transition
  )


def test_update_transition_keeps_the_prior_without_counts():
  prior = np.random.default_rng(8).dirichlet(np.full(45, 0.3), 8).astype(np.float32)
  noise = _noise(prior, np.full(45, 1 / 45, np.float32))
  np.testing.assert_array_equal(_update(noise, jnp.zeros((8, 45)), 1e-3, 0.05), prior)


def test_update_transition_by_hand():
  prior = np.zeros((3, 45), np.float32)
  prior[:, _ROAD], prior[0, _CAR] = 0.5, 0.5
  counts = np.zeros((3, 45), np.float32)
  counts[0, _ROAD], counts[0, _CAR] = 0.06, 0.02
  noise_distribution = np.zeros(45, np.float32)
  noise_distribution[[_ROAD, _CAR]] = 0.5
  got = _update(_noise(prior, noise_distribution), jnp.asarray(counts), 0.02, 0.1)
  # (0.06 + 0.02 * 0.5) / (0.08 + 0.02) = 0.7, then 0.9 * 0.7 + 0.1 * 0.5.
  assert float(got[0, _ROAD]) == pytest.approx(0.68)
  assert float(got[0, _CAR]) == pytest.approx(0.32)
  np.testing.assert_array_equal(got[1:], prior[1:])  # rows without counts


def test_joint_label_frequencies_agree_with_a_loop():
  rng = np.random.default_rng(9)
  probabilities = rng.dirichlet(np.ones(3), 20).astype(np.float32)
  probabilities[::2] *= 0.6
  label = rng.choice([0, _ROAD, _CAR], 20)
  want = np.zeros((4, 45))
  for ray in range(20):
    if label[ray]:
      want[:3, label[ray]] += probabilities[ray] / 20
      want[3, label[ray]] += (1 - probabilities[ray].sum()) / 20
  np.testing.assert_allclose(joint_label_frequencies(probabilities, label), want, atol=1e-6)


def test_alternating_classes_and_transition_recovers_the_transition():
  """Expectation-maximisation recovers the transition of three classes from a poor prior."""
  rng = np.random.default_rng(10)
  truth = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]])
  group = rng.integers(0, 3, 400)  # objects, each observed 60 times
  label = np.array([rng.choice([1, 2, 3], p=truth[c]) for c in group.repeat(60)])
  prior = np.zeros((4, 45), np.float32)
  prior[:, 1:4] = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [1 / 3] * 3]
  noise = _noise(prior, prior[3])
  counts = jnp.zeros((4, 45))
  for _ in range(10):
    p = _update(noise, counts, 1e-3, 0.0)[:3]
    score = np.log(p.T[label] + 1e-6).reshape(400, 60, 3).sum(axis=1)
    posterior = np.exp(score - score.max(axis=-1, keepdims=True))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    counts = joint_label_frequencies(
      jnp.asarray(posterior.repeat(60, axis=0), jnp.float32), jnp.asarray(label)
    )
  np.testing.assert_allclose(_update(noise, counts, 1e-3, 0.0)[:3, 1:4], truth, atol=0.03)
