"""Cached intervals: equal to recomputed ones bit by bit, and found for the same window only."""

import dataclasses

import jax
import numpy as np
import pytest

from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import interval_cache

pytestmark = pytest.mark.slow

_K = 6  # fewer than some rays intersect


@pytest.fixture(scope='module')
def scene(config_of):
  return build_experiment(config_of()).scene


@pytest.fixture
def intersected(monkeypatch):
  """Return the list of views that are intersected."""
  views = []

  def record(*args):
    views.append(args[-1])
    return view_intervals(*args)

  monkeypatch.setattr(interval_cache.intersection, 'view_intervals', record)
  return views


def _same(one, other):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def test_cached_intervals_equal_those_of_each_view(scene, intersected, tmp_path):
  images = [3, 0]
  whole = []
  for image in images:
    view = dataset_camera(scene, image, full=False)
    found, moving, _ = view_intervals(
      scene.primitives, view, scene.window.near, float(scene.window.far), _K
    )
    whole.append(
      (
        jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), found),
        np.isfinite(np.asarray(moving)).ravel(),
      )
    )
  expected = jax.tree.map(lambda *parts: np.concatenate(parts), *whole)
  assert expected[0].num_truncated.any() and expected[1].any() and (expected[0].primitive < 0).any()
  for folder, count in ((None, 2), (tmp_path, 2), (tmp_path, 0), (None, 2)):
    intersected.clear()
    _same(interval_cache.view_intervals(scene, images, _K, folder), expected)
    assert len(intersected) == count


def test_inputs_of_the_intervals_change_the_file(scene, intersected, tmp_path):
  primitives, window = scene.primitives, scene.window
  pose = window.world_from_cam.copy()
  pose[0, 0, 3] = np.nextafter(pose[0, 0, 3], np.float32(9e9))
  change = lambda **fields: dataclasses.replace(scene, window=dataclasses.replace(window, **fields))
  vertex = primitives.vertices.at[0, 0].add(1e-3)
  others = [
    (change(world_from_cam=pose), [0], _K),
    (change(near=0.31), [0], _K),
    (change(far=window.far + 1), [0], _K),
    (scene, [1], _K),
    (scene, [0, 1], _K),
    (scene, [0], _K + 1),
    (
      dataclasses.replace(scene, primitives=dataclasses.replace(primitives, vertices=vertex)),
      [0],
      _K,
    ),
  ]
  interval_cache.view_intervals(scene, [0], _K, tmp_path)
  for other, images, k in others:
    intersected.clear()
    interval_cache.view_intervals(other, images, k, tmp_path)
    assert len(intersected) == len(images)
  assert len(list(tmp_path.glob('*.npz'))) == 1 + len(others)
  # Pixels do not change the intervals.
  intersected.clear()
  interval_cache.view_intervals(change(rgb=window.rgb[::-1]), [0], _K, tmp_path)
  assert not intersected


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'foreign', 'wrong', 'empty'])
def test_damaged_files_are_recomputed(scene, intersected, tmp_path, caplog, damage):
  expected = interval_cache.view_intervals(scene, [1], _K, tmp_path)
  (path,) = tmp_path.glob('*.npz')
  good = path.read_bytes()
  if damage == 'wrong':  # a complete file of too many intervals
    with np.load(path) as file:
      arrays = dict(file)
    arrays['count'][0] += 1
    np.savez(path, **arrays)
  else:
    middle = len(good) // 2
    path.write_bytes(
      {
        'cut': good[:middle],
        'empty': b'',
        'foreign': b'intervals of another program',
        'flipped': good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
      }[damage]
    )
  intersected.clear()
  with caplog.at_level('WARNING', logger='pnerf_jax'):
    _same(interval_cache.view_intervals(scene, [1], _K, tmp_path), expected)
  assert len(intersected) == 1
  assert len(caplog.records) == 1 and str(path) in caplog.text and 'recomputing' in caplog.text
  assert path.read_bytes() == good
  assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_cache_that_cannot_be_written_is_skipped(scene, tmp_path, caplog):
  file = tmp_path / 'file'
  file.write_bytes(b'')
  with caplog.at_level('WARNING', logger='pnerf_jax'):
    _, moving = interval_cache.view_intervals(scene, [0], _K, file)
  assert len(moving) == scene.window.width * scene.window.height
  assert 'not written' in caplog.text
