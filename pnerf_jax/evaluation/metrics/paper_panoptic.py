"""Panoptic quality as the paper's program counts it, separate from the plain form.

Differences to the plain form:

- Predicted segments under 100 pixels become sky, true ones void. Areas are in pixels of the ground
  truth's size, taken before any segment is changed.
- Only predicted buildings, cars, caravans and trailers are split by instance; their pixels without
  one are void. The truth is split by instance in all classes.
- Ground, poles, traffic signs, bicycles and lamps are void in the prediction; in the truth, all
  bicycles are, and the others without an instance.
- A garage counts as a building, a trash bin as a box, each as a segment of its own.
- The means leave out poles, traffic signs, lamps, and the classes without a match, which can only
  raise them. The program from before December 2022 kept the latter.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, and its published evaluation.
"""

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics import panoptic

_MIN_AREA = 100  # pixels


def _mask(*names: str) -> np.ndarray:
  """Return the classes of these names, [45] bool."""
  mask = np.zeros(labels.NUM_IDS, bool)
  mask[[labels.BY_NAME[name].id for name in names]] = True
  return mask


THINGS = _mask('building', 'car', 'caravan', 'trailer', 'box')
_SPLIT = _mask('building', 'car', 'caravan', 'trailer')  # by instance, in the prediction
_PREDICTED_VOID = _mask('unlabeled', 'ground', 'pole', 'traffic sign', 'bicycle', 'lamp')
_TRUE_VOID = _mask('unlabeled', 'bicycle')
_TRUE_VOID_WITHOUT_INSTANCE = _mask('ground', 'pole', 'traffic sign', 'lamp')
_NOT_AVERAGED = _mask('pole', 'traffic sign', 'lamp')
_CATEGORY = np.arange(labels.NUM_IDS)
_CATEGORY[labels.BY_NAME['garage'].id] = labels.BY_NAME['building'].id
_CATEGORY[labels.BY_NAME['trash bin'].id] = labels.BY_NAME['box'].id


def _class_of(segments: np.ndarray) -> np.ndarray:
  """Return the ids of segments; those of no class become void."""
  classes = segments // 1000
  return np.where(classes < labels.NUM_IDS, classes, labels.VOID)


def _without_small(segments: np.ndarray, replacement: int) -> np.ndarray:
  """Return segments [H, W] with those under 100 pixels replaced, except void."""
  areas = np.bincount(segments.ravel())
  values = np.where(areas < _MIN_AREA, replacement, np.arange(len(areas)))
  values[0] = 0
  return values[segments]


def predicted_segments(instance: np.ndarray) -> np.ndarray:
  """Return the segments of a predicted map [H, W] uint16: id * 1000 (+ instanceId), 0 = void."""
  instance = np.asarray(instance, np.int64)
  classes, number = _class_of(instance), instance % 1000
  segments = np.where(_SPLIT[classes], instance, classes * 1000)
  void = _PREDICTED_VOID[classes] | (_SPLIT[classes] & (number == 0))
  return _without_small(np.where(void, 0, segments), labels.SKY * 1000)


def true_segments(instance: np.ndarray) -> np.ndarray:
  """Return the segments of a true map [H, W] uint16: id * 1000 + instanceId, 0 = void."""
  instance = np.asarray(instance, np.int64)
  classes, number = _class_of(instance), instance % 1000
  void = _TRUE_VOID[classes] | (_TRUE_VOID_WITHOUT_INSTANCE[classes] & (number == 0))
  return _without_small(np.where(void, 0, instance), 0)


def count(prediction: np.ndarray, truth: np.ndarray) -> panoptic.SegmentCounts:
  """Return the counts of one image; both [H, W] uint16 id * 1000 + instanceId, void below 1000.

  Raises:
    ValueError: sizes differ.
  """
  return panoptic.match(predicted_segments(prediction), true_segments(truth), _CATEGORY)


def quality(counts: panoptic.SegmentCounts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return PQ, SQ and RQ per class, each [45]; nan without any segment, or if never averaged."""
  matched = counts.true_positives
  total = matched + 0.5 * counts.false_positives + 0.5 * counts.false_negatives
  known = (total > 0) & ~_NOT_AVERAGED
  total = np.maximum(total, 0.5)
  values = (counts.iou / total, counts.iou / np.maximum(matched, 1), matched / total)
  pq, sq, rq = (np.where(known, value, np.nan) for value in values)
  return pq, sq, rq


def averaged(counts: panoptic.SegmentCounts, *, before_2022_12: bool = False) -> np.ndarray:
  """Return the classes in the means, [45] bool; those before December 2022 need no match."""
  known = ~np.isnan(quality(counts)[0])
  return known if before_2022_12 else known & (counts.true_positives > 0)


def mean(counts: panoptic.SegmentCounts, classes: np.ndarray) -> tuple[float, float, float] | None:
  """Return PQ, SQ and RQ averaged over some classes [45] bool, or None without any."""
  if not classes.any():
    return None
  pq, sq, rq = (float(value[classes].mean()) for value in quality(counts))
  return pq, sq, rq
