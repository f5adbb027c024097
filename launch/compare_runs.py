"""A table of finished runs, one a row, from their metrics.json.

    PYTHONPATH=. python launch/compare_runs.py RUN RUN ... --out=DIR/table [--reference=NAME]

Writes DIR/table.md and DIR/table.png. A run's row is named after its folder; with a reference, the
other rows show their difference to it.
"""
import argparse
import pathlib
import sys

from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator, tables


def main() -> int:
  """Writes the table of the command line's runs; 1 where one is not scored."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='path without ending')
  parser.add_argument('--reference', help='name of the run that the others are compared with')
  options = parser.parse_args()
  rows = []
  for run in options.runs:
    path = run / 'eval' / 'metrics.json'
    if not path.exists():
      print(f'error: {path}: no such file. Run python -m pnerf_jax.eval --workdir={run} first.',
            file=sys.stderr)
      return 1
    try:
      rows.append((run.name, evaluator.read_metrics(path)))
    except InputError as e:
      print(f'error: {e}', file=sys.stderr)
      return 1
  names = [name for name, _ in rows]
  reference = options.reference if options.reference in names else None
  tables.write_table(options.out, tables.METRICS, rows, reference, corner='run')
  print(options.out.with_name(f'{options.out.name}.md').read_text(), end='')
  return 0


if __name__ == '__main__':
  sys.exit(main())
