"""A finished (or unfinished) run, loaded to be rendered."""
import dataclasses
from pathlib import Path
from typing import Any

import jax

from pnerf_jax.rendering.images import Renderer, label_options, render_options
from pnerf_jax.training import checkpoints, setup, sharding


@dataclasses.dataclass(frozen=True)
class Trained:
  """A run with its trained parameters. step: of the checkpoint."""
  run: setup.Run
  params: Any
  renderer: Renderer
  step: int


def load_trained(workdir: Path, step: int | None) -> Trained:
  """Rebuilds a run from its own config and a checkpoint.

  Args:
    workdir: RUN.
    step: which checkpoint; None = the newest.

  Raises:
    InputError: no config, no such checkpoint, or input that changed since.
  """
  config = setup.load_config(workdir)
  saved = checkpoints.Checkpoints(workdir, read_only=True)
  try:
    saved.require(step)  # before the window is read
    run = setup.set_up(config)
    template = checkpoints.abstract(
        jax.eval_shape(lambda: setup.fresh_params(run)), sharding.replicated(run.mesh))
    step, params = saved.restore_params(template, step)
  finally:
    saved.close()
  params = sharding.local(params, run.mesh)
  renderer = Renderer(run.scene, run.module, render_options(config.model),
                      sharding.local_mesh(run.mesh), config.eval.chunk, config.scene.intervals,
                      label_options(config.loss, config.eval))
  return Trained(run, params, renderer, step)
