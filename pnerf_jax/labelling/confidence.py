"""How far a label may be trusted, judged without ground truth.

The log-odds of a label being right are taken to be

    bias + learned * logit(m) + fixed * logit(f) + word * w + border * log2(1 + d)

m: the label's mass in the field that gave it; f: its mass in the fixed semantic field; w: 1 where
the 2D pseudo label plainly names the class, 0 where it names another or the class has no name, and
`unseen` where there is no pseudo label, as in views that were never recorded; d: angle to the
nearest pixel that touches another label, in units of 0.4 degrees, at most 16. The sum grows with
each of them. Its numbers are fitted once, on streets other than the one at hand
(launch/calibrate.py). What no primitive vouches for keeps half of that confidence.

Letters: H, W image size. Numpy: it runs on whole images.
Source: logistic calibration, Platt, Probabilistic outputs for support vector machines, 1999.
"""

import dataclasses

import numpy as np
import scipy.ndimage

from pnerf_jax.data import labels

_LEAST = 1e-5  # masses this near to 0 and 1 are not told apart
_UNIT = np.deg2rad(0.4)  # of d: about a pixel of a quarter-size image of KITTI-360
_FARTHEST = 16.0
_DOUBT = 0.5  # share of the confidence that is left where no primitive vouches for the label
# [45, 256] whether a class is plainly named by a word: some classes may be called anything.
_NAMED = np.zeros((labels.NUM_IDS, 256), bool)
for _id in range(labels.NUM_IDS):
  _NAMED[_id, list(labels.strict_labels(_id))] = True


@dataclasses.dataclass(frozen=True)
class ConfidenceModel:
  """The numbers of the module's formula."""

  bias: float
  learned: float
  fixed: float
  word: float
  border: float
  unseen: float


def calibration_features(
  mass: np.ndarray, fixed_mass: np.ndarray, semantic: np.ndarray, words: np.ndarray, focal: float
) -> np.ndarray:
  """What is known of each label.

  Args:
    mass: [H, W] of the label in the field that gave it, in [0, 1].
    fixed_mass: [H, W] of the label in the fixed field.
    semantic: [H, W] id.
    words: [H, W] id of the pseudo label, 0 or 255 = none.
    focal: focal length in pixels.

  Returns:
    [H, W, 4] float32: logit(m), logit(f), w, which is nan without a pseudo label, and log2(1 + d).
  """
  word = np.where(np.isin(words, labels.UNKNOWN), np.nan, _NAMED[semantic, words])
  units = np.minimum(_border_distance(semantic) / (focal * _UNIT), _FARTHEST)
  return np.stack([_logit(mass), _logit(fixed_mass), word, np.log2(1 + units)], axis=-1).astype(
    np.float32
  )


def _logit(mass: np.ndarray) -> np.ndarray:
  mass = np.clip(mass.astype(np.float64), _LEAST, 1 - _LEAST)
  return np.log(mass) - np.log1p(-mass)


def _border_distance(semantic: np.ndarray) -> np.ndarray:
  """Distance to the nearest pixel that touches another label, [H, W] pixels; inf without one."""
  padded = np.pad(semantic, 1, mode='edge')
  border = np.zeros(semantic.shape, bool)
  for other in (padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]):
    border |= other != semantic
  if not border.any():
    return np.full(semantic.shape, np.inf)
  return scipy.ndimage.distance_transform_edt(~border)


def calibrated_confidence(
  known: np.ndarray, outside: np.ndarray, numbers: ConfidenceModel
) -> np.ndarray:
  """Confidence [H, W] float32 in (0, 1).

  Args:
    known: [H, W, 4] of `evidence`.
    outside: [H, W] bool, what no primitive vouches for.
    numbers: of the formula.
  """
  word = np.where(np.isnan(known[..., 2]), numbers.unseen, known[..., 2])
  odds = (
    numbers.bias
    + numbers.learned * known[..., 0]
    + numbers.fixed * known[..., 1]
    + numbers.word * word
    + numbers.border * known[..., 3]
  )
  return (np.where(outside, _DOUBT, 1.0) / (1.0 + np.exp(-odds))).astype(np.float32)
