"""The same work on one view after the other, several at a time."""
from collections.abc import Callable, Iterable
from concurrent import futures
import os
from typing import Any

_MOST = 4  # at a time, each with some hundred megabytes of its own


def in_threads(work: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
  """list(map(work, *items)), a thread a core and at most four.

  Args:
    work: by numpy or XLA, which leave Python to others; what it makes of one item may not depend
      on the others.
    *items: its arguments.
  """
  with futures.ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), _MOST)) as pool:
    return list(pool.map(work, *items))
