"""The quirks of the published evaluation, kept apart from the plain metrics.

Figures of the Panoptic NeRF papers were computed so: pixels whose truth is a pole or a lamp are
not scored, predicted segments under 100 pixels are repainted as sky, and classes with an IoU of at
most 0.1, or with a PQ of 0, are left out of the mean. All but the repainting can only raise a
score. Areas are in pixels of the evaluated size; the paper's images are 1408 x 376.
"""

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics import panoptic, semantic

IGNORED = (labels.BY_NAME['pole'].id, labels.BY_NAME['lamp'].id)
_MIN_AREA = 100  # pixels
_MIN_IOU = 0.1


def repaint_small(instance: np.ndarray) -> np.ndarray:
  """[H, W] instance map whose values with fewer than 100 pixels in the image became sky."""
  values, index, areas = np.unique(instance, return_inverse=True, return_counts=True)
  painted = np.where(areas < _MIN_AREA, labels.SKY * 1000, values).astype(instance.dtype)
  return painted[index].reshape(instance.shape)


def _without_ignored(instance: np.ndarray) -> np.ndarray:
  return np.where(np.isin(instance // 1000, IGNORED), 0, instance)


def count_semantic(instance: np.ndarray, truth: np.ndarray) -> semantic.Confusion:
  """Confusion of one image: predicted instance map [H, W], true ids [H, W] uint8."""
  prediction = (repaint_small(instance) // 1000).astype(np.uint8)
  return semantic.count(prediction, np.where(np.isin(truth, IGNORED), labels.VOID, truth))


def miou(confusion: semantic.Confusion) -> float | None:
  """Mean over the classes whose IoU exceeds 0.1; None where there is none."""
  iou = confusion.iou()
  chosen = iou[iou > _MIN_IOU]
  return float(chosen.mean()) if chosen.size else None


def count_panoptic(prediction: np.ndarray, truth: np.ndarray) -> panoptic.SegmentCounts:
  """Matches of one image: both instance maps [H, W] uint16."""
  return panoptic.count(_without_ignored(repaint_small(prediction)), _without_ignored(truth))


def pq(counts: panoptic.SegmentCounts) -> float | None:
  """Mean over the classes whose PQ is not 0; None where there is none."""
  quality, _, _ = counts.quality()
  chosen = quality[quality > 0]
  return float(chosen.mean()) if chosen.size else None
