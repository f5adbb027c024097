"""From the command to the first optimiser step of a 64-frame stereo window, and again."""

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

_PARTS = ('imports', 'window', 'intervals, label noise and first call')


def child(root: str, frames: str, cache: str) -> None:
  """Start once in a new process; print the seconds of its parts as JSON."""
  marks = [time.perf_counter()]
  import jax

  from pnerf_jax.distributed import sharding
  from pnerf_jax.training.field_task import FieldTask

  def mark(done=None):
    jax.block_until_ready(done)
    marks.append(time.perf_counter())

  logging.basicConfig(level=logging.INFO)
  mark()
  config = scenes.real_config(pathlib.Path(root), int(frames))
  run = build_experiment(config)
  mark()
  task = FieldTask(run)
  train_step = task.build_step(pathlib.Path(cache))
  state = jax.jit(task.init_state, out_shardings=sharding.replicated(run.mesh))()
  mark(train_step(state, 0))
  seconds = [b - a for a, b in zip(marks, marks[1:])]
  import resource

  print(
    json.dumps(
      {
        'seconds': seconds,
        'rays': int(run.scene.window.valid_pixels().sum()),
        'peak': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
      }
    )
  )


def run(options: Any) -> list[measure.Figure]:
  """Measure starts without caches, with cached intervals, and with cached programs too."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  found = {'first': [], 'again': [], 'again, with JAX_COMPILATION_CACHE_DIR': []}
  for _ in range(options.slow_repeats):
    folder = pathlib.Path(tempfile.mkdtemp(dir=options.work))
    cache, programs = folder, {'JAX_COMPILATION_CACHE_DIR': str(folder / 'programs')}
    for name, runs in found.items():
      output = scenes.run(
        '-m',
        'launch.benchmarks.startup',
        str(root),
        str(options.frames),
        str(cache),
        **({} if name == 'again' else programs),
      )
      runs.append(json.loads(output.strip().splitlines()[-1]))
    kept = sum(path.stat().st_size for path in (cache / 'cache').iterdir())
    shutil.rmtree(folder)
  size = f'{options.frames} stereo frames of {options.width}, {found["first"][0]["rays"]} rays'
  row = functools.partial(measure.figure, 'startup')
  rows = []
  for name, runs in found.items():
    rows.append(
      row(
        f'{name}: to the end of the first call',
        size,
        [sum(r['seconds']) for r in runs],
        's',
        'target: 60',
      )
    )
    rows += [
      row(f'{name}: {part}', size, [r['seconds'][i] for r in runs], 's')
      for i, part in enumerate(_PARTS)
    ]
    rows.append(row(f'{name}: memory, peak', size, [r['peak'] / 2**30 for r in runs], 'GiB'))
  return [*rows, row('interval cache', size, kept / 2**20, 'MiB')]


if __name__ == '__main__':
  child(*sys.argv[1:])
