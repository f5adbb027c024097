"""Which of the views one process reads, where several train one window together.

Reading photos and intersecting primitives is most of what comes before the first step, so it is
shared out; what all need (every device draws from all rays) is then joined. How processes talk is
not known here: `training.processes` fills that in.
"""

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class ProcessShard:
  """One process's part of a list; by default all of it.

  Attributes:
    index, count: which of how many processes.
    together: `with together():` raises in all processes what an InputError inside raises in one.
    join: maps the part [n, ...] of every process to the whole [N, ...], the same in all.
  """

  index: int = 0
  count: int = 1
  raise_together: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
  join: Callable[[np.ndarray], np.ndarray] = lambda part: part

  def range_of(self, total: int) -> range:
    """The items of this process: consecutive, in the order of the processes, as even as can be."""
    return range(total * self.index // self.count, total * (self.index + 1) // self.count)
