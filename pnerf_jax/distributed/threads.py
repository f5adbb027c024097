"""The same work on one view after the other, several at a time."""

import os
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

_MAX_WORKERS = 4  # at a time, each with some hundred megabytes of its own


def map_threads(work: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
  """list(map(work, *items)), a thread a core and at most four.

  Args:
    work: by numpy or XLA, which leave Python to others; what it makes of one item may not depend
      on the others.
    *items: its arguments.
  """
  with futures.ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), _MAX_WORKERS)) as pool:
    return list(pool.map(work, *items))
