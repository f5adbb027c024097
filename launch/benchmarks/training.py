"""The train step of a config on a street, ready to be called again and again."""

import pathlib
from typing import Any

import jax

from configs import kitti360 as configs
from pnerf_jax.distributed import sharding
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import setup
from pnerf_jax.training import train_state as states


class Trainer:
  """Holds the state between dispatches.

  state: TrainState.   config, run: of the setup.   rays_per_dispatch: of all its steps.
  arguments: of the dispatch after the state.
  """

  def __init__(self, root: pathlib.Path, variant: str = 'cpu', frames: int = 8, **fields: Any):
    """Sets up a street.

    Args:
      root: of the street.
      variant: of configs/kitti360.py.
      frames: of the window.
      **fields: changes of the config, `group__field=value`.
    """
    self.config = config = configs.get_config(variant)
    config.data.root, config.data.frames, config.data.image_scale = str(root), frames, 1.0
    for name, value in fields.items():
      group, field = name.split('__')
      config[group][field] = value
    self.run = run = build_experiment(config)
    replicated = sharding.replicated(run.mesh)
    table = setup.make_ray_table(run)
    self.arguments = (
      table,
      jax.device_put(run.scene.table, replicated),
      setup.make_words(run, table),
      jax.device_put(jax.random.key(config.train.seed + 1), replicated),
    )
    self._optimizer = setup.make_optimizer(config)
    self.state = jax.jit(
      lambda: states.init_state(run.init_params(), self._optimizer, len(run.scene.class_ids)),
      out_shardings=replicated,
    )()
    self.function = self.make(config.train.steps_per_call)
    self.rays_per_dispatch = config.train.batch_rays * config.train.steps_per_call

  def make(self, steps: int) -> Any:
    """The jitted dispatch of some steps."""
    return setup.make_steps(self.run, self._optimizer, steps)

  def dispatch(self) -> dict[str, jax.Array]:
    """Steps of one dispatch; nothing moves between host and device. Returns the metrics."""
    with jax.transfer_guard('disallow'):
      self.state, metrics = self.function(self.state, *self.arguments)
      return jax.block_until_ready(metrics)
