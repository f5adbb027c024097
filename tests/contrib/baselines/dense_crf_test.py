"""Kernels and mean field against loops over all pairs of nodes."""

import numpy as np

from pnerf_jax.contrib.baselines import dense_crf


def slow_kernel(features):
  """Every pair of nodes, in float64."""
  count = len(features)
  kernel = np.zeros((count, count))
  for i in range(count):
    for j in range(count):
      if i != j and np.isfinite(features[i]).all() and np.isfinite(features[j]).all():
        kernel[i, j] = np.exp(-0.5 * np.sum((features[i] - features[j]) ** 2))
  return kernel


def slow_normalised(kernel):
  degree = kernel.sum(axis=1)
  scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1e-12)), 0)
  return scale[:, None] * kernel * scale


def slow_mean_field(cost, kernels, iterations):
  """Node by node and label by label, from the update's own definition."""
  nodes, labels = cost.shape
  marginal = np.exp(-cost) / np.exp(-cost).sum(1, keepdims=True)
  for _ in range(iterations):
    fresh = np.zeros_like(marginal)
    for i in range(nodes):
      for label in range(labels):
        message = sum(
          weight * kernel[i, j] * marginal[j, label]
          for weight, kernel in kernels
          for j in range(nodes)
        )
        fresh[i, label] = np.exp(message - cost[i, label])
      fresh[i] /= fresh[i].sum()
    marginal = fresh
  return marginal


def five_by_five():
  rng = np.random.default_rng(4)
  position = np.stack(np.indices((5, 5)), -1).reshape(-1, 2)
  features = np.concatenate([position / 2.0, rng.uniform(0, 1, (25, 3))], -1)
  cost = rng.uniform(0, 2, (25, 4))
  cost[3, 1] = np.inf
  return features, cost


def test_gaussian_kernel_is_dense_with_enough_neighbours():
  features, _ = five_by_five()
  features[7, 2] = np.nan
  found = dense_crf.gaussian_kernel(features, num_neighbours=24, max_distance=100.0).toarray()
  np.testing.assert_allclose(found, slow_normalised(slow_kernel(features)), atol=1e-6)
  assert not found[7].any() and not np.diag(found).any()


def test_gaussian_kernel_keeps_nearest_neighbours_within_the_distance():
  line = np.array([[0.0], [1.0], [2.5], [9.0]])
  found = dense_crf.gaussian_kernel(line, num_neighbours=1, max_distance=3.0).toarray() > 0
  # 0 and 1 are mutual nearest neighbours, 1 is the nearest of 2, and 3 has none in reach.
  want = np.zeros((4, 4), bool)
  want[[0, 1, 1, 2], [1, 0, 2, 1]] = True
  np.testing.assert_array_equal(found, want)


def test_link_kernel_by_hand():
  found = dense_crf.link_kernel(np.array([0, 1]), np.array([2, 2]), 4).toarray()
  want = np.zeros((4, 4))
  want[0, 2] = want[2, 0] = want[1, 2] = want[2, 1] = 1 / np.sqrt(2)
  np.testing.assert_allclose(found, want, atol=1e-6)


def test_mean_field_agrees_with_a_dense_loop():
  features, cost = five_by_five()
  rest = np.random.default_rng(5).uniform(0, 3, (25, 2))
  kernels = [
    (2.0, dense_crf.gaussian_kernel(features, 24, 100.0)),
    (0.7, dense_crf.gaussian_kernel(rest, 24, 100.0)),
  ]
  slow = [(2.0, slow_normalised(slow_kernel(features))), (0.7, slow_normalised(slow_kernel(rest)))]
  found = dense_crf.mean_field(cost.astype(np.float32), kernels, 3)
  np.testing.assert_allclose(found, slow_mean_field(cost, slow, 3), atol=1e-5)
  assert found[3, 1] == 0
  np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
