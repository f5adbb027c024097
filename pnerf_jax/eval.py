"""Score a run against ground truth and LiDAR, and write a report.

    python -m pnerf_jax.eval --workdir=RUN [--step=N]

Writes RUN/eval/metrics.json, panels, plots and report.html.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.runs.evaluate import evaluate


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_integer('step', None, 'Step of the checkpoint; the newest by default.')
  cli.require_flags('workdir')


def main() -> None:
  """Evaluate the run of the flags."""
  evaluate(flags.FLAGS.workdir, flags.FLAGS.step)


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
