"""Fits the numbers of the confidence (rendering/confidence.py) on runs that have ground truth.

Logistic regression of "the label is right" on the evidence, every run weighing alike, no weight
below 0, so that more evidence never lowers the confidence. It is fitted on streets kept for that
purpose; a window's own ground truth never enters its confidence.

Letters: N pixels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from scipy.special import expit

_WORD = 2  # column of the evidence that is nan where there is no pseudo label
_DIGITS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """Pixels of one run.

  evidence: [N, 4] float32, one column a weight.   outside: [N] bool, what no primitive vouches for.
  right: [N] bool, whether the label is that of the ground truth.
  """

  evidence: np.ndarray
  outside: np.ndarray
  right: np.ndarray


def fit(samples: Sequence[Sample]) -> tuple[float, ...]:
  """Bias, one weight for each column of the evidence, and the value of an absent word.

  Pixels that no primitive vouches for, or that have no pseudo label, are left out. An absent word
  counts as much as the words that are there do on average.

  Raises:
    ValueError: no pixel is left of a sample.
  """
  rows, right, weight, words = [], [], [], []
  for sample in samples:
    used = ~sample.outside & ~np.isnan(sample.evidence[:, _WORD])
    if not used.any():
      raise ValueError('a run without any usable pixel.')
    rows.append(np.concatenate([np.ones((used.sum(), 1)), sample.evidence[used]], axis=1))
    right.append(sample.right[used].astype(np.float64))
    weight.append(np.full(used.sum(), 1 / used.sum() / len(samples)))
    words.append(sample.evidence[used, _WORD].mean(dtype=np.float64))
  rows, right, weight = np.concatenate(rows), np.concatenate(right), np.concatenate(weight)

  def loss(numbers):
    odds = rows @ numbers
    slope = rows.T @ (weight * (expit(odds) - right))
    return weight @ (np.logaddexp(0, odds) - right * odds), slope

  bounds = [(None, None), *[(0, None)] * (rows.shape[1] - 1)]
  found = scipy.optimize.minimize(
    loss,
    np.zeros(rows.shape[1]),
    jac=True,
    bounds=bounds,
    method='L-BFGS-B',
    options={'ftol': 1e-12, 'gtol': 1e-8},
  )
  return tuple(round(float(x), _DIGITS) for x in (*found.x, np.mean(words)))
