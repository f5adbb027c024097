"""Time from the command to the end of the first training call of a 64-frame stereo window."""

import functools
import json
import logging
import pathlib
import shutil
import sys
import tempfile
import time
from typing import Any

from launch.benchmarks import measure, scenes
from pnerf_jax.runs.experiment import build_experiment

_PARTS = ('imports', 'window', 'intervals', 'label noise', 'first call')


def child(root: str, frames: str, workdir: str) -> None:
  """Start once, with the interval cache of a run; print the seconds of the parts as JSON."""
  marks = [time.perf_counter()]
  import jax

  from pnerf_jax.distributed import sharding
  from pnerf_jax.training import stages, train_state
  from pnerf_jax.training.field_task import FieldTask, window_label_noise
  from pnerf_jax.training.ray_table import build_ray_table
  from pnerf_jax.training.step import make_train_steps

  def mark(arrays=None):
    jax.block_until_ready(arrays)
    marks.append(time.perf_counter())

  logging.basicConfig(level=logging.INFO)
  mark()
  config = scenes.real_config(pathlib.Path(root), int(frames))
  run = build_experiment(config)
  mark()
  table = build_ray_table(run, pathlib.Path(workdir, 'cache'))
  mark(table)
  noise = window_label_noise(run, table)
  mark(noise)
  replicated = sharding.replicated(run.mesh)
  options = stages.stage_options(
    run.config, run.scene.class_ids, far=float(run.scene.window.far), refinement=False
  )
  optimizer = train_state.make_optimizer(run.config.optim, run.config.train.steps)
  train_steps = make_train_steps(
    run.module, optimizer, options, run.mesh, run.config.train.steps_per_call
  )
  state = jax.jit(FieldTask(run).init_state, out_shardings=replicated)()
  arguments = jax.device_put((run.scene.table, noise, jax.random.key(1)), replicated)
  mark(train_steps(state, table, *arguments))
  import resource

  print(
    json.dumps(
      {
        'seconds': [b - a for a, b in zip(marks, marks[1:])],
        'rays': int(run.scene.window.valid_pixels().sum()),
        'peak': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
      }
    )
  )


def run(options: Any) -> list[measure.Measurement]:
  """Measure starts without caches, with cached intervals, and with cached programs as well."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  runs = {
    'nothing cached': [],
    'cached intervals': [],
    'cached intervals and JAX_COMPILATION_CACHE_DIR': [],
  }
  for _ in range(options.slow_repeats):
    workdir = pathlib.Path(tempfile.mkdtemp(dir=options.work))
    programs = {'JAX_COMPILATION_CACHE_DIR': str(workdir / 'programs')}
    for name, results in runs.items():
      output = scenes.run_python(
        '-m',
        'launch.benchmarks.startup',
        str(root),
        str(options.frames),
        str(workdir),
        **({} if name == 'cached intervals' else programs),
      )
      results.append(json.loads(output.strip().splitlines()[-1]))
    cache_bytes = sum(path.stat().st_size for path in (workdir / 'cache').iterdir())
    shutil.rmtree(workdir)
  rays = runs['nothing cached'][0]['rays']
  size = f'{options.frames} stereo frames of width {options.width}, {rays} rays'
  row = functools.partial(measure.summarize, 'startup')
  rows = []
  for name, results in runs.items():
    total = [sum(result['seconds']) for result in results]
    rows.append(row(f'{name}: to the end of the first call', size, total, 's', remark='target: 60'))
    rows += [
      row(f'{name}: {part}', size, [result['seconds'][i] for result in results], 's')
      for i, part in enumerate(_PARTS)
    ]
    peak = [result['peak'] / 2**30 for result in results]
    rows.append(row(f'{name}: peak memory', size, peak, 'GiB'))
  return [*rows, row('interval cache', size, cache_bytes / 2**20, 'MiB')]


if __name__ == '__main__':
  child(*sys.argv[1:])
