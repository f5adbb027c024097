"""Rendered rays against analytic fields in closed form and against slow loops.

Letters: R rays, S samples, K intervals of a ray, C classes; the classes are road, sidewalk,
building, sky, and primitive m < 3 is of class m, primitive 3 is void.
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
  num_samples=256, num_coarse_samples=0, blind=0.0, share=0.5, restrict=True
)
_COARSE = dataclasses.replace(_DENSE, num_samples=24)
_LOOKED = dataclasses.replace(_DENSE, num_samples=24, num_coarse_samples=24, blind=0.3)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Fog:
  """A field without structure: one density a ray, colour from the point, logits for all points."""

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


class _Random(_Fog):
  """Density and logits that change from point to point."""

  def __call__(self, points, directions, image):
    wave = jnp.sin(3.0 * points[..., 2:] + jnp.arange(4.0))
    out = super().__call__(points, directions, image)
    return FieldOutput(out.sigma * (1.5 + wave[..., 0]), out.rgb, out.semantic_logits + 3.0 * wave)


jax.tree_util.register_dataclass(_Random, ['sigma', 'logits'], [])


def _fog(sigma, logits=(0.0, 0.0, 0.0, 0.0), kind=_Fog):
  sigma = jnp.asarray(sigma, jnp.float32)
  return kind(sigma, jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (*sigma.shape, 4)))


def _intervals(spans, num_slots: int = 4) -> Intervals:
  """From a list for each ray of (enter, exit, primitive)."""
  enter = np.full((len(spans), num_slots), np.inf, np.float32)
  leave, primitive = enter.copy(), np.full(enter.shape, -1, np.int32)
  for ray, slots in enumerate(spans):
    for slot, (low, high, index) in enumerate(sorted(slots)):
      enter[ray, slot], leave[ray, slot], primitive[ray, slot] = low, high, index
  return Intervals(
    enter=jnp.asarray(enter),
    exit=jnp.asarray(leave),
    primitive=jnp.asarray(primitive),
    num_truncated=jnp.zeros(len(spans), jnp.int32),
  )


@functools.partial(jax.jit, static_argnames='options')
def _render_jit(field, rays, intervals, options, key):
  return rays_lib.render_rays(field, rays, intervals, _TABLE, len(_CLASS_IDS), options, key)


def _render(field, spans, options=_DENSE, key=None):
  """Rays along z from (1, 2, 0)."""
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


@pytest.mark.parametrize('key', [None, jax.random.key(0)])
def test_slab_of_constant_density_agrees_with_the_closed_form(key):
  sigma = np.array([0.01, 0.1, 0.5, 2.0])
  near, far = 3.0, 8.0
  length = far - near
  out = _render_numpy(_fog(sigma), [[(near, far, 0)]] * 4, _DENSE, key)
  passed = np.exp(-sigma * length)
  np.testing.assert_allclose(out.opacity, 1 - passed, rtol=1e-4)
  # Mean and median of the exponential distribution cut off at the slab's end.
  mean = near + 1 / sigma - length * passed / (1 - passed)
  median = near - np.log(1 - 0.5 * (1 - passed)) / sigma
  np.testing.assert_allclose(out.depth, mean, atol=0.01)
  np.testing.assert_allclose(out.median_depth, median, atol=0.05)
  want = np.stack([1 - passed, 0 * passed, 0 * passed, passed], axis=-1)
  np.testing.assert_allclose(out.fixed_semantics, want, atol=1e-4)
  np.testing.assert_allclose(out.semantics, want, atol=1e-4)
  # Points are (1, 2, t): the colour of the slab is the mean of that over 100.
  share = (1 - passed)[:, None]
  point = np.stack([np.full(4, 1.0), np.full(4, 2.0), mean], axis=-1)
  np.testing.assert_allclose(
    out.rgb, share * point / 100 + (1 - share) * np.array(_SKY_RGB), atol=2e-4
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
  # The learned field says a quarter and three quarters where 0.1 and 0.3 are open.
  np.testing.assert_allclose(
    out.semantics[0], [road + both / 4, sidewalk + both * 3 / 4, building, sky], atol=2e-3
  )
  np.testing.assert_allclose(
    out.slots[0], [road + both / 2, sidewalk + both / 2, building, 0], atol=2e-3
  )


def test_geometry_exists_only_inside_primitives():
  # The density is huge everywhere, and yet rays without primitives are sky.
  out = _render_numpy(_fog([1e5] * 4), [[], [(20.0, 21.0, 2)], [], []])
  np.testing.assert_array_equal(out.opacity, [0, 1, 0, 0])
  np.testing.assert_allclose(out.depth[1], 20.0, atol=0.01)
  np.testing.assert_array_equal(out.semantics[[0, 2, 3]], [[0, 0, 0, 1]] * 3)
  np.testing.assert_array_equal(out.fixed_semantics[[0, 2, 3]], [[0, 0, 0, 1]] * 3)
  np.testing.assert_allclose(out.rgb[[0, 2, 3]], [_SKY_RGB] * 3)
  np.testing.assert_array_equal(out.weights[[0, 2, 3]], 0.0)
  np.testing.assert_allclose(out.semantics[1], [0, 0, 1, 0], atol=1e-6)


def test_void_holds_mass_that_the_fixed_field_does_not_name():
  sigma = 0.2
  logits = np.log([0.1, 0.3, 0.2, 0.4])
  # Void from 1 to 9 with a building from 3 to 5 in it.
  options = dataclasses.replace(_DENSE, num_samples=1024)
  out = _render_numpy(_fog([sigma], logits), [[(1, 9, 3), (3, 5, 2)]], options)
  building = np.exp(-sigma * 2) * (1 - np.exp(-sigma * 2))
  sky = np.exp(-sigma * 8)
  void = 1 - building - sky
  np.testing.assert_allclose(out.fixed_semantics[0], [0, 0, building, sky], atol=2e-3)
  # The learned field is free in void but for the sky: 1/6, 3/6, 2/6 of what is left.
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


@pytest.mark.parametrize('restrict', [True, False])
def test_classes_agree_with_a_loop_and_none_but_met_ones_get_mass(restrict):
  spans = _random_spans(40)
  options = dataclasses.replace(_COARSE, restrict=restrict)
  sigma = 10.0 ** np.random.default_rng(1).uniform(-2, 1, 40)
  # The sky and road are pushed by the network everywhere.
  field = _fog(sigma, [6.0, 0.0, 0.0, 9.0], _Random)
  out = _render_numpy(field, spans, options, jax.random.key(3))
  t, weights = out.samples.t, out.weights
  for ray, slots in enumerate(spans):
    learned, fixed_mass = np.zeros(4), np.zeros(4)
    for sample in range(t.shape[1]):
      met = {
        index for low, high, index in slots if np.float32(low) <= t[ray, sample] <= np.float32(high)
      }
      named = sorted(met - {3})
      allowed = named or ([0, 1, 2] if met else [])
      if not restrict:
        allowed = [0, 1, 2, 3] if met else []
      if named:
        fixed_mass[named] += weights[ray, sample] / len(named)
      if allowed:
        exponential = np.exp(np.float64(out.logits[ray, sample, allowed]))
        learned[allowed] += weights[ray, sample] * exponential / exponential.sum()
    sky = np.array([0, 0, 0, 1.0 - out.opacity[ray]])
    np.testing.assert_allclose(out.semantics[ray], learned + sky, atol=1e-5)
    np.testing.assert_allclose(out.fixed_semantics[ray], fixed_mass + sky, atol=1e-5)
    if restrict:
      closed = sorted({0, 1, 2} - {index for *_, index in slots})
      if not any(index == 3 for *_, index in slots):
        np.testing.assert_array_equal(out.semantics[ray, closed], 0.0)


@pytest.mark.parametrize('restrict', [True, False])
def test_probabilities_sum_to_one(restrict):
  spans = _random_spans(40)
  sigma = np.concatenate([[0.0, 1e5, 1e5], 10.0 ** np.random.default_rng(2).uniform(-4, 5, 37)])
  options = dataclasses.replace(_COARSE, restrict=restrict)
  field = _fog(sigma, [3.0, -1.0, 0.0, 5.0], _Random)
  out = _render_numpy(field, spans, options, jax.random.key(0))
  np.testing.assert_allclose(out.weights.sum(axis=-1), out.opacity, atol=1e-5)
  np.testing.assert_allclose(out.semantics.sum(axis=-1), 1.0, atol=1e-5)
  np.testing.assert_allclose(out.slots.sum(axis=-1), out.opacity, atol=1e-5)
  without_void = [all(index != 3 for *_, index in slots) for slots in spans]
  np.testing.assert_allclose(out.fixed_semantics[without_void].sum(axis=-1), 1.0, atol=1e-5)
  assert np.min(out.semantics) >= 0 and np.min(out.weights) >= 0


def test_class_probabilities_by_hand():
  logits = jnp.log(jnp.array([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0], [1.0, 2.0, 5.0]]))
  allowed = jnp.array([[True, True, True], [True, True, False], [False, False, False]])
  np.testing.assert_allclose(
    rays_lib.class_probabilities(logits, allowed),
    [[1 / 8, 2 / 8, 5 / 8], [1 / 3, 2 / 3, 0], [0, 0, 0]],
    atol=1e-6,
  )


@pytest.mark.parametrize('restrict', [True, False])
def test_gradients_are_finite(restrict):
  # Empty, one slab, nested in void, touching, and void alone, each in fields of several densities.
  spans = [
    [],
    [(2.0, 3.0, 0)],
    [(1.0, 50.0, 3), (4.0, 5.0, 1)],
    [(1.0, 2.0, 0), (2.0, 3.0, 2)],
    [(0.3, 90.0, 3)],
  ]
  densities = (0.0, 1e-8, 1.0, 1e5)
  options = dataclasses.replace(_COARSE, restrict=restrict)

  def total(field):
    """Sum of everything that a loss may look at, with weights that keep it from cancelling."""
    out = _render(field, spans * len(densities), options, jax.random.key(0))
    parts = (
      out.rgb,
      out.depth,
      out.median_depth,
      out.opacity,
      out.fixed_semantics,
      out.semantics,
      out.slots,
      out.weights,
      out.logits,
    )
    return sum(jnp.sum(x * jnp.arange(1.0, 1.0 + x.size).reshape(x.shape) / x.size) for x in parts)

  field = _fog(np.repeat(densities, len(spans)), [80.0, -80.0, 0.0, 30.0])
  value, gradient = jax.jit(jax.value_and_grad(total))(field)
  assert np.isfinite(value)
  assert np.isfinite(gradient.sigma).all() and np.isfinite(gradient.logits).all()
  # Nothing of an empty ray depends on the density, and all else does while light passes.
  np.testing.assert_array_equal(gradient.sigma[:: len(spans)], 0.0)
  assert (np.abs(gradient.sigma).reshape(4, 5)[:3, 1:] > 0).all()


@pytest.mark.parametrize('moved', [True, False])
def test_labels_move_density_only_where_they_may(moved):
  """By the closed form of a slab of length l and density s: exp(-s l) of the light passes it."""
  options = dataclasses.replace(_DENSE, semantics_grad_to_density=moved)
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
  for name, share in (
    ('semantics', [1 - 1 / (1 + np.exp(9.0)), 1 / (1 + np.exp(9.0))]),
    ('fixed_semantics', [0.5, 0.5]),
  ):
    want = slope * np.array([*share, 0.0, -1.0]) * moved
    np.testing.assert_allclose(jacobian[name].sigma[0, :, 0], want, atol=1e-3 * moved)
  # What the classes are is learned either way.
  assert jacobian['semantics'].logits[0, 0, 0, 0] > 1e-5


class _Clouds:
  """Density, colour and logits from the point alone; not a number beyond `end` metres.

  Of what is not a number, nothing may be asked where it cannot be seen.
  """

  def __init__(self, scale: float, end: float = np.inf):
    self._scale, self._end = scale, end

  def __call__(self, points, directions, image):
    sigma, features = self.density(points)
    rgb, logits = self.heads(features, self.encode_view(directions, image)[..., None, :])
    return FieldOutput(sigma, rgb, logits)

  def density(self, points):
    sigma = self._scale * 10.0 ** jnp.sin(5.0 * points[..., 2])
    return jnp.where(points[..., 2] < self._end, sigma, jnp.nan), points

  def encode_view(self, directions, image):
    return directions + image[..., None]

  def heads(self, features, view):
    wave = jnp.sin(features[..., 2:] * jnp.arange(1.0, 5.0))
    return (wave[..., :3] + jnp.sin(view)) / 4.0 + 0.5, 5.0 * wave

  def sky(self, origins, directions, image):
    return jnp.broadcast_to(jnp.array(_SKY_RGB), origins.shape)


def _pixels(field, spans, options):
  """The same rays as of _render, of several images, by render_pixels and by render_rays."""
  count = len(spans)
  rays = Rays(
    origins=jnp.broadcast_to(jnp.array([1.0, 2.0, 0.0]), (count, 3)),
    directions=jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (count, 3)),
    depth_per_t=jnp.ones(count),
    image=jnp.arange(count, dtype=jnp.int32),
  )
  ask = lambda function, *key: jax.jit(
    lambda rays, intervals: function(field, rays, intervals, _TABLE, 4, options, *key)
  )(rays, _intervals(spans))
  return jax.device_get((ask(rays_lib.render_pixels), ask(rays_lib.render_rays, None)))


@pytest.mark.parametrize(
  'samples, scale, restrict', [(24, 0.03, True), (23, 1.0, False), (3, 100.0, True)]
)
def test_what_is_seen_is_what_all_samples_say(samples, scale, restrict):
  seen, whole = _pixels(
    _Clouds(scale), _random_spans(40), rays_lib.RenderOptions(samples, 0, 0.0, 0.5, restrict)
  )
  assert 0 < np.mean(whole.opacity > 0.5) < 1
  for field in dataclasses.fields(rays_lib.Pixels):
    # Metres weigh by the distance; a median may be one sample further where half is just reached.
    tolerance = 0.02 if field.name == 'depth' else 3e-4
    np.testing.assert_allclose(
      getattr(seen, field.name), getattr(whole, field.name), atol=tolerance, err_msg=field.name
    )


@pytest.mark.parametrize('key', [None, jax.random.key(0)])
def test_a_first_look_finds_where_fog_thickens(key):
  # Fog that grows e-fold every 17 cm ends the light within a small part of a primitive of 40 m, in
  # which 24 even samples are 1.7 m apart in the mean.
  count = 64
  rng = np.random.default_rng(5)
  wall = jnp.asarray(rng.uniform(10.0, 30.0, count), jnp.float32)

  class _Wall:
    """Fog that thickens towards a wall, one for each ray."""

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
      _Wall(), rays, _intervals([[(1.0, 41.0, 0)]] * count), _TABLE, 4, options, key
    ).depth
  )
  truth = render(dataclasses.replace(_DENSE, num_samples=8192))
  blind, looked = (
    np.sqrt(np.mean((render(options) - truth) ** 2)) for options in (_COARSE, _LOOKED)
  )
  assert looked < 0.25 * blind


def test_nothing_is_asked_behind_a_wall():
  # From 30 m on there are no numbers; the wall hides them in the first ray, the second meets none.
  spans = [[(5.0, 6.0, 0), (40.0, 50.0, 2)], [(5.0, 6.0, 0)], []]
  seen, whole = _pixels(_Clouds(1e4, end=30.0), spans, _COARSE)
  assert np.isnan(whole.rgb[0]).all() and np.isfinite(whole.rgb[1:]).all()
  np.testing.assert_allclose(seen.semantics, [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-4)
  np.testing.assert_allclose(seen.rgb[1:], whole.rgb[1:], atol=3e-4)
  np.testing.assert_allclose(seen.depth[:2], 5.0, atol=0.05)
  assert np.isfinite(seen.rgb).all() and np.isfinite(seen.slots).all()
