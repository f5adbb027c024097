"""Work on several views at a time."""

import threading

import pytest

from pnerf_jax.distributed.threads import map_threads


def test_results_come_in_the_order_of_the_views():
  second_done = threading.Event()

  def work(view, factor):
    if view == 0:
      second_done.wait(timeout=5)  # the first one ends last, where there are two cores
    else:
      second_done.set()
    return view * factor

  assert map_threads(work, range(5), [10] * 5) == [0, 10, 20, 30, 40]


def test_an_error_of_one_view_is_the_callers():
  def work(view):
    if view == 3:
      raise ValueError('view 3')

  with pytest.raises(ValueError, match='view 3'):
    map_threads(work, range(5))


def test_no_view_gives_nothing():
  assert map_threads(abs, []) == []
