"""Alpha-expansion against all labelings of small images; contrast weights by hand."""

import itertools

import numpy as np
import pytest

from pnerf_jax.contrib.baselines import graph_cut


def random_problem(seed, height, width, labels):
  rng = np.random.default_rng(seed)
  return (
    rng.uniform(0, 3, (height, width, labels)),
    rng.uniform(0, 2, (height, width - 1)),
    rng.uniform(0, 2, (height - 1, width)),
  )


def slow_energy(label, cost, right, down):
  height, width = label.shape
  total = 0.0
  for i, j in np.ndindex(height, width):
    total += cost[i, j, label[i, j]]
    if j + 1 < width and label[i, j] != label[i, j + 1]:
      total += right[i, j]
    if i + 1 < height and label[i, j] != label[i + 1, j]:
      total += down[i, j]
  return total


def all_energies(cost, right, down):
  shape, labels = cost.shape[:2], cost.shape[2]
  for values in itertools.product(range(labels), repeat=shape[0] * shape[1]):
    yield slow_energy(np.array(values).reshape(shape), cost, right, down)


@pytest.mark.parametrize('seed', range(12))
def test_alpha_expansion_is_optimal_for_two_labels(seed):
  problem = random_problem(seed, 3, 4, 2)
  found = graph_cut.alpha_expansion(*problem)
  assert graph_cut.energy(found, *problem) == pytest.approx(slow_energy(found, *problem))
  assert slow_energy(found, *problem) == pytest.approx(min(all_energies(*problem)))


@pytest.mark.parametrize('seed', range(12))
def test_alpha_expansion_ends_in_a_local_optimum(seed):
  problem = random_problem(seed, 2, 4, 3)
  found = graph_cut.alpha_expansion(*problem)
  lowest = slow_energy(found, *problem)
  for alpha, takes in itertools.product(range(3), itertools.product((False, True), repeat=8)):
    moved = np.where(np.reshape(takes, (2, 4)), alpha, found)
    assert slow_energy(moved, *problem) >= lowest - 1e-9
  assert lowest <= 2 * min(all_energies(*problem))  # the bound of Boykov et al.


def test_alpha_expansion_denoises_with_allowed_labels():
  rng = np.random.default_rng(0)
  truth = np.zeros((30, 40), np.int64)
  truth[:, 20:], truth[10:20, 5:15] = 1, 2
  noisy = np.where(rng.uniform(size=truth.shape) < 0.3, rng.integers(3, size=truth.shape), truth)
  cost = 1.0 - np.eye(3)[noisy]
  cost[:, 30:, 0] = cost[:5, :, 2] = np.inf
  cost[:, 30:, 1] = np.minimum(cost[:, 30:, 1], 1)
  image = (truth * 80)[..., None].repeat(3, -1).astype(np.uint8)
  weights = graph_cut.contrast_weights(image, 1.0)
  start = cost.argmin(-1)
  found = graph_cut.alpha_expansion(cost, *weights)
  assert graph_cut.energy(found, cost, *weights) < graph_cut.energy(start, cost, *weights)
  assert np.mean(found == truth) > 0.99 > 0.9 > np.mean(start == truth)
  assert np.isfinite(np.take_along_axis(cost, found[..., None], -1)).all()


def test_contrast_weights_by_hand():
  image = np.zeros((2, 2, 3), np.uint8)
  image[0, 1] = (3, 4, 0)
  # Squared differences: right 25, 0; down 0, 25; their mean is 12.5, so that 25 gives exp(-1).
  right, down = graph_cut.contrast_weights(image, 2.0)
  np.testing.assert_allclose(right, [[2 * np.exp(-1)], [2]])
  np.testing.assert_allclose(down, [[2, 2 * np.exp(-1)]])
  flat = graph_cut.contrast_weights(np.zeros((2, 3, 3), np.uint8), 2.0)
  assert all((w == 2).all() for w in flat)
