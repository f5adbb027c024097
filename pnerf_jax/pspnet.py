"""Train or fine-tune a PSPNet on labelled images.

    python -m pnerf_jax.pspnet --config=configs/pspnet.py[:variant] --workdir=RUN \\
        --config.data.roots=DATA1,DATA2 [--config.model.init_from=RUN0]

Resumes from RUN automatically; `prepare labels --network=pspnet:RUN` predicts labels with it. On
several hosts, use the flags of pnerf_jax.train. Exit codes: 0 done, 1 one clear error, 130 stopped
after saving.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.contrib.segmentation.config import Config
from pnerf_jax.contrib.segmentation.task import train
from pnerf_jax.distributed import initialization


def _define_flags() -> None:
  cli.define_config_flag(Config)
  flags.DEFINE_string('workdir', None, 'RUN: the folder of the run.')
  cli.require_flags('config', 'workdir')
  initialization.define_flags()


def main() -> None:
  """Train with the config of the flags."""
  train(flags.FLAGS.config, flags.FLAGS.workdir)


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
