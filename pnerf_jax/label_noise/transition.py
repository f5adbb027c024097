"""Estimate the noise model of a window's pseudo-labels before training, without ground truth.

A segmentation network misses most thin objects and has no label at all for some classes, so a
pseudo-label is an observation of a class, not the class. Where the centre of a primitive is
visible and stereo depth lies inside it, the class of a pixel is nearly certain: these anchor pixels
give the transition matrix P(y | c) by counting. Classes without anchor pixels keep the prior of
their label set.

Letters: H, W image size, K intervals of a ray, M primitives, C classes present in the window (the
sky is the last), y pseudo-label id (0 = none).

References:
  Liu and Tao, Classification with noisy labels by importance reweighting, 2016 (anchor points).
  Patrini et al., Making deep neural networks robust to label noise, CVPR 2017 (transition matrix).
"""

from collections.abc import Collection, Sequence

import cv2
import numpy as np
import scipy.spatial

from pnerf_jax.data import labels
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.geometry.intervals import Intervals

_MAX_ENTRY_GAP = 2.0  # metres after the nearest entry within which a primitive may be visible
_MIN_EDGE_DISTANCE = 0.5  # of an anchor pixel, relative to the primitive's largest one
MIN_RELIABILITY = 0.1  # below it, the labels are probably not those of these primitives
UNRELIABLE = (
  'the pseudo-labels contradict the primitives. Check that they are ids (not train ids) of these'
  ' images, and that the primitives are in place (prepare check draws both)'
)


def depth_consistent_primitives(
  intervals: Intervals, depth: np.ndarray, tolerance: np.ndarray
) -> np.ndarray:
  """Return the primitives of each pixel that may contain its surface, of one view.

  The box around a lamp and its arm is nearly empty: most of its pixels show what is behind it.

  Args:
    intervals: [H, W, K], numpy.
    depth: [H, W], measured distance along the ray in metres; 0 = unknown.
    tolerance: [H, W], standard deviation of the depth, metres.

  Returns:
    [H, W, K], primitive indices; -1 where a known depth lies outside the interval.
  """
  depth, tolerance = depth[..., None], tolerance[..., None]
  inside = (depth >= intervals.enter - tolerance) & (depth <= intervals.exit + tolerance)
  return np.where((depth > 0) & ~inside, -1, intervals.primitive)


def anchor_pixels(primitive: np.ndarray, enter: np.ndarray, exit: np.ndarray) -> np.ndarray:
  """Return the primitive whose centre a pixel shows, of one view.

  Of the primitives that a ray enters first or soon after (before it leaves the first), the one with
  the fewest pixels is assumed visible: a sign is annotated in front of a wall, not the reverse.

  Args:
    primitive: [H, W, K], indices, -1 = none.
    enter: [H, W, K], metres along the ray, ascending.
    exit: [H, W, K], metres along the ray.

  Returns:
    [H, W] int32, indices; -1 for pixels that are not anchors.
  """
  primitive = primitive.astype(np.int32)
  used = primitive >= 0
  pixel_count = np.append(np.bincount(primitive[used], minlength=1).astype(np.float64), np.inf)
  first = np.argmax(used, axis=-1)[..., None]
  at_first = lambda x: np.take_along_axis(x, first, axis=-1)
  max_entry = np.minimum(at_first(exit), at_first(enter) + _MAX_ENTRY_GAP)
  size = np.where(used & (enter <= max_entry), pixel_count[np.where(used, primitive, -1)], np.inf)
  smallest = np.argmin(size, axis=-1)[..., None]
  visible = np.take_along_axis(primitive, smallest, axis=-1)[..., 0]
  visible = np.where(used.any(axis=-1), visible, -1)
  distance = _edge_distance(visible)
  largest = np.zeros(len(pixel_count), np.float32)
  np.maximum.at(largest, visible.ravel(), distance.ravel())
  return np.where(distance >= _MIN_EDGE_DISTANCE * largest[visible], visible, -1).astype(np.int32)


def _edge_distance(index: np.ndarray) -> np.ndarray:
  """Return the distance of pixels to the nearest one next to another index, [H, W] pixels."""
  edge = np.zeros(index.shape, bool)
  for axis in (0, 1):
    changes = np.diff(index, axis=axis) != 0
    before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    before[axis], after[axis] = (1, 0), (0, 1)
    edge |= np.pad(changes, before) | np.pad(changes, after)
  return cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 3)


def count_anchor_labels(
  intervals: Intervals,
  depth: np.ndarray,
  tolerance: np.ndarray,
  label: np.ndarray,
  *,
  semantic: np.ndarray,
  class_ids: tuple[int, ...],
) -> np.ndarray:
  """Count the pseudo-labels of the anchor pixels of each class, of one view.

  Args:
    intervals: [H, W, K], numpy, of the view.
    depth: [H, W], measured distance along the ray in metres; 0 = unknown. Pixels whose depth lies
      in none of their primitives are not counted.
    tolerance: [H, W], standard deviation of the depth, metres.
    label: [H, W], pseudo-label ids; 0 is not counted.
    semantic: [M], ids of the primitives, 0 = void.
    class_ids: the C ids present, the sky last.

  Returns:
    [C + 1, 45]; the last row is that of void primitives. Pixels whose ray intersects no primitive
    are sky.
  """
  column = np.full(labels.NUM_IDS, len(class_ids))
  column[list(class_ids)] = np.arange(len(class_ids))
  consistent = depth_consistent_primitives(intervals, depth, tolerance)
  anchor = anchor_pixels(consistent, intervals.enter, intervals.exit)
  sky = (intervals.primitive < 0).all(axis=-1)
  anchor_class = np.where(sky, len(class_ids) - 1, column[np.asarray(semantic)[anchor]])
  counted = (label > 0) & ((anchor >= 0) | sky)
  counts = np.zeros((len(class_ids) + 1, labels.NUM_IDS))
  np.add.at(counts, (anchor_class[counted], label[counted]), 1)
  return counts


def estimate_transition(
  counts: np.ndarray, class_ids: tuple[int, ...], *, prior_count: float, uniform_noise: float
) -> np.ndarray:
  """Estimate the transition matrix from anchor counts, with the label sets as its prior.

  Args:
    counts: [C + 1, 45], of all views (`count_anchor_labels`).
    class_ids: the C ids present.
    prior_count: pixels that the uniform distribution over a label set counts as.
    uniform_noise: probability of a class-independent error.

  Returns:
    [C + 1, 45] float32, P(y | c); the last row is that of free space.
  """
  compatible = labels.compatibility_matrix(class_ids)
  any_label = np.arange(labels.NUM_IDS) > 0
  sets = np.concatenate([compatible, any_label[None]]).astype(np.float64)
  used = counts.sum(axis=0) > 0
  # A label that the network never predicts here gets no mass, unless the class has no other.
  predicted = np.where((sets * used).any(axis=-1, keepdims=True), sets * used, sets)
  prior = predicted / predicted.sum(axis=-1, keepdims=True)
  mass = counts + prior_count * prior
  probability = mass / np.maximum(mass.sum(axis=-1, keepdims=True), 1e-12)
  noise = (used | ~used.any()) & any_label
  probability = (1.0 - uniform_noise) * probability + uniform_noise * noise / noise.sum()
  return probability.astype(np.float32)


def transition_from_label_sets(class_ids: tuple[int, ...], uniform_noise: float) -> np.ndarray:
  """Return likelihoods of 1 for every label of a class's label set, `uniform_noise` for others.

  Args:
    class_ids: the C ids present.
    uniform_noise: likelihood of a label outside of the set.

  Returns:
    [C + 1, 45] float32; the last row is that of free space, compatible with any label but sky.
  """
  compatible = labels.compatibility_matrix(class_ids)
  not_sky = np.arange(labels.NUM_IDS) != labels.SKY
  sets = np.concatenate([compatible, not_sky[None]])
  return (uniform_noise + (1.0 - uniform_noise) * sets).astype(np.float32)


def label_reliability(
  counts: np.ndarray, class_ids: tuple[int, ...], annotated: Collection[int] | None = None
) -> float:
  """Return the reliability of the pseudo-labels: the odds that they are right, at most 1.

  Label errors are correlated across views, so many wrong labels carry no more evidence than one.
  Where labels are wrong more often than right, the label losses must not count each as independent.

  If a predicted label is compatible with no annotated class, the annotation is partial (boxes of
  things only). Then only labels compatible with a class that has anchor pixels are averaged: where
  the classes of the others are unknown, so is their precision. Classes compatible with any label
  are not considered here.

  Args:
    counts: [C + 1, 45], of all views (`count_anchor_labels`).
    class_ids: the C ids present.
    annotated: ids of the primitives if their annotation may be partial; None if it is complete.

  Returns:
    s / (1 - s), at most 1, with s the mean over these predicted labels of the fraction of its
    anchor pixels whose class is compatible, 0 if there are none; 1 without anchor pixels.
  """
  counts = counts[:-1]
  predicted = counts.sum(axis=0) > 0
  if not predicted.any():
    return 1.0
  compatible = labels.compatibility_matrix(class_ids)
  precision = (counts * compatible).sum(axis=0)[predicted] / counts.sum(axis=0)[predicted]
  if annotated is not None:
    specific = compatible.sum(axis=-1) < labels.NUM_IDS - 2  # all but void and sky
    known = compatible[specific & np.isin(class_ids, [*annotated, labels.SKY])].any(axis=0)
    measured = specific & (counts.sum(axis=-1) > 0)
    if measured.any() and not known[predicted].all():
      precision = precision[compatible[measured].any(axis=0)[predicted]]
  mean = np.mean(precision) if len(precision) else 0.0
  return float(min(1.0, mean / max(1.0 - mean, 1e-6)))


def class_prior(records: Sequence[PrimitiveRecord], class_ids: tuple[int, ...]) -> np.ndarray:
  """Return an unnormalised prior of the classes on a ray: surface to volume of their primitives.

  A primitive of size a holds some a^2 of surface in a^3 of space, so a ray is more likely to hit
  the surface of the smaller of two primitives. Classes that share a label with their background
  are separated by this prior alone.

  Args:
    records: the primitives of the window.
    class_ids: the C ids present.

  Returns:
    [C] float32, 1/m, geometric mean of the surface-to-volume ratios of the convex hulls of a
    class's primitives; 1 for a class without primitives.
  """
  ratios: dict[int, list[float]] = {class_id: [] for class_id in class_ids}
  for record in records:
    if record.semantic in ratios:
      hull = scipy.spatial.ConvexHull(record.vertices - record.vertices.mean(axis=0))
      ratios[record.semantic].append(np.log(hull.area / hull.volume))
  means = np.array([np.mean(logs) if logs else 0.0 for logs in ratios.values()])
  return np.exp(means).astype(np.float32)
