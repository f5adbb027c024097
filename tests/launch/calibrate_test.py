"""Fitting the confidence on samples of a known model."""

import numpy as np
import pytest

from launch import calibrate
from launch.calibrate import Sample

_COEFFICIENTS = np.array([-0.6, 0.3, 0.5, 1.2, 0.2])


def _sample(seed, pixels, coefficients=_COEFFICIENTS, agreement=0.8):
  rng = np.random.default_rng(seed)
  features = rng.normal(1, 2, (pixels, 4)).astype(np.float32)
  features[:, 2] = rng.random(pixels) < agreement
  logits = coefficients[0] + features @ coefficients[1:]
  return Sample(
    features=features,
    unsupported=np.zeros(pixels, bool),
    correct=rng.random(pixels) < 1 / (1 + np.exp(-logits)),
  )


def test_fit_recovers_the_coefficients():
  got = calibrate.fit([_sample(0, 60000), _sample(1, 90000)])
  np.testing.assert_allclose(got[:5], _COEFFICIENTS, atol=0.04)
  assert got[5] == pytest.approx(0.8, abs=0.01)


def test_fit_weights_runs_equally_and_ignores_unusable_pixels():
  # Wrong everywhere, but unsupported or without a pseudo-label: these must not count.
  sample, other = _sample(0, 20000), _sample(2, 2000, agreement=0.4)
  features = np.concatenate([sample.features, sample.features, sample.features])
  features[40000:, 2] = np.nan
  unsupported = np.repeat([False, True, False], 20000)
  correct = np.concatenate([sample.correct, np.zeros(40000, bool)])
  extended = Sample(features=features, unsupported=unsupported, correct=correct)
  plain = calibrate.fit([sample, other])
  assert calibrate.fit([extended, other]) == pytest.approx(plain, abs=2e-3)
  assert plain[5] == pytest.approx((0.8 + 0.4) / 2, abs=0.02)  # not the mean over all pixels
  part = slice(20000, 40000)
  unusable = Sample(features=features[part], unsupported=unsupported[part], correct=correct[part])
  with pytest.raises(ValueError, match='usable'):
    calibrate.fit([unusable])


def test_fit_has_non_negative_feature_weights():
  got = calibrate.fit([_sample(3, 20000, np.array([0.5, -0.4, 0.5, 1.0, 0.2]))])
  assert got[1] == 0 and min(got[1:5]) == 0 and got[2] > 0.3
