"""The fit finds the numbers that made its data, and does what its limits say."""

import numpy as np
import pytest

from pnerf_jax.evaluation import fit_confidence
from pnerf_jax.evaluation.fit_confidence import Sample

_NUMBERS = np.array([-0.6, 0.3, 0.5, 1.2, 0.2])


def _sample(seed, pixels, numbers=_NUMBERS, word=0.8):
  rng = np.random.default_rng(seed)
  evidence = rng.normal(1, 2, (pixels, 4)).astype(np.float32)
  evidence[:, 2] = rng.random(pixels) < word
  odds = numbers[0] + evidence @ numbers[1:]
  return Sample(evidence, np.zeros(pixels, bool), rng.random(pixels) < 1 / (1 + np.exp(-odds)))


def test_true_numbers_are_found():
  got = fit_confidence.fit([_sample(0, 60000), _sample(1, 90000)])
  np.testing.assert_allclose(got[:5], _NUMBERS, atol=0.04)
  assert got[5] == pytest.approx(0.8, abs=0.01)


def test_runs_weigh_alike_and_what_cannot_be_used_is_left_out():
  # Wrong everywhere, but outside or without a word: it must not count.
  sample, other = _sample(0, 20000), _sample(2, 2000, word=0.4)
  extra = np.concatenate([sample.evidence, sample.evidence, sample.evidence])
  extra[40000:, 2] = np.nan
  outside = np.repeat([False, True, False], 20000)
  right = np.concatenate([sample.right, np.zeros(40000, bool)])
  plain = fit_confidence.fit([sample, other])
  assert fit_confidence.fit([Sample(extra, outside, right), other]) == pytest.approx(
    plain, abs=2e-3
  )
  assert plain[5] == pytest.approx((0.8 + 0.4) / 2, abs=0.02)  # not the share over all pixels
  with pytest.raises(ValueError, match='usable'):
    fit_confidence.fit([Sample(extra[20000:40000], outside[20000:40000], right[20000:40000])])


def test_no_weight_falls_below_zero():
  got = fit_confidence.fit([_sample(3, 20000, np.array([0.5, -0.4, 0.5, 1.0, 0.2]))])
  assert got[1] == 0 and min(got[1:5]) == 0 and got[2] > 0.3
