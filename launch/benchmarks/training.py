"""The train step of a config on a street, ready to be called repeatedly."""

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
  """Holds the state between calls of the train step.

  Attributes:
    run: the experiment.
    options: of the first stage of training.
    state: TrainState.
    arguments: of the train step after the state.
    train_steps: the jitted function.
    rays_per_call: rays of all steps of a call.
  """

  def __init__(self, root: pathlib.Path, variant: str = 'cpu', frames: int = 8, **fields: Any):
    """Set up a street.

    Args:
      root: of the street.
      variant: of configs/kitti360.py.
      frames: of the window.
      **fields: changes of the config, `group__field=value`.
    """
    config = configs.get_config(variant)
    config.data.root, config.data.frames, config.data.image_scale = str(root), frames, 1.0
    for name, value in fields.items():
      group, field = name.split('__')
      config[group][field] = value
    self.run = run = build_experiment(config)
    self.config = run.config
    class_ids, train = run.scene.class_ids, run.config.train
    self.options = stages.stage_options(run.config, class_ids, refinement=False)
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
    """Return the jitted train step of some steps per call."""
    run = self.run
    return make_train_steps(run.module, self._optimizer, self.options, run.mesh, num_steps)

  def __call__(self) -> dict[str, jax.Array]:
    """Make the steps of one call without transfers to or from the host; return the metrics."""
    with jax.transfer_guard('disallow'):
      self.state, metrics = self.train_steps(self.state, *self.arguments)
      return jax.block_until_ready(metrics)
