"""Benchmarks of the program, compared with alternatives and the limits of the machine.

    PYTHONPATH=. python launch/benchmark.py [--suite=intervals,step,render,startup,scaling]
        [--json=OUT.json] [--work=DIR] [--real=DIR] [--run=RUN] [--variant=cpu] ...

Prints one table. Every value is a median with its range; alternatives take turns, within one
process or as separate processes. The section `paper` of the step suite needs
requirements-benchmark.txt; the suites intervals, startup and scaling need `--real` (KITTI-360's
drive 0002). Generated data and runs are kept in `--work`. Use an idle machine; the load before the
start is part of the output.
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
_REAL = pathlib.Path('../shared/kitti360_real')


def _parse_options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
  )
  add, path = parser.add_argument, pathlib.Path
  integers = lambda text: [int(part) for part in text.split(',')]
  add('--suite', default=','.join(SUITES), help='suites, separated by commas')
  add('--sections', default='', help='sections of the step suite: ours, paper; empty = all')
  add('--json', type=path, help='JSON file to write the measurements to')
  add('--work', type=path, default=path('runs/benchmark'), help='folder of generated data and runs')
  add('--real', type=path, default=_REAL, help='folder of the real files')
  add('--run', type=path, help='RUN to render; default: train one on a generated street')
  add('--variant', default='cpu', help='variant of configs/kitti360.py for training and rendering')
  add('--rays', type=int, default=0, help='rays per step; 0 = as in the variant')
  add('--repeats', type=int, default=7, help='rounds of measurements that take seconds')
  add('--slow_repeats', type=int, default=3, help='rounds of measurements that take minutes')
  add('--frames', type=int, default=64, help='stereo frames of the real window')
  add('--width', type=int, default=704, help='width of its images, pixels')
  add('--windows', type=integers, default=[16, 64, 128, 256], help='scaling: stereo frames')
  add('--devices', type=integers, default=[1, 2, 4, 8], help='scaling: simulated devices')
  add('--primitives', type=integers, default=[50, 200, 1000], help='scaling: primitives')
  add('--street_frames', type=int, default=8, help='stereo frames of the generated street')
  add('--scale', type=float, default=0.5, help='image scale of the street; 0.5 is 704 x 188')
  add('--train_steps', type=int, default=2000, help='steps of the run that is rendered')
  add('--paper_rays', type=int, default=256, help="rays per step of the paper's network")
  add('--exported', type=int, default=4, help='number of exported views')
  add('--threads', type=int, default=len(os.sched_getaffinity(0)), help='threads of PyTorch')
  options = parser.parse_args()
  options.sections = [name for name in options.sections.split(',') if name]
  return options


def main() -> None:
  """Run the suites of the command line."""
  options = _parse_options()
  suites = options.suite.split(',')
  for suite in suites:
    if suite not in SUITES:
      raise InputError(f'--suite={suite}: no such suite. Use some of {SUITES}.')
  options.work.mkdir(parents=True, exist_ok=True)
  machine, measurements = measure.describe_machine(), []
  for suite in suites:
    _LOG.info('suite %s', suite)
    measurements += importlib.import_module(f'launch.benchmarks.{suite}').run(options)
    if options.json:  # after each suite, in case a later one fails
      content = {**machine, 'measurements': [dataclasses.asdict(m) for m in measurements]}
      write_bytes(options.json, json.dumps(content, indent=1).encode())
  print(measure.markdown(machine, measurements), end='')


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
