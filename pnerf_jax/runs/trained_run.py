"""A finished (or unfinished) run, loaded to be rendered."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from pnerf_jax.distributed import sharding
from pnerf_jax.labelling.images import Renderer, label_options, render_options
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.experiment import Experiment, build_experiment


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """A run with its trained parameters. step: of the checkpoint."""

  run: Experiment
  params: Any
  renderer: Renderer
  step: int


def load_trained_run(workdir: Path, step: int | None) -> TrainedRun:
  """Rebuilds a run from its own config and a checkpoint.

  Args:
    workdir: RUN.
    step: which checkpoint; None = the newest.

  Raises:
    InputError: no config, no such checkpoint, or input that changed since.
  """
  config = load_config(workdir)
  saved = checkpoints.Checkpoints(workdir, read_only=True)
  try:
    saved.require(step)  # before the window is read
    run = build_experiment(config)
    template = checkpoints.abstract(
      jax.eval_shape(lambda: run.init_params()), sharding.replicated(run.mesh)
    )
    step, params = saved.restore_params(template, step)
  finally:
    saved.close()
  params = sharding.local(params, run.mesh)
  renderer = Renderer(
    run.scene,
    run.module,
    render_options(config.model),
    sharding.local_mesh(run.mesh),
    config.eval.chunk_rays,
    config.scene.max_intervals_per_ray,
    label_options(config.loss, config.eval),
  )
  return TrainedRun(run, params, renderer, step)
