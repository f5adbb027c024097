"""Sample positions: stratified within the primitives of a ray, then resampled by coarse weights.

Letters: S samples of a ray, P coarse samples, K intervals of a ray, N bins of a distribution,
t distance in metres, s = log(1 + t).

References:
  Fu et al., Panoptic NeRF, 3DV 2022, section 3.4 (sampling guided by primitives).
  Mildenhall et al., NeRF, ECCV 2020, section 5.2 (hierarchical sampling).
  Barron et al., Mip-NeRF, ICCV 2021, equation 18 (blurred coarse weights).
  Barron et al., Mip-NeRF 360, CVPR 2022 (density-only coarse pass, contracted distance).
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.geometry.intervals import Intervals


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Samples:
  """Samples of rays, sorted along each ray.

  Attributes:
    t: [..., S] metres.
    begin: [..., S] start of the segment of each sample, metres.
    end: [..., S] end of the segment; equals `begin` outside all primitives.
  """

  t: jax.Array
  begin: jax.Array
  end: jax.Array

  @property
  def delta(self) -> jax.Array:
    """Return the lengths of the segments, [..., S] metres."""
    return self.end - self.begin


def sample_intervals(
  intervals: Intervals, num_samples: int, per_interval_fraction: float, key: jax.Array | None
) -> jax.Array:
  """Draw stratified samples from the union of the intervals.

  A fixed fraction of the samples is divided evenly among the intervals, so that thin primitives are
  never missed; the rest is distributed by their length in s, which favours near primitives.

  Args:
    intervals: [..., K]; unused ones have primitive -1.
    num_samples: S.
    per_interval_fraction: fraction of the samples that is divided evenly, in [0, 1].
    key: jitters the samples within their strata; None = centres of the strata.

  Returns:
    t: [..., S] metres, sorted; 0 for a ray without intervals.
  """
  used = intervals.primitive >= 0
  enter, leave = (jnp.where(used, t, 0.0) for t in (intervals.enter, intervals.exit))
  start = jnp.log1p(enter)
  length = jnp.log1p(leave) - start
  total = jnp.sum(length, axis=-1, keepdims=True)
  count = jnp.sum(used, axis=-1, keepdims=True)
  by_length = length / jnp.where(total > 0, total, 1.0)
  even = per_interval_fraction * used / jnp.maximum(count, 1)
  mass = even + (1.0 - per_interval_fraction) * by_length
  # The mass is below 1 if all intervals of a ray have length 0 in float32.
  mass = mass / jnp.maximum(jnp.sum(mass, axis=-1, keepdims=True), 1e-6)
  index, frac = _stratified_inverse_cdf(mass, num_samples, key)
  take = lambda x: jnp.take_along_axis(x, index, axis=-1)
  t = jnp.expm1(take(start) + frac * take(length))
  # Rounding in expm1(log1p(t)) may leave the interval.
  return jnp.sort(jnp.clip(t, take(enter), take(leave)), axis=-1)


def _stratified_inverse_cdf(
  mass: jax.Array, num_samples: int, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Draw stratified samples from a histogram.

  Args:
    mass: [..., N], sums to 1 or is 0 everywhere.
    num_samples: S.
    key: jitters the samples within their strata; None = centres of the strata.

  Returns:
    The bins [..., S] of the samples and the positions [..., S] within them, in [0, 1].
  """
  upper = jnp.cumsum(mass, axis=-1)
  shape = (*mass.shape[:-1], num_samples)
  offset = jnp.full(shape, 0.5) if key is None else jax.random.uniform(key, shape)
  u = (jnp.arange(num_samples) + offset) / num_samples
  u = u * upper[..., -1:] * (1.0 - 1e-6)
  index = jnp.sum(u[..., None] >= upper[..., None, :], axis=-1)
  index = jnp.minimum(index, mass.shape[-1] - 1)
  take = lambda x: jnp.take_along_axis(x, index, axis=-1)
  frac = 1.0 - (take(upper) - u) / jnp.maximum(take(mass), 1e-12)
  return index, jnp.clip(frac, 0.0, 1.0)


def resample(
  coarse: Samples,
  weights: jax.Array,
  num_samples: int,
  uniform_fraction: float,
  key: jax.Array | None,
) -> jax.Array:
  """Draw stratified samples by the blurred weights of coarse samples (hierarchical sampling).

  Args:
    coarse: [..., P].
    weights: [..., P] of the coarse samples.
    num_samples: S.
    uniform_fraction: fraction of the samples that is divided evenly among the coarse segments. The
      remaining transmittance is added to it: where no surface was found, one may be anywhere.
    key: jitters the samples within their strata; None = centres of the strata.

  Returns:
    t: [..., S] metres, sorted; 0 for a ray without intervals.
  """
  occupied = coarse.delta > 0
  # Blur: a surface may lie in the segment next to the coarse sample that detected it.
  padded = jnp.concatenate([weights[..., :1], weights, weights[..., -1:]], axis=-1)
  larger = jnp.maximum(padded[..., 1:], padded[..., :-1])
  blurred = jnp.where(occupied, 0.5 * (larger[..., 1:] + larger[..., :-1]), 0.0)
  blurred = blurred / jnp.maximum(jnp.sum(blurred, axis=-1, keepdims=True), 1.0)
  uniform = occupied / jnp.maximum(jnp.sum(occupied, axis=-1, keepdims=True), 1)
  weighted = (1.0 - uniform_fraction) * blurred
  mass = weighted + (1.0 - jnp.sum(weighted, axis=-1, keepdims=True)) * uniform
  index, frac = _stratified_inverse_cdf(mass, num_samples, key)
  take = lambda x: jnp.take_along_axis(x, index, axis=-1)
  t = jnp.minimum(take(coarse.begin) + frac * take(coarse.delta), take(coarse.end))
  return jnp.sort(jnp.where(jnp.any(occupied, axis=-1, keepdims=True), t, 0.0), axis=-1)


def assign_segments(t: jax.Array, inside: jax.Array, intervals: Intervals) -> Samples:
  """Divide the union of the intervals into one segment per sample.

  A segment ends halfway to the neighbouring sample or at the end of the intervals that contain its
  sample; in the latter case the neighbour's segment is extended beyond the midpoint.

  Args:
    t: [..., S] metres, sorted.
    inside: [..., S, K] bool, membership of the samples.
    intervals: [..., K].
  """
  begin = jnp.min(jnp.where(inside, intervals.enter[..., None, :], jnp.inf), axis=-1)
  end = jnp.max(jnp.where(inside, intervals.exit[..., None, :], -jnp.inf), axis=-1)
  middle = 0.5 * (t[..., 1:] + t[..., :-1])
  left, right = end[..., :-1], begin[..., 1:]
  border = jnp.where(left < middle, left, jnp.where(right > middle, right, middle))
  edge = jnp.full((*t.shape[:-1], 1), jnp.inf)
  lower = jnp.maximum(jnp.concatenate([-edge, border], axis=-1), begin)
  upper = jnp.minimum(jnp.concatenate([border, edge], axis=-1), end)
  occupied = jnp.any(inside, axis=-1)
  return Samples(
    t=t,
    begin=jnp.where(occupied, lower, t),
    end=jnp.where(occupied, jnp.maximum(upper, lower), t),
  )
