"""Initialization of a distributed run: one program on several processes, see jax.distributed."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from absl import flags

from pnerf_jax.errors import InputError, Interrupted, SharedInputError, first_line

_INITIALIZATION_TIMEOUT = 300  # seconds
_HEARTBEAT_TIMEOUT = 60  # seconds; jax then ends the processes that are left
_SHUTDOWN_TIMEOUT = 120  # seconds
_distributed = False


def define_flags() -> None:
  """Define the flags of a binary that can run on several processes."""
  flags.DEFINE_enum(
    'distributed',
    '',
    ['', 'auto'],
    'auto: processes started by SLURM, Open MPI, Kubernetes or a TPU pod. Default: one process.',
  )
  flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0, if it cannot be detected.')
  flags.DEFINE_integer('processes', 0, 'Number of processes, with --coordinator.', 0)
  flags.DEFINE_integer('process', -1, 'Index of this process, from 0, with --coordinator.', -1)


def is_distributed() -> bool:
  """Return whether other processes depend on this one."""
  return _distributed


@contextlib.contextmanager
def initialized() -> Iterator[None]:
  """Run the block as one process of the distributed run that the flags describe, if any.

  Options of JAX in the environment that would change results are overruled.

  If all processes leave the block in the same way (at its end, stopped by a signal, or by an error
  that all raise), they wait for each other. Otherwise `is_distributed` stays true, and the caller
  must end the process at once, so that the others notice.
  """
  global _distributed
  arguments = _arguments(flags.FLAGS.flag_values_dict())
  if 'jax' in sys.modules:  # some binaries run without it
    from pnerf_jax.distributed import devices

    devices.fix_options()
  if arguments is None:
    yield
    return
  import jax

  # Training handles SIGTERM itself.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      **arguments,
      initialization_timeout=_INITIALIZATION_TIMEOUT,
      heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
      shutdown_timeout_seconds=_SHUTDOWN_TIMEOUT,
    )
  except (ValueError, RuntimeError) as e:
    address = arguments.get('coordinator_address')
    flag = f'--coordinator={address}' if address else '--distributed=auto'
    raise InputError(
      f'{flag}: the processes could not connect ({str(e):.200}). Give all of them the same'
      ' --coordinator and --processes, and each its --process.'
    ) from None
  _distributed = True
  if jax.process_index() > 0:  # only the first process logs
    for name in ('pnerf_jax', '__main__'):
      logging.getLogger(name).setLevel(logging.WARNING)
  try:
    yield
  except (Interrupted, SharedInputError):
    _shut_down()
    raise
  _shut_down()


def failure_message(error: BaseException) -> str | None:
  """Return the error line for missing devices, exhausted memory, or a lost peer; else None."""
  if 'jax' not in sys.modules:
    return None
  import jax

  from pnerf_jax.distributed import devices

  line = devices.failure_message(error)
  if line or not _distributed or not isinstance(error, jax.errors.JaxRuntimeError):
    return line
  return (
    f'error: this or another process of the distributed run failed ({first_line(error):.160}).'
    ' Saved checkpoints are intact: start the run again, on any number of processes, to resume.'
  )


def _arguments(values: dict[str, Any]) -> dict[str, Any] | None:
  """Return arguments of jax.distributed.initialize from flag values; None for a single process."""
  if 'coordinator' not in values:
    return None
  coordinator, count, index = (values[name] for name in ('coordinator', 'processes', 'process'))
  if values['distributed']:
    if coordinator or count or index >= 0:
      raise InputError(
        '--distributed=auto: detects --coordinator, --processes and --process. Leave them out.'
      )
    return {}
  if not coordinator and not count and index < 0:
    return None
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit() or not 0 < int(port) < 65536:
    raise InputError(
      f'--coordinator: {coordinator!r} is not HOST:PORT. Give the address of process'
      ' 0 and a free port there, e.g. --coordinator=10.0.0.1:1234.'
    )
  if not 0 <= index < count:
    raise InputError(
      f'--process: {index} is not in 0..{max(count, 1) - 1}, as --processes={count} requires.'
      ' Number the processes from 0.'
    )
  return {'coordinator_address': coordinator, 'num_processes': count, 'process_id': index}


def _shut_down() -> None:
  """Wait until all processes have reached this point, and leave the distributed run."""
  global _distributed
  import jax

  jax.distributed.shutdown()
  _distributed = False
