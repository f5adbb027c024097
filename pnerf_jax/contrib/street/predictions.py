"""Pseudo labels: what a network trained on Cityscapes would call the pixels, errors included.

Errors of three kinds. (1) Regions that have a wrong name in space, so that all frames and both
cameras agree on it: whole things, or patches of a few metres of them; classes that Cityscapes does
not know always get another name. (2) Things that are overlooked, the thin and small ones mostly.
(3) Per image: coarse, wobbling and fattened boundaries, blobs of another class, unknown pixels.
Letters: `n` pixels; ids as in data/labels.py.
"""

import cv2
import numpy as np

from pnerf_jax.contrib.street import appearance
from pnerf_jax.data import labels

VOCABULARY = tuple(
  sorted(
    label.id
    for label in labels.LABELS
    if 0 <= label.train_id < 19 and label.name not in ('garage', 'gate', 'smallpole')
  )
)
_REFERENCE = 352.0  # image width that lengths in pixels below refer to
_UNKNOWN = 0

# class -> ((called, share of its surface), ...): what is left keeps its name.
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
# Share of the things of a class that is never seen.
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
_FAT = (
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
_PATCH = 2.2  # metres of a wrongly named patch


def _lattice_noise(points: np.ndarray, owner: np.ndarray, seed: int) -> np.ndarray:
  """[n] standard normal noise, smooth over _PATCH metres, another one for every owner [n]."""
  spot = points / _PATCH
  low = np.floor(spot).astype(np.int64)
  fraction = spot - low
  total, power = np.zeros(len(points)), np.zeros(len(points))
  for corner in np.ndindex(2, 2, 2):
    weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
    keys = [low[:, i] + corner[i] for i in range(3)]
    first = appearance.cell_hash(*keys, owner, np.full(len(points), seed))
    second = appearance.cell_hash(*keys, owner, np.full(len(points), seed + 7919))
    normal = np.sqrt(-2 * np.log(first + 1e-7)) * np.cos(2 * np.pi * second)
    total += weight * normal
    power += weight**2
  return total / np.sqrt(power)


def _uniform(normal: np.ndarray) -> np.ndarray:
  """The standard normal's distribution function (logistic fit, error below 0.01 %)."""
  return 1 / (1 + np.exp(-(1.5976 * normal + 0.07056 * normal**3)))


class Network:
  """A pretended segmentation network with opinions about every thing of one street.

  Attributes:
    strength: factor on all error shares.
  """

  def __init__(self, names: list[str], seed: int):
    """Args: class name of every thing, and the seed of the opinions about them."""
    self.strength = 1.0
    self._seed = seed
    rng = np.random.default_rng([seed, 101])
    self._semantic = np.array([labels.BY_NAME[name].id for name in names])
    self._overlooked = rng.random(len(names)) / np.array(
      [_OVERLOOKED.get(name, 1e-9) for name in names]
    )
    # Errors gather on some things: many are nearly clean, some are mostly wrong.
    self._weight = np.minimum(rng.gamma(0.8, 1.25, len(names)), 3.0)
    self._size_luck = rng.random(len(names))
    # Flat ground and its markings are one surface, not many things.
    self._flat = np.isin(
      self._semantic,
      [labels.BY_NAME[name].id for name in ('road', 'sidewalk', 'terrain', 'parking', 'ground')],
    )

  def calibrate(self, views: list[tuple[np.ndarray, np.ndarray]], accuracy: float):
    """Sets the strength so that this share of the pixels of some views is named right.

    Args:
      views: owner [H, W] and points [H, W, 3] of each, as for `predict`.
      accuracy: in [0, 1]; what the classes without a word cost is counted. Where one easy class
        fills the views it stays higher, or nothing else would be left right.
    """
    low, high = 0.1, 0.9
    for _ in range(6):
      self.strength = 0.5 * (low + high)
      right = [
        self.predict(owner, points, np.random.default_rng([self._seed, i]))
        == np.append(self._semantic, labels.SKY)[owner]
        for i, (owner, points) in enumerate(views)
      ]
      low, high = (self.strength, high) if np.mean(right) > accuracy else (low, self.strength)

  def names(self, owner: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[n] ids in space: errors of kind (1), equal in all views.

    Args:
      owner: [n] index of the thing.
      points: [n, 3] metres.
    """
    called = self._semantic[owner].copy()
    flat = self._flat[owner]
    whose = np.where(flat, -1, owner)
    chance = _uniform(_lattice_noise(points, whose, self._seed))
    # A thing is confused with one other class; ground with another one every few metres.
    choice = np.where(
      flat,
      _uniform(_lattice_noise(0.4 * points, whose, self._seed + 1)),
      appearance.cell_hash(owner, np.full(len(owner), self._seed)),
    )
    weight = np.where(flat, 1.0, self._weight[owner]) * self.strength
    for name, confusions in _CONFUSIONS.items():
      own = labels.BY_NAME[name].id
      pixels = np.flatnonzero(self._semantic[owner] == own)
      if not len(pixels):
        continue
      shares = np.array([share for _, share in confusions])
      edges = np.cumsum(shares)[:-1] / shares.sum()
      others = np.array([labels.BY_NAME[other].id for other, _ in confusions])
      wrong = chance[pixels] < np.minimum(weight[pixels] * shares.sum(), 0.9)
      if own not in VOCABULARY:
        wrong[:] = True
      other = others[(choice[pixels, None] >= edges).sum(1)]
      called[pixels] = np.where(wrong, other, own)
    return called

  def predict(self, owner: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pseudo labels [H, W] uint8 of one image.

    Args:
      owner: [H, W] index of the thing, -1 for sky.
      points: [H, W, 3] metres; anything where there is sky.
      rng: errors of this image alone.
    """
    called = np.full(owner.shape, labels.SKY)
    seen = owner >= 0
    called[seen] = self.names(owner[seen], points[seen])
    pixel = owner.shape[1] / _REFERENCE
    called = _fill(called, self._missed(owner, pixel))
    called = _fatten(_smooth(called, pixel), pixel)
    called = _wobble(called, pixel, rng, self.strength)
    return _blobs(called, pixel, rng, self.strength).astype(np.uint8)

  def _missed(self, owner: np.ndarray, pixel: float) -> np.ndarray:
    """[H, W] bool: pixels of things that are overlooked, or too small here to be seen."""
    index = np.maximum(owner, 0)
    area = np.bincount(owner[owner >= 0], minlength=len(self._semantic)) / pixel**2
    tiny = (area < 25 * self._size_luck * self.strength) & ~self._flat
    return (owner >= 0) & ((self._overlooked < self.strength) | tiny)[index]


def _fill(called: np.ndarray, missed: np.ndarray) -> np.ndarray:
  """Gives missed pixels the name of the nearest other pixel."""
  if not missed.any() or missed.all():
    return called
  _, nearest = cv2.distanceTransformWithLabels(
    missed.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
  )
  table = np.zeros(nearest.max() + 1, called.dtype)
  table[nearest[~missed]] = called[~missed]
  return np.where(missed, table[nearest], called)


def _fatten(called: np.ndarray, pixel: float) -> np.ndarray:
  """Foreground spills over its boundary by about a pixel of the reference size."""
  size = 2 * max(1, round(0.8 * pixel)) + 1
  kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
  out = called.copy()
  for name in _FAT:
    mask = (called == labels.BY_NAME[name].id).astype(np.uint8)
    if mask.any():
      grown = cv2.dilate(mask, kernel) > 0
      # Foliage spills over the sky only; leaves hide what is behind them.
      allowed = (
        called == labels.SKY
        if name == 'vegetation'
        else ~np.isin(called, [labels.BY_NAME[other].id for other in _FAT if other != 'vegetation'])
      )
      out[grown & allowed] = labels.BY_NAME[name].id
  return out


def _smooth(called: np.ndarray, pixel: float) -> np.ndarray:
  """The commonest name around each pixel: no network resolves single leaves and slats."""
  size = 2 * max(1, round(1.2 * pixel)) + 1
  best, votes = called.copy(), np.full(called.shape, -1.0)
  for value in np.unique(called):
    mine = cv2.boxFilter((called == value).astype(np.float64), -1, (size, size))
    # Ties and near ties go to the pixel's own name, and thin things are not voted away.
    mine += np.where(called == value, 0.18, 0.0)
    best, votes = np.where(mine > votes, value, best), np.maximum(mine, votes)
  return best


def _wobble(
  called: np.ndarray, pixel: float, rng: np.random.Generator, strength: float
) -> np.ndarray:
  """Boundaries that sway by a pixel or two."""
  height, width = called.shape
  coarse = (max(2, round(height / (5 * pixel))), max(2, round(width / (5 * pixel))))
  sway = [
    1.1
    * strength
    * pixel
    * cv2.resize(rng.normal(size=coarse), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(2)
  ]
  v, u = np.mgrid[:height, :width]
  rows = np.clip(np.rint(v + sway[0]), 0, height - 1).astype(int)
  columns = np.clip(np.rint(u + sway[1]), 0, width - 1).astype(int)
  return called[rows, columns]


def _blobs(
  called: np.ndarray, pixel: float, rng: np.random.Generator, strength: float
) -> np.ndarray:
  """Ellipses of a class that occurs elsewhere in the image, or of the unknown."""
  height, width = called.shape
  present = np.unique(called[called != labels.SKY])
  out = called.astype(np.uint8).copy()
  for _ in range(rng.poisson(22 * strength * (height * width) / (352 * 94) / pixel**2)):
    center = int(rng.integers(width)), int(rng.integers(height))
    axes = tuple(max(1, int(round(pixel * r))) for r in rng.uniform(0.8, 4.0, 2))
    value = _UNKNOWN if rng.random() < 0.55 or not len(present) else int(rng.choice(present))
    cv2.ellipse(out, center, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
  return out
