"""Which rays a loss term acts on, on three rays through one box each.

Letters: B rays, C classes: parking, building, sky; primitive m is of class m.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.fields import fixed
from pnerf_jax.fields.field import FieldOutput
from pnerf_jax.geometry.cameras import Rays
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.rendering.rays import RenderOptions
from pnerf_jax.training import losses, setup, step
from pnerf_jax.training.ray_table import Batch

_PARKING, _BUILDING, _SKY = 9, 11, 23
_CLASS_IDS = (_PARKING, _BUILDING, _SKY)


class _Fog:
  """Half a metre passes 1 / e; grey, without opinion."""

  def __call__(self, points, directions, image):
    lead = points.shape[:-1]
    return FieldOutput(jnp.full(lead, 2.0), jnp.full((*lead, 3), 0.5), jnp.zeros((*lead, 3)))

  def sky(self, origins, directions, image):
    return jnp.full_like(origins, 0.5)


def _batch(primitive, depth) -> Batch:
  """B rays along z, each through one primitive from 10 to 12 m; all are called building."""
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
  )


def _words(odds=(1.0, 1.0, 1.0)) -> losses.LabelNoise:
  """Every class may be called anything, with these odds before it is."""
  return losses.LabelNoise(
    jnp.full((4, 45), 1 / 45),
    jnp.full(45, 1 / 45),
    jnp.ones((3, 45), bool),
    jnp.asarray(odds),
    jnp.ones(()),
  )


def _depth_loss(batch, classes) -> float:
  config = configs.get_config('paper').loss
  config.depth_classes = classes
  called = np.full((4, 45), 1 / 45, np.float32)
  terms, _ = step.loss_terms(
    _Fog(),
    batch,
    fixed.make_class_table(np.array([_PARKING, _BUILDING]), _CLASS_IDS, _SKY),
    _words(),
    jnp.asarray(called),
    jnp.float32(0.0),
    RenderOptions(64, 0, 0.0, 0.5, True),
    setup.loss_options(config, _CLASS_IDS),
    jax.random.key(0),
  )
  return float(terms['depth'])


def test_depth_acts_on_rays_that_meet_a_primitive_of_its_classes():
  # Parking's ray is 3 m off, the building's 7 m, whatever the pseudo labels call them.
  both = _batch([0, 1], [7.5, 3.5])
  parking, building = (_depth_loss(_batch([m], [z]), ()) for m, z in ((0, 7.5), (1, 3.5)))
  assert 2 < parking < 4 < 6 < building < 8
  assert _depth_loss(both, ()) == pytest.approx((parking + building) / 2, rel=0.02)
  assert _depth_loss(both, (_PARKING,)) == pytest.approx(parking, rel=0.02)
  assert _depth_loss(both, (_BUILDING, 12)) == pytest.approx(building, rel=0.02)
  assert _depth_loss(both, (12, 35)) == 0.0  # of classes that are not here


def test_words_are_counted_by_the_primitives_and_without_a_gradient():
  @jax.tree_util.register_dataclass
  @dataclasses.dataclass(frozen=True)
  class Thick(_Fog):
    density: jax.Array

    def __call__(self, points, directions, image):
      out = super().__call__(points, directions, image)
      certain = jnp.array([0.0, 9.0, 0.0])  # of being the building, wherever it may be
      return FieldOutput(out.sigma * self.density, out.rgb, out.semantic_logits + certain)

  def counted(density):
    # Parking and building lie in one place, where the learned field chooses the building.
    batch = _batch([0, 1], [7.5, 3.5])
    twice = lambda x: jnp.concatenate([x, x], axis=-1)
    both = batch.intervals
    both = Intervals(
      twice(both.enter),
      twice(both.exit),
      jnp.array([[0, 1], [1, 1]], jnp.int32),
      both.num_truncated,
    )
    _, share = step.loss_terms(
      Thick(density),
      dataclasses.replace(batch, intervals=both),
      fixed.make_class_table(np.array([_PARKING, _BUILDING]), _CLASS_IDS, _SKY),
      _words(),
      jnp.full((4, 45), 1 / 45),
      jnp.float32(0.0),
      RenderOptions(64, 0, 0.0, 0.5, True),
      setup.loss_options(configs.get_config().loss, _CLASS_IDS),
      jax.random.key(0),
    )
    return share[:, _BUILDING]

  # exp(-2 * 2) of each ray passes the boxes and is sky; half of the first is parking's.
  through = np.exp(-4.0)
  share = counted(jnp.ones(()))
  want = [(1 - through) / 4, 3 * (1 - through) / 4, through, 0]
  np.testing.assert_allclose(share, want, atol=2e-3)
  np.testing.assert_array_equal(jax.jacobian(counted)(jnp.ones(())), 0.0)


def test_a_pixel_is_the_mean_of_its_rays():
  """One pixel, two rays: black parking from 10 m on, and white building from 30 m on."""

  class Wall:
    """Opaque, and as bright as the number of the image; without opinion."""

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
  called = np.full((4, 45), 1e-9, np.float32)
  called[1, _BUILDING] = 0.8  # only the building is called so
  config = configs.get_config().loss
  terms, share = step.loss_terms(
    Wall(),
    one,
    fixed.make_class_table(np.array([_PARKING, _BUILDING]), _CLASS_IDS, _SKY),
    _words(),
    jnp.asarray(called),
    jnp.float32(0.0),
    RenderOptions(64, 0, 0.0, 0.5, True),
    setup.loss_options(config, _CLASS_IDS),
    None,
  )
  assert float(terms['rgb']) == pytest.approx((0.5 - 0.75) ** 2)
  for name in ('fixed', 'semantic_2d'):
    assert float(terms[name]) == pytest.approx(-np.log(0.5 * 0.8), rel=1e-5)
  np.testing.assert_allclose(share[:, _BUILDING], [0.5, 0.5, 0, 0], atol=1e-6)
  # Half of the pixel is where the depth says, up to a sample's distance from the face.
  assert float(terms['depth']) == pytest.approx(-np.log(0.95 * 0.5 + 0.05), rel=1e-2)


def test_labels_and_depth_count_less_at_the_end():
  config = configs.get_config().loss
  config.refine_depth_scale, config.refine_semantic_2d_scale = 0.25, 0.5
  before, after = (
    dict(setup.loss_options(config, _CLASS_IDS, finish).weights) for finish in (False, True)
  )
  assert {name: after[name] / before[name] for name in before if before[name]} == {
    'rgb': 1.0,
    'depth': 0.25,
    'fixed': 1.0,
    'semantic_2d': 0.5,
    'semantic_3d': 1.0,
  }


def test_labels_move_density_until_the_finish():
  model = configs.get_config().model
  before, after = (setup.train_options(model, finish) for finish in (False, True))
  assert before.semantics_grad_to_density
  assert after == dataclasses.replace(before, semantics_grad_to_density=False)


@pytest.mark.parametrize(
  'steps, share, begins',
  [(100, 0.0, 100), (100, 0.35, 60), (100, 0.33, 70), (100, 1.0, 0), (20, 0.2, 20)],
)
def test_the_finish_begins_with_a_call_of_the_device(steps, share, begins):
  train = configs.get_config().train
  train.steps, train.refine_fraction, train.steps_per_call = steps, share, 10
  assert setup.refinement_start(train) == begins


def _terms(batch, called, odds, posterior) -> dict[str, float]:
  table = fixed.make_class_table(np.array([_PARKING, _BUILDING]), _CLASS_IDS, _SKY)
  found, _ = step.loss_terms(
    _Fog(),
    batch,
    table,
    _words(odds),
    jnp.asarray(called),
    jnp.float32(posterior),
    RenderOptions(64, 0, 0.0, 0.5, True),
    setup.loss_options(configs.get_config().loss, _CLASS_IDS),
    None,
  )
  return {name: float(value) for name, value in found.items()}


def test_what_one_label_says_joins_the_learned_term_alone():
  called = np.full((4, 45), 0.1, np.float32)
  called[1, _BUILDING] = 0.8
  batch = _batch([0, 1], [11.0, 11.0])
  off, on = (_terms(batch, called, (1.0, 1.0, 1.0), weight) for weight in (0.0, 2.0))
  through = np.exp(-4.0)
  # Each ray meets one primitive; parking and sky are called building alike, 0.1, a building 0.8.
  added = 0.0
  for plausible in (0.1, 0.8):
    q = np.array([(1 - through) * plausible, through * 0.1])
    added -= (q / q.sum() * np.log([1 - through, through])).sum() / 2
  assert on.pop('semantic_2d') - off.pop('semantic_2d') == pytest.approx(2 * added, rel=0.02)
  assert on == off


def test_the_odds_decide_between_primitives_that_are_called_alike():
  """Parking from 10 to 12 m within a building, both called alike; the field has no opinion."""
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
  called = np.full((4, 45), 0.1, np.float32)
  off, on = (_terms(both, called, (3.0, 1.0, 1.0), weight) for weight in (0.0, 1.0))
  through = np.exp(-4.0)
  half = (1 - through) / 2
  prior = np.array([3 * half, half, through])
  want = -(prior / prior.sum() * np.log([half, half, through])).sum()
  assert on['semantic_2d'] - off['semantic_2d'] == pytest.approx(want, rel=0.02)
