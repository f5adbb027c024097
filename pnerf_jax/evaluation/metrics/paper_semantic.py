"""Mean IoU and accuracy as the paper's program counts them, separate from the plain forms.

Pixels whose truth is void, pole or lamp are left out, and so are pixels without a predicted label,
which are errors in the plain forms. A predicted trash bin counts as a box, the truth does not, so
that a true trash bin is never right. The mean runs over the classes with an IoU above 0.1. All maps
have the size of the ground truth.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, and its published evaluation.
"""

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics import semantic

_LEFT_OUT = [*labels.UNKNOWN, labels.BY_NAME['pole'].id, labels.BY_NAME['lamp'].id]
_TRASH_BIN, _BOX = labels.BY_NAME['trash bin'].id, labels.BY_NAME['box'].id
_MIN_IOU = 0.1
_EPSILON = 1e-6  # pixels, added to the union: an IoU of 1 does not occur


def count(prediction: np.ndarray, truth: np.ndarray) -> semantic.Confusion:
  """Return the confusion of one image; pixels that are left out have void truth.

  Args:
    prediction: [H, W] uint8 id; 0 and 255 = no label.
    truth: [H, W] uint8 id; 0 and 255 = void.

  Raises:
    ValueError: sizes differ, or a value is neither 0..44 nor 255.
  """
  merged = np.where(prediction == _TRASH_BIN, _BOX, prediction)
  left_out = np.isin(truth, _LEFT_OUT)
  if prediction.shape == truth.shape:  # else `semantic.count` raises
    left_out |= np.isin(prediction, labels.UNKNOWN)
  return semantic.count(merged, np.where(left_out, labels.VOID, truth))


def iou(confusion: semantic.Confusion) -> np.ndarray:
  """Return intersection over union [45]; 0 for classes that do not occur."""
  counts = confusion.scored()
  hit = np.diag(counts)
  return hit / (counts.sum(axis=0) + counts.sum(axis=1) - hit + _EPSILON)


def averaged(confusion: semantic.Confusion) -> np.ndarray:
  """Return the classes in the mean, [45] bool."""
  return iou(confusion) > _MIN_IOU


def miou(confusion: semantic.Confusion) -> float | None:
  """Return the mean IoU over the `averaged` classes, or None without any."""
  chosen = averaged(confusion)
  return float(iou(confusion)[chosen].mean()) if chosen.any() else None
