"""The hash-grid field: dependencies of its outputs, and closed forms of special cases."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields import hash_grid
from pnerf_jax.fields.hash_grid_field import HashGridField

_EXTENT = (8.0, 4.0, 8.0)
_LOW = (-3.0, 1.0, -2.0)
_CLASSES, _IMAGES = 5, 3


def _field(**changes) -> HashGridField:
  levels = hash_grid.make_levels(
    _EXTENT, max_cell=2.0, min_cell=0.25, num_levels=3, hashmap_size=2**9
  )
  settings = {
    'low': _LOW,
    'levels': levels,
    'num_classes': _CLASSES,
    'num_images': _IMAGES,
    'grid_features': 2,
    'hidden_dim': 16,
    'appearance_embed_dim': 4,
  }
  return HashGridField(**{**settings, **changes})


def _field_and_sky(field, points, directions, image):
  return field(points, directions, image), field.sky(points[..., 0, :], directions, image)


@functools.cache
def _params():
  """Return random parameters of larger scale than the initial embeddings and tables."""
  init = lambda key: _field().init(key, *_inputs(), method=_field_and_sky)['params']
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    scale = leaf.shape[0] ** -0.5 if path[-1].key == 'kernel' else 0.1
    return jnp.asarray(rng.normal(0, scale, leaf.shape), jnp.float32)

  return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init, jax.random.key(0)))


def _inputs(seed: int = 0, lead=(6,), samples: int = 4):
  rng = np.random.default_rng(seed)
  points = rng.uniform(0, _EXTENT, (*lead, samples, 3)) + _LOW
  directions = rng.normal(size=(*lead, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  return (
    jnp.asarray(points, jnp.float32),
    jnp.asarray(directions, jnp.float32),
    jnp.asarray(rng.integers(0, _IMAGES, lead), jnp.int32),
  )


@functools.partial(jax.jit, static_argnames='field')
def _apply_jit(field, params, points, directions, image):
  return field.apply({'params': params}, points, directions, image, method=_field_and_sky)


def _apply(*args):
  """Return the outputs of field and sky as numpy arrays."""
  return jax.device_get(_apply_jit(*args))


@pytest.mark.parametrize('lead', [(), (2, 3)])
def test_field_output_shapes_and_ranges(lead):
  out, sky = _apply(_field(), _params(), *_inputs(lead=lead))
  assert out.sigma.shape == (*lead, 4)
  assert out.rgb.shape == (*lead, 4, 3)
  assert out.semantic_logits.shape == (*lead, 4, _CLASSES)
  assert sky.shape == (*lead, 3)
  assert (out.sigma >= 0).all()
  for color in (out.rgb, sky):
    assert (color >= 0).all() and (color <= 1).all()


def test_rays_are_independent():
  points, directions, image = _inputs(lead=(6,))
  flat, sky = _apply(_field(), _params(), points, directions, image)
  for ray in (0, 3, 5):
    one, one_sky = _apply(_field(), _params(), points[ray], directions[ray], image[ray])
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a[ray], b, atol=1e-5, rtol=1e-5),
      (flat, sky),
      (one, one_sky),
    )


def test_only_colour_depends_on_direction_and_image():
  points, directions, image = _inputs()
  base, base_sky = _apply(_field(), _params(), points, directions, image)
  turned, turned_sky = _apply(_field(), _params(), points, -directions, image)
  other, other_sky = _apply(_field(), _params(), points, directions, (image + 1) % _IMAGES)
  for changed, changed_sky in ((turned, turned_sky), (other, other_sky)):
    np.testing.assert_array_equal(changed.sigma, base.sigma)
    np.testing.assert_array_equal(changed.semantic_logits, base.semantic_logits)
    assert np.abs(changed.rgb - base.rgb).max(axis=(1, 2)).min() > 1e-4
    assert np.abs(changed_sky - base_sky).max(axis=1).min() > 1e-4
  moved, _ = _apply(_field(), _params(), points[::-1], directions, image)
  assert np.abs(moved.sigma - base.sigma).max() > 1e-3
  assert np.abs(moved.semantic_logits - base.semantic_logits).max() > 1e-2


def test_image_minus_one_uses_the_mean_embedding():
  points, directions, image = _inputs()
  got = _apply(_field(), _params(), points, directions, jnp.full_like(image, -1))
  params = dict(_params())
  mean = np.zeros(4)
  for embedding in np.asarray(params['codes']):
    mean += embedding / _IMAGES
  params['codes'] = jnp.tile(jnp.asarray(mean, jnp.float32), (_IMAGES, 1))
  want = _apply(_field(), params, points, directions, jnp.zeros_like(image))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), got, want)
  own, _ = _apply(_field(), _params(), points, directions, jnp.zeros_like(image))
  assert np.abs(got[0].rgb - own.rgb).max() > 1e-3


@pytest.mark.slow
def test_colour_is_independent_of_the_image_without_embeddings():
  points, directions, image = _inputs()
  field = _field(appearance_embed_dim=0)
  params = field.init(jax.random.key(0), points, directions, image, method=_field_and_sky)['params']
  assert all(leaf.size for leaf in jax.tree.leaves(params))  # orbax refuses empty arrays
  got = _apply(field, params, points, directions, image)
  for other in (jnp.zeros_like(image), jnp.full_like(image, -1)):
    jax.tree.map(
      np.testing.assert_array_equal, got, _apply(field, params, points, directions, other)
    )


def test_field_is_translation_equivariant():
  points, directions, image = _inputs()
  shift = np.array([64.0, -32.0, 16.0])
  moved = _field(low=tuple(float(x) for x in np.array(_LOW) + shift))
  got, _ = _apply(moved, _params(), points + shift, directions, image)
  want, _ = _apply(_field(), _params(), points, directions, image)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3), got, want)


def test_density_of_zero_parameters_is_the_exponential_of_the_bias():
  params = jax.tree.map(jnp.zeros_like, _params())
  inputs = _inputs()
  out, _ = _apply(_field(density_bias=-1.0), params, *inputs)
  np.testing.assert_allclose(out.sigma, math.exp(-1), rtol=1e-6)
  huge = _field(density_bias=1e4)
  density = lambda p: jnp.sum(_apply_jit(huge, p, *inputs)[0].sigma)
  for leaf in jax.tree.leaves(jax.jit(jax.value_and_grad(density))(_params())):
    assert np.isfinite(leaf).all()


def test_every_parameter_has_a_finite_nonzero_gradient():
  inputs = _inputs(samples=48)
  everything = lambda params: sum(
    jnp.sum(leaf**2) for leaf in jax.tree.leaves(_apply_jit(_field(), params, *inputs))
  )
  gradient = jax.jit(jax.grad(everything))(_params())
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.isfinite(leaf).all(), path
    assert np.abs(leaf).max() > 0, path


def test_bfloat16_operands_agree_with_float32():
  inputs = _inputs()
  want, want_sky = _apply(_field(), _params(), *inputs)
  got, got_sky = _apply(_field(compute_dtype=jnp.bfloat16), _params(), *inputs)
  for leaf in jax.tree.leaves((got, got_sky)):
    assert leaf.dtype == jnp.float32
  np.testing.assert_allclose(got.sigma, want.sigma, rtol=0.1)
  np.testing.assert_allclose(got.rgb, want.rgb, atol=0.03)
  np.testing.assert_allclose(got_sky, want_sky, atol=0.03)
  np.testing.assert_allclose(got.semantic_logits, want.semantic_logits, atol=0.1)
  assert np.abs(got.sigma - want.sigma).max() > 0  # bfloat16 is in use
