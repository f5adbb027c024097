"""A table of finished runs, one a row, from their metrics.json.

    PYTHONPATH=. python launch/compare_runs.py RUN RUN ... --out=DIR/table [--reference=NAME] \\
        [--published]

Writes DIR/table.md and DIR/table.png. A run's row is named after its folder; with a reference, the
other rows show their difference to it. With --published, runs of the paper's windows stand below
the paper's own figures, and the metrics in the paper's form come first.
"""

import argparse
import json
import pathlib
import sys

from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator
from pnerf_jax.evaluation.report import tables

# Of the checkpoints that the paper's authors released, left camera: first frame of the window,
# then mIoU, accuracy and PQ in the paper's form (evaluation/published.py).
_PAPER = {
  1538: (0.813, 0.942, 0.710),
  1728: (0.796, 0.924, 0.625),
  1908: (0.844, 0.943, 0.752),
  3353: (0.832, 0.952, 0.708),
}
_PAPER_KEYS = ('semantic.miou_published', 'semantic.accuracy', 'panoptic.pq_published')
_PAPER_COLUMNS = (
  tables.Column(_PAPER_KEYS[0], "mIoU (paper's form)"),
  tables.Column(_PAPER_KEYS[1], 'accuracy'),
  tables.Column(_PAPER_KEYS[2], "PQ (paper's form)"),
  *(column for column in tables.METRICS if column.key != _PAPER_KEYS[1]),
)


def main() -> int:
  """Writes the table of the command line's runs; 1 where one is not scored."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='path without ending')
  parser.add_argument('--reference', help='name of the run that the others are compared with')
  parser.add_argument('--published', action='store_true', help="with the paper's figures")
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
  columns = _PAPER_COLUMNS if options.published else tables.METRICS
  tables.write_table(options.out, columns, rows, reference, corner='run')
  print(options.out.with_name(f'{options.out.name}.md').read_text(), end='')
  return 0


def _start(run: pathlib.Path) -> int:
  """First frame of a run's window."""
  path = run / 'config.json'
  try:
    return json.loads(path.read_text())['data']['start']
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise InputError(f'{path}: has no first frame ({e!r}). Name the folder of a run.') from None


if __name__ == '__main__':
  sys.exit(main())
