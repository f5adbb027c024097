"""What the processes of one job do together: agree, share work out, put the results together.

Every process runs the same program on its own devices and its own host. All of this is nothing
where there is one process. Each function must be reached by all processes in the same order.
"""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from pnerf_jax.distributed.process_shard import ProcessShard
from pnerf_jax.errors import InputError, SharedInputError

_MESSAGE = 2048  # bytes of an error that is told to all


def is_first() -> bool:
  """Whether this is the process that writes and logs for all."""
  return jax.process_index() == 0


@contextlib.contextmanager
def raise_together() -> Iterator[None]:
  """Leaves the block in all processes alike: what one of them refuses, all refuse."""
  if jax.process_count() == 1:
    yield
    return
  error = None
  try:
    yield
  except SharedInputError:  # told already
    raise
  except (InputError, OSError) as e:
    error = e
  told = np.zeros(_MESSAGE, np.uint8)
  text = str(error).encode()[:_MESSAGE] if error else b''
  told[: len(text)] = np.frombuffer(text, np.uint8)
  for message in multihost_utils.process_allgather(told):
    if message.any():
      raise SharedInputError(bytes(message[message > 0]).decode(errors='replace')) from error


def any_of(flag: bool) -> bool:
  """Whether the flag is set in any process."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array([flag], np.uint8)).any())


def all_gather_rows(part: np.ndarray) -> np.ndarray:
  """[n, ...] of every process, in their order, as one array [N, ...] in all of them.

  Args:
    part: 32 bits an item or fewer; n may differ between processes.
  """
  if jax.process_count() == 1:
    return part
  counts = multihost_utils.process_allgather(np.array([len(part)], np.int32)).ravel()
  padded = np.zeros((counts.max(), *part.shape[1:]), part.dtype)
  padded[: len(part)] = part
  whole = multihost_utils.process_allgather(padded)
  return np.concatenate([rows[:count] for rows, count in zip(whole, counts)])


def total(counts: np.ndarray) -> np.ndarray:
  """Sums over all processes. counts: [n] int32."""
  if jax.process_count() == 1:
    return counts
  return multihost_utils.process_allgather(counts).sum(axis=0)


def process_shard() -> ProcessShard:
  """What this process reads and intersects of the views."""
  return ProcessShard(jax.process_index(), jax.process_count(), raise_together, all_gather_rows)


def wait(name: str) -> None:
  """Returns when all processes have come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
