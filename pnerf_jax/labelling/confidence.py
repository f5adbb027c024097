"""Calibrated confidence of labels: the probability that a label is right, without ground truth.

Logistic calibration (Platt scaling) of four features:

    logit(confidence) = bias + learned * logit(m) + fixed * logit(f)
                        + label_agreement * a + boundary_distance * log2(1 + d)

m: probability of the label in the field that predicted it; f: its probability in the fixed semantic
field; a: 1 where the 2D pseudo-label is one of the class's strict labels, else 0, and
`imputed_agreement` where there is no pseudo-label, as in views that were not recorded; d: angular
distance to the nearest semantic boundary, in units of 0.4 degrees, at most 16. The confidence
increases with each of them. The coefficients are fitted once, on scenes other than the one
rendered (launch/calibrate.py). The confidence of pixels without primitive support is halved.

Letters: H, W image size.

References:
  Platt, Probabilistic Outputs for Support Vector Machines, 1999.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from pnerf_jax.data import labels

_MIN_PROBABILITY = 1e-5  # probabilities are clipped to [1e-5, 1 - 1e-5]
_DISTANCE_UNIT = np.deg2rad(0.4)  # about a pixel of a quarter-size image of KITTI-360
_MAX_DISTANCE = 16.0
_UNSUPPORTED_FACTOR = 0.5  # on the confidence of pixels without primitive support
# [45, 256] bool, whether a pseudo-label is a strict label of a class.
_IS_STRICT_LABEL = np.zeros((labels.NUM_IDS, 256), bool)
for _id in range(labels.NUM_IDS):
  _IS_STRICT_LABEL[_id, list(labels.strict_labels(_id))] = True


@dataclasses.dataclass(frozen=True)
class ConfidenceModel:
  """Coefficients of the module's formula, in the order of `config.eval.confidence_coefficients`.

  Attributes:
    bias: intercept.
    learned: coefficient of logit(m).
    fixed: coefficient of logit(f).
    label_agreement: coefficient of a.
    boundary_distance: coefficient of log2(1 + d).
    imputed_agreement: value of a where there is no pseudo-label.
  """

  bias: float
  learned: float
  fixed: float
  label_agreement: float
  boundary_distance: float
  imputed_agreement: float


def calibration_features(
  mass: np.ndarray,
  fixed_mass: np.ndarray,
  semantic: np.ndarray,
  pseudo_label: np.ndarray,
  focal: float,
) -> np.ndarray:
  """Compute the input features of the confidence calibration.

  Args:
    mass: [H, W], probability of the label in the field that predicted it.
    fixed_mass: [H, W], probability of the label in the fixed field.
    semantic: [H, W], label id.
    pseudo_label: [H, W], label id, 0 or 255 for none.
    focal: focal length in pixels.

  Returns:
    [H, W, 4] float32: logit(m), logit(f), a (nan without a pseudo-label) and log2(1 + d).
  """
  agreement = np.where(
    np.isin(pseudo_label, labels.UNKNOWN), np.nan, _IS_STRICT_LABEL[semantic, pseudo_label]
  )
  distance = np.minimum(_boundary_distance(semantic) / (focal * _DISTANCE_UNIT), _MAX_DISTANCE)
  return np.stack(
    [_logit(mass), _logit(fixed_mass), agreement, np.log2(1 + distance)], axis=-1
  ).astype(np.float32)


def _logit(probability: np.ndarray) -> np.ndarray:
  probability = np.clip(probability.astype(np.float64), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
  return np.log(probability) - np.log1p(-probability)


def _boundary_distance(semantic: np.ndarray) -> np.ndarray:
  """Return the distance [H, W] to the nearest pixel with a neighbour of another label.

  In pixels; inf if there is none.
  """
  padded = np.pad(semantic, 1, mode='edge')
  is_boundary = np.zeros(semantic.shape, bool)
  for other in (padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]):
    is_boundary |= other != semantic
  if not is_boundary.any():
    return np.full(semantic.shape, np.inf)
  return ndimage.distance_transform_edt(~is_boundary)


def calibrated_confidence(
  features: np.ndarray, unsupported: np.ndarray, model: ConfidenceModel
) -> np.ndarray:
  """Return the confidence [H, W] float32 in (0, 1).

  Args:
    features: [H, W, 4], of calibration_features.
    unsupported: [H, W] bool, pixels without primitive support.
    model: coefficients.
  """
  agreement = np.where(np.isnan(features[..., 2]), model.imputed_agreement, features[..., 2])
  log_odds = (
    model.bias
    + model.learned * features[..., 0]
    + model.fixed * features[..., 1]
    + model.label_agreement * agreement
    + model.boundary_distance * features[..., 3]
  )
  factor = np.where(unsupported, _UNSUPPORTED_FACTOR, 1.0)
  return (factor / (1.0 + np.exp(-log_odds))).astype(np.float32)
