"""Training of the field of one window; the loop is in trainer.py.

Parameters, optimiser state and ray table are replicated: a step draws its rays from the whole
window, and the table of a window fits a device. Only the rays of a step are sharded.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.data import image_io, kitti360, palettes
from pnerf_jax.data.labels import NUM_IDS
from pnerf_jax.distributed import processes, program, sharding
from pnerf_jax.label_noise.estimation import build_label_noise
from pnerf_jax.label_noise.model import LabelNoise
from pnerf_jax.labelling.images import Renderer, dataset_camera
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import check_resumable
from pnerf_jax.runs.experiment import Experiment, build_experiment
from pnerf_jax.runs.trained_run import make_renderer
from pnerf_jax.runs.window_record import check_window
from pnerf_jax.training import stages, train_state, trainer
from pnerf_jax.training.ray_table import RayTable, build_ray_table, num_table_bytes
from pnerf_jax.training.step import TrainSteps, make_train_steps


def train(config: Config | Mapping[str, Any], workdir: pathlib.Path | str) -> None:
  """Train to `config.train.steps`, resuming from RUN's newest checkpoint.

  Args:
    config: of the run.
    workdir: RUN.

  Raises:
    InputError: bad input, another training in RUN, or a loss that is not finite.
    Interrupted: stopped by a signal, after saving.
  """

  def make_task() -> FieldTask:
    """Load the input, and check the memory and that RUN was trained on the same window."""
    resumes = checkpoints.exist(pathlib.Path(workdir))
    with processes.raise_together():
      parsed = parse_config(config)
      if resumes:  # before the input is read, whose differences would be those of the config
        check_resumable(parsed, pathlib.Path(workdir))
    task = FieldTask(build_experiment(parsed))
    with processes.raise_together():
      task.check_memory()
      if resumes:
        check_window(task.run.scene.window, pathlib.Path(workdir))
    return task

  trainer.run(make_task, workdir)


class FieldTask:
  """The training task of a field; see trainer.Task."""

  def __init__(self, run: Experiment):
    """Bind the experiment."""
    self.config, self.mesh = run.config, run.mesh
    self.steps_per_call = run.config.train.steps_per_call
    self.run = run
    self._optimizer = train_state.make_optimizer(run.config.optim, run.config.train.steps)
    self._renderer: Renderer  # made by build_step

  def check_memory(self) -> None:
    """Raise InputError if the state and the ray table do not fit a device."""
    state = jax.tree.leaves(jax.eval_shape(self.init_state))
    state_bytes = sum(x.size * x.dtype.itemsize for x in state)
    table_bytes = num_table_bytes(self.run.scene.window, self.config.scene.max_intervals_per_ray)
    program.check_memory(
      state_bytes + table_bytes,
      f'training ({state_bytes / 1e9:.1f} GB of parameters and optimiser state,'
      f' {table_bytes / 1e9:.1f} GB of rays)',
      '--config.data.frames, --config.data.image_scale or --config.model.log2_hashmap_size',
    )

  def init_state(self, params: Any = None) -> train_state.TrainState:
    """Return the state before the first step. params: by default those of the config's seed."""
    counts = jnp.zeros((len(self.run.scene.class_ids) + 1, NUM_IDS))
    params = self.run.init_params() if params is None else params
    return train_state.init_state(params, self._optimizer, counts)

  def build_step(self, workdir: pathlib.Path) -> trainer.TrainStep:
    """Build the ray table, the noise model and the compiled steps of both stages."""
    run, seed = self.run, self.config.train.seed
    check_window(run.scene.window, workdir, write=processes.is_first())
    table = build_ray_table(run, workdir / 'cache')
    first, refinement = (
      program.Program(
        self._train_steps(refinement), f'the {name} train step', '--config.train.batch_rays'
      )
      for refinement, name in ((False, 'first'), (True, 'refinement'))
    )
    start = stages.refinement_start(self.config.train)
    classes = sharding.replicate(run.scene.table, run.mesh)
    noise = window_label_noise(run, table)
    replicated = sharding.replicated(run.mesh)
    root_key = jax.jit(lambda: jax.random.key(seed + 1), out_shardings=replicated)()
    self._renderer = make_renderer(run)

    def train_step(state, step):
      train_steps = first if step < start else refinement
      return train_steps(state, table, classes, noise, root_key)

    return train_step

  def _train_steps(self, refinement: bool) -> TrainSteps:
    run = self.run
    options = stages.stage_options(
      run.config, run.scene.class_ids, far=float(run.scene.window.far), refinement=refinement
    )
    return make_train_steps(run.module, self._optimizer, options, run.mesh, self.steps_per_call)

  def metrics(self, means: dict[str, float], step: int, per_second: float) -> dict[str, float]:
    """Return PSNR, learning rate and speed."""
    config = self.config
    rate = train_state.learning_rate(step, config.optim, config.train.steps)
    return {
      'psnr': float(-10.0 * np.log10(max(means['rgb'], 1e-10))),
      'learning_rate': float(rate),
      'rays_per_second': config.train.batch_rays * per_second,
    }

  def progress(self, scalars: dict[str, float]) -> str:
    """Return speed and quality for the progress line."""
    speed = f'{scalars["rays_per_second"] / 1e3:.1f}k rays/s'
    return f'{speed}  loss {scalars["loss"]:.4f}  psnr {scalars["psnr"]:.2f}'

  def write_preview(self, params: Any, folder: pathlib.Path) -> None:
    """Write FOLDER/CAMERA_FRAME.png of the middle view: image, rgb, depth, semantic, instance."""
    window = self.run.scene.window
    view = len(window.view_frame) // 2
    rendered = self._renderer(params, dataset_camera(self.run.scene, view, full=False))
    panel = np.concatenate(
      [
        window.crop_to_image(window.rgb, view),
        rendered.rgb,
        palettes.depth_rgb(rendered.depth),
        palettes.semantic_rgb(rendered.semantic),
        palettes.instance_rgb(rendered.instance),
      ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    camera = window.cameras[int(window.view_camera[view])]
    frame = kitti360.frame_name(int(window.view_frame[view]))
    image_io.write_rgb(folder / f'{camera}_{frame}.png', panel)


def window_label_noise(run: Experiment, table: RayTable) -> LabelNoise:
  """Build the noise model of the window's pseudo-labels, replicated on the devices.

  Args:
    run: with the window.
    table: of the window; pixels that it excludes are not counted.
  """
  usable = np.zeros(len(table.label), bool)
  usable[np.asarray(table.uniform)] = True
  noise = build_label_noise(
    run.scene.window,
    run.config.loss,
    run.scene.class_ids,
    semantic=np.asarray(run.scene.primitives.semantic),
    intervals=jax.device_get(table.intervals),
    label=np.where(usable, np.asarray(table.label), 0),
  )
  return sharding.replicate(noise, run.mesh)
