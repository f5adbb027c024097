"""The paper's network against the authors' PyTorch network with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields.paper_field import PaperField

pytestmark = pytest.mark.slow


def _field(class_ids=tuple(range(50)), scale=1.0):
  return PaperField(scale=scale, class_ids=class_ids)


def _shapes():
  return jax.eval_shape(
    _field().init, jax.random.key(0), jnp.zeros((2, 3)), jnp.ones(3), jnp.int32(0)
  )


def _random_variables():
  """Return variables distributed as by `init`, without compiling it."""
  rng = np.random.default_rng(0)
  draw = lambda x: np.float32((x.ndim > 1) * rng.normal(0, (2 / x.shape[0]) ** 0.5, x.shape))
  return jax.tree.map(draw, _shapes())


def _assert_close(got, want):
  """Assert agreement to 1e-4 of the maximum of each channel.

  The rounded weights of tests/assets cost 4e-5; with the exact ones,
  tests/contrib/release/weights_test.py asserts 1e-5.
  """
  size = np.abs(want).max(axis=0)
  assert np.max(np.abs(np.asarray(got) - want) / size) < 1e-4


def test_parameters_have_the_shapes_of_the_checkpoint(paper_network):
  params, _ = paper_network
  made = jax.tree.map(lambda x: x.shape, _shapes()['params'])
  assert made == jax.tree.map(lambda x: x.shape, params)


def test_raw_agrees_with_the_released_network(paper_network):
  params, numbers = paper_network
  got = _field().apply({'params': params}, numbers['points'], numbers['directions'], method='raw')
  _assert_close(got, numbers['raw_train'])


def test_field_scales_points_and_selects_classes(paper_network):
  params, numbers = paper_network
  class_ids = (7, 26, 11, 23)
  out = _field(class_ids, scale=250.0).apply(
    {'params': params},
    250.0 * numbers['points'][:, None],
    numbers['directions'],
    jnp.zeros(1000, jnp.int32),
  )
  # 250 p / 250 differs from p in float32; the highest octave multiplies the error by 2^14.
  want = numbers['raw_eval']
  assert out.sigma.shape == (1000, 1) and out.rgb.shape == (1000, 1, 3)
  np.testing.assert_allclose(out.sigma[:, 0], np.maximum(want[:, 3], 0), atol=0.02)
  np.testing.assert_allclose(out.rgb[:, 0], 1 / (1 + np.exp(-want[:, :3])), atol=0.005)
  selected = want[:, 4:][:, class_ids]
  np.testing.assert_allclose(
    jax.nn.softmax(out.semantic_logits[:, 0]), selected / selected.sum(-1, keepdims=True), atol=0.01
  )


def test_rendered_values_agree_with_the_released_renderer(paper_network):
  """Composite our field with the authors' sample weights into their colours and logits."""
  params, numbers = paper_network
  rays_d, z = numbers['rays_d'], numbers['z_planar']
  points = (numbers['rays_o'][:, None] + z[..., None] * rays_d[:, None]) / numbers['far']
  directions = rays_d / np.linalg.norm(rays_d, axis=-1, keepdims=True)
  out = _field().apply(
    {'params': params}, points.astype(np.float32), directions, jnp.zeros(96, jnp.int32)
  )
  weights = numbers['weights'][..., None]
  np.testing.assert_allclose((weights * out.rgb).sum(1), numbers['rgb'], atol=5e-5)
  np.testing.assert_allclose(
    (weights * out.semantic_logits).sum(1), numbers['semantic_logits'], atol=5e-4
  )


@pytest.mark.slow
def test_only_colour_depends_on_the_direction():
  field = _field(class_ids=(7, 23), scale=100.0)
  points = jax.random.uniform(jax.random.key(1), (4, 5, 3), minval=-50, maxval=50)
  image = jnp.zeros(4, jnp.int32)
  forward, up = jnp.tile(jnp.eye(3)[2], (4, 1)), jnp.tile(jnp.eye(3)[1], (4, 1))
  variables = _random_variables()
  one, two = (field.apply(variables, points, d, image) for d in (forward, up))
  np.testing.assert_array_equal(one.sigma, two.sigma)
  np.testing.assert_array_equal(one.semantic_logits, two.semantic_logits)
  assert np.abs(one.rgb - two.rgb).max() > 1e-3


def test_sky_is_the_colour_beyond_the_far_bound():
  field = _field(class_ids=(23,), scale=100.0)
  origins = jnp.array([[1.0, 2.0, 3.0]])
  directions = jnp.array([[0.0, 0.6, 0.8]])
  image = jnp.zeros(1, jnp.int32)
  variables = _random_variables()
  there = field.apply(variables, jnp.array([[[1.0, 68.0, 91.0]]]), directions, image)
  sky = field.apply(variables, origins, directions, image, method='sky')
  np.testing.assert_allclose(sky, there.rgb[:, 0], atol=1e-3)


def test_gradients_are_finite():
  field = _field(class_ids=(7, 26), scale=100.0)
  points = jax.random.normal(jax.random.key(1), (2, 3, 3))
  directions = jnp.tile(jnp.eye(3)[2], (2, 1))
  image = jnp.zeros(2, jnp.int32)
  variables = _random_variables()

  @jax.jit
  def gradient(variables, points):
    def total(*args):
      out = field.apply(*args, directions, image)
      return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(out))

    return jax.grad(total, argnums=(0, 1))(variables, points)

  for size in (0.0, 1e-6, 1.0, 1e3):
    leaves = jax.tree.leaves(gradient(variables, size * points))
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves), size
