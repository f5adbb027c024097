"""Pixel-wise semantic scores from one confusion matrix over all images.

Rows of a confusion are true ids, columns predicted ids, both 0..44. Row 0 is void truth (0 and
255), used only by the official score; column 0 is pixels without a predicted label (0 and 255),
which count as wrong. IoU = TP / (TP + FP + FN), from the sums over all images.
"""

import dataclasses

import numpy as np

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics.counts import Counts

_N = labels.NUM_IDS
_ID = np.full(256, -1, np.int64)  # id of each pixel value; 255 is void, -1 is invalid
_ID[:_N] = np.arange(_N)
_ID[255] = labels.VOID
_OFFICIAL_CLASSES = tuple(i for i in range(19) if i not in (15, 16))  # without bus and train
_TRAIN_ID = np.array([labels.BY_ID[i].train_id for i in range(_N)])


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion(Counts):
  """Pixels, or sums of pixel weights, per (true, predicted) id.

  Attributes:
    counts: [45, 45] float64, exact for whole pixels.
  """

  counts: np.ndarray

  @classmethod
  def empty(cls) -> 'Confusion':
    return cls(np.zeros((_N, _N)))

  def scored(self) -> np.ndarray:
    """Return the counts [45, 45] without the pixels of void truth."""
    counts = self.counts.copy()
    counts[labels.VOID] = 0
    return counts

  def present(self) -> np.ndarray:
    """Return the classes of the ground truth, [45] bool."""
    return self.scored().sum(axis=1) > 0

  def iou(self) -> np.ndarray:
    """Return intersection over union [45]; nan for classes absent from the ground truth."""
    counts = self.scored()
    hit = np.diag(counts)
    union = counts.sum(axis=1) + counts.sum(axis=0) - hit
    return np.where(self.present(), hit / np.maximum(union, 1e-12), np.nan)

  def miou(self) -> float | None:
    """Return the mean IoU over the classes of the ground truth, or None without any."""
    return float(np.nanmean(self.iou())) if self.present().any() else None

  def accuracy(self) -> float | None:
    """Return the fraction of correct pixels, or None without ground truth."""
    counts = self.scored()
    return float(np.trace(counts) / counts.sum()) if self.present().any() else None


def count(prediction: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None) -> Confusion:
  """Return the confusion of one image.

  Args:
    prediction: [H, W] uint8 id; 0 and 255 = no label.
    truth: [H, W] uint8 id; 0 and 255 = void.
    weight: [H, W] of each pixel, None = 1.

  Raises:
    ValueError: sizes differ, or a value is neither 0..44 nor 255.
  """
  if prediction.shape != truth.shape:
    raise ValueError(f'prediction {prediction.shape} and truth {truth.shape} differ in size.')
  rows, columns = _ID[truth.ravel()], _ID[prediction.ravel()]
  if rows.size and min(rows.min(), columns.min()) < 0:
    raise ValueError('semantic ids must be 0..44 or 255.')
  weights = None if weight is None else np.asarray(weight, np.float64).ravel()
  pairs = np.bincount(rows * _N + columns, weights, minlength=_N * _N)
  return Confusion(pairs.reshape(_N, _N).astype(np.float64))


def official_miou(confusion: Confusion) -> float | None:
  """Return the score of kitti360scripts' evalPixelLevelSemanticLabeling, or None without classes.

  Ids are merged to 17 train ids, and truth of other classes is skipped; a prediction of another
  class still counts as a false negative. The mean is over classes that occur in the truth or in a
  prediction on scored truth.

  Args:
    confusion: counted with the confidence of the ground truth as weights.
  """
  merged = np.zeros((256, 256))
  np.add.at(merged, (_TRAIN_ID[:, None], _TRAIN_ID[None, :]), confusion.counts)
  classes = list(_OFFICIAL_CLASSES)
  hit = np.diag(merged)[classes]
  missed = merged[classes].sum(axis=1) - hit
  wrong = merged[np.ix_(classes, classes)].sum(axis=0) - hit
  union = hit + missed + wrong
  if not (union > 0).any():
    return None
  return float(np.mean(hit[union > 0] / union[union > 0]))
