"""Several processes as one job: joining it, leaving it, and telling that one of them was lost.

A job is what `jax.distributed` makes of processes on one or more hosts: all see all devices and run
the same program. Each process is watched by a small parent of its own, for where JAX learns that
another process is gone it aborts with a page of C++ stack; the parent adds the one line that a
person needs and a proper exit code.
"""

import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from absl import flags

from pnerf_jax.errors import InputError, Interrupted, SharedInputError

_CONNECT = 300  # seconds in which all processes must have come
_HEARTBEAT = 60  # seconds without a sign of life after which a process counts as lost
_LEAVE = 120  # seconds that a process which has finished waits for the others
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_AGAIN = (
  'What was saved is intact: start the job again, on any number of processes; it resumes'
  ' from the newest checkpoint.'
)
_LOST_WORDS = (
  'Gloo',
  'NCCL',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'ABORTED',
  'eartbeat',
  'oordination',
  'Connection reset',
  'Socket closed',
)
_joined = False


def define_flags() -> None:
  """The flags of a binary that can run as several processes."""
  flags.DEFINE_enum(
    'distributed',
    '',
    ['', 'auto'],
    'auto: as many processes as SLURM, Open MPI, '
    'Kubernetes or a TPU pod have started. Without it, one process.',
  )
  flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0, where nothing is detected.')
  flags.DEFINE_integer('processes', 0, 'How many processes there are, with --coordinator.', 0)
  flags.DEFINE_integer('process', -1, 'Which one this is, from 0, with --coordinator.', -1)


def is_distributed() -> bool:
  """Whether other processes count on this one."""
  return _joined


@contextlib.contextmanager
def initialized() -> Iterator[None]:
  """The block runs as one process of the job that the flags name, if they name one.

  Where all processes leave the block alike (at its end, stopped by a signal, or with an error that
  all were told), they wait for each other. Otherwise this one is still counted on: who catches the
  error ends the process at once, so that the others learn of it.
  """
  global _joined
  how = _arguments(flags.FLAGS.flag_values_dict())
  if how is None:
    yield
    return
  _watched()
  import jax  # not before the fork, and not by binaries that need none

  # SIGTERM is training's own; JAX's preemption service would take it away.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      **how,
      initialization_timeout=_CONNECT,
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_LEAVE,
    )
  except (ValueError, RuntimeError) as e:
    raise InputError(
      f'{_words(how)}: no job could be joined ({str(e):.200}). Give --coordinator,'
      ' --processes and --process, the same coordinator to all.'
    ) from None
  _joined = True
  if jax.process_index() > 0:  # one log, not many
    for name in ('pnerf_jax', '__main__'):
      logging.getLogger(name).setLevel(logging.WARNING)
  try:
    yield
  except (Interrupted, SharedInputError):
    _leave()
    raise
  _leave()


def peer_failure_message(error: BaseException) -> str | None:
  """The line that tells of a lost process, if that is what the error means; else None."""
  if not _joined or not any(word in str(error) for word in _LOST_WORDS):
    return None
  first = (str(error).splitlines() or [''])[0]
  return f'error: another process of the job was lost ({first[:160]}). {_AGAIN}'


def _arguments(given: dict[str, Any]) -> dict[str, Any] | None:
  """Arguments of jax.distributed.initialize from the flags; None for a process on its own."""
  if 'coordinator' not in given:
    return None
  coordinator, count, index = (given[name] for name in ('coordinator', 'processes', 'process'))
  if given['distributed']:
    if coordinator or count or index >= 0:
      raise InputError(
        '--distributed=auto: --coordinator, --processes and --process are found by'
        ' itself. Leave them out.'
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
      f'--process: {index} of --processes={count}: not one of 0 to'
      f' {max(count, 1) - 1}. Number the processes from 0.'
    )
  return {'coordinator_address': coordinator, 'num_processes': count, 'process_id': index}


def _words(how: dict[str, Any]) -> str:
  return f'--coordinator={how["coordinator_address"]}' if how else '--distributed=auto'


def _leave() -> None:
  """Waits until all processes have come here, and is on its own again."""
  global _joined
  import jax

  jax.distributed.shutdown()
  _joined = False


def _watched() -> None:
  """Goes on in a child process; the parent passes signals on and ends as the child ends."""
  sys.stdout.flush()
  sys.stderr.flush()
  child = os.fork()
  if child == 0:
    # Whoever kills the parent means this process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: os.kill(child, number))
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  if code < 0:
    name = signal.Signals(-code).name
    cause = (
      'the job has lost a process, or its process 0 cannot be reached'
      if code == -signal.SIGABRT
      else 'out of memory, or killed by somebody'
    )
    print(f'error: this process of the job ended by {name}: {cause}. {_AGAIN}', file=sys.stderr)
    code = 1
  sys.stderr.flush()
  os._exit(code)
