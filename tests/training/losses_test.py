"""Every loss term against a loop over rays and samples in float64, and its gradients.

Letters: B rays, S samples, C classes present, T [C + 1, 45] the transition matrix.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.label_noise.transition import transition_from_label_sets
from pnerf_jax.rendering import compositing
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


def test_depth_mixture_nll_agrees_with_a_loop():
  weights, t = _random_rays()
  rng = np.random.default_rng(2)
  target = rng.uniform(1, 50, 12).astype(np.float32)
  mask = rng.uniform(size=12) > 0.3
  scale, outlier_prob = 0.4, 0.1
  total = 0.0
  for ray in np.flatnonzero(mask):
    sigma = scale * (0.3 + (float(target[ray]) / 10) ** 2)
    likelihood = sum(
      float(w) * math.exp(-0.5 * ((float(z) - float(target[ray])) / sigma) ** 2)
      for w, z in zip(weights[ray], t[ray])
    )
    total -= math.log((1 - outlier_prob) * likelihood + outlier_prob)
  got = losses.depth_mixture_nll(weights, t, target, mask, sigma=scale, outlier_prob=outlier_prob)
  assert float(got) == pytest.approx(total / mask.sum(), rel=1e-5)


def test_depth_mixture_nll_prefers_weight_at_the_measured_depth():
  t = jnp.linspace(1.0, 40.0, 40)[None]
  target, mask = jnp.array([20.0]), jnp.array([True])
  values = [
    float(
      losses.depth_mixture_nll(
        jax.nn.one_hot(jnp.array([i]), 40), t, target, mask, sigma=0.2, outlier_prob=0.05
      )
    )
    for i in range(40)
  ]
  assert int(np.argmin(values)) == 19  # t = 20
  assert values[19] == pytest.approx(0.0, abs=1e-5)
  assert values[39] == pytest.approx(
    -math.log(0.05), rel=1e-4
  )  # bounded by the outlier probability


def _random_transition(seed: int = 8) -> np.ndarray:
  """[C + 1, 45] with rows that sum to 1."""
  return np.random.default_rng(seed).dirichlet(np.full(45, 0.3), 8).astype(np.float32)


def test_forward_corrected_nll_agrees_with_a_loop():
  rng = np.random.default_rng(3)
  transition = _random_transition()
  probabilities = rng.dirichlet(np.full(7, 0.4), 60).astype(np.float32)
  probabilities[::3] *= 0.7  # the rest is free space
  label = rng.choice([_ROAD, _SIDEWALK, _BUILDING, _SKY, _CAR, 21], 60)
  mask = (rng.uniform(size=60) * (rng.uniform(size=60) > 0.3)).astype(np.float32)
  total, count = 0.0, 0
  for ray in range(60):
    if mask[ray] == 0:
      continue
    label_probability = sum(
      float(probabilities[ray, c]) * float(transition[c, label[ray]]) for c in range(7)
    )
    free_space = max(1.0 - float(probabilities[ray].sum(dtype=np.float64)), 0.0)
    label_probability += free_space * float(transition[7, label[ray]])
    total -= float(mask[ray]) * math.log(max(label_probability, 1e-6))
    count += 1
  got = losses.forward_corrected_nll(probabilities, label, mask, transition)
  assert float(got) == pytest.approx(total / count, rel=1e-4)


def test_forward_corrected_nll_by_hand():
  transition = transition_from_label_sets(_CLASS_IDS, uniform_noise=0.5)
  # Road 0.2, sidewalk 0.1, parking 0.3, car 0.4; called road: 0.2 + 0.3 + 0.5 (0.1 + 0.4) = 0.75.
  probabilities = jnp.array([[0.2, 0.1, 0.3, 0.0, 0.4, 0.0, 0.0]])
  got = losses.forward_corrected_nll(probabilities, jnp.array([_ROAD]), jnp.ones(1), transition)
  assert float(got) == pytest.approx(-math.log(0.75), rel=1e-5)


def test_forward_corrected_nll_favours_the_class_with_the_largest_likelihood():
  transition = np.full((8, 45), 0.01, np.float32)
  transition[[4, 5], _CAR] = 0.8, 0.2  # car, box
  loss = lambda p: losses.forward_corrected_nll(
    p, jnp.array([_CAR]), jnp.ones(1), jnp.asarray(transition)
  )
  gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.full((1, 7), 1 / 7)))[0]
  car, box, road = gradient[4], gradient[5], gradient[0]
  assert car < box < road


def test_posterior_cross_entropy_agrees_with_a_loop():
  rng = np.random.default_rng(13)
  probabilities = rng.dirichlet(np.full(7, 0.4), 30).astype(np.float32)
  fixed = rng.dirichlet(np.full(8, 0.4), 30)[:, :7].astype(np.float32)  # the rest is free space
  fixed[0] = 0.0  # free space only: the label supervises nothing
  class_prior = rng.uniform(0.5, 20, 7).astype(np.float32)
  transition = _random_transition()
  label = rng.choice([_ROAD, _SIDEWALK, _BUILDING, _SKY, _CAR, 21], 30)
  mask = (rng.uniform(size=30) * (rng.uniform(size=30) > 0.3)).astype(np.float32)
  total = 0.0
  for ray in range(1, 30):
    posterior = np.float64(fixed[ray]) * class_prior * transition[:7, label[ray]]
    total_mass = posterior.sum() + (1 - fixed[ray].sum()) * transition[7, label[ray]]
    total -= mask[ray] * sum(
      q / total_mass * math.log(p + 1e-6) for q, p in zip(posterior, np.float64(probabilities[ray]))
    )
  got = losses.posterior_cross_entropy(
    *map(jnp.asarray, (probabilities, fixed, label, mask)),
    transition=jnp.asarray(transition),
    class_prior=jnp.asarray(class_prior),
  )
  assert float(got) == pytest.approx(total / (mask > 0).sum(), rel=1e-4)


# Of a label, over every magnitude; 1e-6 is the floor of the logarithm.
_MAGNITUDES = (0.0, 1e-30, 1e-12, 1e-8, 9e-7, 1e-6, 1.1e-6, 1e-4, 0.3, 1.0)


def _nll_of(probability):
  """Return the loss of one pixel that is certainly labelled by its class or not at all."""
  transition = jnp.zeros((8, 45)).at[4, _CAR].set(1.0)
  probabilities = jnp.zeros((1, 7)).at[0, 4].set(probability)
  return losses.forward_corrected_nll(probabilities, jnp.array([_CAR]), jnp.ones(1), transition)


def test_forward_corrected_nll_has_a_gradient_at_every_magnitude():
  values, gradients = jax.jit(jax.vmap(jax.value_and_grad(_nll_of)))(jnp.array(_MAGNITUDES))
  for probability, value, gradient in zip(_MAGNITUDES, values, gradients):
    # Linear below 1e-6, with the value and the slope of the logarithm there.
    below = max(1e-6 - probability, 0.0) / 1e-6
    assert float(value) == pytest.approx(-math.log(max(probability, 1e-6)) + below, rel=1e-6)
    assert float(gradient) == pytest.approx(-1 / max(probability, 1e-6), rel=1e-5)
  # Strictly where float32 resolves it.
  assert np.all(np.diff(values) <= 0.0) and np.all(np.diff(values[3:]) < 0.0)


def test_forward_corrected_nll_is_the_logarithm_bit_for_bit_above_its_floor():
  probability = jnp.asarray(10.0 ** np.random.default_rng(4).uniform(-6, 0, 500), jnp.float32)
  probability = jnp.maximum(probability, 1e-6)
  got, want = (
    jax.jit(jax.vmap(jax.value_and_grad(function)))(probability)
    for function in (_nll_of, lambda p: -jnp.log(p))
  )
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize('occlusion', [15.0, 25.0, 60.0])  # exp(-15) = 3e-7
def test_the_fixed_loss_moves_the_density_of_a_ray_with_an_improbable_label(occlusion):
  """A building occludes the car that the label names; then the car is nearly transparent."""
  transition = jnp.zeros((8, 45)).at[jnp.array([3, 4]), jnp.array([_BUILDING, _CAR])].set(1.0)
  classes = jax.nn.one_hot(jnp.array([[3, 4]]), 7)

  @jax.jit
  @jax.grad
  def pull(sigma):
    weights, sky = compositing.composite_weights(sigma, jnp.ones((1, 2)))
    fixed = compositing.integrate(weights, classes) + sky[:, None] * jax.nn.one_hot(6, 7)
    return losses.forward_corrected_nll(fixed, jnp.array([_CAR]), jnp.ones(1), transition)

  building, car = pull(jnp.array([[occlusion, 2.0]]))[0]
  hidden = math.exp(-occlusion)
  assert float(building) == pytest.approx(1e6 * hidden * (1 - math.exp(-2.0)), rel=1e-3)
  assert float(car) == pytest.approx(-1e6 * hidden * math.exp(-2.0), rel=1e-3)
  _, car = pull(jnp.array([[0.0, 1e-9]]))[0]
  assert float(car) == pytest.approx(-1e6, rel=1e-3)


@pytest.mark.slow
def test_posterior_cross_entropy_has_a_gradient_for_a_class_near_zero():
  """Two classes at one place; the field is certain of the second, the labels support the first."""
  transition = jnp.zeros((3, 45)).at[:, _CAR].set(jnp.array([0.8, 0.02, 0.0]))
  label, one = jnp.array([_CAR]), jnp.ones(1)
  even = jnp.array([[0.5, 0.5]])

  def pull(loss, logit):
    return -float(jax.grad(lambda x: loss(jax.nn.softmax(jnp.array([[x, 0.0]]))))(logit))

  plain = lambda p: losses.forward_corrected_nll(p, label, one, transition)
  posterior = lambda p: losses.posterior_cross_entropy(
    p, even, label, one, transition=transition, class_prior=jnp.ones(2)
  )
  assert pull(plain, 0.0) > 0.4 and pull(posterior, 0.0) > 0.4
  assert pull(plain, -10.0) < 2e-3
  assert pull(posterior, -10.0) > 0.9
  gradient = jax.grad(
    lambda f: losses.posterior_cross_entropy(
      even, f, label, one, transition=transition, class_prior=jnp.ones(2)
    )
  )(even)
  np.testing.assert_array_equal(gradient, 0.0)


def test_class_prior_separates_classes_with_equal_likelihood():
  """Both classes have one likelihood: the labels have no gradient, the prior has one."""
  transition = jnp.zeros((3, 45)).at[:2, _BUILDING].set(0.8)
  label, one = jnp.array([_BUILDING]), jnp.ones(1)
  half, class_prior = jnp.array([[0.5, 0.5]]), jnp.array([9.0, 1.0])
  for logit in (-4.0, 0.0, 4.0):
    p = lambda x: jax.nn.softmax(jnp.array([[x, 0.0]]))
    from_labels = jax.grad(lambda x: losses.forward_corrected_nll(p(x), label, one, transition))(
      logit
    )
    assert float(from_labels) == pytest.approx(0.0, abs=1e-6)
    from_prior = jax.grad(
      lambda x: losses.posterior_cross_entropy(
        p(x), half, label, one, transition=transition, class_prior=class_prior
      )
    )(logit)
    assert float(from_prior) == pytest.approx(float(p(logit)[0, 0]) - 0.9, abs=1e-4)


def test_free_space_is_not_supervised():
  """A tenth of the ray is sky and the rest free space; the label is not the sky's."""
  transition = jnp.full((3, 45), 0.001).at[2, _CAR].set(0.05)
  label, one, class_prior = jnp.array([_CAR]), jnp.ones(1), jnp.ones(2)
  probabilities, fixed = jnp.array([[0.9, 0.1]]), jnp.array([[0.0, 0.1]])
  pull = jax.grad(
    lambda p: losses.posterior_cross_entropy(
      p, fixed, label, one, transition=transition, class_prior=class_prior
    )
  )
  assert (
    abs(float(pull(probabilities)[0, 1])) < 0.1
  )  # 10 with a primitive in place of the free space
  assert float(pull(probabilities)[0, 0]) == 0.0


def test_label_on_ray_agrees_with_a_loop():
  rng = np.random.default_rng(4)
  sets = labels.compatibility_matrix(_CLASS_IDS)
  ray_classes = rng.uniform(size=(200, 7)) > 0.7
  ray_classes[0] = False
  label = rng.integers(0, 45, 200)
  got = np.asarray(
    losses.label_on_ray(jnp.asarray(ray_classes), jnp.asarray(label), jnp.asarray(sets))
  )
  for ray in range(200):
    want = label[ray] == _SKY
    for c in range(7):
      want |= bool(ray_classes[ray, c] and sets[c, label[ray]])
    assert got[ray] == want


def test_semantic_3d_agrees_with_a_loop():
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


def test_semantic_3d_has_no_gradient_to_the_weights():
  logits = jnp.array([[[1.0, 2.0]]])
  fixed = jnp.array([[[1.0, 0.0]]])
  gradient = jax.grad(losses.semantic_3d, argnums=2)(logits, fixed, jnp.array([[0.4]]))
  np.testing.assert_array_equal(gradient, 0.0)


# Masks and ends.


def _terms(weights, probabilities, logits, depth, mask):
  """Every term on B = 4 rays, as functions of what is rendered."""
  t = jnp.broadcast_to(jnp.array([1.0, 5.0, 5.0, 30.0]), (4, 4))
  noisy, exact = (
    jnp.asarray(transition_from_label_sets(_CLASS_IDS, uniform_noise=noise))
    for noise in (0.02, 0.0)
  )
  label = jnp.array([_ROAD, _SKY, _CAR, labels.VOID])
  fixed = jax.nn.one_hot(jnp.array([[0, 1, 2, 3]] * 4), 7)
  target = jnp.array([5.0, 0.0, 90.0, 30.0])
  return {
    'depth_huber': losses.depth_huber(depth, target, mask),
    'depth_mixture_nll': losses.depth_mixture_nll(
      weights, t, target, mask, sigma=0.2, outlier_prob=0.05
    ),
    'forward_corrected_nll': losses.forward_corrected_nll(
      probabilities, label, mask.astype(jnp.float32), noisy
    ),
    'forward_corrected_nll without uniform noise': losses.forward_corrected_nll(
      probabilities, label, mask.astype(jnp.float32), exact
    ),
    'posterior_cross_entropy': losses.posterior_cross_entropy(
      probabilities,
      jax.nn.one_hot(jnp.array([0, 0, 1, 2]), 7) * weights.sum(-1)[:, None],
      label,
      mask.astype(jnp.float32),
      transition=exact,
      class_prior=jnp.arange(1.0, 8.0),
    ),
    'semantic_3d': losses.semantic_3d(logits, fixed, weights),
  }


_TERMS_WITH_GRADIENTS = jax.jit(
  jax.value_and_grad(
    lambda *x: (sum(_terms(*x).values()), _terms(*x)), argnums=(0, 1, 2, 3), has_aux=True
  )
)


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('weight', [0.0, 0.25, 1.0])
def test_values_and_gradients_are_finite_at_the_extremes(weight, masked):
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
    for name in ('depth_huber', 'depth_mixture_nll', 'forward_corrected_nll'):
      assert terms[name] == 0.0
    np.testing.assert_array_equal(gradients[1], 0.0)
    np.testing.assert_array_equal(gradients[3], 0.0)


def test_masked_pixels_have_no_influence():
  weights, t = _random_rays(6)
  rng = np.random.default_rng(6)
  target = rng.uniform(5, 40, 6).astype(np.float32)
  probabilities = rng.dirichlet(np.ones(7), 6).astype(np.float32)
  label = np.full(6, _ROAD)
  transition = _random_transition()
  mask = np.array([1, 0, 1, 0, 0, 1], np.float32)

  @jax.jit
  def terms(rows):
    kept = mask[rows] > 0
    return (
      losses.depth_huber(t[rows, 0], target[rows], kept),
      losses.depth_mixture_nll(
        weights[rows], t[rows], target[rows], kept, sigma=0.2, outlier_prob=0.05
      ),
      losses.forward_corrected_nll(probabilities[rows], label[rows], mask[rows], transition),
    )

  weights, t, target, probabilities, label, transition, mask = map(
    jnp.asarray, (weights, t, target, probabilities, label, transition, mask)
  )
  np.testing.assert_allclose(terms(jnp.arange(6)), terms(jnp.array([0, 2, 5])), rtol=1e-5)
