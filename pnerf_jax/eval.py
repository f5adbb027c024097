"""Score a run by what its data have (ground truth, LiDAR, images), and write a report.

    python -m pnerf_jax.eval --workdir=RUN [--step=N] [--protocol=paper] \\
        [--config.data.root=DATA] [--config.eval.…]

Writes metrics.json, panels, plots and report.html to RUN/eval, or with --protocol=paper to
RUN/eval_paper.
"""

from pathlib import Path

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config
from pnerf_jax.contrib.report.run_report import RunReport
from pnerf_jax.runs.evaluate import FOLDERS, evaluate


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_integer('step', None, 'Step of the checkpoint; the newest by default.')
  flags.DEFINE_enum(
    'protocol',
    'full',
    list(FOLDERS),
    'Render at the size of the source images, or as the paper at half of it, enlarged.',
  )
  cli.define_override_flags(Config)
  cli.require_flags('workdir')


def main() -> None:
  """Evaluate the run of the flags."""
  given = flags.FLAGS
  reporter = RunReport(Path(given.workdir, FOLDERS[given.protocol]))
  evaluate(
    given.workdir,
    given.step,
    protocol=given.protocol,
    overrides=cli.overrides(),
    reporter=reporter,
  )


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
