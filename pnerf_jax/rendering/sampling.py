"""Samples along rays: in the union of the ray's primitive intervals, then where density was found.

Letters: S samples, P samples of a first look, K intervals of a ray, t metres along the unit
direction, s = log(1 + t).
Sources: Fu et al., Panoptic NeRF, section 3.4 (sampling guided by the primitives); Mildenhall et
al., NeRF, 2020, section 5.2 (hierarchical sampling); Barron et al., Mip-NeRF, 2021, equation 18
(weights spread over neighbours).
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.geometry.intervals import Intervals


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Samples:
  """Samples of rays, sorted along each ray.

  t: [..., S] metres.
  begin, end: [..., S] metres, the part of the primitives' union that each sample stands for; they
    are equal where it lies outside.
  """

  t: jax.Array
  begin: jax.Array
  end: jax.Array

  @property
  def delta(self) -> jax.Array:
    """Length of the samples' parts, [..., S] metres."""
    return self.end - self.begin


def sample_intervals(
  intervals: Intervals, num_samples: int, share: float, key: jax.Array | None
) -> jax.Array:
  """Distances of S samples in the union of the intervals, sorted.

  Every interval is given a guaranteed part of the samples, the rest goes by length in s, so that
  near things are sampled more finely and a thin pole behind a long hedge is never missed.

  Args:
    intervals: [..., K]; unused slots have primitive -1.
    num_samples: S.
    share: part of the samples that is dealt to the intervals evenly, in [0, 1].
    key: jitters the samples within their strata; None puts each in its stratum's middle.

  Returns:
    t: [..., S] metres. For a ray without intervals they are 0 and lie in no interval.
  """
  used = intervals.primitive >= 0
  enter = jnp.log1p(jnp.where(used, intervals.enter, 0.0))
  length = jnp.log1p(jnp.where(used, intervals.exit, 0.0)) - enter
  total = jnp.sum(length, axis=-1, keepdims=True)
  count = jnp.sum(used, axis=-1, keepdims=True)
  by_length = length / jnp.where(total > 0, total, 1.0)
  mass = share * used / jnp.maximum(count, 1) + (1.0 - share) * by_length
  # A ray whose intervals are all too short to measure is sampled by the even part alone.
  mass = mass / jnp.maximum(jnp.sum(mass, axis=-1, keepdims=True), 1e-6)
  slot, frac = _stratified_inverse_cdf(mass, num_samples, key)
  take = lambda x: jnp.take_along_axis(x, slot, axis=-1)
  t = jnp.expm1(take(enter) + frac * take(length))
  # expm1(log1p) may leave the interval by a rounding; the lookup must find the sample inside.
  t = jnp.clip(
    t, take(jnp.where(used, intervals.enter, 0.0)), take(jnp.where(used, intervals.exit, 0.0))
  )
  return jnp.sort(t, axis=-1)


def _stratified_inverse_cdf(
  mass: jax.Array, num_samples: int, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Where S equal strata of a mass [..., N] lie: which of the N, and how far into it, in [0, 1].

  Args:
    mass: sums to 1, or is 0 everywhere.
    num_samples: S.
    key: jitters within the strata; None takes their middles.
  """
  upper = jnp.cumsum(mass, axis=-1)
  shape = (*mass.shape[:-1], num_samples)
  offset = jnp.full(shape, 0.5) if key is None else jax.random.uniform(key, shape)
  u = (jnp.arange(num_samples) + offset) / num_samples
  u = u * upper[..., -1:] * (1.0 - 1e-6)
  slot = jnp.sum(u[..., None] >= upper[..., None, :], axis=-1)
  slot = jnp.minimum(slot, mass.shape[-1] - 1)
  take = lambda x: jnp.take_along_axis(x, slot, axis=-1)
  frac = 1.0 - (take(upper) - u) / jnp.maximum(take(mass), 1e-12)
  return slot, jnp.clip(frac, 0.0, 1.0)


def resample(
  first: Samples, weights: jax.Array, num_samples: int, blind: float, key: jax.Array | None
) -> jax.Array:
  """Distances of S samples, most of them where a first look found what can be seen, sorted.

  Args:
    first: [..., P] samples of the first look, as `place` deals them.
    weights: [..., P] of theirs.
    num_samples: S.
    blind: part of the samples that is dealt evenly to the first ones' parts, so as `place` would;
      what weight misses to 1 joins it, for where nothing was found anything may be.
    key: jitters the samples within their strata; None puts each in its stratum's middle.

  Returns:
    t: [..., S] metres. For a ray without intervals they are 0.
  """
  live = first.delta > 0
  # A surface that a sample missed by little is looked for in the neighbours' parts, too.
  padded = jnp.concatenate([weights[..., :1], weights, weights[..., -1:]], axis=-1)
  larger = jnp.maximum(padded[..., 1:], padded[..., :-1])
  seen = jnp.where(live, 0.5 * (larger[..., 1:] + larger[..., :-1]), 0.0)
  seen = seen / jnp.maximum(jnp.sum(seen, axis=-1, keepdims=True), 1.0)
  even = live / jnp.maximum(jnp.sum(live, axis=-1, keepdims=True), 1)
  found = (1.0 - blind) * seen
  slot, frac = _stratified_inverse_cdf(
    found + (1.0 - jnp.sum(found, axis=-1, keepdims=True)) * even, num_samples, key
  )
  take = lambda x: jnp.take_along_axis(x, slot, axis=-1)
  t = jnp.minimum(take(first.begin) + frac * take(first.delta), take(first.end))
  return jnp.sort(jnp.where(jnp.any(live, axis=-1, keepdims=True), t, 0.0), axis=-1)


def assign_segments(t: jax.Array, inside: jax.Array, intervals: Intervals) -> Samples:
  """Gives each sample the part of the union that is nearer to it than to its neighbours.

  A sample's part ends halfway to its neighbours, or where the intervals that contain it end;
  what the one cannot reach is the other's.

  Args:
    t: [..., S] sorted.
    inside: [..., S, K] membership of the samples.
    intervals: [..., K].
  """
  begin = jnp.min(jnp.where(inside, intervals.enter[..., None, :], jnp.inf), axis=-1)
  end = jnp.max(jnp.where(inside, intervals.exit[..., None, :], -jnp.inf), axis=-1)
  middle = 0.5 * (t[..., 1:] + t[..., :-1])
  # Where one sample's intervals end before the middle, the other may reach back beyond it.
  left, right = end[..., :-1], begin[..., 1:]
  middle = jnp.where(left < middle, left, jnp.where(right > middle, right, middle))
  edge = jnp.full((*t.shape[:-1], 1), jnp.inf)
  lower = jnp.maximum(jnp.concatenate([-edge, middle], axis=-1), begin)
  upper = jnp.minimum(jnp.concatenate([middle, edge], axis=-1), end)
  occupied = jnp.any(inside, axis=-1)
  return Samples(
    t, jnp.where(occupied, lower, t), jnp.where(occupied, jnp.maximum(upper, lower), t)
  )
