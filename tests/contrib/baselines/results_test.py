"""Predictions on disk and comparison pictures."""

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.baselines import pictures, results
from pnerf_jax.contrib.baselines.methods import Prediction, semantic_prediction
from pnerf_jax.data import labels
from pnerf_jax.errors import InputError


def test_write_and_read_prediction(tmp_path):
  semantic = np.array([[7, 26, 23]], np.uint8)
  prediction = Prediction(
    semantic, np.array([[7000, 26004, 23000]], np.uint16), np.array([[5.5, 80.25, 0]], np.float32)
  )
  assert not results.is_complete(tmp_path, 12)
  results.write_prediction(tmp_path, 12, prediction)
  assert results.is_complete(tmp_path, 12)
  found = results.read_prediction(tmp_path, 12, (3, 1))
  for name in ('semantic', 'instance', 'depth'):
    np.testing.assert_array_equal(getattr(found, name), getattr(prediction, name))
  results.write_prediction(tmp_path, 13, semantic_prediction(semantic))
  found = results.read_prediction(tmp_path, 13, (3, 1))
  assert found.depth is None and found.instance.tolist() == [[7000, 26000, 23000]]
  with pytest.raises(InputError, match='size 3x1, expected 4x1'):
    results.read_prediction(tmp_path, 12, (4, 1))


def test_write_comparison_has_image_truth_and_methods(tmp_path):
  shape = (22, 88)  # enlarged eightfold to 704 pixels
  image = np.full((*shape, 3), 60, np.uint8)
  of = lambda value: np.full(shape, value, np.uint8)
  pictures.write_comparison(tmp_path / 'a.png', image, of(7), [('one', of(26)), ('two', of(11))])
  sheet = np.asarray(Image.open(tmp_path / 'a.png'))

  def tile(row, column):
    return sheet[22 + row * 206 : 198 + row * 206, 8 + column * 712 : 712 + column * 712]

  assert (tile(0, 0) == 60).all() and (tile(0, 1) == labels.COLORS[7]).all()
  assert (tile(1, 0) == labels.COLORS[26]).all() and (tile(1, 1) == labels.COLORS[11]).all()
  pictures.write_comparison(tmp_path / 'b.png', image, None, [('one', of(26))])
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a.png', 'b.png']
