"""Train the field of one window.

    python -m pnerf_jax.train --config=configs/kitti360.py[:variant] --workdir=RUN \\
        [--config.data.root=DATA --config.data.sequence=SEQ --config.data.start=3353]

On several hosts, the same command on each, RUN on a disk that all see:

    … --distributed=auto                                    (SLURM, Open MPI, Kubernetes, TPU pod)
    … --coordinator=HOST:PORT --processes=N --process=I     (anywhere else; HOST is process 0's)

Resumes from RUN by itself. Exit codes: 0 done, 1 one clear error, 130 stopped after saving.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config
from pnerf_jax.distributed import initialization
from pnerf_jax.training.field_task import train


def _define_flags() -> None:
  cli.define_config_flag(Config)
  flags.DEFINE_string('workdir', None, 'RUN: where everything of the run is written.')
  cli.require_flags('config', 'workdir')
  initialization.define_flags()


def main() -> None:
  """Trains with the flags."""
  train(flags.FLAGS.config, flags.FLAGS.workdir)


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
