"""Labels and instances by the rules of the paper's program against its arrays."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnerf_jax.data import labels
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.labelling import paper_labels
from pnerf_jax.rendering import paper_rendering
from pnerf_jax.rendering.paper_rendering import PaperRendered

pytestmark = pytest.mark.slow

_MIN_MARGIN = 1e-5  # rays with a smaller one are ties


@pytest.fixture(scope='module')
def numbers(golden):
  return golden('inference')


@pytest.fixture(scope='module')
def rendered(numbers):
  """Return the golden rays, rendered from the raw values of their samples, and their intervals."""
  enter, leave, annotation, class_id = np.moveaxis(numbers['intersections'], -1, 0)
  used = annotation >= 0
  # A primitive for each annotation id of these rays, in rising order; the first id is -1.
  ids = numbers['instance_ids'][1:]
  index = np.where(used, np.searchsorted(ids, annotation), -1)
  intervals = Intervals(
    jnp.asarray(np.where(used, enter, np.inf)),
    jnp.asarray(np.where(used, leave, np.inf)),
    jnp.asarray(index, jnp.int32),
    jnp.zeros(len(enter), jnp.int32),
  )
  semantic = np.zeros(len(ids), np.int32)
  semantic[index[used]] = class_id[used]
  primitives = types.SimpleNamespace(
    semantic=jnp.asarray(semantic), instance=jnp.asarray(ids, jnp.int32)
  )
  samples = paper_rendering.locate_samples(
    jnp.asarray(numbers['distance']), jnp.asarray(numbers['z_planar']), intervals, numbers['far']
  )
  sigma = jnp.where(samples.is_empty, 0.0, jax.nn.relu(numbers['raw_density']))
  weights = paper_rendering.composite_weights(sigma, samples.depth)
  out = PaperRendered(
    rgb=jnp.sum(weights[..., None] * jax.nn.sigmoid(numbers['raw_rgb']), axis=-2),
    depth=jnp.sum(weights * samples.depth, axis=-1),
    weights=weights,
    logits=jnp.asarray(numbers['logits']),
    samples=samples,
  )
  return out, intervals, primitives, jnp.asarray(class_id, jnp.int32)


def _label(rendered, **options):
  out, intervals, primitives, _ = rendered
  options = {'label_field': 'learned', 'logits_rendered': True, **options}
  return paper_labels.label_pixels(out, intervals, primitives, **options)


def test_pixels(numbers, rendered):
  out = rendered[0]
  for name in ('weights', 'rgb', 'depth'):
    np.testing.assert_allclose(
      getattr(out, name), numbers[name], rtol=1e-5, atol=1e-6, err_msg=name
    )


def test_class_values_of_samples(numbers, rendered):
  out, _, _, class_id = rendered
  hot = paper_rendering.multi_hot(out.samples, jnp.where(class_id == 39, 41, class_id))
  found = paper_labels.split_classes(jax.nn.softmax(out.logits), hot)
  np.testing.assert_allclose(found, numbers['point_semantic'], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('form', ['', 'before.'])
def test_semantic_labels_of_all_rays(numbers, rendered, form):
  out, _, _, class_id = rendered
  semantic, fixed = paper_labels.render_semantics(out, class_id, logits_rendered=form == '')
  np.testing.assert_allclose(semantic, numbers[f'{form}semantic'], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(fixed, numbers['fixed'], rtol=1e-5, atol=1e-6)
  clear = numbers[f'{form}semantic_margin'] > _MIN_MARGIN
  assert clear.mean() > 0.9
  expected = numbers[f'{form}semantic_label']
  np.testing.assert_array_equal(np.argmax(semantic, axis=-1)[clear], expected[clear])
  labelled, _ = _label(rendered, logits_rendered=form == '')
  known = np.where(expected < labels.NUM_IDS, expected, labels.VOID)
  np.testing.assert_array_equal(labelled.semantic[clear], known[clear])


@pytest.mark.parametrize('form', ['', 'before.'])
def test_instances_of_all_rays(numbers, rendered, form):
  labelled, sky_weight = _label(rendered, logits_rendered=form == '')
  expected = numbers[f'{form}instance_label']
  # Several rays have two primitives of equal weight; the slot is then a matter of order.
  clear = (numbers['instance_margin'] > _MIN_MARGIN) & (
    numbers[f'{form}semantic_margin'] > _MIN_MARGIN
  )
  assert np.unique(expected[clear]).size > 5
  found = np.where(np.asarray(labelled.instance) > 0, labelled.instance, -1)
  np.testing.assert_array_equal(found[clear], expected[clear])
  np.testing.assert_allclose(sky_weight, numbers['instance_sky'], rtol=1e-5, atol=1e-6)


def test_panoptic_labels_of_all_rays(numbers, rendered):
  labelled, _ = _label(rendered)
  ids = numbers['instance_ids']
  is_thing = np.isin(labelled.semantic, paper_labels.INSTANCE_CLASSES)
  index = np.searchsorted(ids, np.where(labelled.instance > 0, labelled.instance, -1))
  panoptic = np.where(is_thing, 50 + index, labelled.semantic)
  clear = (numbers['instance_margin'] > _MIN_MARGIN) & (numbers['semantic_margin'] > _MIN_MARGIN)
  np.testing.assert_array_equal(panoptic[clear], numbers['panoptic'][clear])


def test_fixed_labels(numbers, rendered):
  labelled, _ = _label(rendered, label_field='fixed')
  clear = numbers['fixed_margin'] > _MIN_MARGIN
  np.testing.assert_array_equal(labelled.semantic[clear], numbers['fixed_label'][clear])
  np.testing.assert_array_equal(labelled.fixed[clear], numbers['fixed_label'][clear])


def test_a_primitive_in_two_slots_counts_once(rendered):
  out, intervals, primitives, class_id = rendered
  doubled = lambda x: jnp.concatenate([x, x], axis=-1)
  twice = dataclasses.replace(
    intervals, **{k: doubled(getattr(intervals, k)) for k in ('enter', 'exit', 'primitive')}
  )
  samples = dataclasses.replace(out.samples, inside=doubled(out.samples.inside))
  once, _ = _label(rendered)
  again, _ = _label((dataclasses.replace(out, samples=samples), twice, primitives, class_id))
  for name in ('semantic', 'instance', 'fixed', 'mass'):
    np.testing.assert_array_equal(getattr(once, name), getattr(again, name))
