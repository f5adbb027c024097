"""Write a synthetic street in KITTI-360's layout, with ground truth.

    python -m pnerf_jax.street --out=DATA [--preset=boulevard|suburb|village] [--seed=0]
        [--frames=24] [--scale=0.25] [--moving=true] [--predictions=network|noise]

Pseudo-labels are predicted by a small PSPNet trained on other streets (`network`, which also writes
its confidence; see contrib/street/network.py), or simulated (`noise`). The same flags give the same
files, byte for byte; with `network`, on one kind of machine. A folder that already holds this
street is left unchanged.
"""

from absl import flags

from pnerf_jax import cli
from pnerf_jax.contrib.street import generate, scenery

_FLAGS = flags.FLAGS


def _define_flags() -> None:
  default = scenery.Parameters()
  flags.DEFINE_string('out', None, 'DATA: the folder to write; it becomes a dataset root.')
  flags.DEFINE_string('preset', default.preset, f'Kind of street: {", ".join(scenery.PRESETS)}.')
  flags.DEFINE_integer('seed', default.seed, 'Each seed gives another street of the preset.')
  flags.DEFINE_integer('frames', default.frames, 'Number of stereo frames.')
  flags.DEFINE_float('scale', default.scale, 'Image size relative to 1408x376.')
  flags.DEFINE_boolean(
    'moving', default.moving, 'Whether a car or a pedestrian moves during the recording.'
  )
  flags.DEFINE_enum(
    'predictions',
    default.predictions,
    scenery.PREDICTIONS,
    'Pseudo-labels: predicted by a small network, or ground truth with simulated errors.',
  )
  cli.require_flags('out')


def main() -> None:
  """Generate the street of the flags."""
  generate.generate(
    _FLAGS.out,
    scenery.Parameters(
      preset=_FLAGS.preset,
      seed=_FLAGS.seed,
      frames=_FLAGS.frames,
      scale=_FLAGS.scale,
      moving=_FLAGS.moving,
      predictions=_FLAGS.predictions,
    ),
  )


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
