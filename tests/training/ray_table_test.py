"""Ray batches: pixel by pixel against the table, projected back, and counted.

Letters: N rays of the window, V views, K intervals of a ray.
"""

import collections
import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import transform

from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.training import ray_table

_VIEWS, _WIDTH, _HEIGHT, _SLOTS = 3, 7, 5, 4
_COUNT = _VIEWS * _WIDTH * _HEIGHT
_GATHER = jax.jit(ray_table.gather_batch, static_argnums=2)
_DRAW = jax.jit(ray_table.draw_pixels, static_argnums=(2, 3))


def _world_from_cam() -> np.ndarray:
  poses = np.tile(np.eye(4), (_VIEWS, 1, 1))
  poses[:, :3, :3] = transform.Rotation.random(_VIEWS, random_state=0).as_matrix()
  poses[:, :3, 3] = np.random.default_rng(0).normal(size=(_VIEWS, 3)) * 10
  return poses


def _images():
  """Return the contents of the table as images [V, H, W, ...]."""
  rng = np.random.default_rng(1)
  lead = (_VIEWS, _HEIGHT, _WIDTH)
  return {
    'rgb': rng.integers(0, 256, (*lead, 3)).astype(np.uint8),
    'label': rng.integers(0, 45, lead).astype(np.uint8),
    'label_weight': rng.uniform(size=lead).astype(np.float32),
    'depth': rng.uniform(0, 80, lead).astype(np.float32),
    'enter': rng.uniform(0, 50, (*lead, _SLOTS)).astype(np.float32),
    'exit': rng.uniform(50, 90, (*lead, _SLOTS)).astype(np.float32),
    'primitive': rng.integers(-1, 9, (*lead, _SLOTS)).astype(np.int32),
    'num_truncated': rng.integers(0, 3, lead).astype(np.int32),
  }


_INTRINSICS = np.array([[6.0, 6.5, 3.2, 2.1], [5.0, 5.5, 2.9, 1.8], [7.0, 7.0, 3.0, 2.0]])


def _table(uniform=None, importance=None) -> ray_table.RayTable:
  images = _images()
  flat = {name: jnp.asarray(x.reshape(_COUNT, *x.shape[3:])) for name, x in images.items()}
  uniform = np.arange(_COUNT) if uniform is None else uniform
  importance = uniform if importance is None else importance
  return ray_table.RayTable(
    rgb=flat['rgb'],
    label=flat['label'],
    label_weight=flat['label_weight'],
    depth=flat['depth'],
    intervals=Intervals(
      enter=flat['enter'],
      exit=flat['exit'],
      primitive=flat['primitive'],
      num_truncated=flat['num_truncated'],
    ),
    world_from_cam=jnp.asarray(_world_from_cam(), jnp.float32),
    intrinsics=jnp.asarray(_INTRINSICS, jnp.float32),
    supervised=jnp.arange(_VIEWS) != 1,
    uniform=jnp.asarray(uniform, jnp.int32),
    view_start=jnp.asarray(
      np.searchsorted(uniform, np.arange(_VIEWS + 1) * _WIDTH * _HEIGHT), jnp.int32
    ),
    importance=jnp.asarray(importance, jnp.int32),
    width=_WIDTH,
    height=_HEIGHT,
  )


def test_gather_batch_returns_supervision_and_a_ray_through_the_pixel():
  images, poses = _images(), _world_from_cam()
  index = np.random.default_rng(2).permutation(_COUNT)
  batch = jax.device_get(_GATHER(_table(), jnp.asarray(index, jnp.int32), 1))
  for row, number in enumerate(index):
    view, v, u = np.unravel_index(number, (_VIEWS, _HEIGHT, _WIDTH))
    pixel = view, v, u
    np.testing.assert_allclose(batch.rgb[row], images['rgb'][pixel] / 255.0, atol=1e-6)
    assert batch.label[row] == images['label'][pixel]
    assert batch.label_weight[row] == images['label_weight'][pixel]
    assert batch.depth[row] == images['depth'][pixel]
    for name in ('enter', 'exit', 'primitive', 'num_truncated'):
      np.testing.assert_array_equal(getattr(batch.intervals, name)[row], images[name][pixel])
    assert batch.rays.image[row] == view
    # A point 9 m along the ray projects to the pixel, at the planar depth that depth_per_t gives.
    point = np.float64(batch.rays.origins[row]) + 9 * np.float64(batch.rays.directions[row])
    x, y, z = (np.linalg.inv(poses[view]) @ [*point, 1])[:3]
    fx, fy, cx, cy = _INTRINSICS[view]
    np.testing.assert_allclose([fx * x / z + cx, fy * y / z + cy], [u, v], atol=1e-4)
    assert float(batch.rays.depth_per_t[row]) * 9 == pytest.approx(z, abs=1e-4)
  assert batch.label.dtype == jnp.int32


def test_rays_of_a_pixel_pass_the_centres_of_its_quarters():
  index, poses = np.array([5, _COUNT - 1]), _world_from_cam()
  whole, quarters = (
    jax.device_get(_GATHER(_table(), jnp.asarray(index, jnp.int32), side)) for side in (1, 2)
  )
  for name in ('rgb', 'label', 'label_weight', 'depth'):  # of pixels
    np.testing.assert_array_equal(getattr(quarters, name), getattr(whole, name))
  for name in ('enter', 'exit', 'primitive', 'num_truncated'):  # of rays
    np.testing.assert_array_equal(
      getattr(quarters.intervals, name), np.repeat(getattr(whole.intervals, name), 4, axis=0)
    )
  for row, (number, (dv, du)) in enumerate(
    itertools.product(index, itertools.product((-0.25, 0.25), repeat=2))
  ):
    view, v, u = np.unravel_index(number, (_VIEWS, _HEIGHT, _WIDTH))
    point = np.float64(quarters.rays.origins[row]) + 9 * np.float64(quarters.rays.directions[row])
    x, y, z = (np.linalg.inv(poses[view]) @ [*point, 1])[:3]
    fx, fy, cx, cy = _INTRINSICS[view]
    np.testing.assert_allclose([fx * x / z + cx, fy * y / z + cy], [u + du, v + dv], atol=1e-4)
    assert quarters.rays.image[row] == view


def test_draw_pixels_is_a_pure_function_of_the_key():
  table = _table()
  first = np.asarray(_DRAW(table, jax.random.key(5), 64, 0.5))
  np.testing.assert_array_equal(_DRAW(table, jax.random.key(5), 64, 0.5), first)
  others = [np.asarray(_DRAW(table, jax.random.key(seed), 64, 0.5)) for seed in range(5)]
  assert len({other.tobytes() for other in (*others, first)}) == 6


@pytest.mark.parametrize('importance_fraction', [0.0, 0.3, 1.0])
def test_draw_pixels_takes_each_fraction_from_its_list(importance_fraction):
  uniform, importance = np.arange(10, 40), np.arange(60, 90)  # disjoint, to identify the list
  table = _table(uniform, importance)
  drawn = np.concatenate(
    [_DRAW(table, jax.random.key(seed), 50, importance_fraction) for seed in range(40)]
  )
  from_importance = np.isin(drawn, importance)
  assert (from_importance | np.isin(drawn, uniform)).all()
  assert from_importance.sum() == 40 * round(50 * importance_fraction)
  for rays in (drawn[from_importance], drawn[~from_importance]):
    if rays.size:  # every ray of the list has the same chance; 5 standard deviations
      counts = np.unique(rays, return_counts=True)[1]
      mean = rays.size / 30
      assert counts.size == 30 and np.abs(counts - mean).max() < 5 * math.sqrt(mean)


def test_a_step_draws_distinct_pixels_of_one_image():
  usable = np.delete(np.arange(_COUNT), [0, 5, 36, 40, 104])
  table = _table(usable)
  draw = jax.jit(ray_table.draw_pixels_of_image, static_argnums=3)
  key, count, drawn = jax.random.key(3), 20, collections.Counter()
  for epoch in range(20):
    views = []
    for step in range(epoch * _VIEWS, (epoch + 1) * _VIEWS):
      pixels = np.asarray(draw(table, key, step, count))
      assert len(set(pixels.tolist())) == count and set(pixels.tolist()) <= set(usable.tolist())
      assert len(set((pixels // (_WIDTH * _HEIGHT)).tolist())) == 1
      views.append(int(pixels[0]) // (_WIDTH * _HEIGHT))
      drawn.update(pixels.tolist())
      np.testing.assert_array_equal(pixels, draw(table, key, step, count))
    assert sorted(views) == list(range(_VIEWS))  # each image once
  assert set(drawn) == set(usable.tolist())
  # All pixels of an image are equally likely: 20 draws of 20 of 32 to 34, five standard deviations.
  expected = 20 * count / 33
  assert max(abs(n - expected) for n in drawn.values()) < 5 * math.sqrt(expected * (1 - count / 33))


def test_an_image_with_few_usable_pixels_repeats_them():
  usable = np.array([1, 2, 3, *range(35, _COUNT)])
  draw = lambda step: np.asarray(
    ray_table.draw_pixels_of_image(_table(usable), jax.random.key(0), jnp.int32(step), 10)
  )
  first = next(pixels for pixels in map(draw, range(_VIEWS)) if pixels[0] < 35)
  assert set(first.tolist()) == {1, 2, 3}


def test_unusable_pixels_are_never_drawn():
  usable = np.random.default_rng(3).uniform(size=_COUNT) > 0.5
  primitive = _images()['primitive'].reshape(_COUNT, _SLOTS)
  importance = ray_table.importance_pixels(primitive, usable, _VIEWS, seed=0)
  table = _table(np.flatnonzero(usable), importance)
  drawn = np.concatenate([_DRAW(table, jax.random.key(seed), 50, 0.5) for seed in range(20)])
  assert usable[drawn].all()


def _weights(primitive: np.ndarray, usable: np.ndarray, views: int) -> np.ndarray:
  """Return 1 / sqrt(pixels of the smallest primitive on the ray, or of the view without one)."""
  per_view = np.split(primitive, views)
  weights = []
  for rays in per_view:
    pixels = collections.Counter(index for slots in rays for index in set(slots.tolist()))
    for slots in rays:
      on_ray = [pixels[index] for index in slots.tolist() if index >= 0] or [len(rays)]
      weights.append(1 / math.sqrt(min(on_ray)))
  return np.where(usable, weights, 0.0)


def _street(views: int = 2, pixels: int = 600):
  """A road on most rays, houses on some, one pole on few and, in one view only, a lamp."""
  rng = np.random.default_rng(4)
  primitive = np.full((views, pixels, 3), -1, np.int32)
  primitive[:, 100:, 0] = 0  # road; the first hundred rays have no primitive
  primitive[:, 300:500, 1] = 7  # house
  primitive[:, 490:496, 2] = 3  # pole before the house
  primitive[0, 120:122, 1] = 5  # lamp
  primitive[1, 400:, 1] = 5  # the same primitive is large in the other view
  primitive = primitive.reshape(views * pixels, 3)
  usable = rng.uniform(size=len(primitive)) > 0.2
  usable[[490, -1]] = True, False
  return primitive, usable


@pytest.mark.parametrize('seed', [0, 1])
def test_importance_pixels_follow_the_documented_weights(seed):
  primitive, usable = _street()
  drawn = ray_table.importance_pixels(primitive, usable, 2, seed)
  assert drawn.shape == (usable.sum(),) and drawn.dtype == np.int32
  weights = _weights(primitive, usable, 2)
  expected = weights / weights.sum() * usable.sum()
  counts = np.bincount(drawn, minlength=len(primitive))
  # Systematic resampling: each count is its expectation rounded down or up.
  assert (np.abs(counts - expected) < 1 + 1e-6).all()
  assert (counts[~usable] == 0).all()
  pole = counts[490:496][usable[490:496]]
  assert pole.min() >= 2  # 6 pixels against hundreds


def test_a_primitive_with_two_intervals_on_a_ray_counts_one_pixel():
  # Ray 0 passes both arms of a concave primitive 1; primitive 2 is on ray 1 only.
  primitive = np.full((40, 2), -1)
  primitive[0] = 1, 1
  primitive[1, 0] = 2
  drawn = [
    ray_table.importance_pixels(primitive, np.ones(40, bool), 1, seed) for seed in range(200)
  ]
  counts = np.bincount(np.concatenate(drawn), minlength=40)
  assert counts[0] == pytest.approx(counts[1], rel=0.05)


def test_importance_pixels_are_deterministic_and_depend_on_the_seed():
  primitive, usable = _street()
  first = ray_table.importance_pixels(primitive, usable, 2, 0)
  np.testing.assert_array_equal(ray_table.importance_pixels(primitive, usable, 2, 0), first)
  assert (ray_table.importance_pixels(primitive, usable, 2, 1) != first).any()


def test_importance_pixels_without_primitives_or_usable_rays():
  empty = np.full((6, 2), -1)
  usable = np.array([True, False, True, True, False, True])
  np.testing.assert_array_equal(ray_table.importance_pixels(empty, usable, 2, 0), [0, 2, 3, 5])
  assert ray_table.importance_pixels(empty, np.zeros(6, bool), 2, 0).size == 0


def test_ray_table_is_a_pytree_with_a_static_size():
  leaves, tree = jax.tree.flatten(_table())
  fields = [
    field for field in dataclasses.fields(ray_table.RayTable) if not field.metadata.get('static')
  ]
  assert len(leaves) == len(fields) - 1 + len(dataclasses.fields(Intervals))
  assert jax.tree.unflatten(tree, leaves).width == _WIDTH
