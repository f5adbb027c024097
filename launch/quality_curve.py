"""Quality against training time: mIoU and PSNR of the checkpoints of a config on given streets.

    PYTHONPATH=. python launch/quality_curve.py STREET STREET ... --out=DIR
        [--config=configs/kitti360.py:cpu] [--every=500] [further flags of train ...]

Trains each street once, copies every checkpoint into a folder of its own as soon as it is written,
and evaluates all of them. Writes DIR/curve.json and DIR/curve.png, and prints a table. Seconds are
those of RUN/scalars.jsonl: training including checkpoints and previews, from the first call on;
curve.json also holds the start-up time. Called again, it continues where it stopped.
"""

import argparse
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

from matplotlib.figure import Figure

from pnerf_jax import cli
from pnerf_jax.contrib.report import plots
from pnerf_jax.data.files import atomic_write, write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator

_LOG = logging.getLogger('pnerf_jax.quality_curve')
_METRICS = (('semantic.miou', 'mIoU'), ('image.psnr', 'PSNR (dB)'))


def train(street: pathlib.Path, run: pathlib.Path, options: argparse.Namespace) -> None:
  """Train on a street, and copy every checkpoint to RUN/kept."""
  args = [
    '-m',
    'pnerf_jax.train',
    f'--config={options.config}',
    f'--workdir={run}',
    f'--config.data.root={street}',
    f'--config.train.checkpoint_every={options.every}',
    *options.further,
  ]
  start = time.time()
  with subprocess.Popen([sys.executable, *args]) as process:
    try:
      while process.poll() is None:
        time.sleep(0.5)
        copy_checkpoints(run)
    finally:
      process.terminate()  # if it is still running, it saves first
  copy_checkpoints(run)
  if process.returncode:
    raise InputError(f'{street}: training failed ({process.returncode}).')
  if not (run / 'startup.json').exists():
    startup = time.time() - start - plots.read_scalars(run / 'scalars.jsonl')[-1]['seconds']
    write_bytes(run / 'startup.json', json.dumps({'seconds': round(startup, 1)}).encode())


def copy_checkpoints(run: pathlib.Path) -> None:
  """Copy new complete checkpoints to RUN/kept/STEP, which can be evaluated like a run."""
  for checkpoint in (run / 'checkpoints').glob('[0-9]*'):
    kept = run / 'kept' / checkpoint.name
    if checkpoint.name.isdigit() and not kept.exists():
      partial = run / 'kept' / f'.{checkpoint.name}'
      shutil.rmtree(partial, ignore_errors=True)
      try:
        shutil.copytree(checkpoint, partial / 'checkpoints' / checkpoint.name)
      except (OSError, shutil.Error):  # removed by training in the meantime
        shutil.rmtree(partial, ignore_errors=True)
        continue
      shutil.copy(run / 'config.json', partial)
      partial.rename(kept)


def evaluate(run: pathlib.Path) -> list[dict[str, Any]]:
  """Return step, seconds and metrics of every copied checkpoint, evaluating new ones."""
  scalars = plots.read_scalars(run / 'scalars.jsonl')
  seconds = {line['step']: line['seconds'] for line in scalars}
  points = []
  for kept in sorted((run / 'kept').glob('[0-9]*'), key=lambda path: int(path.name)):
    path = kept / 'eval' / 'metrics.json'
    if not path.exists():
      subprocess.run([sys.executable, '-m', 'pnerf_jax.eval', f'--workdir={kept}'], check=True)
    metrics = evaluator.read_metrics(path)
    step = int(kept.name)
    points.append(
      {'step': step, 'seconds': seconds[step], **{key: metrics.get(key) for key, _ in _METRICS}}
    )
  return points


def draw(curves: dict[str, Any], path: pathlib.Path) -> None:
  """Draw one panel per metric with one line per street."""
  figure = Figure(figsize=(9, 3.6), layout='constrained')
  for axes, (key, name) in zip(figure.subplots(1, len(_METRICS)), _METRICS):
    for street, curve in curves.items():
      points = curve['points']
      axes.plot([p['seconds'] for p in points], [p[key] for p in points], marker='.', label=street)
    axes.set(xlabel='seconds of training', ylabel=name, xlim=(0, None))
    axes.grid(alpha=0.3)
  axes.legend()
  with atomic_write(path) as file:
    figure.savefig(file, dpi=130, format='png')


def main() -> None:
  """Train, evaluate and draw the streets of the command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('streets', type=pathlib.Path, nargs='+', metavar='STREET')
  parser.add_argument('--out', type=pathlib.Path, required=True, metavar='DIR')
  parser.add_argument('--config', default='configs/kitti360.py:cpu')
  parser.add_argument('--every', type=int, default=500, help='steps between two points')
  options, options.further = parser.parse_known_args()
  curves = {}
  for street in options.streets:
    run = options.out / street.name
    train(street, run, options)
    curves[street.name] = {
      'startup': json.loads((run / 'startup.json').read_text())['seconds'],
      'config': options.config,
      'points': evaluate(run),
    }
    write_bytes(options.out / 'curve.json', json.dumps(curves, indent=1).encode())
  draw(curves, options.out / 'curve.png')
  print('| street | step | seconds | ' + ' | '.join(name for _, name in _METRICS) + ' |')
  print('|---' * (3 + len(_METRICS)) + '|')
  for street, curve in curves.items():
    for point in curve['points']:
      values = ('–' if point[key] is None else f'{point[key]:.3f}' for key, _ in _METRICS)
      print('|', ' | '.join([street, str(point['step']), f'{point["seconds"]:.0f}', *values]), '|')


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
