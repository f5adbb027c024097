"""Draws quality against training time: mIoU and PSNR of a recipe's checkpoints on given streets.

    PYTHONPATH=. python launch/quality_curve.py STREET STREET ... --out=DIR
        [--config=configs/kitti360.py:cpu] [--every=500] [further flags of train ...]

Trains each street once by the `train` command, keeps a checkpoint of every N-th step (copied
into a folder of its own as soon as training has written it), scores each by the `eval` command, and
writes DIR/curve.json, DIR/curve.png and a table of them to the screen. Seconds are those of
RUN/scalars.jsonl: training with its checkpoints and previews, from the first dispatch on; what
comes before is told beside them. Called again, it goes on where it stopped.
"""

import argparse
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import time

from matplotlib.figure import Figure

from pnerf_jax import cli
from pnerf_jax.data.files import atomic_write, write_bytes
from pnerf_jax.errors import InputError

_LOG = logging.getLogger('pnerf_jax.quality_curve')
_METRICS = (('semantic.miou', 'mIoU'), ('image.psnr', 'PSNR (dB)'))


def train(street: pathlib.Path, run: pathlib.Path, options: argparse.Namespace) -> None:
  """Trains a street; every checkpoint becomes a run of its own below run/kept."""
  words = [
    '-m',
    'pnerf_jax.train',
    f'--config={options.config}',
    f'--workdir={run}',
    f'--config.data.root={street}',
    f'--config.train.checkpoint_every={options.every}',
    *options.further,
  ]
  started = time.time()
  with subprocess.Popen([sys.executable, *words]) as process:
    try:
      while process.poll() is None:
        time.sleep(0.5)
        keep(run)
    finally:
      process.terminate()  # saves first where it still runs
  keep(run)
  if process.returncode:
    raise InputError(f'{street}: training failed ({process.returncode}).')
  if not (run / 'started.json').exists():
    trained = scalars(run)[-1]['seconds']
    write_bytes(
      run / 'started.json',
      json.dumps({'seconds': round(time.time() - started - trained, 1)}).encode(),
    )


def keep(run: pathlib.Path) -> None:
  """Copies the checkpoints that are whole into run/kept/STEP, which `eval` takes as a run."""
  for found in (run / 'checkpoints').glob('[0-9]*'):
    kept = run / 'kept' / found.name
    if found.name.isdigit() and not kept.exists():
      partial = run / 'kept' / f'.{found.name}'
      shutil.rmtree(partial, ignore_errors=True)
      try:
        shutil.copytree(found, partial / 'checkpoints' / found.name)
      except (OSError, shutil.Error):  # training removed it meanwhile
        shutil.rmtree(partial, ignore_errors=True)
        continue
      shutil.copy(run / 'config.json', partial)
      partial.rename(kept)


def scalars(run: pathlib.Path) -> list[dict]:
  """The lines of RUN/scalars.jsonl."""
  return [json.loads(line) for line in (run / 'scalars.jsonl').read_text().splitlines()]


def curve(run: pathlib.Path) -> list[dict]:
  """Step, seconds and metrics of every kept checkpoint, which are scored where they are not yet."""
  seconds = {line['step']: line['seconds'] for line in scalars(run)}
  points = []
  for kept in sorted((run / 'kept').glob('[0-9]*'), key=lambda path: int(path.name)):
    path = kept / 'eval' / 'metrics.json'
    if not path.exists():
      subprocess.run([sys.executable, '-m', 'pnerf_jax.eval', f'--workdir={kept}'], check=True)
    metrics = json.loads(path.read_text())
    points.append(
      {
        'step': int(kept.name),
        'seconds': seconds[int(kept.name)],
        **{key: metrics[key] for key, _ in _METRICS},
      }
    )
  return points


def draw(curves: dict[str, dict], path: pathlib.Path) -> None:
  """One panel a metric, one line a street."""
  figure = Figure(figsize=(9, 3.6), layout='constrained')
  for axes, (key, name) in zip(figure.subplots(1, len(_METRICS)), _METRICS):
    for street, found in curves.items():
      axes.plot(
        [p['seconds'] for p in found['points']],
        [p[key] for p in found['points']],
        marker='.',
        label=street,
      )
    axes.set(xlabel='seconds of training', ylabel=name, xlim=(0, None))
    axes.grid(alpha=0.3)
  axes.legend()
  with atomic_write(path) as file:
    figure.savefig(file, dpi=130, format='png')


def main() -> None:
  """Trains, scores and draws the streets of the command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('streets', type=pathlib.Path, nargs='+', metavar='STREET')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='DIR')
  parser.add_argument('--config', default='configs/kitti360.py:cpu')
  parser.add_argument('--every', type=int, default=500, help='steps between two points')
  options, options.further = parser.parse_known_args()
  curves = {}
  for street in options.streets:
    run = options.out / street.name
    train(street, run, options)
    curves[street.name] = {
      'start': json.loads((run / 'started.json').read_text())['seconds'],
      'config': options.config,
      'points': curve(run),
    }
    write_bytes(options.out / 'curve.json', json.dumps(curves, indent=1).encode())
  draw(curves, options.out / 'curve.png')
  print('| street | step | seconds | ' + ' | '.join(name for _, name in _METRICS) + ' |')
  print('|---' * (3 + len(_METRICS)) + '|')
  for street, found in curves.items():
    for point in found['points']:
      values = ('–' if point[key] is None else f'{point[key]:.3f}' for key, _ in _METRICS)
      print('|', ' | '.join([street, str(point['step']), f'{point["seconds"]:.0f}', *values]), '|')


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
