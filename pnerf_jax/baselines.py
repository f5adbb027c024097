"""Run every method of label transfer on one window and score all by the same evaluation.

    python -m pnerf_jax.baselines --workdir=RUN --out=DIR [--step=N] [--methods=crf,ours]
        [--config.data.root=DATA] [--config.eval.…]
    python -m pnerf_jax.baselines --config=configs/kitti360.py[:variant] --out=DIR
        [--config.data.root=DATA --config.data.sequence=SEQ --config.data.start=3353]

With RUN, its config is used; without, methods that need a trained field are skipped. Writes
DIR/table.md, table.png, panels, and per method label maps and metrics.json; finished results are
kept on a rerun. Prints the table at the end.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config
from pnerf_jax.contrib.baselines.compare import TITLES, compare


def _define_flags() -> None:
  cli.define_override_flags(Config)
  flags.DEFINE_string('out', None, 'DIR: folder of the results.')
  flags.DEFINE_string('workdir', None, 'RUN: its config is used; none by default.')
  flags.DEFINE_integer('step', None, "Step of RUN's checkpoint; the newest by default.")
  flags.DEFINE_list('methods', [], f'Some of {", ".join(TITLES)}; all by default.')
  cli.require_flags('out')


def main() -> None:
  """Compare the methods of the flags and print the table."""
  options = {name: getattr(flags.FLAGS, name) for name in ('workdir', 'step', 'methods')}
  if cli.config_given():
    config, overrides = flags.FLAGS.config, None
  else:
    config, overrides = None, cli.overrides()
  print(compare(config, flags.FLAGS.out, **options, overrides=overrides), end='')


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
