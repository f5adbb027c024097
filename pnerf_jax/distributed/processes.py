"""Collective operations of the processes of one run.

Every process runs the same program on its own devices and its own host. In a single process every
function here is the identity. Each must be called by all processes in the same order.
"""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from pnerf_jax.errors import InputError, SharedInputError

_MESSAGE_BYTES = 2048


def is_first() -> bool:
  """Return whether this process writes and logs for all of them."""
  return jax.process_index() == 0


def count() -> int:
  """Return the number of processes."""
  return jax.process_count()


def range_of(total: int) -> range:
  """Return this process's part of `total` items: consecutive, in process order, balanced."""
  index, count = jax.process_index(), jax.process_count()
  return range(total * index // count, total * (index + 1) // count)


@contextlib.contextmanager
def raise_together() -> Iterator[None]:
  """Raise an InputError or OSError of the block in all processes if any process raises one.

  Raises:
    SharedInputError: with the message of the first process that failed.
  """
  if jax.process_count() == 1:
    yield
    return
  error = None
  try:
    yield
  except SharedInputError:  # already raised in all processes
    raise
  except (InputError, OSError) as e:
    error = e
  text = str(error).encode()[:_MESSAGE_BYTES] if error else b''
  message = np.frombuffer(text.ljust(_MESSAGE_BYTES, b'\0'), np.uint8)
  for received in multihost_utils.process_allgather(message):
    if received.any():
      raise SharedInputError(received.tobytes().rstrip(b'\0').decode(errors='replace')) from error


def any_of(flag: bool) -> bool:
  """Return whether the flag is set in any process."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array([flag], np.uint8)).any())


def all_gather_rows(part: np.ndarray) -> np.ndarray:
  """Concatenate the rows [n, ...] of all processes, in process order, to [N, ...].

  Args:
    part: of at most 32 bits per item; n may differ between processes.
  """
  if jax.process_count() == 1:
    return part
  counts = multihost_utils.process_allgather(np.array([len(part)], np.int32)).ravel()
  padded = np.zeros((counts.max(), *part.shape[1:]), part.dtype)
  padded[: len(part)] = part
  gathered = multihost_utils.process_allgather(padded)
  return np.concatenate([rows[:count] for rows, count in zip(gathered, counts)])


def total(counts: np.ndarray) -> np.ndarray:
  """Sum [n] int32 over all processes."""
  if jax.process_count() == 1:
    return counts
  return multihost_utils.process_allgather(counts).sum(axis=0)


def wait(name: str) -> None:
  """Wait until all processes have called this with the same name."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
