"""Values of JSON objects (errors of whole files: transforms_test.py, primitives_json_test.py)."""

import numpy as np
import pytest

from pnerf_jax.data.json_object import JsonObject
from pnerf_jax.errors import InputError


@pytest.mark.parametrize(
  'value, shape', [(3, ()), (-2.5, ()), ([1, 2.5, 3], (3,)), ([[1, 2], [3, 4], [5, 6]], (3, 2))]
)
def test_numbers(value, shape):
  found = JsonObject({'key': value}, 'file').numbers('key', *shape)
  assert found.dtype == np.float64 and found.shape == shape
  np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
  'value, shape, message',
  [
    (None, (), 'key: None, expected a number'),
    ({}, (), 'key: {}'),
    ('3', (), "key: '3'"),
    (True, (), 'key: True'),
    ([3], (), r'key: \[3\]'),
    (3, (1,), 'key: 3, expected 1 numbers'),
    ([1, '2'], (2,), "key: '2', expected 2 numbers"),
    ([1, [2]], (2,), r'key: \[2\]'),
    ([[1, 2], [3]], (2, 2), 'key: .*expected 2 x 2 numbers'),
    ([float('nan'), 0], (2,), 'key: nan'),
    ([0, 10**400], (2,), 'key: 1000'),
    ([0, -1e9], (2,), r'key: -1000000000\.0, .*up to 1e\+08'),
  ],
)
def test_numbers_refuses_other_values(value, shape, message):
  with pytest.raises(InputError, match=f'^file: {message}'):
    JsonObject({'key': value}, 'file').numbers('key', *shape)
