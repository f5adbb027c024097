"""Calibration error and risk-coverage curve of the exported confidence.

Coverage is the fraction of pixels kept when the least confident ones are dropped, risk the error
rate among the kept ones. Pixels of equal confidence are kept in random order; all values are exact
expectations over that order.

Letters: `L` = 65536 confidence levels of the exported 16-bit maps. Counts are kept per level, so
they are exact up to the rounding of the export.

References:
  Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (expected calibration error).
  Geifman et al., Bias-Reduced Uncertainty Estimation, ICLR 2019 (area under risk-coverage).
"""

import dataclasses

import numpy as np
from scipy.special import digamma

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics.counts import Counts

_LEVELS = 65536
BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability(Counts):
  """Counts over images.

  Attributes:
    pixels: [L] int64, pixels with ground truth per confidence level.
    correct: [L] int64, those with the correct semantic label.
    unsupported: number of pixels not supported by a primitive, with and without ground truth.
    unsupported_sum: sum of their confidence.
  """

  pixels: np.ndarray
  correct: np.ndarray
  unsupported: int = 0
  unsupported_sum: float = 0.0

  @classmethod
  def empty(cls) -> 'Reliability':
    return cls(np.zeros(_LEVELS, np.int64), np.zeros(_LEVELS, np.int64))

  def bins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels, summed confidence and correct pixels of 15 equal-width bins (lower, upper]."""
    level = np.arange(_LEVELS)
    index = np.maximum(-(-level * BINS // (_LEVELS - 1)) - 1, 0)
    total = lambda values: np.bincount(index, values, minlength=BINS)
    return total(self.pixels), total(self.pixels * (level / (_LEVELS - 1))), total(self.correct)

  def ece(self) -> float | None:
    """Return the expected calibration error: the mean |confidence - accuracy| of the bins."""
    pixels, confidence, correct = self.bins()
    return float(np.abs(confidence - correct).sum() / pixels.sum()) if pixels.any() else None

  def risk_coverage(self) -> tuple[np.ndarray, np.ndarray]:
    """Return coverage and risk per occurring level, from the most confident to all pixels."""
    level = np.flatnonzero(self.pixels)[::-1]
    kept = np.cumsum(self.pixels[level])
    wrong = np.cumsum((self.pixels - self.correct)[level])
    return kept / max(kept[-1] if kept.size else 0, 1), wrong / np.maximum(kept, 1)

  def aurc(self) -> float | None:
    """Return the area under the risk-coverage curve: the mean risk over all coverages."""
    level = np.flatnonzero(self.pixels)[::-1]
    return _area(self.pixels[level], (self.pixels - self.correct)[level])

  def oracle_aurc(self) -> float | None:
    """Return the least possible area, where all wrong pixels have the lowest confidence."""
    correct, wrong = int(self.correct.sum()), int((self.pixels - self.correct).sum())
    return _area(np.array([correct, wrong]), np.array([0, wrong]))

  def unsupported_mean(self) -> float | None:
    """Return the mean confidence of the pixels not supported by a primitive."""
    return self.unsupported_sum / self.unsupported if self.unsupported else None


def _area(pixels: np.ndarray, wrong: np.ndarray) -> float | None:
  """Return the mean risk over all coverages, for groups of equal confidence in descending order.

  After N pixels with E errors, the expected risk at the j-th pixel of a group of m pixels with e
  errors is (E + e j / m) / (N + j); sums of 1 / (N + j) are differences of digamma.
  """
  occurring = pixels > 0
  pixels, wrong = pixels[occurring].astype(np.float64), wrong[occurring].astype(np.float64)
  if not pixels.size:
    return None
  before, wrong_before = np.cumsum(pixels) - pixels, np.cumsum(wrong) - wrong
  harmonic = digamma(before + pixels + 1) - digamma(before + 1)
  risk = wrong_before * harmonic + wrong / pixels * (pixels - before * harmonic)
  return float(risk.sum() / pixels.sum())


def count(
  confidence: np.ndarray,
  prediction: np.ndarray,
  truth: np.ndarray | None,
  unsupported: np.ndarray | None,
) -> Reliability:
  """Return the counts of one image.

  Args:
    confidence: [H, W] in [0, 1].
    prediction: [H, W] id.
    truth: [H, W] id, 0 and 255 = void, not counted; None without ground truth.
    unsupported: [H, W] bool, pixels not supported by a primitive, or None.
  """
  level = np.rint(np.clip(confidence, 0, 1) * (_LEVELS - 1)).astype(np.int64)
  counts = Reliability.empty()
  if truth is not None:
    known = ~np.isin(truth, labels.UNKNOWN)
    correct = known & (prediction == truth)
    counts = Reliability(
      np.bincount(level[known], minlength=_LEVELS), np.bincount(level[correct], minlength=_LEVELS)
    )
  if unsupported is not None:
    total = float(level[unsupported].sum() / (_LEVELS - 1))
    counts = dataclasses.replace(counts, unsupported=int(unsupported.sum()), unsupported_sum=total)
  return counts
