"""The training loop: resume, step, log, save, stop.

The loop trains a Task: the field of a window (field_task.py) or a segmentation network. If several
processes train one run, all of them are here, over one mesh of all their devices. The first process
alone writes, except for checkpoints, which orbax writes from all.
"""

import contextlib
import logging
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from pnerf_jax.data.files import check_is_folder
from pnerf_jax.distributed import processes, sharding
from pnerf_jax.distributed.program import Program
from pnerf_jax.errors import Interrupted, SharedInputError
from pnerf_jax.runs import checkpoints, lock, window_record
from pnerf_jax.runs.config_file import save_config
from pnerf_jax.runs.logs import Logs
from pnerf_jax.runs.provenance import add_session
from pnerf_jax.training.train_state import TrainState

_LOG = logging.getLogger(__name__)

TrainStep = Callable[[TrainState, int], tuple[TrainState, dict[str, jax.Array]]]


class Task(Protocol):
  """What is trained.

  Attributes:
    config: a config dataclass with a group `train`, saved in RUN.
    mesh: ('data',).
    steps_per_call: optimiser steps of one call of the train step.
  """

  config: Any
  mesh: jax.sharding.Mesh
  steps_per_call: int

  def init_state(self) -> TrainState:
    """Return the state before the first step; traced by jit."""

  def build_step(self, workdir: pathlib.Path) -> TrainStep:
    """Build `train_step(state, step) -> state, metrics` and everything that it needs.

    A call makes steps_per_call steps from `step` on; metrics are means over them. The result must
    depend on state and step alone, so that a resumed run repeats it exactly. Implicit transfers to
    the devices are disallowed during the call.
    """

  def metrics(self, means: dict[str, float], step: int, per_second: float) -> dict[str, float]:
    """Return scalars to log in addition to the mean metrics.

    Args:
      means: of the metrics since the last log.
      step: steps done.
      per_second: steps per second.
    """

  def progress(self, scalars: dict[str, float]) -> str:
    """Return the middle of the progress line: speed, loss and quality."""

  def write_preview(self, params: Any, folder: pathlib.Path) -> None:
    """Write images to FOLDER, RUN/previews/STEP."""


class _StopRequest:
  """Turns SIGTERM and SIGINT into a request to save and stop after the current call."""

  def __init__(self):
    self.requested = False
    self._previous = {}

  def __enter__(self):
    for number in (signal.SIGTERM, signal.SIGINT):
      self._previous[number] = signal.signal(number, self._request)
    return self

  def _request(self, number, frame):
    del frame
    _LOG.warning('%s: saving and stopping.', signal.Signals(number).name)
    self.requested = True

  def __exit__(self, *exc):
    for number, handler in self._previous.items():
      signal.signal(number, handler)


def run(make_task: Callable[[], Task], workdir: pathlib.Path | str) -> None:
  """Train to `config.train.steps`, resuming from RUN's newest checkpoint.

  Args:
    make_task: reads the input and makes the task; may take a minute.
    workdir: RUN.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """
  workdir = pathlib.Path(workdir)
  check_is_folder(workdir, '--workdir')
  checkpoints.check_name(workdir)
  with contextlib.ExitStack() as stack:
    # An existing folder is locked before the input is read, which may take a minute; a new one is
    # made only after the input has been found good.
    exists = workdir.is_dir()
    with processes.raise_together():
      if exists and processes.is_first():
        stack.enter_context(lock.acquire(workdir))
    task = make_task()
    with processes.raise_together():
      if not exists and processes.is_first():
        workdir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(lock.acquire(workdir))
      if processes.is_first():
        if not checkpoints.exist(workdir):  # an attempt that failed early: nothing depends on it
          for name in ('config.json', window_record.NAME):
            (workdir / name).unlink(missing_ok=True)
        save_config(task.config, workdir, extend=True)
    _train(task, workdir)


def _train(task: Task, workdir: pathlib.Path) -> None:
  """Train in a folder that this process has locked."""
  num_steps = task.config.train.steps
  with checkpoints.Checkpoints(workdir) as saved:
    state = _restore_or_init(task, saved)
    step = int(state.step)
    if step >= num_steps:
      _LOG.info('%s: already at step %d, nothing to do', workdir, step)
      return
    train_step = task.build_step(workdir)
    with contextlib.ExitStack() as stack:
      logs = None
      if processes.is_first():
        add_session(workdir, step, task.mesh.devices.ravel())
        logs = stack.enter_context(
          contextlib.closing(Logs(workdir, step, num_steps, task.progress))
        )
      _loop(task, train_step, state, saved=saved, logs=logs, workdir=workdir)


def _restore_or_init(task: Task, saved: checkpoints.Checkpoints) -> TrainState:
  """Return the newest checkpoint, or the state before the first step."""
  replicated = sharding.replicated(task.mesh)
  init = jax.jit(task.init_state, out_shardings=replicated)
  restored = saved.restore(checkpoints.abstract(jax.eval_shape(init), replicated))
  if restored is not None:
    _LOG.info('resuming at step %d', int(restored.step))
    return restored
  state = init()
  arrays = jax.tree.leaves(state.params)
  _LOG.info('%d parameters in %d arrays', sum(x.size for x in arrays), len(arrays))
  return state


def _loop(
  task: Task,
  train_step: TrainStep,
  state: TrainState,
  *,
  saved: checkpoints.Checkpoints,
  logs: Logs | None,
  workdir: pathlib.Path,
) -> None:
  """Make steps until the last one or a request to stop."""
  settings, step = task.config.train, int(state.step)
  pending, since, started = [], step, _training_clock()
  stopping = False
  with _StopRequest() as stop:
    while step < settings.steps and not stopping:
      with jax.transfer_guard('disallow'):
        state, metrics = train_step(state, step)
      pending.append(metrics)
      step += task.steps_per_call
      last = step >= settings.steps
      if step % settings.log_every == 0 or last:
        jax.block_until_ready(metrics)
        seconds = _training_clock() - started
        scalars = _scalars(task, pending, step=step, num_steps=step - since, seconds=seconds)
        _check_finite(scalars, step)
        if logs:
          logs.write(step, scalars)
        pending, since, started = [], step, _training_clock()
      # Before the checkpoint: a run killed in between repeats both.
      if (step % settings.preview_every == 0 or last) and processes.is_first():
        params = sharding.local(state.params, task.mesh)
        folder = workdir / 'previews' / f'{step:06d}'
        task.write_preview(params, folder)
        if logs:
          logs.write_images(step, folder)
      # All processes must stop at the same step. They communicate only where they wait anyway.
      if not pending or jax.process_count() == 1:
        stopping = processes.any_of(stop.requested)
      if step % settings.checkpoint_every == 0 or last or stopping:
        saved.save(step, state)
      if not pending:
        started = _training_clock()  # exclude saving and previews from the training speed
    saved.wait()  # inside the block: a second signal must not interrupt it
  if step < settings.steps:
    raise Interrupted


def _training_clock() -> float:
  """Return seconds that do not count compilation."""
  return time.perf_counter() - Program.total_seconds


def _scalars(
  task: Task, pending: list, *, step: int, num_steps: int, seconds: float
) -> dict[str, float]:
  """Return means over the `num_steps` since the last log, and what the task adds."""
  means = jax.tree.map(lambda *x: float(np.mean(jax.device_get(x))), *pending)
  extra = task.metrics(means, step, num_steps / seconds)
  return {**means, **extra, 'seconds_per_step': seconds / num_steps}


def _check_finite(scalars: dict[str, float], step: int) -> None:
  for name, value in scalars.items():
    if not np.isfinite(value):
      raise SharedInputError(  # the means are over all processes
        f'step {step}: {name} is {value}. The last checkpoint is intact; lower '
        'config.optim.learning_rate or look at the input named in the log.'
      )
