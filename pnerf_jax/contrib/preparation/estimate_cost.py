"""Estimate of the time and memory of training, from a few training steps.

The steps use the config's field, batch and loss on two views of the window. Time is measured.
Memory is computed from the sizes of the arrays on a device and from XLA's plan of one call.
Letters: V views of the window.
"""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from pnerf_jax.distributed import sharding
from pnerf_jax.rendering.scene import Scene, make_field
from pnerf_jax.runs.experiment import Experiment
from pnerf_jax.training import field_task, stages, train_state
from pnerf_jax.training.ray_table import build_ray_table
from pnerf_jax.training.step import make_train_steps

_NUM_VIEWS = 2
_MIN_SECONDS = 5.0  # of measured calls; at least one


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostEstimate:
  """The cost of training on a window; times in seconds, memory in bytes per device.

  Attributes:
    compile: compilation of the train step.
    intervals: intersection of the rays of all views.
    step: one optimiser step.
    num_steps: steps of the run.
    measured_steps: steps whose time was measured.
    arrays: parameters, optimiser state and the rays of all views.
    workspace: temporary memory of a call as planned by XLA; None if unknown.
    device_memory: memory of a device; None if unknown.
  """

  compile: float
  intervals: float
  step: float
  num_steps: int
  measured_steps: int
  arrays: int
  workspace: int | None
  device_memory: int | None

  @property
  def training(self) -> float:
    """Seconds from the first to the last step, without previews and checkpoints."""
    return self.step * self.num_steps


def estimate(experiment: Experiment) -> CostEstimate:
  """Run a few training steps on two views of the window and extrapolate their cost."""
  config, mesh = experiment.config, experiment.mesh
  middle = max(0, len(experiment.scene.window.view_frame) // 2 - _NUM_VIEWS // 2)
  small = select_views(experiment, slice(middle, middle + _NUM_VIEWS))
  factor = len(experiment.scene.window.view_frame) / len(small.scene.window.view_frame)
  build_ray_table(small)  # compiles
  start = time.perf_counter()
  table = build_ray_table(small)
  interval_seconds = factor * (time.perf_counter() - start)
  replicated = sharding.replicated(mesh)
  state = jax.jit(field_task.FieldTask(small).init_state, out_shardings=replicated)()
  arrays = _num_bytes(state) + int(_num_bytes(table) * factor)
  train_steps: jax.stages.Wrapped = make_train_steps(
    small.module,
    train_state.make_optimizer(config.optim, config.train.steps),
    stages.stage_options(
      config, small.scene.class_ids, far=float(small.scene.window.far), refinement=False
    ),
    mesh,
    config.train.steps_per_call,
  )
  arguments = (
    table,
    sharding.replicate(small.scene.table, mesh),
    field_task.window_label_noise(small, table),
    jax.device_put(jax.random.key(config.train.seed + 1), replicated),
  )
  start = time.perf_counter()
  compiled = train_steps.lower(state, *arguments).compile()
  compile_seconds = time.perf_counter() - start
  state, _ = jax.block_until_ready(compiled(state, *arguments))  # warms up
  measured_steps, start = 0, time.perf_counter()
  while measured_steps == 0 or time.perf_counter() - start < _MIN_SECONDS:
    state, _ = jax.block_until_ready(compiled(state, *arguments))
    measured_steps += config.train.steps_per_call
  seconds = time.perf_counter() - start
  plan = compiled.memory_analysis()
  memory = mesh.devices.ravel()[0].memory_stats() or {}
  return CostEstimate(
    compile=compile_seconds,
    intervals=interval_seconds,
    step=seconds / measured_steps,
    num_steps=config.train.steps,
    measured_steps=measured_steps,
    arrays=arrays,
    workspace=None if plan is None else int(plan.temp_size_in_bytes),
    device_memory=memory.get('bytes_limit'),
  )


def select_views(experiment: Experiment, views: slice | list[int]) -> Experiment:
  """Restrict an experiment to some views of its window."""
  scene, window = experiment.scene, experiment.scene.window
  num_views = len(window.view_frame)
  selected: dict[str, Any] = {
    field.name: value[views]
    for field in dataclasses.fields(window)
    if isinstance(value := getattr(window, field.name), np.ndarray)
    and len(value) == num_views
    and field.name not in ('center', 'bounds')
  }
  small = Scene(
    dataclasses.replace(window, **selected), scene.primitives, scene.class_ids, scene.table
  )
  return dataclasses.replace(
    experiment, scene=small, module=make_field(experiment.config.model, small)
  )


def _num_bytes(tree: Any) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(tree) if hasattr(x, 'nbytes'))
