"""The training step of a config on a street, for repeated calls."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from configs import kitti360 as configs
from pnerf_jax.data.labels import NUM_IDS
from pnerf_jax.distributed import sharding
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import stages, train_state
from pnerf_jax.training.field_task import window_label_noise
from pnerf_jax.training.ray_table import build_ray_table
from pnerf_jax.training.step import make_train_steps


class Trainer:
  """A jitted training step with its state and arguments.

  Attributes:
    run: the experiment.
    config: of the experiment.
    options: of the first training stage.
    state: TrainState after the last call.
    arguments: arguments of train_steps after the state: ray table, class table, noise model, key.
    train_steps: the jitted function.
    rays_per_call: rays of all steps of a call.
  """

  def __init__(self, root: pathlib.Path, variant: str = 'cpu', frames: int = 8, **fields: Any):
    """Load a street, and build its training step.

    Args:
      root: of the street.
      variant: of configs/kitti360.py.
      frames: stereo frames of the window.
      **fields: overrides of the config, `group__field=value`.
    """
    config = configs.get_config(variant)
    config.data.root, config.data.frames, config.data.image_scale = str(root), frames, 1.0
    for name, value in fields.items():
      group, field = name.split('__')
      config[group][field] = value
    self.run = run = build_experiment(config)
    self.config = run.config
    class_ids, train = run.scene.class_ids, run.config.train
    self.options = stages.stage_options(
      run.config, class_ids, far=float(run.scene.window.far), refinement=False
    )
    replicated = sharding.replicated(run.mesh)
    table = build_ray_table(run)
    self.arguments = (
      table,
      jax.device_put(run.scene.table, replicated),
      window_label_noise(run, table),
      jax.device_put(jax.random.key(train.seed + 1), replicated),
    )
    self._optimizer = train_state.make_optimizer(run.config.optim, train.steps)
    counts = jnp.zeros((len(class_ids) + 1, NUM_IDS))
    self.state = jax.jit(
      lambda: train_state.init_state(run.init_params(), self._optimizer, counts),
      out_shardings=replicated,
    )()
    self.train_steps = self.make(train.steps_per_call)
    self.rays_per_call = train.batch_rays * train.steps_per_call

  def make(self, num_steps: int) -> Any:
    """Return the jitted function of `num_steps` training steps."""
    run = self.run
    return make_train_steps(run.module, self._optimizer, self.options, run.mesh, num_steps)

  def __call__(self) -> dict[str, jax.Array]:
    """Run one call without transfers to or from the host, and return its metrics."""
    with jax.transfer_guard('disallow'):
      self.state, metrics = self.train_steps(self.state, *self.arguments)
      return jax.block_until_ready(metrics)
