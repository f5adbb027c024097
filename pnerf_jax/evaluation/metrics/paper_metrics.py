"""The evaluation protocol of the Panoptic NeRF papers, separate from the standard metrics.

Pixels of true poles and lamps are not scored, predicted segments under 100 pixels become sky, and
classes with an IoU of at most 0.1, or a PQ of 0, are excluded from the mean. All but the second
rule can only raise a score. Areas are in pixels of the evaluated size (1408 x 376 in the paper).

References:
  Fu et al., Panoptic NeRF, 3DV 2022, and its published evaluation code.
"""

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics import panoptic, semantic

IGNORED = (labels.BY_NAME['pole'].id, labels.BY_NAME['lamp'].id)
_MIN_AREA = 100  # pixels
_MIN_IOU = 0.1


def small_segments_to_sky(instance: np.ndarray) -> np.ndarray:
  """Return the instance map [H, W] with segments under 100 pixels replaced by sky."""
  values, index, areas = np.unique(instance, return_inverse=True, return_counts=True)
  replaced = np.where(areas < _MIN_AREA, labels.SKY * 1000, values).astype(instance.dtype)
  return replaced[index].reshape(instance.shape)


def _without_ignored(instance: np.ndarray) -> np.ndarray:
  return np.where(np.isin(instance // 1000, IGNORED), 0, instance)


def count_semantic(instance: np.ndarray, truth: np.ndarray) -> semantic.Confusion:
  """Return the confusion of one image: predicted instance map [H, W], true ids [H, W] uint8."""
  prediction = (small_segments_to_sky(instance) // 1000).astype(np.uint8)
  return semantic.count(prediction, np.where(np.isin(truth, IGNORED), labels.VOID, truth))


def miou(confusion: semantic.Confusion) -> float | None:
  """Return the mean over the classes whose IoU exceeds 0.1, or None."""
  iou = confusion.iou()
  chosen = iou[iou > _MIN_IOU]
  return float(chosen.mean()) if chosen.size else None


def count_panoptic(prediction: np.ndarray, truth: np.ndarray) -> panoptic.SegmentCounts:
  """Return the segment counts of one image: both instance maps [H, W] uint16."""
  return panoptic.count(
    _without_ignored(small_segments_to_sky(prediction)), _without_ignored(truth)
  )


def pq(counts: panoptic.SegmentCounts) -> float | None:
  """Return the mean over the classes whose PQ is not 0, or None."""
  quality, _, _ = counts.quality()
  chosen = quality[quality > 0]
  return float(chosen.mean()) if chosen.size else None
