"""Thread map."""

import threading

import pytest

from pnerf_jax.distributed.threads import map_threads


def test_map_threads_preserves_the_order():
  second_done = threading.Event()

  def work(item, factor):
    if item == 0:
      second_done.wait(timeout=5)  # finishes last if there are two cores
    else:
      second_done.set()
    return item * factor

  assert map_threads(work, range(5), [10] * 5) == [0, 10, 20, 30, 40]


def test_map_threads_raises_the_error_of_a_call():
  def work(item):
    if item == 3:
      raise ValueError('item 3')

  with pytest.raises(ValueError, match='item 3'):
    map_threads(work, range(5))


def test_map_threads_without_items():
  assert map_threads(abs, []) == []
