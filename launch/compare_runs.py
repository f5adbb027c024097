"""A table of finished runs, one a row, from their metrics.json.

    PYTHONPATH=. python launch/compare_runs.py RUN RUN ... --out=DIR/table [--reference=NAME] \\
        [--published]

Writes DIR/table.md and DIR/table.png. A run's row is named after its folder; with a reference, the
other rows show their difference to it. With --published, the metrics of the paper's protocol come
first, and the paper's values precede the runs of its windows.
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
# accuracy and PQ by the paper's protocol (evaluation/metrics/paper_metrics.py).
_PAPER = {
  1538: (0.813, 0.942, 0.710),
  1728: (0.796, 0.924, 0.625),
  1908: (0.844, 0.943, 0.752),
  3353: (0.832, 0.952, 0.708),
}
_PAPER_KEYS = ('semantic.miou_published', 'semantic.accuracy', 'panoptic.pq_published')
_PAPER_COLUMNS = (
  tables.Column(_PAPER_KEYS[0], "mIoU (paper's protocol)"),
  tables.Column(_PAPER_KEYS[1], 'accuracy'),
  tables.Column(_PAPER_KEYS[2], "PQ (paper's protocol)"),
  *(column for column in _COLUMNS if column.key != _PAPER_KEYS[1]),
)


def main() -> int:
  """Write the table of the command line's runs; return 1 if one is not evaluated."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='path without suffix')
  parser.add_argument('--reference', help='run to compare the others with')
  parser.add_argument('--published', action='store_true', help="with the paper's values")
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
      start = _start(run) if options.published else None
      if start in _PAPER and f'{start} paper' not in dict(rows):
        rows.append((f'{start} paper', dict(zip(_PAPER_KEYS, _PAPER[start]))))
      rows.append((run.name, evaluator.read_metrics(path)))
    except InputError as e:
      print(f'error: {e}', file=sys.stderr)
      return 1
  names = [name for name, _ in rows]
  reference = options.reference if options.reference in names else None
  columns = _PAPER_COLUMNS if options.published else _COLUMNS
  tables.write_table(options.out, columns, rows, reference, corner='run')
  print(options.out.with_name(f'{options.out.name}.md').read_text(), end='')
  return 0


def _start(run: pathlib.Path) -> int:
  """Return the first frame of a run's window."""
  path, hint = run / 'config.json', 'Name the folder of a run.'
  try:
    return read_json(path, hint=hint)['data']['start']
  except (KeyError, TypeError) as e:
    raise InputError(f'{path}: has no first frame ({e!r}). {hint}') from None


if __name__ == '__main__':
  sys.exit(main())
