"""Panoptic quality: PQ = sum of IoU over matches / (TP + FP/2 + FN/2), SQ its IoU, RQ its F1.

A segment is an instance of a thing class, or all pixels of a stuff class; pixels of a thing class
with instanceId 0 together are one segment of that class. A predicted and a true segment of one
class match where their IoU exceeds 0.5 (then no other can). Void truth is left out of the union,
and a predicted segment that lies mostly in it is no false positive. Counts are summed over all
images per class; the means run over the classes that occur in the truth.
Source: Kirillov et al., Panoptic Segmentation, CVPR 2019.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels

_N = labels.NUM_IDS
_OFFSET = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentCounts:
  """Matches per class.

  Attributes:
    iou: [45] float64, sum of IoU over matched pairs.
    matched: [45] int64, matched pairs (TP).
    extra: [45] int64, predicted segments without a match (FP).
    missed: [45] int64, true segments without a match (FN).
  """

  iou: np.ndarray
  matched: np.ndarray
  extra: np.ndarray
  missed: np.ndarray

  @classmethod
  def empty(cls) -> 'SegmentCounts':
    zeros = np.zeros(_N, np.int64)
    return cls(np.zeros(_N), zeros, zeros, zeros)

  def merge(self, other: 'SegmentCounts') -> 'SegmentCounts':
    return SegmentCounts(
      self.iou + other.iou,
      self.matched + other.matched,
      self.extra + other.extra,
      self.missed + other.missed,
    )

  def present(self) -> np.ndarray:
    """[45] bool, classes that occur in the truth."""
    return self.matched + self.missed > 0

  def quality(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PQ, SQ and RQ per class, each [45]; nan for classes that the truth does not hold."""
    present = self.present()
    total = np.maximum(self.matched + 0.5 * self.extra + 0.5 * self.missed, 0.5)
    values = (self.iou / total, self.iou / np.maximum(self.matched, 1), self.matched / total)
    return tuple(np.where(present, value, np.nan) for value in values)

  def mean(self, classes: np.ndarray) -> tuple[float, float, float] | None:
    """PQ, SQ and RQ averaged over the present ones of classes [45] bool; None if there are none."""
    chosen = classes & self.present()
    if not chosen.any():
      return None
    return tuple(float(value[chosen].mean()) for value in self.quality())


def _segments(instance: np.ndarray) -> np.ndarray:
  """[H, W] int64 id of each pixel's segment: id * 1000 (+ instanceId of things), 0 = void."""
  instance = np.asarray(instance, np.int64)
  semantic = instance // 1000
  semantic = np.where(semantic < _N, semantic, labels.VOID)
  segment = np.where(labels.IS_THING[semantic], instance, semantic * 1000)
  return np.where(semantic == labels.VOID, 0, segment)


def _per_class(segments: np.ndarray) -> np.ndarray:
  return np.bincount(segments // 1000, minlength=_N)


def count(prediction: np.ndarray, truth: np.ndarray) -> SegmentCounts:
  """Matches of one image; both [H, W] uint16 id * 1000 + instanceId, values under 1000 void."""
  if prediction.shape != truth.shape:
    raise ValueError(f'Prediction {prediction.shape} and truth {truth.shape} differ in size.')
  pairs, overlap = np.unique(_segments(truth) * _OFFSET + _segments(prediction), return_counts=True)
  true_ids, true_index = np.unique(pairs // _OFFSET, return_inverse=True)
  ids, index = np.unique(pairs % _OFFSET, return_inverse=True)
  true_area = np.bincount(true_index, overlap)
  area = np.bincount(index, overlap)
  in_void = np.bincount(index, overlap * (pairs < _OFFSET))

  union = area[index] + true_area[true_index] - overlap - in_void[index]
  same_class = (true_ids[true_index] // 1000 == ids[index] // 1000) & (ids[index] > 0)
  match = same_class & (2 * overlap > union)
  matched_true = np.zeros(len(true_ids), bool)
  matched_true[true_index[match]] = True
  matched = np.zeros(len(ids), bool)
  matched[index[match]] = True

  matched_class = ids[index[match]] // 1000
  return SegmentCounts(
    iou=np.bincount(matched_class, overlap[match] / union[match], minlength=_N),
    matched=np.bincount(matched_class, minlength=_N),
    extra=_per_class(ids[~matched & (ids > 0) & (2 * in_void <= area)]),
    missed=_per_class(true_ids[~matched_true & (true_ids > 0)]),
  )
