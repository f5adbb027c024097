"""How long training will take here and what it will occupy: from a few steps of it.

The steps are real ones: the config's own network, batch and loss, on the rays of two views of the
window. Time is measured. Memory is counted: the sizes of what lies on a device, and what XLA plans
for one dispatch. Letters: V views of the window.
"""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from pnerf_jax.distributed import sharding
from pnerf_jax.rendering.scene import Scene, make_field
from pnerf_jax.runs.experiment import Experiment
from pnerf_jax.training import setup
from pnerf_jax.training import train_state as states

_VIEWS = 2
_SECONDS = 5.0  # of measured steps, at least one dispatch


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What a training of the window takes; times in seconds, memory in bytes of every device.

  compile: before the first step.   table: of the intervals of all views.   step: one optimiser
  step.   steps: of the whole training.   measured: dispatches that were timed.
  arrays: parameters, optimiser and the rays of all views.   work: what XLA plans for a dispatch
  besides; None where it does not tell.   limit: memory of the device; None where it does not tell.
  """

  compile: float
  table: float
  step: float
  steps: int
  measured: int
  arrays: int
  work: int | None
  limit: int | None

  @property
  def training(self) -> float:
    """Seconds from the first step to the last; previews and checkpoints are not counted."""
    return self.step * self.steps


def estimate(run: Experiment) -> Estimate:
  """Makes a few training steps on two views of the window and throws them away."""
  config, settings = run.config, run.config.train
  views = len(run.scene.window.view_frame)
  small = _on_few_views(run)
  optimizer = setup.make_optimizer(config)
  setup.make_ray_table(small)  # compiles
  started = time.perf_counter()
  table = setup.make_ray_table(small)
  table_seconds = (time.perf_counter() - started) * views / len(small.scene.window.view_frame)
  replicated = sharding.replicated(run.mesh)
  state = jax.jit(
    lambda: states.init_state(small.init_params(), optimizer, len(run.scene.class_ids)),
    out_shardings=replicated,
  )()
  words = setup.make_words(small, table)
  key = jax.device_put(jax.random.key(settings.seed + 1), replicated)
  classes = sharding.replicate(run.scene.table, run.mesh)
  dispatch = setup.make_steps(small, optimizer, settings.steps_per_call)
  arrays = _bytes(state) + _bytes(table) * views // len(small.scene.window.view_frame)
  started = time.perf_counter()
  compiled = dispatch.lower(state, table, classes, words, key).compile()
  compiling = time.perf_counter() - started
  state, metrics = jax.block_until_ready(compiled(state, table, classes, words, key))
  count, started = 0, time.perf_counter()
  while count == 0 or time.perf_counter() - started < _SECONDS:
    state, metrics = jax.block_until_ready(compiled(state, table, classes, words, key))
    count += 1
  seconds = time.perf_counter() - started
  plan = compiled.memory_analysis()
  limits = run.mesh.devices.ravel()[0].memory_stats() or {}
  return Estimate(
    compile=compiling,
    table=table_seconds,
    step=seconds / (count * settings.steps_per_call),
    steps=settings.steps,
    measured=count,
    arrays=arrays,
    work=None if plan is None else int(plan.temp_size_in_bytes),
    limit=limits.get('bytes_limit'),
  )


def _on_few_views(run: Experiment) -> Experiment:
  """The same run on the views in the middle of its window."""
  window = run.scene.window
  views = len(window.view_frame)
  first = max(0, views // 2 - _VIEWS // 2)
  part = slice(first, first + _VIEWS)
  cut: dict[str, Any] = {
    field.name: value[part]
    for field in dataclasses.fields(window)
    if isinstance(value := getattr(window, field.name), np.ndarray)
    and len(value) == views
    and field.name not in ('center', 'bounds')
  }
  scene = Scene(
    dataclasses.replace(window, **cut), run.scene.primitives, run.scene.class_ids, run.scene.table
  )
  return Experiment(run.config, run.mesh, scene, make_field(run.config.model, scene))


def _bytes(tree: Any) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(tree) if hasattr(x, 'nbytes'))
