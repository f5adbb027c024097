"""Merge the labels of overlapping windows into labels of whole sequences, in KITTI-360's layout.

    python -m pnerf_jax.merge --windows=windows.txt --runs=OUT --out=LABELS [--partial]

Every frame is taken from the window with the highest confidence. Writes LABELS/data_2d_semantics in
the dataset's layout (images, frame lists, instances), LABELS/overlap_agreement.json, the agreement
of the windows where they overlap, and LABELS/report.html. Existing files with the same contents are
kept, and so is everything about sequences that are not in the manifest.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.contrib.drives import merging


def _define_flags() -> None:
  flags.DEFINE_string('windows', None, 'The window manifest that windows cut wrote.')
  flags.DEFINE_string('runs', None, 'The output root of windows run.')
  flags.DEFINE_string('out', None, 'LABELS, the folder of the merged labels.')
  flags.DEFINE_bool('partial', False, 'Skip windows that are not done.')
  cli.require_flags('windows', 'runs', 'out')


def main() -> None:
  """Merge the labels and print the agreement of the windows."""
  options = flags.FLAGS
  result = merging.merge(options.windows, options.runs, options.out, options.partial)
  print('\n'.join(merging.report_lines(result)))
  print(f'labels in {options.out}/data_2d_semantics, report in {options.out}/report.html')


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
