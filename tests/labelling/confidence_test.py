"""Calibration features and confidence against values computed by hand."""

import math

import numpy as np
import pytest

from pnerf_jax.labelling import confidence
from pnerf_jax.labelling.confidence import ConfidenceModel

_ROAD, _PARKING, _CAR, _BOX, _SKY = 7, 9, 26, 41, 23
_MODEL = ConfidenceModel(
  bias=-0.5,
  learned=0.25,
  fixed=0.5,
  label_agreement=1.5,
  boundary_distance=0.1,
  imputed_agreement=0.8,
)


def _features(mass, fixed_mass, semantic, pseudo_label):
  features = confidence.calibration_features(
    *(np.array([[x]]) for x in (mass, fixed_mass, semantic, pseudo_label)), focal=100.0
  )
  return features[0, 0]


def test_calibration_features_by_hand():
  got = _features(0.8, 0.2, _CAR, _CAR)
  np.testing.assert_allclose(got[:3], [math.log(4), -math.log(4), 1], rtol=1e-6)
  # Probabilities of 0 and 1 give finite logits.
  np.testing.assert_allclose(_features(1.0, 0.0, _CAR, _CAR)[:2], [11.51, -11.51], atol=0.01)


@pytest.mark.parametrize(
  'semantic, pseudo_label, expected',
  [
    (_CAR, _CAR, 1),
    (_CAR, _ROAD, 0),
    (_PARKING, _ROAD, 1),
    (_PARKING, _SKY, 0),
    (_BOX, _BOX, 1),
    (_BOX, _ROAD, 0),  # the class box has no strict label besides itself
    (_CAR, 0, math.nan),
    (_CAR, 255, math.nan),
    (0, _ROAD, 0),
  ],
)
def test_label_agreement(semantic, pseudo_label, expected):
  np.testing.assert_equal(_features(0.5, 0.5, semantic, pseudo_label)[2], expected)


def test_boundary_distance_is_an_angle():
  semantic = np.full((5, 40), _ROAD)
  semantic[:, 30:] = _CAR
  semantic[0, 0] = _CAR
  zeros = np.zeros(semantic.shape)
  # 0.4 degrees are 2 pixels; columns 29 and 30 are the boundary.
  features = lambda semantic, focal: confidence.calibration_features(
    zeros, zeros, semantic, semantic, focal
  )
  got = features(semantic, 2 / np.deg2rad(0.4))[..., 3]
  np.testing.assert_allclose(
    got[4, [25, 29, 30, 33]], np.log2([1 + 4 / 2, 1, 1, 1 + 3 / 2]), rtol=1e-6
  )
  np.testing.assert_allclose(got[4, 3], np.log2(1 + np.hypot(3, 3) / 2), rtol=1e-6)
  without_boundary = features(np.full((5, 40), _ROAD), 100.0)[..., 3]
  np.testing.assert_allclose(without_boundary, np.log2(17), rtol=1e-6)


def test_calibrated_confidence_by_hand():
  features = np.array([[[2.0, 1.0, 1.0, 3.0], [2.0, 1.0, np.nan, 3.0], [0.0, 0.0, 0.0, 0.0]]])
  log_odds = [-0.5 + 0.5 + 0.5 + 1.5 + 0.3, -0.5 + 0.5 + 0.5 + 1.5 * 0.8 + 0.3, -0.5]
  expected = [1 / (1 + math.exp(-x)) for x in log_odds]
  unsupported = np.zeros((1, 3), bool)
  np.testing.assert_allclose(
    confidence.calibrated_confidence(features, unsupported, _MODEL)[0], expected, rtol=1e-6
  )
  got = confidence.calibrated_confidence(features, ~unsupported, _MODEL)[0]
  np.testing.assert_allclose(got, [x / 2 for x in expected], rtol=1e-6)


def test_calibrated_confidence_increases_with_every_feature():
  rng = np.random.default_rng(0)
  features = rng.normal(0, 4, (1, 500, 4))
  more = features + rng.uniform(0, 1, features.shape)
  supported = np.zeros((1, 500), bool)
  low, high = (confidence.calibrated_confidence(x, supported, _MODEL) for x in (features, more))
  assert (high >= low).all() and (0 < low).all() and (high < 1 + 1e-6).all()
