"""What is known of the classes before training: how the 2D network calls them, and their odds.

A network misses most of what is thin, and has no word at all for some classes: a pseudo label is
evidence of a class, not the class. Where a ray passes the core of a primitive that nothing hides,
and stereo depth lies in it, the class is all but certain, so those pixels count how often class c
is called y. No ground truth is read, and a class that nobody sees keeps the words that its label
set gives it.

Letters: V views, H, W image size, K intervals of a ray, M primitives, C classes present in the
window (the sky is the last), y a word: the id of a pseudo label, 0 = none.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import scipy.spatial

from pnerf_jax.data import labels
from pnerf_jax.data.primitives import PrimitiveRecord

_BEHIND = 2.0  # metres; what begins that soon behind the nearest entry may be seen through it
_CORE = 0.5  # a core pixel is at least this share of the deepest one from the primitive's edge


def depth_consistent_primitives(
  primitive: np.ndarray,
  enter: np.ndarray,
  exit_: np.ndarray,
  depth: np.ndarray,
  tolerance: np.ndarray,
) -> np.ndarray:
  """The primitives within which the surface of a pixel can lie, of one view.

  The box around a lamp and its arm is nearly empty: what most of its pixels show lies behind it.

  Args:
    primitive: [H, W, K] index, -1 = none.
    enter, exit_: [H, W, K] metres along the ray.
    depth: [H, W] metres along the ray, measured; 0 = unknown.
    tolerance: [H, W] metres, by which it may err.

  Returns:
    [H, W, K] primitive, -1 where the depth is known and lies outside.
  """
  depth, tolerance = depth[..., None], tolerance[..., None]
  inside = (depth >= enter - tolerance) & (depth <= exit_ + tolerance)
  return np.where((depth > 0) & ~inside, -1, primitive)


def anchor_pixels(primitive: np.ndarray, enter: np.ndarray, exit_: np.ndarray) -> np.ndarray:
  """The primitive whose core a pixel shows, of one view.

  Of the primitives that a ray enters first or soon after (before it leaves the first), the one
  with the fewest pixels is taken as seen: people draw a sign on a wall, not a wall on a sign.

  Args:
    primitive: [H, W, K] index, -1 = none.
    enter, exit_: [H, W, K] metres along the ray, sorted by entry.

  Returns:
    [H, W] int32 index, -1 where no core is seen.
  """
  primitive = primitive.astype(np.int32)
  used = primitive >= 0
  pixels = np.append(np.bincount(primitive[used], minlength=1).astype(np.float64), np.inf)
  first = np.argmax(used, axis=-1)[..., None]
  of_first = lambda x: np.take_along_axis(x, first, axis=-1)
  reach = np.minimum(of_first(exit_), of_first(enter) + _BEHIND)
  size = np.where(used & (enter <= reach), pixels[np.where(used, primitive, -1)], np.inf)
  slot = np.argmin(size, axis=-1)[..., None]
  seen = np.where(used.any(axis=-1), np.take_along_axis(primitive, slot, axis=-1)[..., 0], -1)
  edge = np.zeros(seen.shape, bool)
  for axis in (0, 1):
    changes = np.diff(seen, axis=axis) != 0
    before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    before[axis], after[axis] = (1, 0), (0, 1)
    edge |= np.pad(changes, before) | np.pad(changes, after)
  depth = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 3)
  deepest = np.zeros(len(pixels), np.float32)
  np.maximum.at(deepest, seen.ravel(), depth.ravel())
  return np.where(depth >= _CORE * deepest[seen], seen, -1).astype(np.int32)


def count_anchor_labels(
  primitive: np.ndarray,
  enter: np.ndarray,
  exit_: np.ndarray,
  depth: np.ndarray,
  tolerance: np.ndarray,
  label: np.ndarray,
  semantic: np.ndarray,
  class_ids: tuple[int, ...],
) -> np.ndarray:
  """How often each class is called each word, of one view.

  Args:
    primitive, enter, exit_: [H, W, K] intervals of the view.
    depth, tolerance: of at_depth; pixels whose depth lies in none of their primitives do not count.
    label: [H, W] words; 0 is not counted.
    semantic: [M] ids of the primitives, 0 = void.
    class_ids: the C ids present, the sky last.

  Returns:
    [C + 1, 45] counts; the last row is void's. Pixels whose ray meets no primitive are sky.
  """
  column = np.full(labels.NUM_IDS, len(class_ids))
  column[list(class_ids)] = np.arange(len(class_ids))
  seen = anchor_pixels(
    depth_consistent_primitives(primitive, enter, exit_, depth, tolerance), enter, exit_
  )
  sky = (primitive < 0).all(axis=-1)
  shown = np.where(sky, len(class_ids) - 1, column[np.asarray(semantic)[seen]])
  counted = (label > 0) & ((seen >= 0) | sky)
  total = np.zeros((len(class_ids) + 1, labels.NUM_IDS))
  np.add.at(total, (shown[counted], label[counted]), 1)
  return total


def estimate_transition(
  counts: np.ndarray, class_ids: tuple[int, ...], prior: float, floor: float
) -> np.ndarray:
  """Word probabilities from counts, with the label sets as their prior.

  Args:
    counts: [C + 1, 45] of all views (`count`).
    class_ids: the C ids present.
    prior: pixels that the label set's uniform division counts as.
    floor: share of every class's pixels that may be called anything: the network's plain errors.

  Returns:
    [C + 1, 45] float32, P(y | c); the last row is void's.
  """
  named = labels.compatibility_matrix(class_ids, merged=False)
  anything = np.arange(labels.NUM_IDS) > 0
  sets = np.concatenate([named, anything[None]]).astype(np.float64)
  used = counts.sum(axis=0) > 0
  # A word that the network never says here needs no share, unless it is all that a class has.
  spoken = np.where((sets * used).any(axis=-1, keepdims=True), sets * used, sets)
  division = spoken / spoken.sum(axis=-1, keepdims=True)
  mass = counts + prior * division
  probability = mass / np.maximum(mass.sum(axis=-1, keepdims=True), 1e-12)
  everywhere = (used | ~used.any()) & anything
  probability = (1.0 - floor) * probability + floor * everywhere / everywhere.sum()
  return probability.astype(np.float32)


def label_reliability(counts: np.ndarray, class_ids: tuple[int, ...]) -> float:
  """How far the network may be followed in this window: the odds that its words are true.

  A network errs alike on all photos of a thing, so that many wrong labels prove no more than one.
  Where its words are oftener wrong than right, they must not shape the geometry as independent
  ones would.

  Args:
    counts: [C + 1, 45] of all views (`count`).
    class_ids: the C ids present.

  Returns:
    s / (1 - s), at most 1; s is the share of a word's pixels that show a class which it names, the
    mean of all words said. 1 where none is.
  """
  counts = counts[:-1]
  said = counts.sum(axis=0) > 0
  if not said.any():
    return 1.0
  true = (counts * labels.compatibility_matrix(class_ids, merged=False)).sum(axis=0)
  share = np.mean(true[said] / counts.sum(axis=0)[said])
  return float(min(1.0, share / max(1.0 - share, 1e-6)))


def class_prior(boxes: Sequence[PrimitiveRecord], class_ids: tuple[int, ...]) -> np.ndarray:
  """Odds of the classes where a ray meets primitives of several, before anything is seen.

  A small object's primitive is full of its surface, a large one's nearly empty: a primitive of
  size a holds some a^2 of surface in a^3 of space, so that what a ray is stopped by is the smaller
  one's with odds of the sizes. Many classes have no word of their own, and no label will tell them
  from what they stand against.

  Args:
    boxes: of the window.
    class_ids: the C ids present.

  Returns:
    [C] float32, geometric mean of the surface in a cubic metre (1/m) of the convex hulls of a
    class's primitives; 1 where it has none.
  """
  found = {class_id: [] for class_id in class_ids}
  for box in boxes:
    if box.semantic in found:
      hull = scipy.spatial.ConvexHull(box.vertices - box.vertices.mean(axis=0))
      found[box.semantic].append(np.log(hull.area / hull.volume))
  return np.exp([np.mean(logs) if logs else 0.0 for logs in found.values()]).astype(np.float32)


def transition_from_label_sets(
  class_ids: tuple[int, ...], merged: bool, floor: float
) -> np.ndarray:
  """Every word of a class's label set is taken as certain, any other as `floor`.

  Args:
    class_ids: the C ids present.
    merged: the published program's merging of classes instead of the label sets.
    floor: plausibility of a word outside of the set.

  Returns:
    [C + 1, 45] float32 plausibilities; the last row is void's, which may be anything but sky.
  """
  named = labels.compatibility_matrix(class_ids, merged)
  void = np.arange(labels.NUM_IDS) != labels.SKY
  sets = np.concatenate([named, void[None]])
  return (floor + (1.0 - floor) * sets).astype(np.float32)
