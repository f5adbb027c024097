"""Segmentation of a moving square of known pixels, from labels that are one pixel too wide."""

import cv2
import numpy as np

from pnerf_jax.data.labels import BY_NAME
from pnerf_jax.labelling.moving_objects import dynamic_object_mask

CAR, ROAD = BY_NAME['car'].id, BY_NAME['road'].id
TRUCK, RIDER = BY_NAME['truck'].id, BY_NAME['rider'].id


def scene(shade, seed=0):
  """Return the arguments of dynamic_object_mask and the true mask of an object of grey `shade`."""
  rng = np.random.default_rng(seed)
  truth = np.zeros((40, 60), bool)
  truth[12:24, 20:38] = True
  static = np.full((40, 60, 3), 90, np.uint8)
  static[:, 30:] = 140
  image = np.where(truth[..., None], shade, static) + rng.normal(0, 3, static.shape)
  pseudo_label = np.where(
    cv2.dilate(truth.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, CAR, ROAD
  )
  candidate = np.zeros_like(truth)
  candidate[8:30, 15:45] = True
  return (
    candidate,
    np.full(truth.shape, CAR),
    pseudo_label,
    static,
    np.clip(image, 0, 255).astype(np.uint8),
    truth,
  )


def test_dynamic_object_mask_removes_pixels_that_show_the_static_scene():
  for shade in (20, 250):
    for seed in range(5):
      *given, truth = scene(shade, seed)
      found = dynamic_object_mask(*given)
      assert (found != truth).sum() <= 3  # noise exceeds the threshold on a pixel or two
      labels_alone = dynamic_object_mask(*given[:-1], None)
      assert (labels_alone != truth).sum() > 60


def test_dynamic_object_mask_is_within_candidates_and_compatible_labels():
  candidate, semantic, pseudo_label, static, image, truth = scene(250)
  pseudo_label[14:16, 22:26] = ROAD
  found = dynamic_object_mask(candidate, semantic, pseudo_label, static, image)
  assert not found[~candidate].any() and not found[pseudo_label == ROAD].any()
  candidate[12:18] = False
  assert not dynamic_object_mask(candidate, semantic, pseudo_label, static, image)[12:18].any()
  assert not dynamic_object_mask(
    np.zeros_like(candidate), semantic, pseudo_label, static, image
  ).any()


def test_dynamic_object_mask_accepts_confusable_classes_only():
  candidate, semantic, pseudo_label, static, image, truth = scene(250)
  as_itself = dynamic_object_mask(candidate, semantic, pseudo_label, static, image)
  pseudo_label[pseudo_label == CAR] = TRUCK
  np.testing.assert_array_equal(
    dynamic_object_mask(candidate, semantic, pseudo_label, static, image), as_itself
  )
  pseudo_label[pseudo_label == TRUCK] = RIDER
  assert not dynamic_object_mask(candidate, semantic, pseudo_label, static, image).any()


def test_dynamic_object_mask_ignores_image_and_primitive_borders():
  candidate, semantic, pseudo_label, static, image, _ = scene(250)
  crop = np.s_[14:, 24:]
  found = dynamic_object_mask(
    *(x[crop] for x in (candidate, semantic, pseudo_label, static, image))
  )
  assert found[:8, 0].all() and found[0, :12].all()
  whole = dynamic_object_mask(candidate, semantic, pseudo_label, static, image)[crop]
  np.testing.assert_array_equal(found[2:, 3:], whole[2:, 3:])


def test_dynamic_object_mask_of_the_background_colour_erodes_labels_by_one_pixel():
  candidate, semantic, pseudo_label, static, _, truth = scene(0)
  found = dynamic_object_mask(candidate, semantic, pseudo_label, static, static)
  np.testing.assert_array_equal(found, truth)


def test_dynamic_object_mask_keeps_thin_labels():
  candidate, semantic, pseudo_label, static, image, truth = scene(250)
  pseudo_label[:] = ROAD
  pseudo_label[14:20, 25:27] = CAR
  np.testing.assert_array_equal(
    dynamic_object_mask(candidate, semantic, pseudo_label, static, image), pseudo_label == CAR
  )


def test_dynamic_object_mask_without_labels_uses_photometric_error():
  candidate, semantic, pseudo_label, static, image, truth = scene(250)
  found = dynamic_object_mask(candidate, semantic, np.zeros_like(pseudo_label), static, image)
  assert (found != truth).sum() <= 15
  assert (
    dynamic_object_mask(candidate, semantic, np.zeros_like(pseudo_label), static, None) == candidate
  ).all()
