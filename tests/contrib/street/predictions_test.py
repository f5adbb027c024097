"""The simulated network: its classes, its errors, and their consistency over views."""

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
  """Return a fronto-parallel wall of one object, [n, 2 n]."""
  v, u = np.mgrid[:n, : 2 * n]
  return np.full(v.shape, owner), np.stack([0.25 * u, np.full(v.shape, 9.0), -0.25 * v], -1)


def test_predicted_ids_are_those_of_cityscapes():
  assert set(predictions.PREDICTED_IDS) == CITYSCAPES
  assert len(CITYSCAPES) == 19


@pytest.mark.parametrize('seed', range(4))
def test_predict_returns_only_cityscapes_classes(seed):
  network = predictions.SimulatedNetwork(NAMES, seed)
  rng = np.random.default_rng(seed)
  owner = rng.integers(-1, len(NAMES), (12, 24)).repeat(8, 0).repeat(8, 1)
  points = rng.normal(size=(12, 24, 3)).repeat(8, 0).repeat(8, 1)
  label = network.predict(owner, points, rng)
  assert label.dtype == np.uint8
  assert set(np.unique(label)) <= CITYSCAPES | {0}
  assert labels.SKY in label


@pytest.mark.parametrize('name', ['parking', 'garage', 'gate', 'smallpole', 'trash bin', 'box'])
def test_other_classes_are_always_confused(name):
  network = predictions.SimulatedNetwork(NAMES, 0)
  index = NAMES.index(name)
  owner, points = wall_of(index)
  predicted = set(np.unique(network.predict_points(owner.ravel(), points.reshape(-1, 3))))
  assert labels.BY_NAME[name].id not in predicted
  assert predicted <= CITYSCAPES


def test_predict_points_depends_only_on_the_points():
  network = predictions.SimulatedNetwork(NAMES, 1)
  owner, points = wall_of(NAMES.index('building'))
  owner, points = owner.ravel(), points.reshape(-1, 3)
  order = np.random.default_rng(0).permutation(len(owner))[:500]
  np.testing.assert_array_equal(
    network.predict_points(owner, points)[order],
    network.predict_points(owner[order], points[order]),
  )


def test_errors_are_correlated_between_images():
  building = labels.BY_NAME['building'].id
  wrong = []
  for seed in range(12):
    network = predictions.SimulatedNetwork(NAMES, seed)
    owner, points = wall_of(1)
    a, b = (network.predict(owner, points, np.random.default_rng(k)) for k in (1, 2))
    wrong.append((a != building, b != building))
  a, b = np.array(wrong).swapaxes(0, 1)
  both, either = (a & b).mean(), 0.5 * (a.mean() + b.mean())
  assert 0.01 < either < 0.3
  assert both > 5 * either**2  # far above the rate of independent errors


def test_calibrate_reaches_the_accuracy():
  views = []
  for k in range(3):
    left, points = wall_of(1)
    right, _ = wall_of(9)
    owner = np.where(np.arange(120)[None] < 40 + 20 * k, left, right)
    owner[20:40, 30:60] = 7
    views.append((owner, points + 5 * k))
  truth = np.append([labels.BY_NAME[n].id for n in NAMES], labels.SKY)
  for accuracy in (0.86, 0.90):
    network = predictions.SimulatedNetwork(NAMES, 5)
    network.calibrate(views, accuracy)
    measured = np.mean(
      [
        network.predict(o, p, np.random.default_rng([5, i])) == truth[o]
        for i, (o, p) in enumerate(views)
      ]
    )
    assert abs(measured - accuracy) < 0.03


def test_missed_pixels_get_the_nearest_label():
  predicted = np.array([[7, 7, 17, 11, 11]] * 4)
  missed = predicted == 17
  out = predictions._fill_missed(predicted, missed)  # pylint: disable=protected-access
  assert set(np.unique(out)) == {7, 11}
  np.testing.assert_array_equal(out[~missed], predicted[~missed])
