"""One training step of the authors' program, repeated with this project's functions.

Their program differs in form. The test converts its inputs to those of the functions that the train
step calls:

- intervals do not hold their own ends: they are shortened by the last bit;
- steps between samples are planar, reach over gaps, and the last is 1e10: another `delta`;
- the sky is sampled beyond `far`, and there and in no primitive the fixed field is one-hot too;
- density is zero within 1e-3 m outside of an entry or exit, and in no primitive nearer than `far`;
- all 50 channels are classes, merged on lookup; the fixed field is multi-hot;
- rendered logits, and rendered multi-hot mass, go through a softmax: class probabilities;
- depth is planar, not divided by the opacity, and its loss is clamped at 0.1.

Letters: B 96 rays, S 148 samples, K 10 slots, C 50 classes.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.fields import fixed
from pnerf_jax.fields.paper_field import PaperField
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering import compositing
from pnerf_jax.training import losses

pytestmark = pytest.mark.slow

_C = 50
_DEPTH_CLASSES = np.array([9, 12, 35])
_MARGIN = 1e-3  # metres outside of an interval
_LAYERS = ('alpha_linear', 'rgb_linear', 'semantic_output2')


def _geometry(numbers):
  """Return the sample geometry of the golden rays and the classes on them, as inputs of `_step`."""
  z = numbers['z_planar']
  # In float32, as the reference: samples lie 1e-5 m from their interval's ends, by the last bit.
  length = np.linalg.norm(numbers['rays_d'], axis=-1)
  t = z * length[:, None]
  far = numbers['far']
  enter, exit_, _, class_id = np.moveaxis(numbers['intersections'], -1, 0)
  # A primitive for each id; index = id, -1 = empty slot.
  semantic = np.array([labels.paper_merged_class(i) for i in range(labels.NUM_IDS)])
  table = fixed.make_class_table(semantic, tuple(range(_C)), labels.SKY)
  # Void is a class of the reference's fixed field.
  table = dataclasses.replace(table, is_void=jnp.zeros_like(table.is_void))
  # The reference excludes the ends of intervals, this program includes them.
  slots = Intervals(
    jnp.asarray(np.nextafter(enter, np.float32(np.inf))),
    jnp.asarray(np.nextafter(exit_, np.float32(-np.inf))),
    jnp.asarray(class_id, jnp.int32),
    jnp.zeros(len(z), jnp.int32),
  )
  member = fixed.find_membership(jnp.asarray(t), slots, table)
  outside = ~member.occupied
  beyond = outside & (t > far)
  multi_hot = (
    member.class_mask
    | (beyond[..., None] & (np.arange(_C) == labels.SKY))
    | ((outside & ~beyond)[..., None] & (np.arange(_C) == labels.VOID))
  )
  before, after = enter[:, None] - t[..., None], t[..., None] - exit_[:, None]
  edge = ((before > 0) & (before < _MARGIN)) | ((after > 0) & (after < _MARGIN))
  delta = np.append(np.diff(z, axis=1), np.full((len(z), 1), 1e10, np.float32), axis=1)
  ray_classes = np.zeros((len(z), _C), bool)
  unmerged_classes = np.zeros((len(z), _C), bool)
  for ray, slot in zip(*np.nonzero(class_id >= 0)):
    unmerged_classes[ray, int(class_id[ray, slot])] = True
    ray_classes[ray, semantic[int(class_id[ray, slot])]] = True
  points = (
    numbers['rays_o'][:, None] + (numbers['rays_d'][:, None] * t[..., None]) / length[:, None, None]
  )
  directions = np.broadcast_to((numbers['rays_d'] / length[:, None])[:, None], points.shape)
  return {
    'points': points / far,
    'directions': directions,
    'delta': delta,
    'multi_hot': multi_hot,
    'ray_classes': ray_classes,
    'unmerged_classes': unmerged_classes,
    'empty': (outside & ~beyond) | edge.any(-1),
  }


def _step(params, numbers, geometry):
  """Return the total loss, and its parts under the golden file's names."""
  field = PaperField(scale=1.0, class_ids=tuple(range(_C)))
  raw = field.apply({'params': params}, geometry['points'], geometry['directions'], method='raw')
  sigma = jnp.where(geometry['empty'], 0.0, jax.nn.relu(raw[..., 3]))
  weights, _ = compositing.composite_weights(sigma, geometry['delta'])
  multi_hot = geometry['multi_hot']
  rgb = compositing.integrate(weights, jax.nn.sigmoid(raw[..., :3]))
  semantic_logits = compositing.integrate(weights, raw[..., 4:])
  mass = compositing.integrate(weights, multi_hot.astype(jnp.float32))
  depth = jnp.sum(weights * numbers['z_planar'], axis=-1)

  label = numbers['pseudo_label'].astype(np.int32)
  compatible = jnp.eye(_C, dtype=bool)
  # The sky is channel 23 of the reference, not the last class.
  supported = losses.label_on_ray(jnp.asarray(geometry['ray_classes']), label, compatible) | (
    label == labels.SKY
  )
  transition = jnp.eye(_C + 1, _C)  # labels without noise
  measured = (
    geometry['unmerged_classes'][:, _DEPTH_CLASSES].any(-1)
    & (numbers['depth_target'] > 0)
    & (numbers['depth_target'] < 100)
  )
  every = jnp.ones(len(label))
  huber = losses.depth_huber(depth, numbers['depth_target'], measured)
  uniform = multi_hot / jnp.sum(multi_hot, axis=-1, keepdims=True)
  results = {
    'weights': weights,
    'rgb': rgb,
    'depth': depth,
    'semantic_logits': semantic_logits,
    'fixed': mass,
    'loss.color_mse_0': losses.color(rgb, numbers['rgb_target']),
    'loss.depth_loss': jnp.minimum(huber, 0.1),
    'loss.semantic_loss_2d_pred': losses.forward_corrected_nll(
      jax.nn.softmax(semantic_logits), label, supported, transition
    ),
    'loss.semantic_loss_2d_fix': losses.forward_corrected_nll(
      jax.nn.softmax(mass), label, every, transition
    ),
    'loss.semantic_loss_3d': losses.semantic_3d(raw[..., 4:], uniform, weights),
  }
  semantic = sum(results[f'loss.semantic_loss_{name}'] for name in ('2d_pred', '2d_fix', '3d'))
  results['loss.semantic_loss'] = semantic
  results['loss.psnr_0'] = -10.0 * jnp.log10(results['loss.color_mse_0'])
  results['loss.loss'] = (
    results['loss.color_mse_0'] + 0.1 * results['loss.depth_loss'] + 0.01 * semantic
  )
  return results['loss.loss'], results


@pytest.fixture(scope='module')
def repeated(paper_network):
  params, numbers = paper_network
  geometry = _geometry(numbers)
  # All arrays are arguments: XLA would constant-fold the encoding of the points for minutes.
  compute = jax.jit(jax.value_and_grad(_step, has_aux=True))
  (_, results), gradients = compute(params, numbers, geometry)
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
