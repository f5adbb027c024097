"""A moving square whose true pixels are known, under labels that are a pixel too wide."""

import cv2
import numpy as np

from pnerf_jax.data.labels import BY_NAME
from pnerf_jax.labelling.moving_objects import dynamic_object_mask

CAR, ROAD = BY_NAME['car'].id, BY_NAME['road'].id
TRUCK, RIDER = BY_NAME['truck'].id, BY_NAME['rider'].id


def scene(shade, seed=0):
  """box, semantic, words, static rgb, photo, and the true pixels of an object of grey `shade`."""
  rng = np.random.default_rng(seed)
  true = np.zeros((40, 60), bool)
  true[12:24, 20:38] = True
  static = np.full((40, 60, 3), 90, np.uint8)
  static[:, 30:] = 140
  photo = np.where(true[..., None], shade, static) + rng.normal(0, 3, static.shape)
  words = np.where(cv2.dilate(true.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, CAR, ROAD)
  box = np.zeros_like(true)
  box[8:30, 15:45] = True
  return box, np.full(true.shape, CAR), words, static, np.clip(photo, 0, 255).astype(np.uint8), true


def test_a_label_that_is_too_wide_is_cut_where_the_photo_shows_what_stands_still():
  for shade in (20, 250):
    for seed in range(5):
      *given, true = scene(shade, seed)
      found = dynamic_object_mask(*given)
      assert (found != true).sum() <= 3  # noise passes for motion on a pixel or two
      assert (
        dynamic_object_mask(*given[:-1], None) != true
      ).sum() > 60  # labels alone are too wide


def test_nothing_beyond_the_box_or_another_word():
  box, semantic, words, static, photo, true = scene(250)
  words[14:16, 22:26] = ROAD
  found = dynamic_object_mask(box, semantic, words, static, photo)
  assert not found[~box].any() and not found[words == ROAD].any()
  box[12:18] = False
  assert not dynamic_object_mask(box, semantic, words, static, photo)[12:18].any()
  assert not dynamic_object_mask(np.zeros_like(box), semantic, words, static, photo).any()


def test_a_mover_that_is_taken_for_another_is_found_and_what_moves_otherwise_is_not():
  box, semantic, words, static, photo, true = scene(250)
  as_itself = dynamic_object_mask(box, semantic, words, static, photo)
  words[words == CAR] = TRUCK
  np.testing.assert_array_equal(dynamic_object_mask(box, semantic, words, static, photo), as_itself)
  words[words == TRUCK] = RIDER
  assert not dynamic_object_mask(box, semantic, words, static, photo).any()


def test_the_edge_of_the_image_and_of_the_box_are_not_where_a_label_ends():
  box, semantic, words, static, photo, _ = scene(250)
  crop = np.s_[14:, 24:]
  found = dynamic_object_mask(*(x[crop] for x in (box, semantic, words, static, photo)))
  assert found[:8, 0].all() and found[0, :12].all()
  whole = dynamic_object_mask(box, semantic, words, static, photo)[crop]
  np.testing.assert_array_equal(found[2:, 3:], whole[2:, 3:])


def test_an_object_of_the_background_s_colour_keeps_all_but_the_border_of_its_labels():
  box, semantic, words, static, _, true = scene(0)
  found = dynamic_object_mask(box, semantic, words, static, static)
  np.testing.assert_array_equal(found, true)


def test_a_label_without_an_inside_is_not_taken_for_a_border():
  box, semantic, words, static, photo, true = scene(250)
  words[:] = ROAD
  words[14:20, 25:27] = CAR
  np.testing.assert_array_equal(
    dynamic_object_mask(box, semantic, words, static, photo), words == CAR
  )


def test_without_labels_colour_decides_at_even_odds():
  box, semantic, words, static, photo, true = scene(250)
  found = dynamic_object_mask(box, semantic, np.zeros_like(words), static, photo)
  assert (found != true).sum() <= 15
  assert (dynamic_object_mask(box, semantic, np.zeros_like(words), static, None) == box).all()
