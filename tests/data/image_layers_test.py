"""Sizes of training images, and how they are made (what is read: window_test.py)."""

import numpy as np
import pytest

from pnerf_jax.data import image_layers


@pytest.mark.parametrize(
  'width, scale, max_width, expected',
  [
    (1408, 0.0, 704, (704, 188)),
    (704, 0.0, 704, (704, 188)),
    (352, 0.0, 704, (352, 94)),
    (1408, 0.0, 352, (352, 94)),
    (1408, 0.0, 100, (352, 94)),
    (1408, 1.0, 704, (1408, 376)),
    (1408, 0.3, 704, (422, 113)),
  ],
)
def test_training_size(width, scale, max_width, expected):
  assert image_layers.training_size((width, width * 376 // 1408), scale, max_width) == expected


def test_resize_nearest_takes_the_pixel_under_each_centre():
  image = np.arange(7 * 9).reshape(7, 9)
  small = image_layers.resize_nearest(image, (4, 3))
  for i in range(3):
    for j in range(4):
      # Where the new pixel's centre lies, in old pixels.
      row, column = (i + 0.5) * 7 / 3 - 0.5, (j + 0.5) * 9 / 4 - 0.5
      r, c = divmod(small[i, j], 9)
      assert abs(r - row) <= 0.5 and abs(c - column) <= 0.5
