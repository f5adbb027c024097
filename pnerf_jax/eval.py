"""Score a run by what its data have (ground truth, LiDAR, images), and write a report.

    python -m pnerf_jax.eval --workdir=RUN [--step=N] [--config.data.root=DATA] [--config.eval.…]

Writes RUN/eval/metrics.json, panels, plots and report.html.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config
from pnerf_jax.contrib.report.run_report import RunReport
from pnerf_jax.runs.evaluate import evaluate


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_integer('step', None, 'Step of the checkpoint; the newest by default.')
  cli.define_override_flags(Config)
  cli.require_flags('workdir')


def main() -> None:
  """Evaluate the run of the flags."""
  workdir = flags.FLAGS.workdir
  evaluate(workdir, flags.FLAGS.step, overrides=cli.overrides(), reporter=RunReport(workdir))


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
