"""Samples in the union of intervals against slow loops over samples, intervals and fine steps.

Letters: R rays, K intervals of a ray, S samples, s = log(1 + t).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import sampling

_PLACE = jax.jit(sampling.sample_intervals, static_argnums=1)
_DELTAS = jax.jit(sampling.assign_segments)
_REFINE = jax.jit(sampling.resample, static_argnums=2)
_KEY = jax.random.key(0)

# Lists of (enter, exit) of one ray.
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


def _table(rays, num_slots: int = 16, padding: float = np.inf) -> Intervals:
  """Intervals of rays given as lists of (enter, exit); slot j holds primitive j."""
  shape = (len(rays), num_slots)
  enter, leave = np.full(shape, padding, np.float32), np.full(shape, padding, np.float32)
  primitive = np.full(shape, -1, np.int32)
  for ray, spans in enumerate(rays):
    for slot, (low, high) in enumerate(sorted(spans)):
      enter[ray, slot], leave[ray, slot], primitive[ray, slot] = low, high, slot
  return Intervals(
    enter=jnp.asarray(enter),
    exit=jnp.asarray(leave),
    primitive=jnp.asarray(primitive),
    num_truncated=jnp.zeros(shape[0], jnp.int32),
  )


def _random_rays(count: int):
  """Rays with 1 to 16 intervals that overlap, nest, touch or leave gaps."""
  rng = np.random.default_rng(3)
  rays = []
  for number in range(count):
    spans = []
    for _ in range(1 + number % 16):
      low = float(rng.uniform(0.3, 90))
      if spans and rng.uniform() < 0.3:
        low = spans[-1][1]  # touching the one before
      spans.append((low, low + float(10.0 ** rng.uniform(-3, 1.5))))
    rays.append(spans)
  return rays


def _inside(t: np.ndarray, spans: Intervals) -> np.ndarray:
  """[R, S, K], one number at a time."""
  enter, leave, primitive = map(np.asarray, (spans.enter, spans.exit, spans.primitive))
  inside = np.zeros((*t.shape, enter.shape[-1]), bool)
  for ray, sample, slot in np.ndindex(inside.shape):
    inside[ray, sample, slot] = (
      primitive[ray, slot] >= 0 and enter[ray, slot] <= t[ray, sample] <= leave[ray, slot]
    )
  return inside


@pytest.mark.parametrize('jittered', [False, True])
@pytest.mark.parametrize('padding', [np.inf, 200.0])
def test_every_sample_lies_in_an_interval_and_they_are_sorted(jittered, padding):
  spans = _table([*_CASES.values(), *_random_rays(48)], padding=padding)
  t = np.asarray(_PLACE(spans, 33, 0.5, _KEY if jittered else None))
  assert t.shape == (48 + len(_CASES), 33)
  assert (np.diff(t, axis=-1) >= 0).all()
  np.testing.assert_array_equal(_inside(t, spans).any(axis=-1), True)


@pytest.mark.parametrize('jittered, share', [(False, 0.5), (True, 0.5), (False, 1.0), (True, 0.2)])
def test_every_interval_gets_its_guaranteed_share(jittered, share):
  rays = [*_CASES.values(), *_random_rays(48)]
  num_samples = 96
  t = np.asarray(_PLACE(_table(rays), num_samples, share, _KEY if jittered else None))
  for ray, spans in enumerate(rays):
    # A stratum that straddles two intervals may fall to either.
    guaranteed = math.floor(share * num_samples / len(spans)) - (1 if jittered else 0)
    for low, high in spans:
      low, high = np.float32(low), np.float32(high)
      assert np.sum((t[ray] >= low) & (t[ray] <= high)) >= guaranteed


def test_the_rest_of_the_samples_goes_by_log_length():
  spans = [(1.0, 3.0), (8.0, 35.0)]  # s from ln 2 to ln 4 and from ln 9 to ln 36: ln 2 and 2 ln 2
  share = 0.4
  t = np.asarray(_PLACE(_table([spans]), 3000, share, None))[0]
  # 0.4 / 2 + 0.6 * 1/3 and 0.4 / 2 + 0.6 * 2/3
  assert abs(np.sum(t <= 3.0) - 0.4 * 3000) <= 1
  assert abs(np.sum(t >= 8.0) - 0.6 * 3000) <= 1


def test_without_a_key_samples_are_the_middles_of_strata_even_in_log_distance():
  enter, leave, num_samples = 2.0, 60.0, 24
  t = np.asarray(_PLACE(_table([[(enter, leave)]]), num_samples, 0.5, None))[0]
  low, high = math.log(1 + enter), math.log(1 + leave)
  want = [math.exp(low + (i + 0.5) / num_samples * (high - low)) - 1 for i in range(num_samples)]
  np.testing.assert_allclose(t, want, rtol=1e-5)
  again = np.asarray(_PLACE(_table([[(enter, leave)]]), num_samples, 0.5, None))[0]
  np.testing.assert_array_equal(t, again)


def test_jitter_keeps_samples_in_their_strata_fills_these_and_changes_with_the_key():
  enter, leave, num_samples = 2.0, 60.0, 8
  spans = _table([[(enter, leave)]] * 500)
  t = np.asarray(_PLACE(spans, num_samples, 0.5, _KEY))
  low, high = math.log(1 + enter), math.log(1 + leave)
  stratum = (np.log1p(t) - low) / (high - low) * num_samples - np.arange(num_samples)
  assert stratum.min() >= -1e-5 and stratum.max() <= 1 + 1e-5
  assert stratum.min() < 0.01 and stratum.max() > 0.99
  np.testing.assert_allclose(stratum.mean(axis=0), 0.5, atol=0.06)  # 4.6 standard errors
  np.testing.assert_array_equal(t, _PLACE(spans, num_samples, 0.5, _KEY))
  other = np.asarray(_PLACE(spans, num_samples, 0.5, jax.random.key(1)))
  assert (t != other).mean() > 0.99


def test_rays_without_intervals_have_no_occupied_sample_and_stay_finite():
  spans = _table([[], [(1.0, 2.0)], []])
  for key in (None, _KEY):
    t = np.asarray(_PLACE(spans, 12, 0.5, key))
    samples = _DELTAS(t, _inside(t, spans), spans)
    assert np.isfinite(t).all() and np.isfinite(samples.delta).all()
    assert not _inside(t, spans)[[0, 2]].any()
    np.testing.assert_array_equal(samples.delta[0], 0.0)
    np.testing.assert_array_equal(samples.delta[2], 0.0)


@pytest.mark.parametrize(
  'rays, t, want',
  [
    # The middle between the samples is 3; the interval ends at 2 and 7.
    ([(2.0, 7.0)], [2.5, 3.5], [1.0, 4.0]),
    # A gap belongs to no sample.
    ([(1.0, 2.0), (10.0, 14.0)], [1.25, 1.75, 11.0, 13.0], [0.5, 0.5, 2.0, 2.0]),
    # Middles 2 and 3.25 within the union from 1 to 5.
    ([(1.0, 3.0), (2.0, 5.0)], [1.5, 2.5, 4.0], [1.0, 1.25, 1.75]),
    # The inner interval changes nothing: middles 3 and 5 within 1 to 9.
    ([(1.0, 9.0), (3.5, 4.5)], [2.0, 4.0, 6.0], [2.0, 2.0, 4.0]),
    # The sample at 5 lies in no interval.
    ([(1.0, 2.0), (10.0, 14.0)], [1.5, 5.0, 12.0], [1.0, 0.0, 4.0]),
    # Two samples at the same place share what is there.
    ([(1.0, 2.0)], [1.5, 1.5], [0.5, 0.5]),
  ],
)
def test_deltas_by_hand(rays, t, want):
  spans = _table([rays])
  t = np.array([t], np.float32)
  samples = _DELTAS(t, _inside(t, spans), spans)
  np.testing.assert_allclose(samples.delta[0], want, atol=1e-6)
  np.testing.assert_array_equal(samples.t, t)


@pytest.mark.parametrize('jittered', [False, True])
def test_deltas_sum_to_the_length_of_the_union(jittered):
  rays = [*_CASES.values(), *_random_rays(32)]
  spans = _table(rays)
  t = np.asarray(_PLACE(spans, 256, 0.5, _KEY if jittered else None))
  samples = _DELTAS(t, _inside(t, spans), spans)
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


def test_parts_lie_around_their_samples_and_touch_where_the_union_goes_on():
  spans = _table([[(1.0, 3.0), (2.0, 5.0)]])
  samples = _DELTAS(
    np.array([[1.5, 2.5, 4.0]], np.float32),
    _inside(np.array([[1.5, 2.5, 4.0]], np.float32), spans),
    spans,
  )
  np.testing.assert_allclose(samples.begin[0], [1.0, 2.0, 3.25], atol=1e-6)
  np.testing.assert_allclose(samples.end[0], [2.0, 3.25, 5.0], atol=1e-6)


@pytest.mark.parametrize(
  'weights, blind, want',
  [
    # Parts 0-1, 1-2, 2-3, 3-4; the second is seen, so its neighbours get half of it:
    # 0.5 + 1 + 0.5 of 2. Half of the samples are dealt evenly.
    ([0.0, 1.0, 0.0, 0.0], 0.0, [0.25, 0.5, 0.25, 0.0]),
    ([0.0, 1.0, 0.0, 0.0], 0.5, [0.25, 0.375, 0.25, 0.125]),
    # Nothing is seen: all evenly. A fifth is seen, at the far end: 0.1 and 0.2 of the samples.
    ([0.0, 0.0, 0.0, 0.0], 0.3, [0.25, 0.25, 0.25, 0.25]),
    ([0.0, 0.0, 0.0, 0.2], 0.0, [0.175, 0.175, 0.275, 0.375]),
  ],
)
def test_refined_samples_by_hand(weights, blind, want):
  spans = _table([[(0.0, 4.0)]])
  t = np.array([[0.5, 1.5, 2.5, 3.5]], np.float32)
  first = _DELTAS(t, _inside(t, spans), spans)
  refined = np.asarray(_REFINE(first, np.array([weights], np.float32), 4000, blind, None))[0]
  assert (np.diff(refined) >= 0).all()
  np.testing.assert_allclose(np.histogram(refined, [0, 1, 2, 3, 4])[0] / 4000, want, atol=1e-3)
  # Within its part a sample may be anywhere.
  inner = refined[(refined > 2) & (refined < 3)]
  np.testing.assert_allclose(np.histogram(inner, 4, (2, 3))[0] / len(inner), 0.25, atol=0.01)


@pytest.mark.parametrize('jittered', [False, True])
def test_refined_samples_lie_in_the_union_sorted_and_change_with_the_key(jittered):
  rays = [*_CASES.values(), *_random_rays(48), []]
  spans = _table(rays)
  key = _KEY if jittered else None
  t = np.asarray(_PLACE(spans, 24, 0.5, key))
  first = _DELTAS(t, _inside(t, spans), spans)
  weights = np.random.default_rng(1).dirichlet(np.full(24, 0.2), len(rays)).astype(np.float32)
  refined = np.asarray(_REFINE(first, weights, 16, 0.3, key))
  assert np.isfinite(refined).all() and (np.diff(refined, axis=-1) >= 0).all()
  np.testing.assert_array_equal(_inside(refined, spans).any(axis=-1)[:-1], True)
  np.testing.assert_array_equal(refined[-1], 0.0)  # a ray without intervals
  other = np.asarray(_REFINE(first, weights, 16, 0.3, jax.random.key(1)))
  assert np.mean(refined[:-1] != other[:-1]) > 0.9
