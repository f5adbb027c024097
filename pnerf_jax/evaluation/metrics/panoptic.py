"""Panoptic quality: PQ = sum of IoU over matches / (TP + FP/2 + FN/2), SQ its IoU, RQ its F1.

A segment is an instance of a thing class, or all pixels of a stuff class; pixels of a thing class
with instanceId 0 form one segment. A predicted and a true segment of one class match where their
IoU exceeds 0.5. Void pixels do not count in the union, and a predicted segment mostly in void is no
false positive. Counts are summed over all images per class; means run over the classes of the
ground truth.

References:
  Kirillov et al., Panoptic Segmentation, CVPR 2019.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics.counts import Counts

_N = labels.NUM_IDS
_OFFSET = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentCounts(Counts):
  """Segment counts per class.

  Attributes:
    iou: [45] float64, sum of IoU over matched pairs.
    true_positives: [45] int64, matched pairs.
    false_positives: [45] int64, predicted segments without a match.
    false_negatives: [45] int64, true segments without a match.
  """

  iou: np.ndarray
  true_positives: np.ndarray
  false_positives: np.ndarray
  false_negatives: np.ndarray

  @classmethod
  def empty(cls) -> 'SegmentCounts':
    zeros = np.zeros(_N, np.int64)
    return cls(np.zeros(_N), zeros, zeros, zeros)

  def present(self) -> np.ndarray:
    """Return the classes of the ground truth, [45] bool."""
    return self.true_positives + self.false_negatives > 0

  def quality(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return PQ, SQ and RQ per class, each [45]; nan for classes absent from the ground truth."""
    matched = self.true_positives
    total = np.maximum(matched + 0.5 * self.false_positives + 0.5 * self.false_negatives, 0.5)
    values = (self.iou / total, self.iou / np.maximum(matched, 1), matched / total)
    pq, sq, rq = (np.where(self.present(), value, np.nan) for value in values)
    return pq, sq, rq

  def mean(self, classes: np.ndarray) -> tuple[float, float, float] | None:
    """Return PQ, SQ and RQ averaged over the present classes among [45] bool, or None."""
    chosen = classes & self.present()
    if not chosen.any():
      return None
    pq, sq, rq = (float(value[chosen].mean()) for value in self.quality())
    return pq, sq, rq


def _segments(instance: np.ndarray) -> np.ndarray:
  """Return segment ids [H, W] int64: id * 1000 (+ instanceId of things), 0 = void."""
  instance = np.asarray(instance, np.int64)
  semantic = instance // 1000
  semantic = np.where(semantic < _N, semantic, labels.VOID)
  segment = np.where(labels.IS_THING[semantic], instance, semantic * 1000)
  return np.where(semantic == labels.VOID, 0, segment)


def count(prediction: np.ndarray, truth: np.ndarray) -> SegmentCounts:
  """Return the counts of one image; both [H, W] uint16 id * 1000 + instanceId, void below 1000.

  Raises:
    ValueError: sizes differ.
  """
  return match(_segments(prediction), _segments(truth), np.arange(_N))


def match(prediction: np.ndarray, truth: np.ndarray, category: np.ndarray) -> SegmentCounts:
  """Match the segments of one image.

  Args:
    prediction: [H, W] int64 segment ids below 45000, id * 1000 + any number; 0 = void.
    truth: [H, W] likewise.
    category: [45], the id that each id counts as; segments of one category may match.

  Raises:
    ValueError: sizes differ.
  """
  if prediction.shape != truth.shape:
    raise ValueError(f'prediction {prediction.shape} and truth {truth.shape} differ in size.')
  pairs, overlap = np.unique(truth * _OFFSET + prediction, return_counts=True)
  true_ids, true_index = np.unique(pairs // _OFFSET, return_inverse=True)
  ids, index = np.unique(pairs % _OFFSET, return_inverse=True)
  true_area = np.bincount(true_index, overlap)
  area = np.bincount(index, overlap)
  in_void = np.bincount(index, overlap * (pairs < _OFFSET))
  true_category, categories = category[true_ids // 1000], category[ids // 1000]

  union = area[index] + true_area[true_index] - overlap - in_void[index]
  same = (true_category[true_index] == categories[index]) & (ids[index] > 0)
  chosen = same & (2 * overlap > union)
  matched_true = np.zeros(len(true_ids), bool)
  matched_true[true_index[chosen]] = True
  matched = np.zeros(len(ids), bool)
  matched[index[chosen]] = True

  matched_category = categories[index[chosen]]
  per_category = lambda values: np.bincount(values, minlength=_N)
  return SegmentCounts(
    iou=np.bincount(matched_category, overlap[chosen] / union[chosen], minlength=_N),
    true_positives=per_category(matched_category),
    false_positives=per_category(categories[~matched & (ids > 0) & (2 * in_void <= area)]),
    false_negatives=per_category(true_category[~matched_true & (true_ids > 0)]),
  )
