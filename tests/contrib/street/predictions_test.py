"""What the pretended network says: its words, its errors, and that all views share them."""

import numpy as np
import pytest

from pnerf_jax.contrib.street import predictions
from pnerf_jax.data import labels

NAMES = (
  [
    'road',
    'building',
    'parking',
    'garage',
    'gate',
    'smallpole',
    'trash bin',
    'car',
    'pole',
    'vegetation',
  ]
  + ['car'] * 30
  + ['box'] * 20
)
CITYSCAPES = {label.id for label in labels.LABELS if 0 <= label.train_id < 19} - {34, 35, 37}


def wall_of(owner: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
  """A fronto-parallel wall of one thing, [n, 2 n]."""
  v, u = np.mgrid[:n, : 2 * n]
  return np.full(v.shape, owner), np.stack([0.25 * u, np.full(v.shape, 9.0), -0.25 * v], -1)


def test_vocabulary_is_that_of_cityscapes():
  assert set(predictions.VOCABULARY) == CITYSCAPES
  assert len(CITYSCAPES) == 19


@pytest.mark.parametrize('seed', range(4))
def test_only_words_that_the_network_knows(seed):
  network = predictions.Network(NAMES, seed)
  rng = np.random.default_rng(seed)
  owner = rng.integers(-1, len(NAMES), (12, 24)).repeat(8, 0).repeat(8, 1)
  points = rng.normal(size=(12, 24, 3)).repeat(8, 0).repeat(8, 1)
  label = network.predict(owner, points, rng)
  assert label.dtype == np.uint8
  assert set(np.unique(label)) <= CITYSCAPES | {0}
  assert labels.SKY in label


@pytest.mark.parametrize('name', ['parking', 'garage', 'gate', 'smallpole', 'trash bin', 'box'])
def test_classes_without_a_word_get_a_plausible_one(name):
  network = predictions.Network(NAMES, 0)
  index = NAMES.index(name)
  owner, points = wall_of(index)
  called = set(np.unique(network.names(owner.ravel(), points.reshape(-1, 3))))
  assert labels.BY_NAME[name].id not in called
  # label sets (findings) allow for every name but a few, which noise is free to break
  assert called <= CITYSCAPES


def test_names_belong_to_places_not_to_views():
  network = predictions.Network(NAMES, 1)
  owner, points = wall_of(NAMES.index('building'))
  owner, points = owner.ravel(), points.reshape(-1, 3)
  order = np.random.default_rng(0).permutation(len(owner))[:500]
  np.testing.assert_array_equal(
    network.names(owner, points)[order], network.names(owner[order], points[order])
  )


def test_errors_persist_over_images_and_gather_in_patches():
  building = labels.BY_NAME['building'].id
  wrong = []
  for seed in range(12):
    network = predictions.Network(NAMES, seed)
    owner, points = wall_of(1)
    a, b = (network.predict(owner, points, np.random.default_rng(k)) for k in (1, 2))
    wrong.append((a != building, b != building))
  a, b = np.array(wrong).swapaxes(0, 1)
  both, either = (a & b).mean(), 0.5 * (a.mean() + b.mean())
  assert 0.01 < either < 0.3
  assert both > 5 * either**2  # independent errors would meet at either**2


def test_calibration_reaches_the_accuracy_asked_for():
  views = []
  for k in range(3):
    left, points = wall_of(1)
    right, _ = wall_of(9)
    owner = np.where(np.arange(120)[None] < 40 + 20 * k, left, right)
    owner[20:40, 30:60] = 7
    views.append((owner, points + 5 * k))
  truth = np.append([labels.BY_NAME[n].id for n in NAMES], labels.SKY)
  for wanted in (0.86, 0.90):
    network = predictions.Network(NAMES, 5)
    network.calibrate(views, wanted)
    got = np.mean(
      [
        network.predict(o, p, np.random.default_rng([5, i])) == truth[o]
        for i, (o, p) in enumerate(views)
      ]
    )
    assert abs(got - wanted) < 0.03


def test_missed_pixels_take_the_nearest_name():
  called = np.array([[7, 7, 17, 11, 11]] * 4)
  missed = called == 17
  out = predictions._fill(called, missed)  # pylint: disable=protected-access
  assert set(np.unique(out)) == {7, 11}
  np.testing.assert_array_equal(out[~missed], called[~missed])
