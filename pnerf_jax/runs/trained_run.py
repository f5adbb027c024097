"""A trained run, loaded for rendering."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from pnerf_jax.distributed import sharding
from pnerf_jax.labelling.images import Renderer, label_options, render_options
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.experiment import Experiment, build_experiment
from pnerf_jax.runs.window_record import check_window


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """A run with its trained parameters.

  Attributes:
    run: the experiment.
    params: parameters of the field, on this process's devices.
    renderer: renders views with these parameters.
    step: of the checkpoint.
  """

  run: Experiment
  params: Any
  renderer: Renderer
  step: int


def make_renderer(run: Experiment) -> Renderer:
  """Return the renderer of whole images on this process's devices."""
  config = run.config
  return Renderer(
    run.scene,
    run.module,
    sharding.local_mesh(run.mesh),
    render_options=render_options(config, float(run.scene.window.far)),
    label_options=label_options(config.loss, config.eval),
    chunk_rays=config.eval.chunk_rays,
    num_intervals=config.scene.max_intervals_per_ray,
  )


def load_trained_run(
  workdir: Path | str, step: int | None = None, *, overrides: Mapping[str, Any] | None = None
) -> TrainedRun:
  """Rebuild a run from its own config and a checkpoint.

  Args:
    workdir: RUN.
    step: of the checkpoint; None = the newest.
    overrides: other values of free config fields; see config_file.load_config.

  Raises:
    InputError: no config, no such checkpoint, or input that has changed since.
  """
  workdir = Path(workdir)
  config = load_config(workdir, overrides)
  saved = checkpoints.Checkpoints(workdir, read_only=True)
  try:
    saved.require(step)  # before the window is read
    run = build_experiment(config)
    check_window(run.scene.window, workdir)
    template = checkpoints.abstract(jax.eval_shape(run.init_params), sharding.replicated(run.mesh))
    step, params = saved.restore_params(template, step)
  finally:
    saved.close()
  return TrainedRun(run, sharding.local(params, run.mesh), make_renderer(run), step)
