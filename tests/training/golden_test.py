"""One training step of the authors' program on 96 rays, repeated with the network's own weights.

The samples are the program's, since those in the sky are random draws.

Letters: B 96 rays, S 148 samples, K 10 slots, C 50 classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.fields.field import BoundField
from pnerf_jax.fields.paper_field import NUM_CHANNELS, PaperField
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import compositing, paper_rendering
from pnerf_jax.training import paper_losses
from pnerf_jax.training.ray_table import Batch

pytestmark = pytest.mark.slow

_LAYERS = ('alpha_linear', 'rgb_linear', 'semantic_output2')
_TERMS = {
  'rgb': 'color_mse_0',
  'depth': 'depth_loss',
  'semantic_2d': 'semantic_loss_2d_pred',
  'semantic_2d_fixed': 'semantic_loss_2d_fix',
  'semantic_3d': 'semantic_loss_3d',
}


def _batch(numbers) -> tuple[Batch, jax.Array]:
  """Return the golden rays as a batch, and the classes of their slots."""
  enter, leave, annotation, class_id = np.moveaxis(numbers['intersections'], -1, 0)
  used, count = annotation >= 0, len(enter)
  length = np.linalg.norm(numbers['rays_d'], axis=-1)
  rays = Rays(
    jnp.asarray(numbers['rays_o']),
    jnp.asarray(numbers['rays_d'] / length[:, None]),
    jnp.asarray(1.0 / length),
    jnp.zeros(count, jnp.int32),
  )
  intervals = Intervals(
    jnp.asarray(np.where(used, enter, np.inf)),
    jnp.asarray(np.where(used, leave, np.inf)),
    jnp.asarray(annotation, jnp.int32),
    jnp.zeros(count, jnp.int32),
  )
  batch = Batch(
    rays=rays,
    intervals=intervals,
    rgb=jnp.asarray(numbers['rgb_target']),
    label=jnp.asarray(numbers['pseudo_label'], jnp.int32),
    label_weight=jnp.ones(count),
    depth=jnp.asarray(np.maximum(numbers['depth_target'], 0.0)),
    supervised=jnp.ones(count, bool),
  )
  return batch, jnp.asarray(class_id, jnp.int32)


def _step(params, batch, class_id, points, samples):
  """Return the total loss, and its parts under the golden file's names."""
  module = PaperField(scale=1.0, class_ids=tuple(range(NUM_CHANNELS)))
  out = paper_rendering.render_samples(BoundField(module, params), batch.rays, points, samples)
  terms = paper_losses.loss_terms(
    out, class_id, batch, depth_classes=(9, 12, 35), depth_max=100.0, logits_rendered=True
  )
  results = {f'loss.{_TERMS[name]}': term for name, term in terms.items()}
  semantic = sum(term for name, term in terms.items() if name.startswith('semantic'))
  results['loss.semantic_loss'] = semantic
  results['loss.psnr_0'] = -10.0 * jnp.log10(terms['rgb'])
  results['loss.loss'] = terms['rgb'] + 0.1 * terms['depth'] + 0.01 * semantic
  results |= {name: getattr(out, name) for name in ('weights', 'rgb', 'depth')}
  hot = paper_rendering.multi_hot(samples, paper_losses.merge_classes(class_id))
  results['fixed'] = compositing.integrate(out.weights, hot)
  results['semantic_logits'] = compositing.integrate(out.weights, out.logits)
  return results['loss.loss'], results


@pytest.fixture(scope='module')
def repeated(paper_network):
  params, numbers = paper_network
  batch, class_id = _batch(numbers)
  far = float(numbers['far'])
  # In float32, as the reference: samples lie 1e-5 m from their interval's ends, by the last bit.
  length = np.linalg.norm(numbers['rays_d'], axis=-1)
  t = numbers['z_planar'] * length[:, None]
  # In the reference's order: the encoding multiplies the last bit of a coordinate by 2^14.
  points = (
    numbers['rays_o'][:, None] + (numbers['rays_d'][:, None] * t[..., None]) / length[:, None, None]
  )
  samples = paper_rendering.locate_samples(
    jnp.asarray(t), jnp.asarray(numbers['z_planar']), batch.intervals, far
  )
  # All arrays are arguments: XLA would constant-fold the encoding of the points for minutes.
  compute = jax.jit(jax.value_and_grad(_step, has_aux=True))
  (_, results), gradients = compute(params, batch, class_id, points / numbers['far'], samples)
  return {
    **results,
    **{f'grad.nerf_0.{layer}.weight': gradients[layer]['kernel'].T for layer in _LAYERS},
  }


def _difference(got, want):
  """Return the largest difference relative to the largest value."""
  return np.max(np.abs(np.asarray(got) - want)) / np.max(np.abs(want))


@pytest.mark.parametrize('name', ['weights', 'rgb', 'depth', 'semantic_logits', 'fixed'])
def test_rendered(paper_network, repeated, name):
  assert _difference(repeated[name], paper_network[1][name]) < 1e-4


def test_every_loss_term(paper_network, repeated):
  terms = [name for name in paper_network[1] if name.startswith('loss.')]
  assert len(terms) == 8
  for name in terms:
    np.testing.assert_allclose(repeated[name], paper_network[1][name], rtol=1e-4, err_msg=name)


def test_gradients(paper_network, repeated):
  names = [name for name in paper_network[1] if name.startswith('grad.')]
  assert len(names) == len(_LAYERS)
  for name in names:
    assert _difference(repeated[name], paper_network[1][name]) < 1e-4, name


def test_rays_are_rendered_from_their_intervals(paper_network):
  """The samples placed here give the colours of the reference, up to the draws in the sky."""
  params, numbers = paper_network
  batch, _ = _batch(numbers)
  far = float(numbers['far'])
  module = PaperField(scale=far, class_ids=tuple(range(NUM_CHANNELS)))
  options = paper_rendering.PaperOptions(num_samples=numbers['z_planar'].shape[1], far=far)
  render = jax.jit(
    lambda params, rays, intervals: paper_rendering.render_rays(
      BoundField(module, params), rays, intervals, options, key=None
    )
  )
  out = render(params, batch.rays, batch.intervals)
  in_sky = np.sum(np.where(out.samples.is_sky, out.weights, 0.0), axis=-1)
  near = in_sky < 1e-4
  assert near.sum() > 5
  np.testing.assert_allclose(out.rgb[near], numbers['rgb'][near], atol=2e-3)
