"""Every loss term against a loop over rays and samples in float64, and its gradients.

Letters: B rays, S samples, C classes present, P [C + 1, 45] what the classes and void are called.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.label_noise import transition
from pnerf_jax.training import losses

_ROAD, _SIDEWALK, _PARKING, _BUILDING, _SKY, _CAR, _BOX = 7, 8, 9, 11, 23, 26, 41
_CLASS_IDS = (_ROAD, _SIDEWALK, _PARKING, _BUILDING, _CAR, _BOX, _SKY)


def _random_rays(count: int = 12, samples: int = 9, seed: int = 0):
  """weights that sum to at most 1, sorted t."""
  rng = np.random.default_rng(seed)
  weights = rng.uniform(size=(count, samples)) ** 3
  weights *= rng.uniform(size=(count, 1)) / weights.sum(axis=-1, keepdims=True)
  t = np.sort(rng.uniform(0.3, 60, (count, samples)), axis=-1)
  return np.float32(weights), np.float32(t)


def test_color_agrees_with_a_loop():
  rng = np.random.default_rng(0)
  rgb, target = rng.uniform(size=(2, 7, 3))
  want = sum((rgb[i] - target[i]) ** 2 for i in np.ndindex(7, 3)) / 21
  assert float(losses.color(jnp.asarray(rgb), jnp.asarray(target))) == pytest.approx(want, rel=1e-5)


def test_depth_huber_agrees_with_a_loop():
  rng = np.random.default_rng(1)
  depth = rng.uniform(2, 30, 40).astype(np.float32)
  target = (depth + rng.normal(0, 1.5, 40)).astype(np.float32)
  mask = rng.uniform(size=40) > 0.4
  errors = [abs(float(d) - float(g)) for d, g, m in zip(depth, target, mask) if m]
  want = sum(e * e / 2 if e < 1 else e - 0.5 for e in errors) / len(errors)
  assert min(errors) < 1 < max(errors)
  assert float(losses.depth_huber(depth, target, mask)) == pytest.approx(want, rel=1e-5)


def test_depth_likelihood_agrees_with_a_loop():
  weights, t = _random_rays()
  rng = np.random.default_rng(2)
  target = rng.uniform(1, 50, 12).astype(np.float32)
  mask = rng.uniform(size=12) > 0.3
  spread, outliers = 0.4, 0.1
  total = 0.0
  for ray in np.flatnonzero(mask):
    sigma = spread * (0.3 + (float(target[ray]) / 10) ** 2)
    found = sum(
      float(w) * math.exp(-0.5 * ((float(z) - float(target[ray])) / sigma) ** 2)
      for w, z in zip(weights[ray], t[ray])
    )
    total -= math.log((1 - outliers) * found + outliers)
  got = losses.depth_likelihood(weights, t, target, mask, spread, outliers)
  assert float(got) == pytest.approx(total / mask.sum(), rel=1e-5)


def test_depth_likelihood_prefers_weight_at_the_measured_depth():
  t = jnp.linspace(1.0, 40.0, 40)[None]
  target, mask = jnp.array([20.0]), jnp.array([True])
  values = [
    float(losses.depth_likelihood(jax.nn.one_hot(jnp.array([i]), 40), t, target, mask, 0.2, 0.05))
    for i in range(40)
  ]
  assert int(np.argmin(values)) == 19  # t = 20
  assert values[19] == pytest.approx(0.0, abs=1e-5)
  assert values[39] == pytest.approx(-math.log(0.05), rel=1e-4)  # an outlier pulls no further


def _random_words(seed: int = 8) -> np.ndarray:
  """[C + 1, 45] with rows that sum to 1."""
  return np.random.default_rng(seed).dirichlet(np.full(45, 0.3), 8).astype(np.float32)


def test_semantic_agrees_with_a_loop():
  rng = np.random.default_rng(3)
  called = _random_words()
  probabilities = rng.dirichlet(np.full(7, 0.4), 60).astype(np.float32)
  probabilities[::3] *= 0.7  # the rest is held by void alone
  label = rng.choice([_ROAD, _SIDEWALK, _BUILDING, _SKY, _CAR, 21], 60)
  mask = (rng.uniform(size=60) * (rng.uniform(size=60) > 0.3)).astype(np.float32)
  total, count = 0.0, 0
  for ray in range(60):
    if mask[ray] == 0:
      continue
    plausible = sum(float(probabilities[ray, c]) * float(called[c, label[ray]]) for c in range(7))
    void = max(1.0 - float(probabilities[ray].sum(dtype=np.float64)), 0.0)
    plausible += void * float(called[7, label[ray]])
    total -= float(mask[ray]) * math.log(max(plausible, 1e-6))
    count += 1
  got = losses.forward_corrected_nll(probabilities, label, mask, called)
  assert float(got) == pytest.approx(total / count, rel=1e-4)


def test_semantic_by_hand():
  called = transition.transition_from_label_sets(_CLASS_IDS, merged=False, floor=0.5)
  # Road 0.2, sidewalk 0.1, parking 0.3, car 0.4; called road: 0.2 + 0.3 + 0.5 (0.1 + 0.4) = 0.75.
  probabilities = jnp.array([[0.2, 0.1, 0.3, 0.0, 0.4, 0.0, 0.0]])
  got = losses.forward_corrected_nll(probabilities, jnp.array([_ROAD]), jnp.ones(1), called)
  assert float(got) == pytest.approx(-math.log(0.75), rel=1e-5)


def test_semantic_pulls_towards_the_class_that_is_called_so_most_often():
  called = np.full((8, 45), 0.01, np.float32)
  called[[4, 5], _CAR] = 0.8, 0.2  # car, box
  loss = lambda p: losses.forward_corrected_nll(
    p, jnp.array([_CAR]), jnp.ones(1), jnp.asarray(called)
  )
  gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.full((1, 7), 1 / 7)))[0]
  car, box, road = gradient[4], gradient[5], gradient[0]
  assert car < box < road


def _words() -> losses.LabelNoise:
  first = jnp.asarray(_random_words())
  return losses.LabelNoise(first, jnp.full(45, 1 / 45), first[:-1] > 0.1, jnp.ones(7), jnp.ones(()))


def test_words_are_the_first_estimate_until_something_was_called():
  words_ = _words()
  got = losses.transition_matrix(jnp.zeros((8, 45)), words_, 1e-3, 0.05)
  np.testing.assert_array_equal(got, words_.first)


def test_words_by_hand():
  first = np.zeros((3, 45), np.float32)
  first[:, _ROAD], first[0, _CAR] = 0.5, 0.5
  called = np.zeros((3, 45), np.float32)
  called[0, _ROAD], called[0, _CAR] = 0.06, 0.02
  anything = np.zeros(45, np.float32)
  anything[[_ROAD, _CAR]] = 0.5
  got = losses.transition_matrix(
    jnp.asarray(called),
    losses.LabelNoise(
      jnp.asarray(first), jnp.asarray(anything), jnp.ones((2, 45), bool), jnp.ones(2), jnp.ones(())
    ),
    0.02,
    0.1,
  )
  # (0.06 + 0.02 * 0.5) / (0.08 + 0.02) = 0.7, then 0.9 * 0.7 + 0.1 * 0.5.
  assert float(got[0, _ROAD]) == pytest.approx(0.68)
  assert float(got[0, _CAR]) == pytest.approx(0.32)
  np.testing.assert_array_equal(got[1:], first[1:])  # of which nothing was seen


def test_called_share_agrees_with_a_loop():
  rng = np.random.default_rng(9)
  probabilities = rng.dirichlet(np.ones(3), 20).astype(np.float32)
  probabilities[::2] *= 0.6
  label = rng.choice([0, _ROAD, _CAR], 20)
  want = np.zeros((4, 45))
  for ray in range(20):
    if label[ray]:
      want[:3, label[ray]] += probabilities[ray] / 20
      want[3, label[ray]] += (1 - probabilities[ray].sum()) / 20
  np.testing.assert_allclose(losses.joint_label_frequencies(probabilities, label), want, atol=1e-6)


def test_words_are_found_by_alternating_with_the_classes():
  """Expectation-maximisation finds how three classes are called from a poor first guess."""
  rng = np.random.default_rng(10)
  truth = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]])
  group = rng.integers(0, 3, 400)  # things, each seen 60 times
  label = np.array([rng.choice([1, 2, 3], p=truth[c]) for c in group.repeat(60)])
  first = np.zeros((4, 45), np.float32)
  first[:, 1:4] = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [1 / 3] * 3]
  words_ = losses.LabelNoise(
    jnp.asarray(first), jnp.asarray(first[3]), jnp.ones((3, 45), bool), jnp.ones(3), jnp.ones(())
  )
  called = jnp.zeros((4, 45))
  for _ in range(10):
    p = np.asarray(losses.transition_matrix(called, words_, 1e-3, 0.0))[:3]
    score = np.log(p.T[label] + 1e-6).reshape(400, 60, 3).sum(axis=1)
    posterior = np.exp(score - score.max(axis=-1, keepdims=True))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    called = losses.joint_label_frequencies(
      jnp.asarray(posterior.repeat(60, axis=0), jnp.float32), jnp.asarray(label)
    )
  found = np.asarray(losses.transition_matrix(called, words_, 1e-3, 0.0))[:3, 1:4]
  np.testing.assert_allclose(found, truth, atol=0.03)


def test_semantic_posterior_agrees_with_a_loop():
  rng = np.random.default_rng(13)
  probabilities = rng.dirichlet(np.full(7, 0.4), 30).astype(np.float32)
  fixed = rng.dirichlet(np.full(8, 0.4), 30)[:, :7].astype(np.float32)  # void holds the rest
  fixed[0] = 0.0  # void alone: the label says nothing of any primitive
  odds = rng.uniform(0.5, 20, 7).astype(np.float32)
  called = _random_words()
  label = rng.choice([_ROAD, _SIDEWALK, _BUILDING, _SKY, _CAR, 21], 30)
  mask = (rng.uniform(size=30) * (rng.uniform(size=30) > 0.3)).astype(np.float32)
  total = 0.0
  for ray in range(1, 30):
    said = np.float64(fixed[ray]) * odds * called[:7, label[ray]]
    all_said = said.sum() + (1 - fixed[ray].sum()) * called[7, label[ray]]
    total -= mask[ray] * sum(
      q / all_said * math.log(p + 1e-6) for q, p in zip(said, np.float64(probabilities[ray]))
    )
  got = losses.posterior_cross_entropy(
    *map(jnp.asarray, (probabilities, fixed, label, mask, called, odds))
  )
  assert float(got) == pytest.approx(total / (mask > 0).sum(), rel=1e-4)


def test_a_class_that_lost_a_ray_still_hears_its_labels():
  """Two classes in one place; the field is sure of the second, labels speak for the first."""
  called = jnp.zeros((3, 45)).at[:, _CAR].set(jnp.array([0.8, 0.02, 0.0]))
  label, one = jnp.array([_CAR]), jnp.ones(1)
  even = jnp.array([[0.5, 0.5]])

  def pull(loss, logit):
    return -float(jax.grad(lambda x: loss(jax.nn.softmax(jnp.array([[x, 0.0]]))))(logit))

  plain = lambda p: losses.forward_corrected_nll(p, label, one, called)
  posterior = lambda p: losses.posterior_cross_entropy(p, even, label, one, called, jnp.ones(2))
  assert pull(plain, 0.0) > 0.4 and pull(posterior, 0.0) > 0.4
  assert pull(plain, -10.0) < 2e-3
  assert pull(posterior, -10.0) > 0.9
  gradient = jax.grad(
    lambda f: losses.posterior_cross_entropy(even, f, label, one, called, jnp.ones(2))
  )(even)
  np.testing.assert_array_equal(gradient, 0.0)


def test_a_class_without_a_word_of_its_own_is_told_by_the_odds_alone():
  """Both classes are called alike: labels leave the field where it is, the odds do not."""
  called = jnp.zeros((3, 45)).at[:2, _BUILDING].set(0.8)
  label, one = jnp.array([_BUILDING]), jnp.ones(1)
  half, odds = jnp.array([[0.5, 0.5]]), jnp.array([9.0, 1.0])
  for logit in (-4.0, 0.0, 4.0):
    p = lambda x: jax.nn.softmax(jnp.array([[x, 0.0]]))
    labels_alone = jax.grad(lambda x: losses.forward_corrected_nll(p(x), label, one, called))(logit)
    assert float(labels_alone) == pytest.approx(0.0, abs=1e-6)
    found = jax.grad(
      lambda x: losses.posterior_cross_entropy(p(x), half, label, one, called, odds)
    )(logit)
    assert float(found) == pytest.approx(float(p(logit)[0, 0]) - 0.9, abs=1e-4)


def test_where_void_holds_a_ray_nothing_is_asked_of_it():
  """Fog lets a tenth of the sky through; the rest is void's, and the label is not the sky's."""
  called = jnp.full((3, 45), 0.001).at[2, _CAR].set(0.05)
  label, one, odds = jnp.array([_CAR]), jnp.ones(1), jnp.ones(2)
  probabilities, fixed = jnp.array([[0.9, 0.1]]), jnp.array([[0.0, 0.1]])
  pull = jax.grad(lambda p: losses.posterior_cross_entropy(p, fixed, label, one, called, odds))
  assert abs(float(pull(probabilities)[0, 1])) < 0.1  # a primitive's ray would be pulled by 10
  assert float(pull(probabilities)[0, 0]) == 0.0


@pytest.mark.parametrize('merged', [False, True])
def test_reachable_agrees_with_a_loop(merged):
  rng = np.random.default_rng(4)
  sets = labels.compatibility_matrix(_CLASS_IDS, merged=merged)
  met = rng.uniform(size=(200, 7)) > 0.7
  met[0] = False
  label = rng.integers(0, 45, 200)
  got = np.asarray(losses.label_on_ray(jnp.asarray(met), jnp.asarray(label), jnp.asarray(sets)))
  for ray in range(200):
    want = label[ray] == _SKY
    for c in range(7):
      want |= bool(met[ray, c] and sets[c, label[ray]])
    assert got[ray] == want


def test_semantic_points_agrees_with_a_loop():
  rng = np.random.default_rng(5)
  logits = rng.normal(size=(10, 6, 4)).astype(np.float32) * 3
  number = rng.integers(0, 4, (10, 6))  # classes of the primitives at the sample, 0 = none
  fixed = np.zeros((10, 6, 4), np.float32)
  for index in np.ndindex(10, 6):
    fixed[index][rng.permutation(4)[: number[index]]] = 1 / max(number[index], 1)
  weights = rng.uniform(0, 0.15, (10, 6)).astype(np.float32)
  total, count = 0.0, 0
  for index in np.ndindex(10, 6):
    if number[index] == 1 and weights[index] > 0.05:
      chosen = int(np.argmax(fixed[index]))
      exponential = np.exp(np.float64(logits[index]))
      total -= math.log(exponential[chosen] / exponential.sum())
      count += 1
  got = losses.semantic_3d(logits, fixed, weights)
  assert float(got) == pytest.approx(total / count, rel=1e-5)


def test_semantic_points_does_not_move_the_geometry():
  logits = jnp.array([[[1.0, 2.0]]])
  fixed = jnp.array([[[1.0, 0.0]]])
  gradient = jax.grad(losses.semantic_3d, argnums=2)(logits, fixed, jnp.array([[0.4]]))
  np.testing.assert_array_equal(gradient, 0.0)


# Masks and ends.


def _terms(weights, probabilities, logits, depth, mask):
  """Every term on B = 4 rays, as functions of what is rendered."""
  t = jnp.broadcast_to(jnp.array([1.0, 5.0, 5.0, 30.0]), (4, 4))
  floored, plain = (
    jnp.asarray(transition.transition_from_label_sets(_CLASS_IDS, merged=False, floor=floor))
    for floor in (0.02, 0.0)
  )
  label = jnp.array([_ROAD, _SKY, _CAR, labels.VOID])
  fixed = jax.nn.one_hot(jnp.array([[0, 1, 2, 3]] * 4), 7)
  target = jnp.array([5.0, 0.0, 90.0, 30.0])
  return {
    'depth_huber': losses.depth_huber(depth, target, mask),
    'depth_likelihood': losses.depth_likelihood(weights, t, target, mask, 0.2, 0.05),
    'semantic': losses.forward_corrected_nll(
      probabilities, label, mask.astype(jnp.float32), floored
    ),
    'semantic without a floor': losses.forward_corrected_nll(
      probabilities, label, mask.astype(jnp.float32), plain
    ),
    'semantic_posterior': losses.posterior_cross_entropy(
      probabilities,
      jax.nn.one_hot(jnp.array([0, 0, 1, 2]), 7) * weights.sum(-1)[:, None],
      label,
      mask.astype(jnp.float32),
      plain,
      jnp.arange(1.0, 8.0),
    ),
    'semantic_points': losses.semantic_3d(logits, fixed, weights),
  }


_TERMS_WITH_GRADIENTS = jax.jit(
  jax.value_and_grad(
    lambda *x: (sum(_terms(*x).values()), _terms(*x)), argnums=(0, 1, 2, 3), has_aux=True
  )
)


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('weight', [0.0, 0.25, 1.0])
def test_values_and_gradients_are_finite_at_the_ends(weight, masked):
  inputs = (
    jnp.full((4, 4), weight).at[:, 1:].multiply(weight < 1),  # nothing, even, or all in one
    jnp.stack([jnp.zeros(7), jax.nn.one_hot(0, 7), jax.nn.one_hot(6, 7), jnp.full(7, 1 / 7)]),
    jnp.tile(jnp.array([1e4, -1e4, 0.0, 5.0, 0.0, 0.0, 0.0]), (4, 4, 1)),
    jnp.array([5.0, 0.0, 1e6, 30.0]),
    jnp.full(4, not masked),
  )
  (_, terms), gradients = _TERMS_WITH_GRADIENTS(*inputs)
  for name, value in terms.items():
    assert np.isfinite(value), name
  for gradient in gradients:
    assert np.isfinite(gradient).all()
  if masked:
    for name in ('depth_huber', 'depth_likelihood', 'semantic'):
      assert terms[name] == 0.0
    np.testing.assert_array_equal(gradients[1], 0.0)
    np.testing.assert_array_equal(gradients[3], 0.0)


def test_masked_rays_have_no_influence():
  weights, t = _random_rays(6)
  rng = np.random.default_rng(6)
  target = rng.uniform(5, 40, 6).astype(np.float32)
  probabilities = rng.dirichlet(np.ones(7), 6).astype(np.float32)
  label = np.full(6, _ROAD)
  sets = _random_words()
  mask = np.array([1, 0, 1, 0, 0, 1], np.float32)

  @jax.jit
  def terms(rows):
    kept = mask[rows] > 0
    return (
      losses.depth_huber(t[rows, 0], target[rows], kept),
      losses.depth_likelihood(weights[rows], t[rows], target[rows], kept, 0.2, 0.05),
      losses.forward_corrected_nll(probabilities[rows], label[rows], mask[rows], sets),
    )

  weights, t, target, probabilities, label, sets, mask = map(
    jnp.asarray, (weights, t, target, probabilities, label, sets, mask)
  )
  np.testing.assert_allclose(terms(jnp.arange(6)), terms(jnp.array([0, 2, 5])), rtol=1e-5)
