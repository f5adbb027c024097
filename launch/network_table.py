"""Table and picture of launch/network_demo.sh: 2D pseudo-labels, and labels transferred from them.

    PYTHONPATH=. python launch/network_table.py --street=OUT/street --out=OUT

Reads OUT/NAME/run/eval/metrics.json and OUT/NAME/methods for every NAME below, writes OUT/table.md,
OUT/table.png and OUT/labels.png, and prints the table.
"""

import argparse
import pathlib
import sys

from pnerf_jax.contrib.baselines import pictures, tables
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator

NAMES = {
  'alone': 'network of other presets',
  'tuned': 'network fine-tuned on 4 frames',
  'noise': 'synthetic noise',
}
_COLUMNS = (
  tables.Column('semantic.miou', 'mIoU'),
  tables.Column('semantic.accuracy', 'accuracy'),
  tables.Column('panoptic.all.pq', 'PQ'),
  tables.Column('panoptic.things.pq', 'PQ (things)'),
  tables.Column('panoptic.stuff.pq', 'PQ (stuff)'),
  tables.Column('consistency.mc', 'MC'),
  tables.Column('fixed.miou', 'mIoU (fixed field)'),
  tables.Column('depth.delta1', 'δ < 1.25'),
)


def write(street: pathlib.Path, out: pathlib.Path) -> str:
  """Write table and picture from the results below `out`; return the table as Markdown.

  Raises:
    InputError: a run is not evaluated yet.
  """
  rows, shown = [], []
  for name, title in NAMES.items():
    folder, metrics = out / name / 'methods', out / name / 'run' / 'eval' / 'metrics.json'
    for method, label, path in (
      ('pseudo_labels', f'{title}, alone', folder / 'pseudo_labels' / 'metrics.json'),
      ('ours', f'transfer from {title}', metrics),
    ):
      if not path.exists():
        raise InputError(f'{path}: no such file. Run launch/network_demo.sh {out} first.')
      rows.append((label, evaluator.read_metrics(path)))
      shown.append((label, folder / method / 'semantic'))
  files = sorted(path.name for path in shown[0][1].glob('*.png'))
  if not files:
    raise InputError(
      f'{shown[0][1]}: holds no labels. Remove {shown[0][1].parent} and run'
      f' launch/network_demo.sh {out} again.'
    )
  file = files[len(files) // 2]
  sequence, camera = next((street / 'data_2d_raw').iterdir()).name, kitti360.PERSPECTIVE_CAMERAS[0]
  image = image_io.read_rgb(kitti360.rgb_folder(street, sequence, camera) / file)
  truth = image_io.read_label(kitti360.truth_folder(street, sequence, camera, 'semantic') / file)
  tables.write_table(out / 'table', _COLUMNS, rows, corner='labels')
  pictures.write_comparison(
    out / 'labels.png',
    image,
    truth,
    [(label, image_io.read_label(path / file)) for label, path in shown],
  )
  return (out / 'table.md').read_text()


def main() -> int:
  """Write and print the table; return 1 if a run is not evaluated."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--street', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  options = parser.parse_args()
  try:
    print(write(options.street, options.out), end='')
  except InputError as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
