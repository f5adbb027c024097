"""The loss terms of the paper's program in both forms, and their gradients, against its arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import paper_rendering
from pnerf_jax.rendering.paper_rendering import PaperRendered
from pnerf_jax.training import paper_losses
from pnerf_jax.training.ray_table import Batch

pytestmark = pytest.mark.slow

_NAMES = {
  'rgb': 'colour',
  'depth': 'depth',
  'semantic_2d_fixed': 'fixed_2d',
  'semantic_2d': 'semantic_2d',
  'semantic_3d': 'semantic_3d',
}
_WEIGHTS = dict.fromkeys(_NAMES, 0.01) | {'rgb': 1.0, 'depth': 0.1}


@pytest.fixture(scope='module')
def numbers(golden):
  return golden('losses')


def _batch(numbers, depth='depth_target', supervised=True) -> tuple[Batch, jax.Array]:
  """Return the golden rays as a batch, and the classes of their slots."""
  enter, leave, annotation, class_id = np.moveaxis(numbers['intersections'], -1, 0)
  used = annotation >= 0
  count = len(enter)
  length = np.linalg.norm(numbers['rays_d'], axis=-1, keepdims=True)
  batch = Batch(
    rays=Rays(
      jnp.asarray(numbers['rays_o']),
      jnp.asarray(numbers['rays_d'] / length),
      jnp.asarray(1.0 / length[:, 0]),
      jnp.zeros(count, jnp.int32),
    ),
    intervals=Intervals(
      jnp.asarray(np.where(used, enter, np.inf)),
      jnp.asarray(np.where(used, leave, np.inf)),
      jnp.asarray(annotation, jnp.int32),
      jnp.zeros(count, jnp.int32),
    ),
    rgb=jnp.asarray(numbers['rgb_target']),
    label=jnp.asarray(numbers['pseudo_label_raw'], jnp.int32),
    label_weight=jnp.ones(count),
    depth=jnp.asarray(np.maximum(numbers[depth], 0.0)),
    supervised=jnp.full(count, supervised),
  )
  return batch, jnp.asarray(class_id, jnp.int32)


def _terms(raw, numbers, batch, class_id, form):
  """Return the total loss and its terms from the raw values of the samples."""
  samples = paper_rendering.locate_samples(
    jnp.asarray(numbers['distance']),
    jnp.asarray(numbers['z_planar']),
    batch.intervals,
    numbers['far'],
  )
  sigma = jnp.where(samples.is_empty, 0.0, jax.nn.relu(raw['density']))
  weights = paper_rendering.composite_weights(sigma, samples.depth)
  out = PaperRendered(
    rgb=jnp.sum(weights[..., None] * jax.nn.sigmoid(raw['rgb']), axis=-2),
    depth=jnp.sum(weights * samples.depth, axis=-1),
    weights=weights,
    logits=raw['logits'],
    samples=samples,
  )
  terms = paper_losses.loss_terms(
    out,
    class_id,
    batch,
    depth_classes=tuple(numbers['depth_classes'].tolist()),
    depth_max=100.0,
    logits_rendered=form == '',
  )
  return sum(_WEIGHTS[name] * term for name, term in terms.items()), terms


def _evaluate(numbers, form, **options):
  """Return the terms, the total and its gradients by the raw values, under the golden names."""
  batch, class_id = _batch(numbers, **options)
  raw = {
    'rgb': jnp.asarray(numbers['raw_rgb']),
    'density': jnp.asarray(numbers['raw_density']),
    'logits': jnp.asarray(numbers['logits']),
  }
  function = jax.value_and_grad(_terms, has_aux=True)
  (total, terms), gradients = function(raw, numbers, batch, class_id, form)
  return {_NAMES[name]: term for name, term in terms.items()} | {'total': total}, gradients


def _assert_gradient(found, expected, name):
  """Compare with 1e-4 of the largest component of a ray, or 1e-5 of the largest of all.

  The second is for a ray whose depth gradient cancels: evaluated in float64, the golden value of
  its largest component is off by 1e-3.
  """
  found, size = np.asarray(found), np.abs(expected)
  of_ray = np.max(size, axis=tuple(range(1, expected.ndim)), keepdims=True)
  assert np.all(np.abs(found - expected) <= np.maximum(1e-4 * of_ray, 1e-5 * size.max())), name
  assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected), name


@pytest.mark.parametrize('form', ['', 'before.'])
def test_every_term_and_gradient(numbers, form):
  terms, gradients = _evaluate(numbers, form)
  for name, term in terms.items():
    np.testing.assert_allclose(term, numbers[f'{form}loss.{name}'], rtol=1e-5, err_msg=name)
  for name, gradient in gradients.items():
    _assert_gradient(gradient, numbers[f'{form}grad.{name}'], name)


@pytest.mark.parametrize('form', ['', 'before.'])
def test_a_clamped_depth_term_has_no_gradient(numbers, form):
  terms, gradients = _evaluate(numbers, form, depth='clamped.depth_target')
  for name in ('depth', 'total'):
    np.testing.assert_allclose(terms[name], numbers[f'{form}clamped.loss.{name}'], rtol=1e-5)
  _assert_gradient(gradients['density'], numbers[f'{form}clamped.grad.density'], 'density')
  _assert_gradient(gradients['rgb'], numbers[f'{form}grad.rgb'], 'rgb')


@pytest.mark.parametrize('form', ['', 'before.'])
def test_rays_of_the_right_camera_have_the_colour_alone(numbers, form):
  terms, gradients = _evaluate(numbers, form, supervised=False)
  for name, term in terms.items():
    np.testing.assert_allclose(term, numbers[f'right.loss.{name}'], rtol=1e-5, err_msg=name)
  for name in ('rgb', 'density'):
    _assert_gradient(gradients[name], numbers[f'right.grad.{name}'], name)
  assert not np.any(gradients['logits'])


@pytest.mark.parametrize('form', ['', 'before.'])
def test_rays_below_one_in_a_million_have_a_gradient(numbers, form):
  probability = numbers['before.probability_of_label' if form else 'probability_of_label']
  rare = (probability < 1e-6) & numbers['reached']
  assert rare.any()
  _, gradients = _evaluate(numbers, form)
  expected = numbers[f'{form}grad.logits']
  assert np.any(expected[rare], axis=(1, 2)).all()
  for ray in np.flatnonzero(rare):
    difference = np.abs(gradients['logits'][ray] - expected[ray]).max()
    assert difference <= 1e-4 * np.abs(expected[ray]).max()
