"""Writes a synthetic street in KITTI-360's layout, with ground truth.

    python -m pnerf_jax.street --out=DATA [--preset=boulevard|suburb|village] [--seed=0]
        [--frames=24] [--scale=0.25] [--moving=true] [--predictions=network|noise]

Pseudo labels are those of a small PSPNet that saw other streets (`network`, which writes its
confidence, too; street/network.py), or invented (`noise`). The same flags give the same files, byte
for byte; with `network`, on one kind of machine. A folder that holds this street already is left
as it is.
"""

from pathlib import Path

from absl import flags

from pnerf_jax import cli
from pnerf_jax.contrib.street import generate, scenery
from pnerf_jax.errors import InputError

_DEFAULT = scenery.Parameters()
_OUT = flags.DEFINE_string('out', None, 'DATA: the folder to write; it becomes a dataset root.')
_PRESET = flags.DEFINE_string(
  'preset', _DEFAULT.preset, f'Kind of street: {", ".join(scenery.PRESETS)}.'
)
_SEED = flags.DEFINE_integer('seed', _DEFAULT.seed, 'Another seed, another street of the kind.')
_FRAMES = flags.DEFINE_integer('frames', _DEFAULT.frames, 'Stereo frames.')
_SCALE = flags.DEFINE_float('scale', _DEFAULT.scale, 'Image size relative to 1408x376.')
_MOVING = flags.DEFINE_boolean(
  'moving', _DEFAULT.moving, 'Whether a car or a walker moves while the frames are taken.'
)
_PREDICTIONS = flags.DEFINE_enum(
  'predictions',
  _DEFAULT.predictions,
  scenery.PREDICTIONS,
  'Pseudo labels: what a small network says of the photos, or invented errors.',
)


def main() -> int:
  """Runs the flags' one call."""
  if not _OUT.value:
    raise InputError('--out: missing. Name the folder to write, e.g. --out=data/street.')
  generate.generate(
    Path(_OUT.value),
    scenery.Parameters(
      _PRESET.value, _SEED.value, _FRAMES.value, _SCALE.value, _MOVING.value, _PREDICTIONS.value
    ),
  )
  return 0


if __name__ == '__main__':
  cli.run(main)
