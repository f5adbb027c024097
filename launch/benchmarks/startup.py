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

_PARTS = ('imports', 'window', 'intervals', 'words', 'first dispatch')


def child(root: str, frames: str, cache: str) -> None:
  """One start in a process of its own; prints the seconds of its parts as JSON."""
  marks = [time.perf_counter()]
  import jax

  from pnerf_jax.distributed import sharding
  from pnerf_jax.training import setup
  from pnerf_jax.training import train_state as states

  def mark(done=None):
    jax.block_until_ready(done)
    marks.append(time.perf_counter())

  logging.basicConfig(level=logging.INFO)
  mark()
  config = scenes.real_config(pathlib.Path(root), int(frames))
  run = build_experiment(config)
  mark()
  table = setup.make_ray_table(run, pathlib.Path(cache))
  mark(table)
  words = setup.make_words(run, table)
  mark(words)
  replicated = sharding.replicated(run.mesh)
  optimizer = setup.make_optimizer(config)
  state = jax.jit(
    lambda: states.init_state(run.init_params(), optimizer, len(run.scene.class_ids)),
    out_shardings=replicated,
  )()
  dispatch = setup.make_steps(run, optimizer, config.train.steps_per_call)
  mark(
    dispatch(
      state,
      table,
      jax.device_put(run.scene.table, replicated),
      words,
      jax.device_put(jax.random.key(1), replicated),
    )
  )
  seconds = [b - a for a, b in zip(marks, marks[1:])]
  import resource

  print(
    json.dumps(
      {
        'seconds': seconds,
        'rays': len(table.label),
        'peak': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
      }
    )
  )


def run(options: Any) -> list[measure.Figure]:
  """Starts with nothing kept, with the intervals kept, and with compiled programs kept too."""
  root = scenes.real_window(options.work, options.real, options.frames, options.width)
  found = {'first': [], 'again': [], 'again, with JAX_COMPILATION_CACHE_DIR': []}
  for _ in range(options.slow_repeats):
    folder = pathlib.Path(tempfile.mkdtemp(dir=options.work))
    cache, programs = folder / 'cache', {'JAX_COMPILATION_CACHE_DIR': str(folder / 'programs')}
    for name, runs in found.items():
      said = scenes.run(
        '-m',
        'launch.benchmarks.startup',
        str(root),
        str(options.frames),
        str(cache),
        **({} if name == 'again' else programs),
      )
      runs.append(json.loads(said.strip().splitlines()[-1]))
    kept = sum(path.stat().st_size for path in cache.iterdir())
    shutil.rmtree(folder)
  size = f'{options.frames} stereo frames of {options.width}, {found["first"][0]["rays"]} rays'
  row = functools.partial(measure.figure, 'startup')
  rows = []
  for name, runs in found.items():
    rows.append(
      row(
        f'{name}: to the end of the first dispatch',
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
  return [*rows, row('file of intervals', size, kept / 2**20, 'MiB')]


if __name__ == '__main__':
  child(*sys.argv[1:])
