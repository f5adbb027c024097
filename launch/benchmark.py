"""Measures this program beside its peers and its machine; prints one table.

    PYTHONPATH=. python launch/benchmark.py [--suite=intervals,step,render,startup,scaling]
        [--json=OUT.json] [--work=DIR] [--real=DIR] [--run=RUN] [--variant=cpu] ...

Every figure is a median with its extremes; what is compared runs in turns in one process, or in
processes that take turns. Needs requirements-benchmark.txt for the peers, `--real` (KITTI-360's
drive 0002) for the suites intervals, startup and scaling. What is drawn and trained for the suites
is kept in `--work`. Run it on an idle machine: the load before is part of the table.
"""

import argparse
import dataclasses
import importlib
import json
import logging
import os
import pathlib
import sys

from launch.benchmarks import measure
from pnerf_jax import cli
from pnerf_jax.data.files import write_bytes
from pnerf_jax.errors import InputError

_LOG = logging.getLogger('pnerf_jax.benchmark')
SUITES = ('intervals', 'step', 'render', 'startup', 'scaling')


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
  )
  add = parser.add_argument
  add('--suite', default=','.join(SUITES), help='suites, divided by commas')
  add('--sections', default='', help='of the step suite: ours, paper; all')
  add('--json', type=pathlib.Path, help='also write the figures there')
  add('--work', type=pathlib.Path, default=pathlib.Path('runs/benchmark'), help='kept between runs')
  add(
    '--real',
    type=pathlib.Path,
    default=pathlib.Path('../shared/kitti360_real'),
    help='folder of the real files',
  )
  add('--run', type=pathlib.Path, help='RUN to render; by default a street is drawn and trained')
  add('--variant', default='cpu', help='of configs/kitti360.py, for our step and the render suite')
  add('--rays', type=int, default=0, help='of a step; 0 = those of the variant')
  add('--repeats', type=int, default=7, help='rounds of what takes seconds')
  add('--slow_repeats', type=int, default=3, help='rounds of what takes minutes')
  add('--frames', type=int, default=64, help='stereo frames of the real window')
  add('--width', type=int, default=704, help='of its images, pixels')
  numbers = lambda text: [int(word) for word in text.split(',')]
  add('--windows', type=numbers, default=[16, 64, 128, 256], help='stereo frames, for scaling')
  add('--devices', type=numbers, default=[1, 2, 4, 8], help='simulated, for scaling')
  add('--primitives', type=numbers, default=[50, 200, 1000], help='for scaling')
  add('--street_frames', type=int, default=8, help='stereo frames of the street')
  add('--scale', type=float, default=0.5, help='of the street; 0.5 gives images of 704 x 188')
  add('--train_steps', type=int, default=2000, help='of the run that is rendered')
  add('--paper_rays', type=int, default=256, help="rays of a step of the paper's network")
  add('--exported', type=int, default=4, help='views that are exported')
  add('--threads', type=int, default=len(os.sched_getaffinity(0)), help="PyTorch's")
  options = parser.parse_args()
  options.sections = [word for word in options.sections.split(',') if word]
  return options


def main() -> None:
  """Runs the suites of the command line."""
  options = _options()
  names = options.suite.split(',')
  for name in names:
    if name not in SUITES:
      raise InputError(f'--suite={name}: no such suite. Choose among {SUITES}.')
  options.work.mkdir(parents=True, exist_ok=True)
  about, figures = measure.machine(), []
  for name in names:
    _LOG.info('suite %s', name)
    figures += importlib.import_module(f'launch.benchmarks.{name}').run(options)
    if options.json:  # after each suite: what is measured is kept whatever the next one does
      write_bytes(
        options.json,
        json.dumps(
          {**about, 'figures': [dataclasses.asdict(f) for f in figures]}, indent=1
        ).encode(),
      )
  print(measure.markdown(about, figures), end='')


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
