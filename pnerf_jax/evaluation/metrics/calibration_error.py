"""Is the exported confidence the share of right labels? Calibration, and risk against coverage.

Letters: a confidence has `L` = 65536 levels, as the exported 16-bit maps have; everything is
counted per level, so nothing but the export's own rounding is lost and counts of images add up.
Coverage is the share of pixels that are kept when the least confident ones are dropped, risk the
share of wrong labels among the kept ones. Pixels of equal confidence are kept in random order, of
which all figures are the exact expectation.
Sources: Guo et al., On calibration of modern neural networks, ICML 2017 (expected calibration
error); Geifman et al., Bias-reduced uncertainty estimation, ICLR 2019 (area under the
risk-coverage curve).
"""

import dataclasses

import numpy as np
from scipy.special import digamma

from pnerf_jax.data import labels

_LEVELS = 65536
BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
  """Counts over images.

  Attributes:
    pixels: [L] int64, pixels with ground truth of each level of confidence.
    right: [L] int64, those of them whose semantic label is right.
    outside: pixels that no primitive vouches for, with and without ground truth.
    outside_sum: sum of their confidence.
  """

  pixels: np.ndarray
  right: np.ndarray
  outside: int
  outside_sum: float

  @classmethod
  def empty(cls) -> 'Reliability':
    return cls(np.zeros(_LEVELS, np.int64), np.zeros(_LEVELS, np.int64), 0, 0.0)

  def merge(self, other: 'Reliability') -> 'Reliability':
    return Reliability(
      self.pixels + other.pixels,
      self.right + other.right,
      self.outside + other.outside,
      self.outside_sum + other.outside_sum,
    )

  def bins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of 15 equal-width bins (lower, upper], the first with 0: pixels, summed confidence, right."""
    level = np.arange(_LEVELS)
    index = np.maximum(-(-level * BINS // (_LEVELS - 1)) - 1, 0)
    total = lambda values: np.bincount(index, values, minlength=BINS)
    return (total(self.pixels), total(self.pixels * (level / (_LEVELS - 1))), total(self.right))

  def ece(self) -> float | None:
    """Expected calibration error: mean of |confidence - accuracy| over the pixels' bins."""
    pixels, confidence, right = self.bins()
    return float(np.abs(confidence - right).sum() / pixels.sum()) if pixels.any() else None

  def risk_coverage(self) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk [levels that occur], from the most confident pixels to all of them."""
    level = np.flatnonzero(self.pixels)[::-1]
    kept = np.cumsum(self.pixels[level])
    wrong = np.cumsum((self.pixels - self.right)[level])
    return kept / max(kept[-1] if kept.size else 0, 1), wrong / np.maximum(kept, 1)

  def aurc(self) -> float | None:
    """Area under the risk-coverage curve: the risk's mean over all numbers of kept pixels."""
    level = np.flatnonzero(self.pixels)[::-1]
    return _area(self.pixels[level], (self.pixels - self.right)[level])

  def oracle_aurc(self) -> float | None:
    """The least possible area: every wrong pixel is less confident than every right one."""
    right, wrong = int(self.right.sum()), int((self.pixels - self.right).sum())
    return _area(np.array([right, wrong]), np.array([0, wrong]))

  def outside_mean(self) -> float | None:
    """Mean confidence of the pixels that no primitive vouches for."""
    return self.outside_sum / self.outside if self.outside else None


def _area(pixels: np.ndarray, wrong: np.ndarray) -> float | None:
  """Mean of the risk over all numbers of kept pixels, groups of equal confidence in their order.

  With N pixels, E of them wrong, before a group of m pixels and e wrong ones, the expected risk of
  its j-th pixel is (E + e j / m) / (N + j); sums of 1 / (N + j) are differences of digamma.
  """
  chosen = pixels > 0
  pixels, wrong = pixels[chosen].astype(np.float64), wrong[chosen].astype(np.float64)
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
  outside: np.ndarray | None,
) -> Reliability:
  """Counts of one image.

  Args:
    confidence: [H, W] in [0, 1].
    prediction: [H, W] id.
    truth: [H, W] id, 0 and 255 = void, not counted; None without ground truth.
    outside: [H, W] bool, pixels that no primitive vouches for, or None.
  """
  level = np.rint(np.clip(confidence, 0, 1) * (_LEVELS - 1)).astype(np.int64)
  counts = Reliability.empty()
  if truth is not None:
    known = ~np.isin(truth, labels.UNKNOWN)
    right = known & (prediction == truth)
    counts = Reliability(
      np.bincount(level[known], minlength=_LEVELS),
      np.bincount(level[right], minlength=_LEVELS),
      0,
      0.0,
    )
  if outside is not None:
    total = float(level[outside].sum() / (_LEVELS - 1))
    counts = dataclasses.replace(counts, outside=int(outside.sum()), outside_sum=total)
  return counts
