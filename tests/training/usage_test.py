"""How the 2D network's words are learned: loops, hand counts, and a network whose errors are known.

Letters: B pixels, C classes present, P [C + 1, 45] what the classes and void are called.
"""
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.training import usage

_ROAD, _BUILDING, _CAR = 7, 11, 26


def _count(probabilities, label) -> usage.Usage:
  """Usage of pixels far from where their label ends."""
  nothing = jnp.zeros(len(label), jnp.int32)
  return usage.count(jnp.asarray(probabilities), jnp.asarray(label), jnp.asarray(label), nothing,
                     jnp.full((probabilities.shape[1] + 1, 45), 1 / 45))


def _words() -> usage.Words:
  first = jnp.asarray(np.random.default_rng(8).dirichlet(np.full(45, 0.3), 8), jnp.float32)
  return usage.Words(first, jnp.full(45, 1 / 45), first[:-1] > 0.1, jnp.ones(()))


def test_words_are_the_first_estimate_until_something_was_called():
  words_ = _words()
  got = usage.word_probability(jnp.zeros((8, 45)), words_, 1e-3, 0.05)
  np.testing.assert_array_equal(got, words_.first)


def test_words_by_hand():
  first = np.zeros((3, 45), np.float32)
  first[:, _ROAD], first[0, _CAR] = 0.5, 0.5
  called = np.zeros((3, 45), np.float32)
  called[0, _ROAD], called[0, _CAR] = 0.06, 0.02
  anything = np.zeros(45, np.float32)
  anything[[_ROAD, _CAR]] = 0.5
  got = usage.word_probability(jnp.asarray(called), usage.Words(
      jnp.asarray(first), jnp.asarray(anything), jnp.ones((2, 45), bool), jnp.ones(())), 0.02, 0.1)
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
  got = _count(probabilities, label).called
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_words_are_found_by_alternating_with_the_classes():
  """Expectation-maximisation finds how three classes are called from a poor first guess."""
  rng = np.random.default_rng(10)
  truth = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]])
  group = rng.integers(0, 3, 400)  # things, each seen 60 times
  label = np.array([rng.choice([1, 2, 3], p=truth[c]) for c in group.repeat(60)])
  first = np.zeros((4, 45), np.float32)
  first[:, 1:4] = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [1 / 3] * 3]
  words_ = usage.Words(
      jnp.asarray(first), jnp.asarray(first[3]), jnp.ones((3, 45), bool), jnp.ones(()))
  called = jnp.zeros((4, 45))
  for _ in range(10):
    p = np.asarray(usage.word_probability(called, words_, 1e-3, 0.0))[:3]
    score = np.log(p.T[label] + 1e-6).reshape(400, 60, 3).sum(axis=1)
    posterior = np.exp(score - score.max(axis=-1, keepdims=True))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    called = _count(posterior.repeat(60, axis=0).astype(np.float32), label).called
  found = np.asarray(usage.word_probability(called, words_, 1e-3, 0.0))[:3, 1:4]
  np.testing.assert_allclose(found, truth, atol=0.03)


def test_sides_agree_with_a_loop():
  rng = np.random.default_rng(11)
  count = 80
  p = rng.dirichlet(np.full(45, 0.3), 4).astype(np.float32)
  probabilities = rng.dirichlet(np.ones(3), count).astype(np.float32)
  probabilities[::2] *= 0.6
  label, beside = rng.choice([_ROAD, _BUILDING, _CAR], (2, count))
  ring = rng.integers(0, 3, count)
  want = np.zeros((2, 45, 45, 2))
  for i in range(count):
    if ring[i]:
      mass = [*probabilities[i], 1 - probabilities[i].sum()]
      own, other = (sum(mass[c] * p[c, y] for c in range(4)) for y in (label[i], beside[i]))
      want[ring[i] - 1, label[i], beside[i]] += np.array([own, other]) / (own + other) / count
  got = usage.count(*map(jnp.asarray, (probabilities, label, beside, ring, p))).sides
  np.testing.assert_allclose(got, want, atol=1e-6)


def _sides(outermost, behind, mass=0.01):
  """[2, 45, 45, 2] where shares of the pixels are their own label's; by (label, beside)."""
  sides = np.zeros((2, 45, 45, 2))
  for ring, shares in enumerate((outermost, behind)):
    for pair, share in shares.items():
      sides[ring][pair] = mass * share, mass * (1 - share)
  return jnp.asarray(sides, jnp.float32)


def test_only_a_border_that_leans_to_one_side_hangs_over():
  car, road = (_CAR, _ROAD), (_ROAD, _CAR)
  # Cars are a pixel too wide: their outermost pixels show road, those behind do not.
  got = usage.overhang(_sides({car: 0.2, road: 1.0}, {car: 0.9, road: 1.0}))
  assert float(got[car]) == pytest.approx(0.7, abs=0.01)
  assert np.count_nonzero(got) == 1
  # A border that wavers is as often wrong on either side.
  got = usage.overhang(_sides({car: 0.6, road: 0.6}, {car: 0.9, road: 0.9}))
  np.testing.assert_array_equal(got, 0.0)
  # A patch of road that is called car is wrong all over.
  got = usage.overhang(_sides({car: 0.2, road: 1.0}, {car: 0.2, road: 1.0}))
  np.testing.assert_allclose(got, 0.0, atol=1e-6)
  # Some pixels speak for the label whatever was counted; little that was counted says little.
  got = usage.overhang(_sides({car: 0.0, road: 1.0}, {car: 1.0, road: 1.0}))
  assert float(got[car]) == pytest.approx(0.8)
  got = usage.overhang(_sides({car: 0.0, road: 1.0}, {car: 1.0, road: 1.0}, mass=1e-6))
  assert float(got[car]) < 0.02
  np.testing.assert_array_equal(usage.overhang(usage.unknown(3).sides), 0.0)


def test_plausibility_is_shared_between_the_label_and_the_one_beside_it():
  p = jnp.asarray(np.random.default_rng(12).dirichlet(np.full(45, 0.3), 4), jnp.float32)
  got = usage.plausibility(p, jnp.array([_CAR, _CAR, _ROAD]), jnp.array([_ROAD, _ROAD, _ROAD]),
                           jnp.array([0.0, 0.25, 0.5]))
  want = np.stack([p[:, _CAR], 0.75 * p[:, _CAR] + 0.25 * p[:, _ROAD], p[:, _ROAD]])
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_network_whose_cars_are_a_pixel_too_wide_is_found_out():
  """A row of cars on a road, seen rightly by the field: what is counted gives the overhang."""
  shown = np.zeros(200, int)
  for start in range(10, 190, 20):
    shown[start:start + 8] = 1
  called = np.where(shown | np.roll(shown, 1) | np.roll(shown, -1), _CAR, _ROAD)
  ring, beside = np.zeros(200, int), called.copy()
  for distance in (2, 1):
    for step in (-distance, distance):
      differs = np.roll(called, step) != called
      ring[differs], beside[differs] = distance, np.roll(called, step)[differs]
  p = np.full((3, 45), 1e-3, np.float32)
  p[0, _ROAD] = p[1, _CAR] = 0.9
  probabilities = np.eye(2, dtype=np.float32)[shown]
  sides = usage.count(*map(jnp.asarray, (probabilities, called, beside, ring, p))).sides
  got = np.asarray(usage.overhang(sides))
  assert got[_CAR, _ROAD] == pytest.approx(0.8) and np.count_nonzero(got > 0.01) == 1
