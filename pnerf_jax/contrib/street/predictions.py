"""Simulation of pseudo-labels of a network trained on Cityscapes, from ground truth.

Errors of three kinds: (1) misclassified regions in space, consistent over frames and cameras: whole
objects, or patches of a few metres; classes without a counterpart in Cityscapes are always
misclassified. (2) Missed objects, mostly thin and small ones. (3) Errors of a single image: smooth,
warped and dilated boundaries, blobs of another class, unlabelled pixels.

Letters: `n` pixels; H and W the size of an image; ids as in data/labels.py.
"""

import cv2
import numpy as np

from pnerf_jax.contrib.street import textures
from pnerf_jax.data import labels

PREDICTED_IDS = tuple(
  sorted(
    label.id
    for label in labels.LABELS
    if 0 <= label.train_id < 19 and label.name not in ('garage', 'gate', 'smallpole')
  )
)
_REFERENCE = 352.0  # image width of the lengths in pixels below
_UNKNOWN = 0

# class -> ((predicted class, fraction of its surface), ...); the remainder is correct.
_CONFUSIONS = {
  'road': (('sidewalk', 0.025), ('terrain', 0.01)),
  'sidewalk': (('road', 0.10), ('terrain', 0.06)),
  'parking': (('road', 0.62), ('sidewalk', 0.35), ('terrain', 0.03)),
  'ground': (('road', 0.35), ('sidewalk', 0.35), ('terrain', 0.30)),
  'terrain': (('vegetation', 0.11), ('sidewalk', 0.06)),
  'building': (('wall', 0.035), ('fence', 0.02), ('vegetation', 0.02), ('train', 0.004)),
  'wall': (('building', 0.20), ('fence', 0.08)),
  'fence': (('vegetation', 0.11), ('wall', 0.10), ('building', 0.07)),
  'gate': (('fence', 0.85), ('wall', 0.15)),
  'garage': (('building', 0.90), ('wall', 0.10)),
  'guard rail': (('fence', 0.75), ('wall', 0.25)),
  'vegetation': (('terrain', 0.05), ('building', 0.035), ('fence', 0.015)),
  'car': (('truck', 0.06),),
  'truck': (('car', 0.20), ('bus', 0.08)),
  'bus': (('truck', 0.25), ('train', 0.15)),
  'caravan': (('truck', 0.45), ('car', 0.35), ('building', 0.20)),
  'trailer': (('car', 0.50), ('truck', 0.50)),
  'motorcycle': (('bicycle', 0.30), ('car', 0.08)),
  'bicycle': (('motorcycle', 0.12), ('fence', 0.05)),
  'person': (('rider', 0.12),),
  'rider': (('person', 0.25),),
  'pole': (('traffic sign', 0.03),),
  'smallpole': (('pole', 1.0),),
  'lamp': (('pole', 0.85), ('traffic light', 0.15)),
  'traffic sign': (('building', 0.06), ('traffic light', 0.04)),
  'traffic light': (('pole', 0.20), ('building', 0.10)),
  'stop': (('building', 0.55), ('fence', 0.25), ('wall', 0.20)),
  'trash bin': (('car', 0.30), ('wall', 0.25), ('person', 0.15), ('fence', 0.30)),
  'box': (('wall', 0.35), ('building', 0.35), ('fence', 0.30)),
  'vending machine': (('building', 0.60), ('traffic sign', 0.20), ('wall', 0.20)),
  'unknown object': (('fence', 0.40), ('wall', 0.30), ('bicycle', 0.30)),
}
# Fraction of the objects of a class that is never detected.
_OVERLOOKED = {
  'pole': 0.25,
  'smallpole': 0.55,
  'lamp': 0.65,
  'traffic sign': 0.25,
  'traffic light': 0.25,
  'trash bin': 0.35,
  'box': 0.25,
  'bicycle': 0.20,
  'unknown object': 0.45,
  'person': 0.08,
  'guard rail': 0.3,
  'fence': 0.05,
}
_DILATED = (
  'person',
  'rider',
  'car',
  'truck',
  'bus',
  'motorcycle',
  'bicycle',
  'vegetation',
  'pole',
  'traffic sign',
  'traffic light',
)
_PATCH = 2.2  # metres, size of a misclassified patch


def _lattice_noise(points: np.ndarray, owner: np.ndarray, seed: int) -> np.ndarray:
  """Return standard normal noise [n], smooth over _PATCH metres, independent for each owner [n]."""
  position = points / _PATCH
  low = np.floor(position).astype(np.int64)
  fraction = position - low
  total, power = np.zeros(len(points)), np.zeros(len(points))
  for corner in np.ndindex(2, 2, 2):
    weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
    keys = [low[:, i] + corner[i] for i in range(3)]
    first = textures.cell_hash(*keys, owner, np.full(len(points), seed))
    second = textures.cell_hash(*keys, owner, np.full(len(points), seed + 7919))
    normal = np.sqrt(-2 * np.log(first + 1e-7)) * np.cos(2 * np.pi * second)
    total += weight * normal
    power += weight**2
  return total / np.sqrt(power)


def _normal_cdf(normal: np.ndarray) -> np.ndarray:
  """Return the normal cumulative distribution (logistic approximation, error below 0.01 %)."""
  return 1 / (1 + np.exp(-(1.5976 * normal + 0.07056 * normal**3)))


class SimulatedNetwork:
  """A simulated segmentation network for one street.

  Attributes:
    strength: factor on all error rates.
  """

  def __init__(self, names: list[str], seed: int):
    """Draw the errors of every object.

    Args:
      names: class name of every object.
      seed: seed of the errors.
    """
    self.strength = 1.0
    self._seed = seed
    rng = np.random.default_rng([seed, 101])
    self._semantic = np.array([labels.BY_NAME[name].id for name in names])
    self._overlooked = rng.random(len(names)) / np.array(
      [_OVERLOOKED.get(name, 1e-9) for name in names]
    )
    # Errors concentrate on some objects: many are almost correct, some mostly wrong.
    self._weight = np.minimum(rng.gamma(0.8, 1.25, len(names)), 3.0)
    self._size_threshold = rng.random(len(names))
    # Ground and its markings are one surface, not many objects.
    self._flat = np.isin(
      self._semantic,
      [labels.BY_NAME[name].id for name in ('road', 'sidewalk', 'terrain', 'parking', 'ground')],
    )

  def calibrate(self, views: list[tuple[np.ndarray, np.ndarray]], accuracy: float):
    """Set the strength for a pixel accuracy in some views, by bisection.

    Args:
      views: owner [H, W] and points [H, W, 3] of each, as for `predict`.
      accuracy: in [0, 1]; may not be reached where one easy class dominates the views.
    """
    low, high = 0.1, 0.9
    for _ in range(6):
      self.strength = 0.5 * (low + high)
      correct = [
        self.predict(owner, points, np.random.default_rng([self._seed, i]))
        == np.append(self._semantic, labels.SKY)[owner]
        for i, (owner, points) in enumerate(views)
      ]
      low, high = (self.strength, high) if np.mean(correct) > accuracy else (low, self.strength)

  def predict_points(self, owner: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return ids [n] with the errors of kind (1), which are the same in all views.

    Args:
      owner: [n] index of the object.
      points: [n, 3] metres.
    """
    predicted = self._semantic[owner].copy()
    flat = self._flat[owner]
    surface = np.where(flat, -1, owner)
    chance = _normal_cdf(_lattice_noise(points, surface, self._seed))
    # An object is confused with one class; ground with another one every few metres.
    choice = np.where(
      flat,
      _normal_cdf(_lattice_noise(0.4 * points, surface, self._seed + 1)),
      textures.cell_hash(owner, np.full(len(owner), self._seed)),
    )
    weight = np.where(flat, 1.0, self._weight[owner]) * self.strength
    for name, confusions in _CONFUSIONS.items():
      true = labels.BY_NAME[name].id
      pixels = np.flatnonzero(self._semantic[owner] == true)
      if not len(pixels):
        continue
      rates = np.array([rate for _, rate in confusions])
      edges = np.cumsum(rates)[:-1] / rates.sum()
      others = np.array([labels.BY_NAME[other].id for other, _ in confusions])
      wrong = chance[pixels] < np.minimum(weight[pixels] * rates.sum(), 0.9)
      if true not in PREDICTED_IDS:
        wrong[:] = True
      other = others[(choice[pixels, None] >= edges).sum(1)]
      predicted[pixels] = np.where(wrong, other, true)
    return predicted

  def predict(self, owner: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the pseudo-labels [H, W] uint8 of one image.

    Args:
      owner: [H, W] index of the object; -1 = sky.
      points: [H, W, 3] metres; arbitrary for sky.
      rng: source of the errors of kind (3).
    """
    predicted = np.full(owner.shape, labels.SKY)
    seen = owner >= 0
    predicted[seen] = self.predict_points(owner[seen], points[seen])
    pixel = owner.shape[1] / _REFERENCE
    predicted = _fill_missed(predicted, self._missed(owner, pixel))
    predicted = _dilate(_majority_filter(predicted, pixel), pixel)
    predicted = _warp(predicted, pixel, rng, self.strength)
    return _add_blobs(predicted, pixel, rng, self.strength).astype(np.uint8)

  def _missed(self, owner: np.ndarray, pixel: float) -> np.ndarray:
    """Return the pixels [H, W] bool of missed objects, and of those too small in this image."""
    index = np.maximum(owner, 0)
    area = np.bincount(owner[owner >= 0], minlength=len(self._semantic)) / pixel**2
    tiny = (area < 25 * self._size_threshold * self.strength) & ~self._flat
    return (owner >= 0) & ((self._overlooked < self.strength) | tiny)[index]


def _fill_missed(predicted: np.ndarray, missed: np.ndarray) -> np.ndarray:
  """Replace missed pixels by the label of the nearest other pixel."""
  if not missed.any() or missed.all():
    return predicted
  _, nearest = cv2.distanceTransformWithLabels(
    missed.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
  )
  table = np.zeros(nearest.max() + 1, predicted.dtype)
  table[nearest[~missed]] = predicted[~missed]
  return np.where(missed, table[nearest], predicted)


def _dilate(predicted: np.ndarray, pixel: float) -> np.ndarray:
  """Dilate foreground classes by about a pixel of the reference size."""
  size = 2 * max(1, round(0.8 * pixel)) + 1
  kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
  out = predicted.copy()
  for name in _DILATED:
    mask = (predicted == labels.BY_NAME[name].id).astype(np.uint8)
    if mask.any():
      grown = cv2.dilate(mask, kernel) > 0
      # Foliage is dilated into the sky only.
      allowed = (
        predicted == labels.SKY
        if name == 'vegetation'
        else ~np.isin(
          predicted, [labels.BY_NAME[other].id for other in _DILATED if other != 'vegetation']
        )
      )
      out[grown & allowed] = labels.BY_NAME[name].id
  return out


def _majority_filter(predicted: np.ndarray, pixel: float) -> np.ndarray:
  """Return the most frequent label around each pixel: networks do not resolve single leaves."""
  size = 2 * max(1, round(1.2 * pixel)) + 1
  best, votes = predicted.copy(), np.full(predicted.shape, -1.0)
  for value in np.unique(predicted):
    count = cv2.boxFilter((predicted == value).astype(np.float64), -1, (size, size))
    # A bonus for the pixel's own label preserves thin objects.
    count += np.where(predicted == value, 0.18, 0.0)
    best, votes = np.where(count > votes, value, best), np.maximum(count, votes)
  return best


def _warp(
  predicted: np.ndarray, pixel: float, rng: np.random.Generator, strength: float
) -> np.ndarray:
  """Warp boundaries smoothly by a pixel or two."""
  height, width = predicted.shape
  coarse = (max(2, round(height / (5 * pixel))), max(2, round(width / (5 * pixel))))
  offset = [
    1.1
    * strength
    * pixel
    * cv2.resize(rng.normal(size=coarse), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(2)
  ]
  v, u = np.mgrid[:height, :width]
  rows = np.clip(np.rint(v + offset[0]), 0, height - 1).astype(int)
  columns = np.clip(np.rint(u + offset[1]), 0, width - 1).astype(int)
  return predicted[rows, columns]


def _add_blobs(
  predicted: np.ndarray, pixel: float, rng: np.random.Generator, strength: float
) -> np.ndarray:
  """Add ellipses that are unlabelled or have a class of another part of the image."""
  height, width = predicted.shape
  present = np.unique(predicted[predicted != labels.SKY])
  out = predicted.astype(np.uint8).copy()
  for _ in range(rng.poisson(22 * strength * (height * width) / (352 * 94) / pixel**2)):
    center = int(rng.integers(width)), int(rng.integers(height))
    axes = tuple(max(1, int(round(pixel * r))) for r in rng.uniform(0.8, 4.0, 2))
    value = _UNKNOWN if rng.random() < 0.55 or not len(present) else int(rng.choice(present))
    cv2.ellipse(out, center, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
  return out
