"""Colour maps."""

import colorsys

import numpy as np
import skimage.color

from pnerf_jax.data import palettes


def test_semantic_rgb_matches_the_official_table():
  ids = np.array([[7, 26], [255, 44]], np.uint8)
  expected = [[(128, 64, 128), (0, 0, 142)], [(0, 0, 0), (32, 32, 32)]]
  np.testing.assert_array_equal(palettes.semantic_rgb(ids), expected)


def test_instance_rgb_depends_only_on_the_value():
  rng = np.random.default_rng(0)
  values = rng.integers(0, 45000, (20, 30)).astype(np.uint16)
  joint = palettes.instance_rgb(values)
  for row, column in ((0, 0), (3, 7), (19, 29)):
    np.testing.assert_array_equal(palettes.instance_rgb(values[row, column]), joint[row, column])


def test_instance_rgb_distinguishes_consecutive_ids():
  for semantic in (11, 26):
    rgb = palettes.instance_rgb(np.arange(semantic * 1000 + 1, semantic * 1000 + 200))
    lab = skimage.color.rgb2lab(rgb[None])[0]
    for step in range(1, 16):
      distance = np.linalg.norm(lab[step:] - lab[:-step], axis=-1)
      assert distance.min() > 15, (semantic, step)  # 2.3 is just noticeable


def test_instance_rgb_darkens_stuff_and_unknown_instances():
  rgb = palettes.instance_rgb(np.array([7000, 26000, 65535, 0]))
  np.testing.assert_array_equal(rgb, [(58, 29, 58), (0, 0, 64), (0, 0, 0), (0, 0, 0)])


def test_rgb_from_hsv_matches_colorsys():
  hue, saturation, value = np.random.default_rng(0).random((3, 100))
  expected = [colorsys.hsv_to_rgb(*hsv) for hsv in zip(hue, saturation, value)]
  np.testing.assert_allclose(palettes._rgb_from_hsv(hue, saturation, value), expected, atol=1e-12)


def test_depth_rgb_range_and_missing_depth():
  depth = np.array([1.0, 3.0, 10.0, 100.0, 500.0, 0.0, -1.0, np.nan, np.inf])
  rgb = palettes.depth_rgb(depth).astype(int)
  np.testing.assert_array_equal(rgb[0], rgb[1])
  np.testing.assert_array_equal(rgb[3], rgb[4])
  assert rgb[0, 0] > 2 * rgb[0, 2] and rgb[3, 2] > rgb[3, 0]
  np.testing.assert_array_equal(rgb[5:], np.zeros((4, 3)))
  # Turbo's published end points and middle (Mikhailov, 2019).
  np.testing.assert_array_equal(rgb[1], (122, 4, 3))
  np.testing.assert_array_equal(rgb[3], (48, 18, 59))


def test_fraction_rgb_is_grey():
  rgb = palettes.fraction_rgb(np.array([0.0, 0.2, 1.0, 1.5]))
  np.testing.assert_array_equal(rgb[:, 0], [0, 51, 255, 255])
  assert rgb.shape == (4, 3)
