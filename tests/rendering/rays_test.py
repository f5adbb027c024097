"""Rendered rays against closed forms of analytic fields and slow loops.

The C classes are road, sidewalk, building, sky; primitive m < 3 is of class m, primitive 3 is void.

Letters: R rays, C classes.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import FieldOutput
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import rays as rays_lib

_CLASS_IDS = (7, 8, 11, 23)
_TABLE = fixed.make_class_table(np.array([7, 8, 11, 0]), _CLASS_IDS, 23)
_SKY_RGB = (0.25, 0.5, 0.75)
_DENSE = rays_lib.RenderOptions(
  num_samples=256,
  num_coarse_samples=0,
  uniform_fraction=0.0,
  per_interval_fraction=0.5,
  mask_semantics=True,
)
_SPARSE = dataclasses.replace(_DENSE, num_samples=24)
_HIERARCHICAL = dataclasses.replace(_SPARSE, num_coarse_samples=24, uniform_fraction=0.3)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Fog:
  """Field of one density and one logit vector per ray, with the point as its colour."""

  sigma: jax.Array  # [R]
  logits: jax.Array  # [R, C]

  def __call__(self, points, directions, image):
    del directions, image
    lead = points.shape[:-1]
    return FieldOutput(
      sigma=jnp.broadcast_to(self.sigma[:, None], lead),
      rgb=points / 100.0,
      semantic_logits=jnp.broadcast_to(self.logits[:, None], (*lead, self.logits.shape[-1])),
    )

  def sky(self, origins, directions, image):
    del directions, image
    return jnp.broadcast_to(jnp.array(_SKY_RGB), origins.shape)


class _Waves(_Fog):
  """Fog with density and logits that vary along z."""

  def __call__(self, points, directions, image):
    wave = jnp.sin(3.0 * points[..., 2:] + jnp.arange(4.0))
    out = super().__call__(points, directions, image)
    return FieldOutput(out.sigma * (1.5 + wave[..., 0]), out.rgb, out.semantic_logits + 3.0 * wave)


jax.tree_util.register_dataclass(_Waves, ['sigma', 'logits'], [])


def _fog(sigma, logits=(0.0, 0.0, 0.0, 0.0), kind=_Fog):
  sigma = jnp.asarray(sigma, jnp.float32)
  return kind(sigma, jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (*sigma.shape, 4)))


def _intervals(spans, num_intervals: int = 4) -> Intervals:
  """Build intervals from a list of (enter, exit, primitive) for each ray."""
  enter = np.full((len(spans), num_intervals), np.inf, np.float32)
  leave, primitive = enter.copy(), np.full(enter.shape, -1, np.int32)
  for ray, ray_spans in enumerate(spans):
    for k, (low, high, index) in enumerate(sorted(ray_spans)):
      enter[ray, k], leave[ray, k], primitive[ray, k] = low, high, index
  return Intervals(
    enter=jnp.asarray(enter),
    exit=jnp.asarray(leave),
    primitive=jnp.asarray(primitive),
    num_truncated=jnp.zeros(len(spans), jnp.int32),
  )


@functools.partial(jax.jit, static_argnames='options')
def _render_jit(field, rays, intervals, options, key):
  return rays_lib.render_rays(field, rays, intervals, _TABLE, options, key=key)


def _render(field, spans, options=_DENSE, key=None):
  """Render rays along z from (1, 2, 0)."""
  count = len(spans)
  rays = Rays(
    origins=jnp.broadcast_to(jnp.array([1.0, 2.0, 0.0]), (count, 3)),
    directions=jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (count, 3)),
    depth_per_t=jnp.ones(count),
    image=jnp.zeros(count, jnp.int32),
  )
  return _render_jit(field, rays, _intervals(spans), options, key)


def _render_numpy(*args) -> rays_lib.Rendered:
  return jax.device_get(_render(*args))


@pytest.mark.slow
@pytest.mark.parametrize('key', [None, jax.random.key(0)])
def test_slab_agrees_with_the_closed_form(key):
  sigma = np.array([0.01, 0.1, 0.5, 2.0])
  near, far = 3.0, 8.0
  length = far - near
  out = _render_numpy(_fog(sigma), [[(near, far, 0)]] * 4, _DENSE, key)
  transmittance = np.exp(-sigma * length)
  np.testing.assert_allclose(out.opacity, 1 - transmittance, rtol=1e-4)
  # Mean and median of the exponential distribution truncated at the slab's end.
  mean = near + 1 / sigma - length * transmittance / (1 - transmittance)
  median = near - np.log(1 - 0.5 * (1 - transmittance)) / sigma
  np.testing.assert_allclose(out.depth, mean, atol=0.01)
  np.testing.assert_allclose(out.median_depth, median, atol=0.05)
  want = np.stack([1 - transmittance, 0 * sigma, 0 * sigma, transmittance], axis=-1)
  np.testing.assert_allclose(out.fixed_semantics, want, atol=1e-4)
  np.testing.assert_allclose(out.semantics, want, atol=1e-4)
  # The colour is the mean of the points (1, 2, t) divided by 100.
  opacity = (1 - transmittance)[:, None]
  point = np.stack([np.full(4, 1.0), np.full(4, 2.0), mean], axis=-1)
  np.testing.assert_allclose(
    out.rgb, opacity * point / 100 + (1 - opacity) * np.array(_SKY_RGB), atol=2e-4
  )


def test_overlapping_slabs_agree_with_the_closed_form():
  sigma = 0.3
  logits = np.log([0.1, 0.3, 0.2, 0.4])
  # Road from 2 to 6, sidewalk from 4 to 8, building from 10 to 12.
  options = dataclasses.replace(_DENSE, num_samples=1024)
  out = _render_numpy(_fog([sigma], logits), [[(2, 6, 0), (4, 8, 1), (10, 12, 2)]], options)
  mass = lambda begin, length: np.exp(-sigma * begin) * (1 - np.exp(-sigma * length))
  road, both, sidewalk, building = mass(0, 2), mass(2, 2), mass(4, 2), mass(6, 2)
  sky = np.exp(-sigma * 8)
  np.testing.assert_allclose(
    out.fixed_semantics[0], [road + both / 2, sidewalk + both / 2, building, sky], atol=2e-3
  )
  # Where road and sidewalk overlap, the masked softmax of 0.1 and 0.3 is 1/4 and 3/4.
  np.testing.assert_allclose(
    out.semantics[0], [road + both / 4, sidewalk + both * 3 / 4, building, sky], atol=2e-3
  )
  np.testing.assert_allclose(
    out.interval_weights[0], [road + both / 2, sidewalk + both / 2, building, 0], atol=2e-3
  )


def test_density_is_zero_outside_primitives():
  # Rays without primitives are sky whatever the density.
  out = _render_numpy(_fog([1e5] * 4), [[], [(20.0, 21.0, 2)], [], []])
  np.testing.assert_array_equal(out.opacity, [0, 1, 0, 0])
  np.testing.assert_allclose(out.depth[1], 20.0, atol=0.01)
  np.testing.assert_array_equal(out.semantics[[0, 2, 3]], [[0, 0, 0, 1]] * 3)
  np.testing.assert_array_equal(out.fixed_semantics[[0, 2, 3]], [[0, 0, 0, 1]] * 3)
  np.testing.assert_allclose(out.rgb[[0, 2, 3]], [_SKY_RGB] * 3)
  np.testing.assert_array_equal(out.weights[[0, 2, 3]], 0.0)
  np.testing.assert_allclose(out.semantics[1], [0, 0, 1, 0], atol=1e-6)


def test_fixed_semantics_have_no_mass_in_void_primitives():
  sigma = 0.2
  logits = np.log([0.1, 0.3, 0.2, 0.4])
  # Void from 1 to 9 m with a building from 3 to 5 m inside it.
  options = dataclasses.replace(_DENSE, num_samples=1024)
  out = _render_numpy(_fog([sigma], logits), [[(1, 9, 3), (3, 5, 2)]], options)
  building = np.exp(-sigma * 2) * (1 - np.exp(-sigma * 2))
  sky = np.exp(-sigma * 8)
  void = 1 - building - sky
  np.testing.assert_allclose(out.fixed_semantics[0], [0, 0, building, sky], atol=2e-3)
  # In void all classes but the sky are possible: 1/6, 3/6, 2/6.
  np.testing.assert_allclose(
    out.semantics[0], [void / 6, void / 2, void / 3 + building, sky], atol=2e-3
  )


def _random_spans(count: int):
  rng = np.random.default_rng(0)
  spans = []
  for ray in range(count):
    starts = rng.uniform(0.3, 30, ray % 5)
    spans.append([(low, low + rng.uniform(0.1, 8), int(rng.integers(4))) for low in starts])
  return spans


@pytest.mark.slow
@pytest.mark.parametrize('mask_semantics', [True, False])
def test_semantics_agree_with_a_loop(mask_semantics):
  spans = _random_spans(40)
  options = dataclasses.replace(_SPARSE, mask_semantics=mask_semantics)
  sigma = 10.0 ** np.random.default_rng(1).uniform(-2, 1, 40)
  # The largest logits are those of the sky and the road.
  field = _fog(sigma, [6.0, 0.0, 0.0, 9.0], _Waves)
  out = _render_numpy(field, spans, options, jax.random.key(3))
  t, weights = out.samples.t, out.weights
  for ray, ray_spans in enumerate(spans):
    learned, fixed_mass = np.zeros(4), np.zeros(4)
    for sample in range(t.shape[1]):
      primitives = {
        index
        for low, high, index in ray_spans
        if np.float32(low) <= t[ray, sample] <= np.float32(high)
      }
      labelled = sorted(primitives - {3})
      classes = labelled or ([0, 1, 2] if primitives else [])
      if not mask_semantics:
        classes = [0, 1, 2, 3] if primitives else []
      if labelled:
        fixed_mass[labelled] += weights[ray, sample] / len(labelled)
      if classes:
        exponential = np.exp(np.float64(out.logits[ray, sample, classes]))
        learned[classes] += weights[ray, sample] * exponential / exponential.sum()
    sky = np.array([0, 0, 0, 1.0 - out.opacity[ray]])
    np.testing.assert_allclose(out.semantics[ray], learned + sky, atol=1e-5)
    np.testing.assert_allclose(out.fixed_semantics[ray], fixed_mass + sky, atol=1e-5)
    if mask_semantics:
      masked = sorted({0, 1, 2} - {index for *_, index in ray_spans})
      if not any(index == 3 for *_, index in ray_spans):
        np.testing.assert_array_equal(out.semantics[ray, masked], 0.0)


@pytest.mark.parametrize('mask_semantics', [True, False])
def test_semantics_and_opacity_sum_to_one(mask_semantics):
  spans = _random_spans(40)
  sigma = np.concatenate([[0.0, 1e5, 1e5], 10.0 ** np.random.default_rng(2).uniform(-4, 5, 37)])
  options = dataclasses.replace(_SPARSE, mask_semantics=mask_semantics)
  field = _fog(sigma, [3.0, -1.0, 0.0, 5.0], _Waves)
  out = _render_numpy(field, spans, options, jax.random.key(0))
  np.testing.assert_allclose(out.weights.sum(axis=-1), out.opacity, atol=1e-5)
  np.testing.assert_allclose(out.semantics.sum(axis=-1), 1.0, atol=1e-5)
  np.testing.assert_allclose(out.interval_weights.sum(axis=-1), out.opacity, atol=1e-5)
  without_void = [all(index != 3 for *_, index in ray_spans) for ray_spans in spans]
  np.testing.assert_allclose(out.fixed_semantics[without_void].sum(axis=-1), 1.0, atol=1e-5)
  assert np.min(out.semantics) >= 0 and np.min(out.weights) >= 0


def test_masked_softmax_by_hand():
  logits = jnp.log(jnp.array([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0], [1.0, 2.0, 5.0]]))
  mask = jnp.array([[True, True, True], [True, True, False], [False, False, False]])
  np.testing.assert_allclose(
    rays_lib.masked_softmax(logits, mask),
    [[1 / 8, 2 / 8, 5 / 8], [1 / 3, 2 / 3, 0], [0, 0, 0]],
    atol=1e-6,
  )


@pytest.mark.slow
@pytest.mark.parametrize('mask_semantics', [True, False])
def test_gradients_are_finite(mask_semantics):
  # Empty, one slab, nested in void, touching, and void only, each with several densities.
  spans = [
    [],
    [(2.0, 3.0, 0)],
    [(1.0, 50.0, 3), (4.0, 5.0, 1)],
    [(1.0, 2.0, 0), (2.0, 3.0, 2)],
    [(0.3, 90.0, 3)],
  ]
  densities = (0.0, 1e-8, 1.0, 1e5)
  options = dataclasses.replace(_SPARSE, mask_semantics=mask_semantics)

  def total(field):
    """Return a sum of all outputs with weights that prevent cancellation."""
    out = _render(field, spans * len(densities), options, jax.random.key(0))
    parts = (
      out.rgb,
      out.depth,
      out.median_depth,
      out.opacity,
      out.fixed_semantics,
      out.semantics,
      out.interval_weights,
      out.weights,
      out.logits,
    )
    return sum(jnp.sum(x * jnp.arange(1.0, 1.0 + x.size).reshape(x.shape) / x.size) for x in parts)

  field = _fog(np.repeat(densities, len(spans)), [80.0, -80.0, 0.0, 30.0])
  value, gradient = jax.jit(jax.value_and_grad(total))(field)
  assert np.isfinite(value)
  assert np.isfinite(gradient.sigma).all() and np.isfinite(gradient.logits).all()
  # Only empty and opaque rays are independent of the density.
  np.testing.assert_array_equal(gradient.sigma[:: len(spans)], 0.0)
  assert (np.abs(gradient.sigma).reshape(4, 5)[:3, 1:] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize('enabled', [True, False])
def test_semantics_grad_to_density(enabled):
  """Compare with the closed form of a slab of length 3 and density 0.5: T = exp(-1.5)."""
  options = dataclasses.replace(_DENSE, semantics_grad_to_density=enabled)
  field, spans = _fog([0.5], [9.0, 0.0, 0.0, 0.0]), [[(2.0, 5.0, 0), (2.0, 5.0, 1)]]
  names = ('semantics', 'fixed_semantics', 'rgb', 'opacity')
  out = _render_numpy(field, spans)
  jacobian = jax.jacobian(
    lambda field: {name: getattr(_render(field, spans, options), name) for name in names}
  )(field)
  for name in names:
    np.testing.assert_array_equal(
      getattr(_render_numpy(field, spans, options), name), getattr(out, name)
    )
  slope = 3.0 * np.exp(-1.5)
  assert jacobian['opacity'].sigma[0, 0] == pytest.approx(slope, rel=1e-3)
  assert np.abs(jacobian['rgb'].sigma[0, :, 0]).min() > 0.01
  for name, distribution in (
    ('semantics', [1 - 1 / (1 + np.exp(9.0)), 1 / (1 + np.exp(9.0))]),
    ('fixed_semantics', [0.5, 0.5]),
  ):
    want = slope * np.array([*distribution, 0.0, -1.0]) * enabled
    np.testing.assert_allclose(jacobian[name].sigma[0, :, 0], want, atol=1e-3 * enabled)
  # The logits have a gradient in both cases.
  assert jacobian['semantics'].logits[0, 0, 0, 0] > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('key', [None, jax.random.key(0)])
def test_coarse_pass_reduces_the_depth_error(key):
  # The density grows e-fold every 17 cm, within a primitive of 40 m in which 24 uniform samples are
  # 1.7 m apart on average.
  count = 64
  rng = np.random.default_rng(5)
  wall = jnp.asarray(rng.uniform(10.0, 30.0, count), jnp.float32)

  class _Wall:
    """Density that grows towards a wall at another distance in each ray."""

    def density(self, points):
      gap = jnp.abs(points[..., 2] - wall[:, None])
      return jnp.exp(8.0 - 6.0 * gap), points

    def __call__(self, points, directions, image):
      sigma, _ = self.density(points)
      return FieldOutput(sigma, jnp.zeros((*sigma.shape, 3)), jnp.zeros((*sigma.shape, 4)))

    sky = _Fog.sky

  rays = Rays(
    origins=jnp.zeros((count, 3)),
    directions=jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (count, 3)),
    depth_per_t=jnp.ones(count),
    image=jnp.zeros(count, jnp.int32),
  )
  render = lambda options: np.asarray(
    rays_lib.render_rays(
      _Wall(), rays, _intervals([[(1.0, 41.0, 0)]] * count), _TABLE, options, key=key
    ).depth
  )
  truth = render(dataclasses.replace(_DENSE, num_samples=8192))
  single_pass, hierarchical = (
    np.sqrt(np.mean((render(options) - truth) ** 2)) for options in (_SPARSE, _HIERARCHICAL)
  )
  assert hierarchical < 0.25 * single_pass
