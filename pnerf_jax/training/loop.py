"""The training loop: resume, dispatch, log, save, stop.

Where several processes train one run, all of them are here, over one mesh of all their devices.
Parameters, optimiser and the table of rays are on every device: a step draws its rays from the
whole window, and the table of a window fits a device. Only the rays of a step are split. The first
process alone writes, but for the checkpoints, which orbax writes by all, and the intervals of its
views that each process keeps.
"""
import contextlib
import functools
import logging
import pathlib
import signal
import time

import jax
import ml_collections
import numpy as np

from pnerf_jax.data.files import refuse_file
from pnerf_jax.errors import Interrupted, SharedInputError
from pnerf_jax.rendering.images import Renderer, label_options, recorded_view, render_options
from pnerf_jax.training import checkpoints, lock, previews, processes, setup, sharding
from pnerf_jax.training import state as states
from pnerf_jax.training.logs import Logs
from pnerf_jax.training.step import make_dispatch

_LOG = logging.getLogger(__name__)


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


def _initial_state(run: setup.Run, optimizer, saved: checkpoints.Checkpoints) -> states.TrainState:
  """The newest checkpoint, or a fresh state."""
  replicated = sharding.replicated(run.mesh)
  make = jax.jit(
      lambda: states.init_state(setup.fresh_params(run), optimizer, len(run.scene.class_ids)),
      out_shardings=replicated)
  restored = saved.restore(checkpoints.abstract(jax.eval_shape(make), replicated))
  if restored is not None:
    _LOG.info('resuming at step %d', int(restored.step))
    return restored
  state = make()
  count = sum(x.size for x in jax.tree.leaves(state.params))
  _LOG.info('%d parameters in %d arrays', count, len(jax.tree.leaves(state.params)))
  return state


def _scalars(metrics: list, rays: int, steps: int, seconds: float, rate: float) -> dict[str, float]:
  """Means over the dispatches since the last log."""
  mean = jax.tree.map(lambda *x: float(np.mean(jax.device_get(x))), *metrics)
  return {
      **mean,
      'psnr': float(-10.0 * np.log10(max(mean['rgb'], 1e-10))),
      'learning_rate': rate,
      'rays_per_second': rays * steps / seconds,
      'seconds_per_step': seconds / steps,
  }


def _check_finite(scalars: dict[str, float], step: int) -> None:
  for name, value in scalars.items():
    if not np.isfinite(value):
      raise SharedInputError(  # means over all processes
          f'step {step}: {name} is {value}. The last checkpoint is intact; lower '
          'config.optim.learning_rate or look at the input named in the log.')


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains to `config.train.steps`, resuming from RUN's newest checkpoint.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """
  workdir = pathlib.Path(workdir)
  refuse_file(workdir, '--workdir')
  with contextlib.ExitStack() as held:
    # A folder that is there is held before the window is read, which may take a minute; one that
    # is not is made only when the input is known to be good.
    there = workdir.is_dir()
    with processes.together():
      if there and processes.is_first():
        held.enter_context(lock.hold(workdir))
    run = setup.set_up(config)
    with processes.together():
      if not there and processes.is_first():
        workdir.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock.hold(workdir))
      if processes.is_first():
        setup.save_config(config, workdir)
    _train(run, workdir)


def _train(run: setup.Run, workdir: pathlib.Path) -> None:
  """What train does once the input is read and the folder is this process's own."""
  config, settings, optim = run.config, run.config.train, run.config.optim
  schedule = functools.partial(
      states.learning_rate, rate=optim.learning_rate, final=optim.final, steps=settings.steps,
      warmup=optim.warmup)
  optimizer = setup.make_optimizer(config)
  with checkpoints.Checkpoints(workdir) as saved:
    state = _initial_state(run, optimizer, saved)
    step = int(state.step)
    if step >= settings.steps:
      _LOG.info('%s: trained already, step %d', workdir, step)
      return
    table = setup.make_ray_table(run, workdir / 'cache')
    dispatch = make_dispatch(
        run.module, optimizer, setup.train_options(config.model),
        setup.loss_options(config.loss, run.scene.class_ids), run.mesh, settings.rays,
        settings.focus, settings.steps_per_dispatch)
    with contextlib.ExitStack() as opened:
      logs = None
      if processes.is_first():
        logs = opened.enter_context(contextlib.closing(Logs(workdir, step, settings.steps)))
      _loop(run, state, step, table, dispatch, schedule, saved, logs, workdir)


def _loop(run, state, step, table, dispatch, schedule, saved, logs, workdir) -> None:
  """Dispatches until the last step or a request to stop."""
  config, settings = run.config, run.config.train
  classes = sharding.replicate(run.scene.table, run.mesh)
  words = setup.make_words(run, table)
  root_key = jax.jit(lambda: jax.random.key(settings.seed + 1),
                     out_shardings=sharding.replicated(run.mesh))()
  renderer = Renderer(run.scene, run.module, render_options(config.model),
                      sharding.local_mesh(run.mesh), config.eval.chunk, config.scene.intervals,
                      label_options(config.loss, config.eval))
  view = recorded_view(run.scene, len(run.scene.window.view_frame) // 2, full=False)
  pending, since, started = [], step, time.perf_counter()
  stopping = False
  with _StopRequest() as stop:
    while step < settings.steps and not stopping:
      with jax.transfer_guard('disallow'):
        state, metrics = dispatch(state, table, classes, words, root_key)
      pending.append(metrics)
      step += settings.steps_per_dispatch
      if step % settings.log_every == 0 or step >= settings.steps:
        jax.block_until_ready(metrics)
        scalars = _scalars(pending, settings.rays, step - since, time.perf_counter() - started,
                           float(schedule(step)))
        _check_finite(scalars, step)
        if logs:
          logs.write(step, scalars)
        pending, since, started = [], step, time.perf_counter()
      # Before the checkpoint: a run that was killed in between makes both again.
      if (step % settings.preview_every == 0 or step >= settings.steps) and processes.is_first():
        image = renderer(sharding.local(state.params, run.mesh), view)
        previews.write(workdir / 'previews' / f'{step:06d}', image, run.scene.window, view)
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
