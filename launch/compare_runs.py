"""A table of finished runs, one a row, from their metrics.json.

    PYTHONPATH=. python launch/compare_runs.py RUN RUN ... --out=DIR/table [--reference=NAME] \\
        [--paper]

Writes DIR/table.md and DIR/table.png. A run's row is named after its folder; with a reference, the
other rows show their difference to it. With --paper, columns as the paper's program counts follow
the plain ones, and the paper's values precede the runs of its windows. These columns are of labels
rendered at half size where `eval --protocol=paper` has scored the run, else at full size; the last
column says which.
"""

import argparse
import pathlib
import sys

from pnerf_jax.contrib.baselines import tables
from pnerf_jax.data.files import read_json
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator

_COLUMNS = (
  tables.Column('semantic.miou', 'mIoU'),
  tables.Column('fixed.miou', 'mIoU (fixed field)'),
  tables.Column('semantic.accuracy', 'accuracy'),
  tables.Column('panoptic.all.pq', 'PQ'),
  tables.Column('panoptic.things.pq', 'PQ (things)'),
  tables.Column('consistency.mc', 'MC'),
  tables.Column('depth.delta1', 'δ < 1.25'),
  tables.Column('depth.rmse', 'RMSE (m)', 2, 'low'),
  tables.Column('image.psnr', 'PSNR (dB)', 1),
)
# Scores of the authors' released checkpoints, left camera: first frame of the window, then mIoU,
# accuracy and PQ as the paper's program counts them, of labels rendered at half size.
_PAPER = {
  1538: (0.813, 0.942, 0.710),
  1728: (0.796, 0.924, 0.625),
  1908: (0.844, 0.943, 0.752),
  3353: (0.832, 0.952, 0.708),
}
_PAPER_KEYS = ('paper.miou', 'paper.accuracy', 'paper.pq')
_LABEL_SIZE = 'paper.labels'
_PAPER_COLUMNS = (
  tables.Column(_PAPER_KEYS[0], 'paper: mIoU'),
  tables.Column(_PAPER_KEYS[1], 'paper: accuracy'),
  tables.Column(_PAPER_KEYS[2], 'paper: PQ'),
  tables.Column('paper.things.pq', 'paper: PQ (things)'),
  tables.Column('paper.mc', 'paper: MC'),
  tables.Column(_LABEL_SIZE, 'paper: labels at', better=''),
)


def main() -> int:
  """Write the table of the command line's runs; return 1 if one is not evaluated."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='path without suffix')
  parser.add_argument('--reference', help='run to compare the others with')
  parser.add_argument('--paper', action='store_true', help="with columns as in the paper's program")
  options = parser.parse_args()
  rows = []
  for run in options.runs:
    path = run / 'eval' / 'metrics.json'
    if not path.exists():
      print(
        f'error: {path}: no such file. Run python -m pnerf_jax.eval --workdir={run} first.',
        file=sys.stderr,
      )
      return 1
    try:
      values = evaluator.read_metrics(path)
      if options.paper:
        start, values = _start(run), {**values, **_paper_values(run, values)}
        if start in _PAPER and f'{start} paper' not in dict(rows):
          scores = dict(zip(_PAPER_KEYS, _PAPER[start]))
          rows.append((f'{start} paper', {**scores, _LABEL_SIZE: _size_name(0.5)}))
      rows.append((run.name, values))
    except InputError as e:
      print(f'error: {e}', file=sys.stderr)
      return 1
  names = [name for name, _ in rows]
  reference = options.reference if options.reference in names else None
  columns = (*_COLUMNS, *_PAPER_COLUMNS) if options.paper else _COLUMNS
  tables.write_table(options.out, columns, rows, reference, corner='run')
  print(options.out.with_name(f'{options.out.name}.md').read_text(), end='')
  return 0


def _paper_values(run: pathlib.Path, plain: evaluator.Metrics) -> dict[str, tables.Value]:
  """Return the values of the paper's columns, of the run's eval_paper if there is one.

  Args:
    run: the folder of the run.
    plain: content of its eval/metrics.json.
  """
  path = run / 'eval_paper' / 'metrics.json'
  metrics = evaluator.read_metrics(path) if path.exists() else plain
  values: dict[str, tables.Value] = {
    column.key: metrics.get(column.key) for column in _PAPER_COLUMNS
  }
  if 'labels.scale' in metrics:
    values[_LABEL_SIZE] = _size_name(metrics['labels.scale'])
  return values


def _size_name(scale: float) -> str:
  """Return the name of the size at which labels were rendered."""
  return {1: 'full size', 0.5: 'half size'}.get(scale, f'{scale:g}')


def _start(run: pathlib.Path) -> int:
  """Return the first frame of a run's window."""
  path, hint = run / 'config.json', 'Name the folder of a run.'
  try:
    return read_json(path, hint=hint)['data']['start']
  except (KeyError, TypeError) as e:
    raise InputError(f'{path}: has no first frame ({e!r}). {hint}') from None


if __name__ == '__main__':
  sys.exit(main())
