"""The methods on an image whose truth is drawn by hand, with a wrong word here and there."""

from types import SimpleNamespace

import numpy as np
import pytest

from pnerf_jax.contrib.baselines import methods, ray_labels
from pnerf_jax.contrib.baselines.inputs import Inputs
from pnerf_jax.labelling.images import Camera

_ROAD, _SKY, _CAR, _PARKING = 7, 23, 26, 9
_H, _W = 24, 40


@pytest.fixture(scope='module')
def scene():
  """A car before a paved bay; its box covers more than the car, the sky is above row 8.

  The camera looks along z from the origin; labels: parking 0, car 7 is 1, car 8 (its box hidden
  behind) 2, sky 3.
  """
  rng = np.random.default_rng(0)
  truth = np.zeros((_H, _W), np.int64)
  truth[:8] = 3
  truth[10:20, 10:28] = 1
  label = np.full((_H, _W, 3), ray_labels.NONE)
  enter = np.full((_H, _W, 3), np.inf, np.float32)
  label[8:, :, 0], enter[8:, :, 0] = 0, 12
  label[6:22, 6:32] = (1, 2, 0)  # the box, another car behind it, and the bay
  enter[6:22, 6:32] = (8, 9, 12)
  label[6:8, 6:32, 2], enter[6:8, 6:32, 2] = ray_labels.NONE, np.inf
  found = ray_labels.RayLabels(
    enter,
    label,
    np.array([_PARKING, _CAR, _CAR, _SKY]),
    np.array([0, 7, 8, 0]),
    np.array([0, 1, 2]),
  )
  photo = np.array([(90, 90, 90), (200, 30, 30), (0, 0, 0), (150, 190, 250)], np.uint8)[truth]
  photo = np.clip(photo + rng.integers(-8, 9, photo.shape), 0, 255).astype(np.uint8)
  # The 2D network has no word for parking; a fifth of its words are wrong.
  word = np.array([_ROAD, _CAR, _CAR, _SKY], np.uint8)[truth]
  word = np.where(rng.uniform(size=word.shape) < 0.2, rng.choice([_ROAD, _CAR], word.shape), word)
  depth = np.array([12.0, 8.0, 9.0, 0.0], np.float32)[truth]
  # A LiDAR point on every third row of pixels that are no sky; the bay's lie in the bay alone.
  pixel = np.argwhere((truth < 3) & (np.arange(_H) % 3 == 0)[:, None])
  z = depth[tuple(pixel.T)]
  points = np.stack([(pixel[:, 1] - 19.5) / 50 * z, (pixel[:, 0] - 11.5) / 50 * z, z], -1)
  primitive = np.full((len(pixel), 8), -1)
  primitive[:, 0] = np.where(truth[tuple(pixel.T)] == 1, 1, 0)
  view = Camera(np.array([50.0, 50, 19.5, 11.5]), np.eye(4), _W, _H, 0, 0)
  inputs = Inputs(
    view=view,
    photo=photo,
    word=word.astype(np.uint8),
    trust=np.ones((_H, _W)),
    stereo=depth,
    met=found,
    depth_per_t=np.full((_H, _W), 0.5),
    points=points,
    pixel=pixel,
    primitive=primitive,
  )
  return SimpleNamespace(
    truth=truth, inputs=inputs, semantic=found.semantic[truth], instance=found.instance[truth]
  )


def test_pseudo_labels_are_words_without_instances(scene):
  found = methods.pseudo_labels(scene.inputs)
  np.testing.assert_array_equal(found.semantic, scene.inputs.word)
  np.testing.assert_array_equal(found.instance, scene.inputs.word * np.uint16(1000))
  assert found.depth is None


def test_nearest_primitive_takes_the_whole_box(scene):
  found = methods.nearest_primitive(scene.inputs)
  box = np.zeros((_H, _W), bool)
  box[6:22, 6:32] = True
  assert (found.instance[box] == 26007).all() and (found.depth[box] == 4).all()
  assert (found.semantic[8:][~box[8:]] == _PARKING).all() and (found.depth[:6] == 0).all()
  assert (found.semantic[:6] == _SKY).all()


@pytest.mark.parametrize('method', ['primitives_graph_cut', 'lidar_graph_cut', 'crf'])
def test_inference_finds_the_car_in_its_box(scene, method):
  found = methods.METHODS[method][1](scene.inputs)
  right = found.semantic == scene.semantic
  assert np.mean(right) > 0.97
  assert np.mean(right) > np.mean(scene.inputs.word == scene.semantic) + 0.1
  car = scene.truth == 1
  assert np.mean(found.instance[car] == 26007) > 0.97  # never the hidden one
  np.testing.assert_array_equal(found.instance // 1000, found.semantic)
  assert found.semantic.dtype == np.uint8 and found.depth is None


def test_words_without_confidence_say_nothing(scene):
  doubted = Inputs(**{**vars(scene.inputs), 'trust': np.zeros((_H, _W))})
  silent = Inputs(**{**vars(scene.inputs), 'word': np.zeros((_H, _W), np.uint8)})
  found, want = map(methods.primitives_graph_cut, (doubted, silent))
  np.testing.assert_array_equal(found.instance, want.instance)


def test_without_predictions_and_lidar_all_methods_still_answer(scene):
  nothing = Inputs(
    **{
      **vars(scene.inputs),
      'word': np.zeros((_H, _W), np.uint8),
      'stereo': np.zeros((_H, _W), np.float32),
      'points': np.zeros((0, 3)),
      'pixel': np.zeros((0, 2), np.int64),
      'primitive': np.zeros((0, 8), int),
    }
  )
  for _, method in methods.METHODS.values():
    found = method(nothing)
    assert found.semantic.shape == (_H, _W)
    assert set(np.unique(found.semantic)) <= {0, _PARKING, _CAR, _SKY}
