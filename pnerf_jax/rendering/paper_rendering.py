"""Sampling and volume rendering of the paper's program, for the config's `loss.form` of the paper.

It differs from `rays.py`: sample positions are equidistant in every interval, with two samples just
outside of it, where the density is forced to zero; the sky is sampled beyond the far bound instead
of taking the remaining transmittance; segments reach from sample to sample, in planar depth; all 50
channels of the network are rendered.

Letters: S samples of a ray, K intervals (slots) of a ray, C = 50 channels, indexed by label id.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, and the authors' released program.
"""

import dataclasses

import jax
import jax.numpy as jnp

from pnerf_jax.data import labels
from pnerf_jax.fields.field import Field
from pnerf_jax.fields.paper_field import NUM_CHANNELS
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import compositing
from pnerf_jax.rendering.rays import points_on_rays

_PER_INTERVAL = 10  # equidistant positions in each slot, before the resampling
_OUTSIDE = 1e-5  # metres from an entry or exit to the samples that delimit the interval
_EDGE = 1e-3  # metres outside of an entry or exit without density
_SKY_DEPTH = 20.0  # metres beyond the far bound in which the sky is sampled
_LAST_SEGMENT = 1e10  # planar metres


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperOptions:
  """Rendering options of the paper's program, static under jit.

  Attributes:
    num_samples: S, more than 2 K.
    far: far bound, metres along the ray.
  """

  num_samples: int
  far: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperSamples:
  """Samples of rays, sorted along each ray.

  Attributes:
    t: [..., S] metres along the ray.
    depth: [..., S] planar metres.
    inside: [..., S, K] bool, sample lies strictly within slot k.
    is_void: [..., S] bool, in no primitive and nearer than the far bound.
    is_sky: [..., S] bool, in no primitive and beyond the far bound.
    is_empty: [..., S] bool, the density is forced to zero.
  """

  t: jax.Array
  depth: jax.Array
  inside: jax.Array
  is_void: jax.Array
  is_sky: jax.Array
  is_empty: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperRendered:
  """Rendered rays with their samples.

  Attributes:
    rgb: [..., 3] in [0, 1].
    depth: [...] planar metres, sum of the weighted sample depths, sky included.
    weights: [..., S].
    logits: [..., S, C] of the learned field.
    samples: [..., S].
  """

  rgb: jax.Array
  depth: jax.Array
  weights: jax.Array
  logits: jax.Array
  samples: PaperSamples


def render_rays(
  field: Field,
  rays: Rays,
  intervals: Intervals,
  options: PaperOptions,
  *,
  key: jax.Array | None,
) -> PaperRendered:
  """Render rays as the paper's program does, in training and at inference.

  Args:
    field: the paper's field with all C channels, its parameters bound.
    rays: [...].
    intervals: [..., K].
    options: static options.
    key: draws the samples in the sky; None = equidistant ones.
  """
  t = jax.lax.stop_gradient(place_samples(intervals, options, key))
  samples = locate_samples(t, t * rays.depth_per_t[..., None], intervals, options.far)
  return render_samples(field, rays, points_on_rays(rays, t), samples)


def render_samples(
  field: Field, rays: Rays, points: jax.Array, samples: PaperSamples
) -> PaperRendered:
  """Evaluate the field at the points [..., S, 3] of samples, and composite them."""
  out = field(points, rays.directions, rays.image)
  weights = composite_weights(jnp.where(samples.is_empty, 0.0, out.sigma), samples.depth)
  return PaperRendered(
    rgb=compositing.integrate(weights, out.rgb),
    depth=jnp.sum(weights * samples.depth, axis=-1),
    weights=weights,
    logits=out.semantic_logits,
    samples=samples,
  )


def place_samples(intervals: Intervals, options: PaperOptions, key: jax.Array | None) -> jax.Array:
  """Place samples in and around the intervals, and in the sky.

  Ten equidistant positions per slot, from entry to exit, are resampled at S - 2 K equidistant
  quantiles of a distribution that is uniform over their gaps; the two positions just outside of
  each interval are added. Unused slots lie at -1 m; every negative position moves into the sky.

  Args:
    intervals: [..., K].
    options: static options.
    key: draws the samples in the sky; None = equidistant ones, so that no ray depends on others.

  Returns:
    [..., S] metres along the ray, sorted.
  """
  enter, leave = _slot_ends(intervals)
  num_slots = enter.shape[-1]
  num_resampled = options.num_samples - 2 * num_slots
  fraction = jnp.linspace(0.0, 1.0, _PER_INTERVAL)
  grid = enter[..., None] * (1.0 - fraction) + leave[..., None] * fraction
  grid = jnp.sort(grid.reshape(*enter.shape[:-1], num_slots * _PER_INTERVAL), axis=-1)
  position = jnp.linspace(0.0, grid.shape[-1] - 1.0, num_resampled)
  below = jnp.minimum(position.astype(jnp.int32), grid.shape[-1] - 2)
  t = grid[..., below] + (position - below) * (grid[..., below + 1] - grid[..., below])
  t = jnp.concatenate([t, enter - _OUTSIDE, leave + _OUTSIDE], axis=-1)
  centers = (jnp.arange(t.shape[-1]) + 0.5) / t.shape[-1]
  fraction = centers if key is None else jax.random.uniform(key, t.shape)
  return jnp.sort(jnp.where(t < 0.0, options.far + _SKY_DEPTH * fraction, t), axis=-1)


def locate_samples(
  t: jax.Array, depth: jax.Array, intervals: Intervals, far: float | jax.Array
) -> PaperSamples:
  """Look up which slots contain samples and where the density is forced to zero.

  Args:
    t: [..., S] metres along the ray, sorted.
    depth: [..., S] planar metres of the same samples.
    intervals: [..., K].
    far: far bound, metres along the ray.
  """
  enter, leave = (end[..., None, :] for end in _slot_ends(intervals))
  before, after = enter - t[..., None], t[..., None] - leave
  inside = (before < 0.0) & (after < 0.0)
  # Outside of one primitive by less than `_EDGE`, even if inside another.
  edge = ((before > 0.0) & (before < _EDGE)) | ((after > 0.0) & (after < _EDGE))
  outside = ~jnp.any(inside, axis=-1)
  is_void = outside & (t < far)
  return PaperSamples(
    t=t,
    depth=depth,
    inside=inside,
    is_void=is_void,
    is_sky=outside & (t > far),
    is_empty=is_void | jnp.any(edge, axis=-1),
  )


def _slot_ends(intervals: Intervals) -> tuple[jax.Array, jax.Array]:
  """Return entries and exits [..., K] in metres, -1 in unused slots."""
  used = intervals.primitive >= 0
  return jnp.where(used, intervals.enter, -1.0), jnp.where(used, intervals.exit, -1.0)


@jax.named_scope('composite')
def composite_weights(sigma: jax.Array, depth: jax.Array) -> jax.Array:
  """Return the weights of samples; segments are left-hand differences of depth, the last is 1e10.

  Args:
    sigma: [..., S] density, 1/m, >= 0.
    depth: [..., S] planar metres, sorted.

  Returns:
    [..., S]; they sum to less than 1 only where the last sample has no density.
  """
  last = jnp.full_like(depth[..., :1], _LAST_SEGMENT)
  delta = jnp.concatenate([jnp.diff(depth, axis=-1), last], axis=-1)
  alpha = 1.0 - jnp.exp(-sigma * delta)
  factors = jnp.concatenate([jnp.ones_like(last), 1.0 - alpha[..., :-1] + 1e-10], axis=-1)
  return alpha * jnp.cumprod(factors, axis=-1)


def multi_hot(samples: PaperSamples, class_id: jax.Array) -> jax.Array:
  """Return the fixed semantic field: 1 for the class of every slot that contains a sample.

  Args:
    samples: [..., S].
    class_id: [..., K] int32, label ids of the slots, -1 for unused ones.

  Returns:
    [..., S, C] float32; void or sky for a sample in no slot.
  """
  one_hot = jax.nn.one_hot(class_id, NUM_CHANNELS)
  votes = jnp.einsum(
    '...sk,...kc->...sc', samples.inside.astype(jnp.float32), one_hot, precision='highest'
  )
  outside = lambda mask, label: mask[..., None] & (jnp.arange(NUM_CHANNELS) == label)
  hot = (votes > 0.0) | outside(samples.is_void, labels.VOID) | outside(samples.is_sky, labels.SKY)
  return hot.astype(jnp.float32)
