"""The methods on a hand-drawn image with noisy pseudo-labels."""

from types import SimpleNamespace

import numpy as np
import pytest

from pnerf_jax.contrib.baselines import methods, ray_labels
from pnerf_jax.contrib.baselines.inputs import Inputs
from pnerf_jax.geometry.cameras import Camera

_ROAD, _SKY, _CAR, _PARKING = 7, 23, 26, 9
_H, _W = 24, 40


@pytest.fixture(scope='module')
def scene():
  """A car in a parking bay, whose box is larger than the car; the sky is above row 8.

  The camera looks along z from the origin. Labels: 0 parking, 1 car 7, 2 car 8 (occluded), 3 sky.
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
  rays = ray_labels.RayLabels(
    enter=enter,
    label=label,
    semantic=np.array([_PARKING, _CAR, _CAR, _SKY]),
    instance=np.array([0, 7, 8, 0]),
    label_of_primitive=np.array([0, 1, 2]),
  )
  image = np.array([(90, 90, 90), (200, 30, 30), (0, 0, 0), (150, 190, 250)], np.uint8)[truth]
  image = np.clip(image + rng.integers(-8, 9, image.shape), 0, 255).astype(np.uint8)
  # The 2D network has no class parking; a fifth of its labels are wrong.
  pseudo_label = np.array([_ROAD, _CAR, _CAR, _SKY], np.uint8)[truth]
  noise = rng.uniform(size=truth.shape) < 0.2, rng.choice([_ROAD, _CAR], truth.shape)
  pseudo_label = np.where(*noise, pseudo_label)
  depth = np.array([12.0, 8.0, 9.0, 0.0], np.float32)[truth]
  # LiDAR points on every third row outside the sky; those of the bay are in the bay only.
  pixel = np.argwhere((truth < 3) & (np.arange(_H) % 3 == 0)[:, None])
  z = depth[tuple(pixel.T)]
  points = np.stack([(pixel[:, 1] - 19.5) / 50 * z, (pixel[:, 0] - 11.5) / 50 * z, z], -1)
  primitive = np.full((len(pixel), 8), -1)
  primitive[:, 0] = np.where(truth[tuple(pixel.T)] == 1, 1, 0)
  # The mesh has a hole in the car, and none of it is in the sky.
  seen = np.full((_H, _W, 8), -1)
  seen[8:, :, 0] = np.where(truth[8:] == 1, 1, 0)
  seen[13:16, 16:20] = -1
  intrinsics = np.array([50.0, 50, 19.5, 11.5])
  inputs = Inputs(
    camera=Camera(intrinsics=intrinsics, world_from_cam=np.eye(4), width=_W, height=_H),
    image=image,
    pseudo_label=pseudo_label.astype(np.uint8),
    label_confidence=np.ones((_H, _W)),
    stereo_depth=depth,
    ray_labels=rays,
    depth_per_t=np.full((_H, _W), 0.5),
    points=points,
    point_pixel=pixel,
    point_primitives=primitive,
    surface_primitives=seen,
  )
  return SimpleNamespace(
    truth=truth, inputs=inputs, semantic=rays.semantic[truth], instance=rays.instance[truth]
  )


def test_pseudo_labels_have_no_instances(scene):
  found = methods.pseudo_labels(scene.inputs)
  np.testing.assert_array_equal(found.semantic, scene.inputs.pseudo_label)
  np.testing.assert_array_equal(found.instance, scene.inputs.pseudo_label * np.uint16(1000))
  assert found.depth is None


def test_nearest_primitive_labels_the_whole_box(scene):
  found = methods.nearest_primitive(scene.inputs)
  box = np.zeros((_H, _W), bool)
  box[6:22, 6:32] = True
  assert (found.instance[box] == 26007).all() and (found.depth[box] == 4).all()
  assert (found.semantic[8:][~box[8:]] == _PARKING).all() and (found.depth[:6] == 0).all()
  assert (found.semantic[:6] == _SKY).all()


@pytest.mark.parametrize(
  'method', ['primitives_graph_cut', 'mesh_graph_cut', 'lidar_graph_cut', 'crf']
)
def test_inference_segments_the_car_in_its_box(scene, method):
  found = methods.METHODS[method][1](scene.inputs)
  correct = found.semantic == scene.semantic
  assert np.mean(correct) > 0.97
  assert np.mean(correct) > np.mean(scene.inputs.pseudo_label == scene.semantic) + 0.1
  car = scene.truth == 1
  assert np.mean(found.instance[car] == 26007) > 0.97  # never the occluded one
  np.testing.assert_array_equal(found.instance // 1000, found.semantic)
  assert found.semantic.dtype == np.uint8 and found.depth is None


def test_pseudo_labels_of_zero_confidence_are_ignored(scene):
  uncertain = Inputs(**{**vars(scene.inputs), 'label_confidence': np.zeros((_H, _W))})
  unlabelled = Inputs(**{**vars(scene.inputs), 'pseudo_label': np.zeros((_H, _W), np.uint8)})
  found, want = map(methods.primitives_graph_cut, (uncertain, unlabelled))
  np.testing.assert_array_equal(found.instance, want.instance)


def test_methods_accept_missing_predictions_and_lidar(scene):
  nothing = Inputs(
    **{
      **vars(scene.inputs),
      'pseudo_label': np.zeros((_H, _W), np.uint8),
      'stereo_depth': np.zeros((_H, _W), np.float32),
      'points': np.zeros((0, 3)),
      'point_pixel': np.zeros((0, 2), np.int64),
      'point_primitives': np.zeros((0, 8), int),
      'surface_primitives': np.full((_H, _W, 8), -1),
    }
  )
  for _, method in methods.METHODS.values():
    found = method(nothing)
    assert found.semantic.shape == (_H, _W)
    assert set(np.unique(found.semantic)) <= {0, _PARKING, _CAR, _SKY}
