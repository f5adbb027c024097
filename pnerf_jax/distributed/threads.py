"""Map over items with a small thread pool."""

import os
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

_MAX_WORKERS = 4  # each may need some hundred megabytes


def map_threads(function: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
  """Return list(map(function, *items)), computed by one thread per core, at most four.

  Args:
    function: mostly numpy or XLA, which release the GIL; calls must be independent.
    *items: its arguments.
  """
  with futures.ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), _MAX_WORKERS)) as pool:
    return list(pool.map(function, *items))
