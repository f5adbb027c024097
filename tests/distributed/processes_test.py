"""Distribution of work over processes; the collectives are in tests/multiprocess_test.py."""

import jax
import numpy as np
import pytest

from pnerf_jax.distributed import processes
from pnerf_jax.errors import InputError


@pytest.mark.parametrize('total, count', [(1, 1), (2, 2), (5, 2), (7, 4), (128, 3), (3, 5)])
def test_range_of_partitions_all_items_evenly(monkeypatch, total, count):
  monkeypatch.setattr(jax, 'process_count', lambda: count)
  parts = []
  for index in range(count):
    monkeypatch.setattr(jax, 'process_index', lambda index=index: index)
    parts.append(list(processes.range_of(total)))
  assert sum(parts, []) == list(range(total))
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_single_process_is_the_identity():
  rows = np.arange(4)
  assert processes.is_first() and list(processes.range_of(4)) == [0, 1, 2, 3]
  assert processes.all_gather_rows(rows) is rows and processes.total(rows) is rows
  assert processes.any_of(True) and not processes.any_of(False)
  processes.wait('name')
  with pytest.raises(InputError, match='bad'), processes.raise_together():
    raise InputError('bad')
