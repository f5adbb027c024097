"""Presets: their classes, their detail, and their differences."""

import numpy as np
import pytest

from pnerf_jax.contrib.street import camera, generate, scenery
from pnerf_jax.data import labels


@pytest.fixture(name='streets', scope='module')
def _streets():
  return {
    preset: scenery.build(scenery.Parameters(preset, 1, 24, 0.1)) for preset in scenery.PRESETS
  }


def test_presets_have_their_classes(streets):
  classes = {preset: set(street.names) for preset, street in streets.items()}
  for names in classes.values():
    assert names <= set(labels.BY_NAME) and len(names) >= 20
  assert {'garage', 'gate', 'caravan', 'smallpole'} <= classes['suburb']
  assert {'truck', 'bus', 'stop', 'lamp', 'bicycle', 'rider'} <= classes['boulevard']
  assert {'guard rail', 'vending machine', 'motorcycle', 'traffic light'} <= classes['village']
  sets = list(classes.values())
  assert all(a != b for i, a in enumerate(sets) for b in sets[:i])


def test_objects_are_finer_than_their_primitives(streets):
  for street in streets.values():
    for name, least in (('car', 250), ('person', 300), ('building', 200), ('bicycle', 300)):
      counts = [sum(len(p.solid.faces) for p in t.parts) for t in street.objects if t.name == name]
      assert np.median(counts) >= least, name


def test_trajectory_is_on_the_road_and_free(streets):
  """Check that nothing blocks the ego car, and its height above the ground."""
  for preset, street in streets.items():
    rig = camera.rig(0.1)
    rows = street.street_from_pose @ rig.pose_from_rect[0]
    steps = np.linalg.norm(np.diff(rows[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, scenery.PRESETS[preset].SPEED, atol=0.08)
    down = np.tile([0.0, 0.0, -1.0], (len(rows), 1))
    hits = street.static.cast(rows[:, :3, 3].copy(), down)
    np.testing.assert_allclose(hits.distance, camera.CAMERA_HEIGHT, atol=0.15)
    assert set(np.array(street.names)[street.static.owner[hits.face]]) == {'road'}
    # Rays to the next position, 0.8 m to either side of the camera.
    for side in (-0.8, 0.8):
      start = rows[:-1, :3, 3] + side * rows[:-1, :3, 0] + 0.9 * rows[:-1, :3, 1]
      way = rows[1:, :3, 3] - rows[:-1, :3, 3]
      length = np.linalg.norm(way, axis=1)
      hits = street.static.cast(start, way / length[:, None])
      assert (hits.distance > length).all(), preset


@pytest.mark.slow
def test_images_show_many_classes_and_textures(streets):
  rig = camera.rig(0.1)
  seen = {}
  for preset, street in streets.items():
    image = generate.render_image(
      street, rig, 12, 0, generate.auto_exposure(street), rng=np.random.default_rng(0)
    )
    seen[preset] = image
    ids, counts = np.unique(image.semantic, return_counts=True)
    assert (counts > 3).sum() >= 10, preset
    assert counts.max() < 0.75 * counts.sum()
    assert labels.SKY in ids
    assert 60 < image.rgb.mean() < 190
    assert (image.rgb.max(-1) == 255).mean() < 0.1
  assert np.abs(seen['suburb'].rgb.astype(int) - seen['village'].rgb).mean() > 15


def test_seeds_differ_and_movers_are_optional(streets):
  a = streets['village']
  b = scenery.build(scenery.Parameters('village', 0, 2, 0.1, moving=False))
  assert not np.allclose(a.center, b.center)
  assert a.light.zenith[0] != b.light.zenith[0]
  assert max(x.timestamp for x in a.annotations) > 0
  assert all(x.timestamp < 0 for x in b.annotations) and len(b.scenes(0)[0]) == 1
  assert scenery.Parameters('village', 5).sequence == '2013_05_28_drive_3005_sync'
