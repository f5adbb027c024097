"""How far a label may be trusted, judged without ground truth.

The log-odds of a label being right are taken to be

    bias + learned * logit(m) + fixed * logit(f) + word * w

m: the label's mass in the field that gave it; f: its mass in the fixed semantic field; w: 1 where
the 2D pseudo label plainly names the class, 0 where it names another or the class has no name, and
`unseen` where there is no pseudo label, as in views that were never recorded. The sum grows with
each of them. Its numbers are fitted once, on streets other than the one at hand
(launch/calibrate.py). What no primitive vouches for keeps half of that confidence at most.

Letters: H, W image size. Numpy: it runs on whole images.
Source: logistic calibration, Platt, Probabilistic outputs for support vector machines, 1999.
"""
import dataclasses

import numpy as np

from pnerf_jax.data import labels

_LEAST = 1e-4  # masses this near to 0 and 1 are not told apart
_DOUBT = 0.5  # share of the confidence that is left where no primitive vouches for the label
# [45, 256] whether a class is plainly named by a word: some classes may be called anything.
_NAMED = np.zeros((labels.NUM_IDS, 256), bool)
_NAMED[:, :labels.NUM_IDS] = labels.label_sets(tuple(range(labels.NUM_IDS)), False, 0.5) == 1.0


@dataclasses.dataclass(frozen=True)
class Calibration:
  """The numbers of the module's formula."""
  bias: float
  learned: float
  fixed: float
  word: float
  unseen: float


def evidence(mass: np.ndarray, fixed_mass: np.ndarray, semantic: np.ndarray,
             words: np.ndarray) -> np.ndarray:
  """What is known of each label.

  Args:
    mass: [H, W] of the label in the field that gave it, in [0, 1].
    fixed_mass: [H, W] of the label in the fixed field.
    semantic: [H, W] id.
    words: [H, W] id of the pseudo label, 0 or 255 = none.

  Returns:
    [H, W, 3] float32: logit(m), logit(f), and w, which is nan without a pseudo label.
  """
  word = np.where(np.isin(words, labels.UNKNOWN), np.nan, _NAMED[semantic, words])
  return np.stack([_logit(mass), _logit(fixed_mass), word], axis=-1).astype(np.float32)


def _logit(mass: np.ndarray) -> np.ndarray:
  mass = np.clip(mass.astype(np.float64), _LEAST, 1 - _LEAST)
  return np.log(mass) - np.log1p(-mass)


def calibrated(known: np.ndarray, outside: np.ndarray, numbers: Calibration) -> np.ndarray:
  """Confidence [H, W] float32 in (0, 1).

  Args:
    known: [H, W, 3] of `evidence`.
    outside: [H, W] bool, what no primitive vouches for.
    numbers: of the formula.
  """
  word = np.where(np.isnan(known[..., 2]), numbers.unseen, known[..., 2])
  odds = (numbers.bias + numbers.learned * known[..., 0] + numbers.fixed * known[..., 1]
          + numbers.word * word)
  return (np.where(outside, _DOUBT, 1.0) / (1.0 + np.exp(-odds))).astype(np.float32)
