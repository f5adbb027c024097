"""A jitted function that is compiled on its first call, visibly and within the memory."""

import logging
import time
from typing import Any

import jax

from pnerf_jax.distributed import devices
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)


class Program:
  """A jitted function; its arguments must have the same shapes in all calls.

  Attributes:
    total_seconds: of compilation, of all programs of this process.
  """

  total_seconds = 0.0

  def __init__(self, function: Any, name: str, flag: str):
    """Wrap a function of jax.jit; nothing is compiled yet.

    Args:
      function: the jitted function.
      name: for log and errors.
      flag: lowering it saves memory.
    """
    self._function, self._name, self._flag = function, name, flag
    self._compiled: Any = None

  def __call__(self, *args: Any) -> Any:
    """Call the function.

    Raises:
      InputError: the first call needs more memory than is free.
    """
    if self._compiled is None:
      _LOG.info('compiling %s; this may take a minute', self._name)
      start = time.perf_counter()
      self._compiled = self._function.lower(*args).compile()
      Program.total_seconds += time.perf_counter() - start
      plan = self._compiled.memory_analysis()
      if plan is not None:
        check_memory(int(plan.temp_size_in_bytes), self._name, self._flag)
    return self._compiled(*args)


def check_memory(needed: int, what: str, flags: str) -> None:
  """Raise InputError, naming flags to lower, if `what` needs more bytes than a device has free."""
  free = devices.free_memory(jax.local_devices()[0])
  if free is not None and needed > free:
    raise InputError(
      f'{what}: needs {needed / 1e9:.1f} GB on each device, where {max(free, 0) / 1e9:.1f} GB are'
      f' free. Lower {flags}.'
    )
