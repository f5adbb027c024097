"""Sizes and resampling of training images (reading: window_test.py)."""

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
def test_training_sizes(width, scale, max_width, expected):
  full_sizes = np.array([[width, width * 376 // 1408], [width // 2, width // 2]])
  sizes = image_layers.training_sizes(full_sizes, scale, max_width)
  assert tuple(sizes[0]) == expected
  assert tuple(sizes[1]) == (round(expected[0] / width * (width // 2)),) * 2


def test_resize_nearest_samples_at_pixel_centres():
  image = np.arange(7 * 9).reshape(7, 9)
  small = image_layers.resize_nearest(image, (4, 3))
  for i in range(3):
    for j in range(4):
      # Where the new pixel's centre lies, in old pixels.
      row, column = (i + 0.5) * 7 / 3 - 0.5, (j + 0.5) * 9 / 4 - 0.5
      r, c = divmod(small[i, j], 9)
      assert abs(r - row) <= 0.5 and abs(c - column) <= 0.5
