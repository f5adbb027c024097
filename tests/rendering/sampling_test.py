"""Sampling against slow loops over samples and intervals, and fine Riemann sums.

Letters: R rays, K intervals of a ray, S samples of a ray, s = log(1 + t).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import sampling

_SAMPLE = jax.jit(sampling.sample_intervals, static_argnums=1)
_ASSIGN = jax.jit(sampling.assign_segments)
_RESAMPLE = jax.jit(sampling.resample, static_argnums=2)
_KEY = jax.random.key(0)

# (enter, exit) of the intervals of one ray.
_CASES = {
  'one': [(2.0, 6.0)],
  'from near': [(0.3, 80.0)],
  'disjoint': [(1.0, 2.0), (5.0, 9.0), (30.0, 31.0)],
  'overlapping': [(1.0, 4.0), (3.0, 7.0), (6.5, 12.0)],
  'nested': [(2.0, 50.0), (3.0, 20.0), (5.0, 6.0), (30.0, 30.5)],
  'touching': [(1.0, 2.0), (2.0, 5.0), (5.0, 11.0)],
  'equal': [(4.0, 6.0), (4.0, 6.0)],
  'pole behind a hedge': [(3.0, 120.0), (150.0, 150.02)],
  'thin only': [(40.0, 40.0001), (50.0, 50.0001)],
}


def _intervals(rays, num_intervals: int = 16, padding: float = np.inf) -> Intervals:
  """Build intervals from lists of (enter, exit); interval k is of primitive k."""
  shape = (len(rays), num_intervals)
  enter, leave = np.full(shape, padding, np.float32), np.full(shape, padding, np.float32)
  primitive = np.full(shape, -1, np.int32)
  for ray, spans in enumerate(rays):
    for k, (low, high) in enumerate(sorted(spans)):
      enter[ray, k], leave[ray, k], primitive[ray, k] = low, high, k
  return Intervals(
    enter=jnp.asarray(enter),
    exit=jnp.asarray(leave),
    primitive=jnp.asarray(primitive),
    num_truncated=jnp.zeros(shape[0], jnp.int32),
  )


def _random_rays(count: int):
  """Return rays with 1 to 16 intervals that overlap, nest, touch or leave gaps."""
  rng = np.random.default_rng(3)
  rays = []
  for number in range(count):
    spans = []
    for _ in range(1 + number % 16):
      low = float(rng.uniform(0.3, 90))
      if spans and rng.uniform() < 0.3:
        low = spans[-1][1]  # touches the previous one
      spans.append((low, low + float(10.0 ** rng.uniform(-3, 1.5))))
    rays.append(spans)
  return rays


def _inside(t: np.ndarray, spans: Intervals) -> np.ndarray:
  """Return membership [R, S, K], one number at a time."""
  enter, leave, primitive = map(np.asarray, (spans.enter, spans.exit, spans.primitive))
  inside = np.zeros((*t.shape, enter.shape[-1]), bool)
  for ray, sample, k in np.ndindex(inside.shape):
    inside[ray, sample, k] = (
      primitive[ray, k] >= 0 and enter[ray, k] <= t[ray, sample] <= leave[ray, k]
    )
  return inside


@pytest.mark.parametrize('jittered', [False, True])
@pytest.mark.parametrize('padding', [np.inf, 200.0])
def test_sample_intervals_is_sorted_and_inside_the_intervals(jittered, padding):
  spans = _intervals([*_CASES.values(), *_random_rays(48)], padding=padding)
  t = np.asarray(_SAMPLE(spans, 33, 0.5, _KEY if jittered else None))
  assert t.shape == (48 + len(_CASES), 33)
  assert (np.diff(t, axis=-1) >= 0).all()
  np.testing.assert_array_equal(_inside(t, spans).any(axis=-1), True)


@pytest.mark.parametrize(
  'jittered, fraction', [(False, 0.5), (True, 0.5), (False, 1.0), (True, 0.2)]
)
def test_sample_intervals_divides_per_interval_fraction_evenly(jittered, fraction):
  rays = [*_CASES.values(), *_random_rays(48)]
  num_samples = 96
  t = np.asarray(_SAMPLE(_intervals(rays), num_samples, fraction, _KEY if jittered else None))
  for ray, spans in enumerate(rays):
    # The sample of a stratum that overlaps two intervals may lie in either.
    guaranteed = math.floor(fraction * num_samples / len(spans)) - (1 if jittered else 0)
    for low, high in spans:
      low, high = np.float32(low), np.float32(high)
      assert np.sum((t[ray] >= low) & (t[ray] <= high)) >= guaranteed


def test_sample_intervals_distributes_the_rest_by_log_length():
  spans = [(1.0, 3.0), (8.0, 35.0)]  # s from ln 2 to ln 4 and from ln 9 to ln 36: ln 2 and 2 ln 2
  t = np.asarray(_SAMPLE(_intervals([spans]), 3000, 0.4, None))[0]
  # 0.4 / 2 + 0.6 * 1/3 and 0.4 / 2 + 0.6 * 2/3
  assert abs(np.sum(t <= 3.0) - 0.4 * 3000) <= 1
  assert abs(np.sum(t >= 8.0) - 0.6 * 3000) <= 1


def test_sample_intervals_without_a_key_gives_centres_of_strata_in_log_distance():
  enter, leave, num_samples = 2.0, 60.0, 24
  t = np.asarray(_SAMPLE(_intervals([[(enter, leave)]]), num_samples, 0.5, None))[0]
  low, high = math.log(1 + enter), math.log(1 + leave)
  want = [math.exp(low + (i + 0.5) / num_samples * (high - low)) - 1 for i in range(num_samples)]
  np.testing.assert_allclose(t, want, rtol=1e-5)
  again = np.asarray(_SAMPLE(_intervals([[(enter, leave)]]), num_samples, 0.5, None))[0]
  np.testing.assert_array_equal(t, again)


def test_sample_intervals_jitters_uniformly_within_the_strata():
  enter, leave, num_samples = 2.0, 60.0, 8
  spans = _intervals([[(enter, leave)]] * 500)
  t = np.asarray(_SAMPLE(spans, num_samples, 0.5, _KEY))
  low, high = math.log(1 + enter), math.log(1 + leave)
  stratum = (np.log1p(t) - low) / (high - low) * num_samples - np.arange(num_samples)
  assert stratum.min() >= -1e-5 and stratum.max() <= 1 + 1e-5
  assert stratum.min() < 0.01 and stratum.max() > 0.99
  np.testing.assert_allclose(stratum.mean(axis=0), 0.5, atol=0.06)  # 4.6 standard errors
  np.testing.assert_array_equal(t, _SAMPLE(spans, num_samples, 0.5, _KEY))
  other = np.asarray(_SAMPLE(spans, num_samples, 0.5, jax.random.key(1)))
  assert (t != other).mean() > 0.99


def test_samples_of_rays_without_intervals_are_finite_and_unoccupied():
  spans = _intervals([[], [(1.0, 2.0)], []])
  for key in (None, _KEY):
    t = np.asarray(_SAMPLE(spans, 12, 0.5, key))
    samples = _ASSIGN(t, _inside(t, spans), spans)
    assert np.isfinite(t).all() and np.isfinite(samples.delta).all()
    assert not _inside(t, spans)[[0, 2]].any()
    np.testing.assert_array_equal(samples.delta[0], 0.0)
    np.testing.assert_array_equal(samples.delta[2], 0.0)


@pytest.mark.parametrize(
  'rays, t, want',
  [
    # Midpoint 3 within the interval from 2 to 7.
    ([(2.0, 7.0)], [2.5, 3.5], [1.0, 4.0]),
    # The gap is in no segment.
    ([(1.0, 2.0), (10.0, 14.0)], [1.25, 1.75, 11.0, 13.0], [0.5, 0.5, 2.0, 2.0]),
    # Midpoints 2 and 3.25 within the union from 1 to 5.
    ([(1.0, 3.0), (2.0, 5.0)], [1.5, 2.5, 4.0], [1.0, 1.25, 1.75]),
    # The inner interval has no effect: midpoints 3 and 5 within 1 to 9.
    ([(1.0, 9.0), (3.5, 4.5)], [2.0, 4.0, 6.0], [2.0, 2.0, 4.0]),
    # The sample at 5 lies in no interval.
    ([(1.0, 2.0), (10.0, 14.0)], [1.5, 5.0, 12.0], [1.0, 0.0, 4.0]),
    # Two samples at the same position divide the interval.
    ([(1.0, 2.0)], [1.5, 1.5], [0.5, 0.5]),
  ],
)
def test_assign_segments_by_hand(rays, t, want):
  spans = _intervals([rays])
  t = np.array([t], np.float32)
  samples = _ASSIGN(t, _inside(t, spans), spans)
  np.testing.assert_allclose(samples.delta[0], want, atol=1e-6)
  np.testing.assert_array_equal(samples.t, t)


@pytest.mark.parametrize('jittered', [False, True])
def test_segments_sum_to_the_length_of_the_union(jittered):
  rays = [*_CASES.values(), *_random_rays(32)]
  spans = _intervals(rays)
  t = np.asarray(_SAMPLE(spans, 256, 0.5, _KEY if jittered else None))
  samples = _ASSIGN(t, _inside(t, spans), spans)
  total = np.asarray(samples.delta).sum(axis=-1)
  step = 1e-3
  middles = np.arange(0, 160, step) + step / 2
  for ray, intervals in enumerate(rays):
    covered = np.zeros(middles.shape, bool)
    for low, high in intervals:
      covered |= (middles > low) & (middles < high)
    union = covered.sum() * step
    riemann = step * len(intervals)  # half a step at each end of each interval
    assert total[ray] <= union + riemann + 1e-3
    assert total[ray] >= 0.97 * union - riemann - 1e-3
    if len(intervals) == 1:
      low, high = np.float32(intervals[0])
      np.testing.assert_allclose(total[ray], high - low, rtol=1e-5, atol=1e-5)


def test_segments_contain_their_samples_and_are_contiguous_within_the_union():
  spans = _intervals([[(1.0, 3.0), (2.0, 5.0)]])
  samples = _ASSIGN(
    np.array([[1.5, 2.5, 4.0]], np.float32),
    _inside(np.array([[1.5, 2.5, 4.0]], np.float32), spans),
    spans,
  )
  np.testing.assert_allclose(samples.begin[0], [1.0, 2.0, 3.25], atol=1e-6)
  np.testing.assert_allclose(samples.end[0], [2.0, 3.25, 5.0], atol=1e-6)


@pytest.mark.parametrize(
  'weights, uniform_fraction, want',
  [
    # Segments 0-1, 1-2, 2-3, 3-4. The weight of the second is blurred to 0.5, 1, 0.5, of 2 in
    # total; then half of the samples are uniform.
    ([0.0, 1.0, 0.0, 0.0], 0.0, [0.25, 0.5, 0.25, 0.0]),
    ([0.0, 1.0, 0.0, 0.0], 0.5, [0.25, 0.375, 0.25, 0.125]),
    # No weight: all uniform. A weight of 0.2 at the far end: blurred to 0.1 and 0.2.
    ([0.0, 0.0, 0.0, 0.0], 0.3, [0.25, 0.25, 0.25, 0.25]),
    ([0.0, 0.0, 0.0, 0.2], 0.0, [0.175, 0.175, 0.275, 0.375]),
  ],
)
def test_resample_by_hand(weights, uniform_fraction, want):
  spans = _intervals([[(0.0, 4.0)]])
  t = np.array([[0.5, 1.5, 2.5, 3.5]], np.float32)
  coarse = _ASSIGN(t, _inside(t, spans), spans)
  weights = np.array([weights], np.float32)
  resampled = np.asarray(_RESAMPLE(coarse, weights, 4000, uniform_fraction, None))[0]
  assert (np.diff(resampled) >= 0).all()
  np.testing.assert_allclose(np.histogram(resampled, [0, 1, 2, 3, 4])[0] / 4000, want, atol=1e-3)
  # Uniform within a segment.
  inner = resampled[(resampled > 2) & (resampled < 3)]
  np.testing.assert_allclose(np.histogram(inner, 4, (2, 3))[0] / len(inner), 0.25, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize('jittered', [False, True])
def test_resample_is_sorted_and_inside_the_intervals(jittered):
  rays = [*_CASES.values(), *_random_rays(48), []]
  spans = _intervals(rays)
  key = _KEY if jittered else None
  t = np.asarray(_SAMPLE(spans, 24, 0.5, key))
  coarse = _ASSIGN(t, _inside(t, spans), spans)
  weights = np.random.default_rng(1).dirichlet(np.full(24, 0.2), len(rays)).astype(np.float32)
  resampled = np.asarray(_RESAMPLE(coarse, weights, 16, 0.3, key))
  assert np.isfinite(resampled).all() and (np.diff(resampled, axis=-1) >= 0).all()
  np.testing.assert_array_equal(_inside(resampled, spans).any(axis=-1)[:-1], True)
  np.testing.assert_array_equal(resampled[-1], 0.0)  # a ray without intervals
  other = np.asarray(_RESAMPLE(coarse, weights, 16, 0.3, jax.random.key(1)))
  assert np.mean(resampled[:-1] != other[:-1]) > 0.9
