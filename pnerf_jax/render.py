"""Export labels, depth and colour of the recorded views of a run as PNGs.

    python -m pnerf_jax.render --workdir=RUN --out=DIR [--cameras=image_00,image_01]
        [--frames=3353:3417] [--size=full|train] [--trajectory=recorded] [--step=N] [--overwrite]
        [--config.data.root=DATA] [--config.eval.…]

Finished files are skipped on a rerun. DIR/views.json names the weights and size of the views; DIR
holds views of one such origin. Several processes (same flags as train) share the views.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config
from pnerf_jax.distributed import initialization
from pnerf_jax.runs.render import render


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_string('out', None, 'DIR: folder of the images.')
  flags.DEFINE_list('cameras', [], 'Cameras to render; all of the run by default.')
  flags.DEFINE_string('frames', '', 'FIRST:END (END excluded); all by default.')
  flags.DEFINE_enum('size', 'full', ['full', 'train'], 'Size of the source images, or of training.')
  flags.DEFINE_enum('trajectory', 'recorded', ['recorded'], 'Camera path.')
  flags.DEFINE_integer('step', None, 'Step of the checkpoint; the newest by default.')
  flags.DEFINE_bool('overwrite', False, 'Replace finished files.')
  cli.define_override_flags(Config)
  cli.require_flags('workdir', 'out')
  initialization.define_flags()


def main() -> None:
  """Render the views of the flags."""
  names = ('cameras', 'frames', 'size', 'step', 'overwrite')
  options = {name: getattr(flags.FLAGS, name) for name in names}
  render(flags.FLAGS.workdir, flags.FLAGS.out, **options, overrides=cli.overrides())


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
