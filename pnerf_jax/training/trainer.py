"""The machinery of all training: resume, dispatch, log, save, stop.

What is trained is a Task: the field of a window (loop.py) or a segmentation network (segmenter.py).
Where several processes train one run, all of them are here, over one mesh of all their devices. The
first process alone writes, but for the checkpoints, which orbax writes by all.
"""

import contextlib
import logging
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np

from pnerf_jax.data.files import check_is_folder
from pnerf_jax.distributed import processes, sharding
from pnerf_jax.errors import Interrupted, SharedInputError
from pnerf_jax.runs import checkpoints, lock
from pnerf_jax.runs.config_file import save_config
from pnerf_jax.runs.logs import Logs
from pnerf_jax.training.train_state import TrainState

_LOG = logging.getLogger(__name__)

Dispatch = Callable[[TrainState, int], tuple[TrainState, dict[str, jax.Array]]]


class Task(Protocol):
  """What a training trains.

  Attributes:
    config: with a group `train`.
    mesh: ('data',).
    steps_per_dispatch: optimiser steps that one call makes.
  """

  config: ml_collections.ConfigDict
  mesh: jax.sharding.Mesh
  steps_per_call: int

  def fresh_state(self) -> TrainState:
    """The state before the first step; traced by jit."""

  def prepare(self, workdir: pathlib.Path) -> Dispatch:
    """Makes what the steps need, and returns `dispatch(state, step) -> state, metrics`.

    A call makes steps_per_dispatch steps from `step` on; metrics are their means. What it does
    depends on the state and the step alone, so that a resumed run repeats it exactly. It runs where
    implicit transfers to the devices are disallowed.
    """

  def scalars(self, metrics: dict[str, float], step: int, per_second: float) -> dict[str, float]:
    """What is logged beside the mean metrics. step: done. per_second: steps."""

  def preview(self, params: Any, folder: pathlib.Path) -> None:
    """Writes pictures to RUN/previews/STEP, and whatever else goes with them."""


class _StopRequest:
  """Turns SIGTERM and SIGINT into a request to save and stop at the next dispatch."""

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


def run(set_up: Callable[[], Task], workdir: pathlib.Path) -> None:
  """Trains to `config.train.steps`, resuming from RUN's newest checkpoint.

  Args:
    set_up: reads the input and makes the task; may take a minute.
    workdir: RUN.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """
  workdir = pathlib.Path(workdir)
  check_is_folder(workdir, '--workdir')
  with contextlib.ExitStack() as held:
    # A folder that is there is held before the input is read, which may take a minute; one that
    # is not is made only when the input is known to be good.
    there = workdir.is_dir()
    with processes.raise_together():
      if there and processes.is_first():
        held.enter_context(lock.acquire(workdir))
    task = set_up()
    with processes.raise_together():
      if not there and processes.is_first():
        workdir.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock.acquire(workdir))
      if processes.is_first():
        save_config(task.config, workdir)
    _train(task, workdir)


def _train(task: Task, workdir: pathlib.Path) -> None:
  """What `run` does once the input is read and the folder is this process's own."""
  settings = task.config.train
  with checkpoints.Checkpoints(workdir) as saved:
    state = _initial_state(task, saved)
    step = int(state.step)
    if step >= settings.steps:
      _LOG.info('%s: trained already, step %d', workdir, step)
      return
    dispatch = task.prepare(workdir)
    with contextlib.ExitStack() as opened:
      logs = None
      if processes.is_first():
        logs = opened.enter_context(contextlib.closing(Logs(workdir, step, settings.steps)))
      _loop(task, dispatch, state, saved, logs, workdir)


def _initial_state(task: Task, saved: checkpoints.Checkpoints) -> TrainState:
  """The newest checkpoint, or a fresh state."""
  replicated = sharding.replicated(task.mesh)
  make = jax.jit(task.fresh_state, out_shardings=replicated)
  restored = saved.restore(checkpoints.abstract(jax.eval_shape(make), replicated))
  if restored is not None:
    _LOG.info('resuming at step %d', int(restored.step))
    return restored
  state = make()
  count = sum(x.size for x in jax.tree.leaves(state.params))
  _LOG.info('%d parameters in %d arrays', count, len(jax.tree.leaves(state.params)))
  return state


def _loop(
  task: Task,
  dispatch: Dispatch,
  state: TrainState,
  saved: checkpoints.Checkpoints,
  logs: Logs | None,
  workdir: pathlib.Path,
) -> None:
  """Dispatches until the last step or a request to stop."""
  settings, step = task.config.train, int(state.step)
  pending, since, started = [], step, time.perf_counter()
  stopping = False
  with _StopRequest() as stop:
    while step < settings.steps and not stopping:
      with jax.transfer_guard('disallow'):
        state, metrics = dispatch(state, step)
      pending.append(metrics)
      step += task.steps_per_call
      if step % settings.log_every == 0 or step >= settings.steps:
        jax.block_until_ready(metrics)
        scalars = _scalars(task, pending, step, step - since, time.perf_counter() - started)
        _check_finite(scalars, step)
        if logs:
          logs.write(step, scalars)
        pending, since, started = [], step, time.perf_counter()
      # Before the checkpoint: a run that was killed in between makes both again.
      if (step % settings.preview_every == 0 or step >= settings.steps) and processes.is_first():
        task.preview(sharding.local(state.params, task.mesh), workdir / 'previews' / f'{step:06d}')
      # Processes must stop at one step. They ask each other only where they wait anyway.
      if not pending or jax.process_count() == 1:
        stopping = processes.any_of(stop.requested)
      if step % settings.checkpoint_every == 0 or step >= settings.steps or stopping:
        saved.save(step, state)
      if not pending:
        started = time.perf_counter()  # saving and previews do not count as training speed
    saved.wait()  # a second signal does not cut it short
  if step < settings.steps:
    raise Interrupted


def _scalars(task: Task, metrics: list, step: int, steps: int, seconds: float) -> dict[str, float]:
  """Means over the `steps` since the last log, and what the task adds."""
  mean = jax.tree.map(lambda *x: float(np.mean(jax.device_get(x))), *metrics)
  return {**mean, **task.scalars(mean, step, steps / seconds), 'seconds_per_step': seconds / steps}


def _check_finite(scalars: dict[str, float], step: int) -> None:
  for name, value in scalars.items():
    if not np.isfinite(value):
      raise SharedInputError(  # means over all processes
        f'step {step}: {name} is {value}. The last checkpoint is intact; lower '
        'config.optim.learning_rate or look at the input named in the log.'
      )
