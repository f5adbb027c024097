"""What training does with the field of one window; the machinery around it is trainer.py's.

Parameters, optimiser and the table of rays are on every device: a step draws its rays from the
whole window, and the table of a window fits a device. Only the rays of a step are split. Each
process keeps the intervals of its views.
"""

import functools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from pnerf_jax.distributed import sharding
from pnerf_jax.labelling.images import Renderer, dataset_camera, label_options, render_options
from pnerf_jax.runs.experiment import Experiment, build_experiment
from pnerf_jax.training import previews, setup, trainer
from pnerf_jax.training import train_state as states


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains to `config.train.steps`, resuming from RUN's newest checkpoint.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """
  trainer.run(lambda: FieldTask(build_experiment(config)), workdir)


class FieldTask:
  """Fits the field of a window; see trainer.Task."""

  def __init__(self, run: Experiment):
    """run: of build_experiment."""
    self.config, self.mesh = run.config, run.mesh
    self.steps_per_call = run.config.train.steps_per_call
    self._run = run
    self._optimizer = setup.make_optimizer(run.config)
    self._view = dataset_camera(run.scene, len(run.scene.window.view_frame) // 2, full=False)
    self._renderer = None

  def fresh_state(self) -> states.TrainState:
    """Parameters from the config's seed."""
    return states.init_state(
      setup.fresh_params(self._run), self._optimizer, len(self._run.scene.class_ids)
    )

  def prepare(self, workdir: pathlib.Path) -> trainer.Dispatch:
    """The table of rays and the compiled steps: those of most of the run, those of its finish."""
    run, config, settings = self._run, self.config, self.config.train
    table = setup.make_ray_table(run, workdir / 'cache')
    coarse, fine = (
      setup.make_steps(run, self._optimizer, settings.steps_per_call, finish)
      for finish in (False, True)
    )
    begins = setup.refinement_start(settings)
    classes = sharding.replicate(run.scene.table, run.mesh)
    words = setup.make_words(run, table)
    root_key = jax.jit(
      lambda: jax.random.key(settings.seed + 1), out_shardings=sharding.replicated(run.mesh)
    )()
    self._renderer = Renderer(
      run.scene,
      run.module,
      render_options(config.model),
      sharding.local_mesh(run.mesh),
      config.eval.chunk_rays,
      config.scene.max_intervals_per_ray,
      label_options(config.loss, config.eval),
    )

    def dispatch(state, step):
      part = coarse if step < begins else fine
      return part(state, table, classes, words, root_key)

    return dispatch

  def scalars(self, metrics: dict[str, float], step: int, per_second: float) -> dict[str, float]:
    """PSNR, rate and speed."""
    optim, settings = self.config.optim, self.config.train
    schedule = functools.partial(
      states.learning_rate,
      rate=optim.learning_rate,
      final=optim.final_lr_fraction,
      steps=settings.steps,
      warmup=optim.warmup_steps,
    )
    return {
      'psnr': float(-10.0 * np.log10(max(metrics['rgb'], 1e-10))),
      'learning_rate': float(schedule(step)),
      'rays_per_second': settings.batch_rays * per_second,
    }

  def preview(self, params: Any, folder: pathlib.Path) -> None:
    """Panels of the view in the middle."""
    image = self._renderer(params, self._view)
    previews.write(folder, image, self._run.scene.window, self._view)
