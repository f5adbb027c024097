"""Confidence against the formula worked out by hand."""
import math

import numpy as np
import pytest

from pnerf_jax.rendering import confidence
from pnerf_jax.rendering.confidence import Calibration

_ROAD, _PARKING, _CAR, _BOX, _SKY = 7, 9, 26, 41, 23
_NUMBERS = Calibration(bias=-0.5, learned=0.25, fixed=0.5, word=1.5, unseen=0.8)


def _evidence(mass, fixed_mass, semantic, word):
  known = confidence.evidence(*(np.array([[x]]) for x in (mass, fixed_mass, semantic, word)))
  return known[0, 0]


def test_evidence_by_hand():
  got = _evidence(0.8, 0.2, _CAR, _CAR)
  np.testing.assert_allclose(got, [math.log(4), -math.log(4), 1], rtol=1e-6)
  # A mass of 0 or 1 is finite.
  np.testing.assert_allclose(_evidence(1.0, 0.0, _CAR, _CAR)[:2], [9.21, -9.21], atol=0.01)


@pytest.mark.parametrize('semantic, word, expected', [
    (_CAR, _CAR, 1), (_CAR, _ROAD, 0), (_PARKING, _ROAD, 1), (_PARKING, _SKY, 0),
    (_BOX, _BOX, 1), (_BOX, _ROAD, 0),  # a box has no word: any may be meant
    (_CAR, 0, math.nan), (_CAR, 255, math.nan), (0, _ROAD, 0)])
def test_a_word_names_a_class_or_not(semantic, word, expected):
  np.testing.assert_equal(_evidence(0.5, 0.5, semantic, word)[2], expected)


def test_formula_by_hand_and_doubt():
  known = np.array([[[2.0, 1.0, 1.0], [2.0, 1.0, np.nan], [0.0, 0.0, 0.0]]])
  odds = [-0.5 + 0.5 + 0.5 + 1.5, -0.5 + 0.5 + 0.5 + 1.5 * 0.8, -0.5]
  expected = [1 / (1 + math.exp(-x)) for x in odds]
  outside = np.zeros((1, 3), bool)
  np.testing.assert_allclose(
      confidence.calibrated(known, outside, _NUMBERS)[0], expected, rtol=1e-6)
  got = confidence.calibrated(known, ~outside, _NUMBERS)[0]
  np.testing.assert_allclose(got, [x / 2 for x in expected], rtol=1e-6)


def test_more_evidence_never_lowers_the_confidence():
  rng = np.random.default_rng(0)
  known = rng.normal(0, 4, (1, 500, 3))
  more = known + rng.uniform(0, 1, known.shape)
  inside = np.zeros((1, 500), bool)
  low, high = (confidence.calibrated(x, inside, _NUMBERS) for x in (known, more))
  assert (high >= low).all() and (0 < low).all() and (high < 1 + 1e-6).all()
