"""Confidence against the formula worked out by hand."""

import math

import numpy as np
import pytest

from pnerf_jax.labelling import confidence
from pnerf_jax.labelling.confidence import ConfidenceModel

_ROAD, _PARKING, _CAR, _BOX, _SKY = 7, 9, 26, 41, 23
_NUMBERS = ConfidenceModel(bias=-0.5, learned=0.25, fixed=0.5, word=1.5, border=0.1, unseen=0.8)


def _evidence(mass, fixed_mass, semantic, word):
  known = confidence.calibration_features(
    *(np.array([[x]]) for x in (mass, fixed_mass, semantic, word)), focal=100.0
  )
  return known[0, 0]


def test_evidence_by_hand():
  got = _evidence(0.8, 0.2, _CAR, _CAR)
  np.testing.assert_allclose(got[:3], [math.log(4), -math.log(4), 1], rtol=1e-6)
  # A mass of 0 or 1 is finite.
  np.testing.assert_allclose(_evidence(1.0, 0.0, _CAR, _CAR)[:2], [11.51, -11.51], atol=0.01)


@pytest.mark.parametrize(
  'semantic, word, expected',
  [
    (_CAR, _CAR, 1),
    (_CAR, _ROAD, 0),
    (_PARKING, _ROAD, 1),
    (_PARKING, _SKY, 0),
    (_BOX, _BOX, 1),
    (_BOX, _ROAD, 0),  # a box has no word: any may be meant
    (_CAR, 0, math.nan),
    (_CAR, 255, math.nan),
    (0, _ROAD, 0),
  ],
)
def test_a_word_names_a_class_or_not(semantic, word, expected):
  np.testing.assert_equal(_evidence(0.5, 0.5, semantic, word)[2], expected)


def test_distance_to_the_border_is_an_angle():
  semantic = np.full((5, 40), _ROAD)
  semantic[:, 30:] = _CAR
  semantic[0, 0] = _CAR
  zeros = np.zeros(semantic.shape)
  # 0.4 degrees are 2 pixels; columns 29 and 30 touch the border.
  got = confidence.calibration_features(zeros, zeros, semantic, semantic, 2 / np.deg2rad(0.4))[
    ..., 3
  ]
  np.testing.assert_allclose(
    got[4, [25, 29, 30, 33]], np.log2([1 + 4 / 2, 1, 1, 1 + 3 / 2]), rtol=1e-6
  )
  np.testing.assert_allclose(got[4, 3], np.log2(1 + np.hypot(3, 3) / 2), rtol=1e-6)
  whole = confidence.calibration_features(zeros, zeros, np.full((5, 40), _ROAD), semantic, 100.0)[
    ..., 3
  ]
  np.testing.assert_allclose(whole, np.log2(17), rtol=1e-6)  # no border at all


def test_formula_by_hand_and_doubt():
  known = np.array([[[2.0, 1.0, 1.0, 3.0], [2.0, 1.0, np.nan, 3.0], [0.0, 0.0, 0.0, 0.0]]])
  odds = [-0.5 + 0.5 + 0.5 + 1.5 + 0.3, -0.5 + 0.5 + 0.5 + 1.5 * 0.8 + 0.3, -0.5]
  expected = [1 / (1 + math.exp(-x)) for x in odds]
  outside = np.zeros((1, 3), bool)
  np.testing.assert_allclose(
    confidence.calibrated_confidence(known, outside, _NUMBERS)[0], expected, rtol=1e-6
  )
  got = confidence.calibrated_confidence(known, ~outside, _NUMBERS)[0]
  np.testing.assert_allclose(got, [x / 2 for x in expected], rtol=1e-6)


def test_more_evidence_never_lowers_the_confidence():
  rng = np.random.default_rng(0)
  known = rng.normal(0, 4, (1, 500, 4))
  more = known + rng.uniform(0, 1, known.shape)
  inside = np.zeros((1, 500), bool)
  low, high = (confidence.calibrated_confidence(x, inside, _NUMBERS) for x in (known, more))
  assert (high >= low).all() and (0 < low).all() and (high < 1 + 1e-6).all()
