"""Which rays a loss term acts on, on three rays through one box each.

Letters: B rays, C classes: parking, building, sky; primitive m is of class m.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.config.schema import TrainConfig, parse_config
from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import FieldOutput
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.label_noise.model import LabelNoise
from pnerf_jax.rendering.rays import RenderOptions
from pnerf_jax.training import stages, step
from pnerf_jax.training.ray_table import Batch

_PARKING, _BUILDING, _SKY = 9, 11, 23
_CLASS_IDS = (_PARKING, _BUILDING, _SKY)
_RENDER = RenderOptions(
  num_samples=64,
  num_coarse_samples=0,
  uniform_fraction=0.0,
  per_interval_fraction=0.5,
  mask_semantics=True,
)


class _Fog:
  """Grey, with transmittance 1 / e per half metre and uniform logits."""

  def __call__(self, points, directions, image):
    lead = points.shape[:-1]
    return FieldOutput(jnp.full(lead, 2.0), jnp.full((*lead, 3), 0.5), jnp.zeros((*lead, 3)))

  def sky(self, origins, directions, image):
    return jnp.full_like(origins, 0.5)


def _batch(primitive, depth) -> Batch:
  """B rays along z, each through one primitive from 10 to 12 m; all are labelled building."""
  count = len(primitive)
  along = jnp.tile(jnp.array([0.0, 0.0, 1.0]), (count, 1))
  full = lambda value: jnp.full((count, 1), value)
  return Batch(
    rays=Rays(jnp.zeros((count, 3)), along, jnp.ones(count), jnp.zeros(count, jnp.int32)),
    intervals=Intervals(
      full(10.0), full(12.0), jnp.array(primitive, jnp.int32)[:, None], jnp.zeros(count, jnp.int32)
    ),
    rgb=jnp.full((count, 3), 0.5),
    label=jnp.full(count, _BUILDING),
    label_weight=jnp.ones(count),
    depth=jnp.asarray(depth, jnp.float32),
    supervised=jnp.ones(count, bool),
  )


_CLASSES = fixed.make_class_table(np.array([_PARKING, _BUILDING]), _CLASS_IDS, _SKY)


def _noise(transition=None, class_prior=(1.0, 1.0, 1.0)) -> LabelNoise:
  """Return a noise model whose labels are compatible with every class."""
  transition = np.full((4, 45), 1 / 45, np.float32) if transition is None else transition
  return LabelNoise(
    transition=jnp.asarray(transition),
    noise_distribution=jnp.full(45, 1 / 45),
    compatible=jnp.ones((3, 45), bool),
    class_prior=jnp.asarray(class_prior),
    reliability=jnp.ones(()),
  )


def _options(variant: str = 'default', refinement: bool = False, **loss) -> step.StepOptions:
  """Return the settings of a stage with some fields of config.loss changed."""
  config = configs.get_config(variant)
  config.loss.update(loss)
  options = stages.stage_options(
    parse_config(config, 1), _CLASS_IDS, far=100.0, refinement=refinement
  )
  return dataclasses.replace(options, render=_RENDER)


def _loss_terms(field, batch, noise=None, options=None, posterior_weight=0.0, key=None):
  @jax.jit
  def compute(batch, noise):
    return step.loss_terms(
      field,
      batch,
      _CLASSES,
      noise,
      options or _options(),
      posterior_weight=jnp.float32(posterior_weight),
      key=key,
    )

  return compute(batch, noise or _noise())


def _depth_loss(batch, classes) -> float:
  options = _options(depth_loss='huber', depth_classes=classes)
  terms, _ = _loss_terms(_Fog(), batch, options=options, key=jax.random.key(0))
  return float(terms['depth'])


@pytest.mark.slow
def test_depth_loss_is_restricted_to_rays_that_intersect_its_classes():
  # The error of parking's ray is 3 m, that of the building's 7 m, for any pseudo-label.
  both = _batch([0, 1], [7.5, 3.5])
  parking, building = (_depth_loss(_batch([m], [z]), ()) for m, z in ((0, 7.5), (1, 3.5)))
  assert 2 < parking < 4 < 6 < building < 8
  assert _depth_loss(both, ()) == pytest.approx((parking + building) / 2, rel=0.02)
  assert _depth_loss(both, (_PARKING,)) == pytest.approx(parking, rel=0.02)
  assert _depth_loss(both, (_BUILDING, 12)) == pytest.approx(building, rel=0.02)
  assert _depth_loss(both, (12, 35)) == 0.0  # classes that are not present


@pytest.mark.slow
def test_label_frequencies_follow_the_fixed_field_without_a_gradient():
  @jax.tree_util.register_dataclass
  @dataclasses.dataclass(frozen=True)
  class Thick(_Fog):
    density: jax.Array

    def __call__(self, points, directions, image):
      out = super().__call__(points, directions, image)
      building = jnp.array([0.0, 9.0, 0.0])
      return FieldOutput(out.sigma * self.density, out.rgb, out.semantic_logits + building)

  def frequencies_of(density):
    # Parking and building overlap, where the learned field predicts the building.
    batch = _batch([0, 1], [7.5, 3.5])
    repeat = lambda x: jnp.concatenate([x, x], axis=-1)
    both = batch.intervals
    both = Intervals(
      repeat(both.enter),
      repeat(both.exit),
      jnp.array([[0, 1], [1, 1]], jnp.int32),
      both.num_truncated,
    )
    _, frequencies = _loss_terms(
      Thick(density), dataclasses.replace(batch, intervals=both), key=jax.random.key(0)
    )
    return frequencies[:, _BUILDING]

  # The sky has exp(-2 * 2) of each ray, and parking half of the rest of the first.
  through = np.exp(-4.0)
  got = frequencies_of(jnp.ones(()))
  want = [(1 - through) / 4, 3 * (1 - through) / 4, through, 0]
  np.testing.assert_allclose(got, want, atol=2e-3)
  np.testing.assert_array_equal(jax.jacobian(frequencies_of)(jnp.ones(())), 0.0)


def test_a_pixel_is_the_mean_of_its_rays():
  """One pixel, two rays: black parking from 10 m on, and white building from 30 m on."""

  class Wall:
    """Opaque, as bright as the index of the image, with uniform logits."""

    def __call__(self, points, directions, image):
      lead = points.shape[:-1]
      rgb = jnp.broadcast_to(image[..., None, None].astype(jnp.float32), (*lead, 3))
      return FieldOutput(jnp.full(lead, 1e4), rgb, jnp.zeros((*lead, 3)))

    def sky(self, origins, directions, image):
      return jnp.full_like(origins, 0.5)

  two = _batch([0, 1], [11.0, 11.0])
  further = jnp.array([[0.0], [20.0]])
  one = dataclasses.replace(
    two,
    intervals=dataclasses.replace(
      two.intervals, enter=two.intervals.enter + further, exit=two.intervals.exit + further
    ),
    rays=dataclasses.replace(two.rays, image=jnp.arange(2)),
    rgb=jnp.full((1, 3), 0.75),
    label=two.label[:1],
    label_weight=two.label_weight[:1],
    depth=jnp.array([10.0]),
  )
  transition = np.full((4, 45), 1e-9, np.float32)
  transition[1, _BUILDING] = 0.8  # the label of the building only
  terms, frequencies = _loss_terms(Wall(), one, _noise(transition))
  assert float(terms['rgb']) == pytest.approx((0.5 - 0.75) ** 2)
  for name in ('semantic_2d_fixed', 'semantic_2d'):
    assert float(terms[name]) == pytest.approx(-np.log(0.5 * 0.8), rel=1e-5)
  np.testing.assert_allclose(frequencies[:, _BUILDING], [0.5, 0.5, 0, 0], atol=1e-6)
  # Half of the pixel is at the measured depth, up to a sample's distance from the face.
  assert float(terms['depth']) == pytest.approx(-np.log(0.95 * 0.5 + 0.05), rel=1e-2)


def test_refinement_scales_the_weights_of_depth_and_labels():
  scales = {'refine_depth_scale': 0.25, 'refine_semantic_2d_scale': 0.5}
  first, refinement = (
    dict(_options('default', stage, **scales).weights) for stage in (False, True)
  )
  assert {name: refinement[name] / first[name] for name in first} == {
    'rgb': 1.0,
    'depth': 0.25,
    'semantic_2d_fixed': 1.0,
    'semantic_2d': 0.5,
    'semantic_3d': 1.0,
  }


def test_semantics_move_density_until_the_refinement_stage():
  config = parse_config(configs.get_config(), 1)
  first, refinement = (
    stages.stage_options(config, _CLASS_IDS, far=100.0, refinement=stage).render
    for stage in (False, True)
  )
  assert first.semantics_grad_to_density
  assert refinement == dataclasses.replace(first, semantics_grad_to_density=False)


@pytest.mark.parametrize(
  'steps, fraction, start',
  [(100, 0.0, 100), (100, 0.35, 60), (100, 0.33, 70), (100, 1.0, 0), (20, 0.2, 20)],
)
def test_refinement_starts_with_a_call(steps, fraction, start):
  train = TrainConfig(steps=steps, refine_fraction=fraction, steps_per_call=10)
  assert stages.refinement_start(train) == start


def _terms(batch, transition, class_prior, posterior_weight) -> dict[str, float]:
  noise = _noise(transition, class_prior)
  terms, _ = _loss_terms(_Fog(), batch, noise, posterior_weight=posterior_weight)
  return {name: float(value) for name, value in terms.items()}


@pytest.mark.slow
def test_posterior_cross_entropy_is_part_of_the_learned_term_only():
  transition = np.full((4, 45), 0.1, np.float32)
  transition[1, _BUILDING] = 0.8
  batch = _batch([0, 1], [11.0, 11.0])
  off, on = (_terms(batch, transition, (1.0, 1.0, 1.0), weight) for weight in (0.0, 2.0))
  through = np.exp(-4.0)
  # One primitive per ray; the label has likelihood 0.1 for parking and sky, 0.8 for building.
  added = 0.0
  for likelihood in (0.1, 0.8):
    q = np.array([(1 - through) * likelihood, through * 0.1])
    added -= (q / q.sum() * np.log([1 - through, through])).sum() / 2
  assert on.pop('semantic_2d') - off.pop('semantic_2d') == pytest.approx(2 * added, rel=0.02)
  assert on == off


@pytest.mark.slow
def test_class_prior_separates_primitives_with_equal_likelihood():
  """Parking from 10 to 12 m inside a building, with equal likelihood; uniform logits."""
  one = _batch([0], [11.0])
  both = dataclasses.replace(
    one,
    intervals=Intervals(
      jnp.full((1, 2), 10.0),
      jnp.full((1, 2), 12.0),
      jnp.array([[0, 1]], jnp.int32),
      one.intervals.num_truncated,
    ),
  )
  transition = np.full((4, 45), 0.1, np.float32)
  off, on = (_terms(both, transition, (3.0, 1.0, 1.0), weight) for weight in (0.0, 1.0))
  through = np.exp(-4.0)
  half = (1 - through) / 2
  prior = np.array([3 * half, half, through])
  want = -(prior / prior.sum() * np.log([half, half, through])).sum()
  assert on['semantic_2d'] - off['semantic_2d'] == pytest.approx(want, rel=0.02)
