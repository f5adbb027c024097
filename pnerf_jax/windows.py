"""Split sequences into windows, run the windows and report their status.

    python -m pnerf_jax.windows cut --config=configs/kitti360.py --out=windows.txt [--overlap=16]
        [--config.data.root=DATA --config.data.sequence=SEQ --config.data.frames=64]
    python -m pnerf_jax.windows run --windows=windows.txt --out=OUT [--index=3 | --shard=0/8]
    python -m pnerf_jax.windows status --windows=windows.txt --out=OUT [--indices=failed,stopped]
    python -m pnerf_jax.windows retry --windows=windows.txt --out=OUT

`cut` splits the sequence of config.data.sequence, or all sequences of the root, and writes the
window manifest, which also holds the config flags for `run`, with absolute paths. `run` trains,
evaluates and renders: one window, a shard of them, or all, one after the other; complete windows
are skipped, stopped ones are resumed, and damaged labels are rendered again. `retry` runs only the
windows that failed. `status` shows the progress of running windows; `--indices` prints the indices
of the windows with these statuses, for array jobs.
"""

import sys

from absl import flags

from pnerf_jax import cli
from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.contrib.drives import manifest, runner, split
from pnerf_jax.contrib.drives.window_folder import STATUSES
from pnerf_jax.errors import InputError


def _cut() -> None:
  options = flags.FLAGS
  if options.config is None:
    raise InputError('--config is missing. Use --config=configs/kitti360.py.')
  config = parse_config(options.config)
  split.write_manifest(config, manifest.config_flags(sys.argv), options.out, options.overlap)


def _run(failed_only: bool = False) -> None:
  options = flags.FLAGS
  windows = manifest.read(options.windows)
  if options.index is None:
    selected = windows.select_shard(options.shard)
  else:
    selected = windows.select_index(options.index)
  runner.run_windows(windows, selected, options.out, failed_only)


def _status() -> None:
  options = flags.FLAGS
  windows = manifest.read(options.windows)
  if options.indices:
    print(runner.indices_with_status(windows, options.out, options.indices))
  else:
    print('\n'.join(runner.status_lines(windows, options.out)))


_COMMANDS = {'cut': _cut, 'run': _run, 'status': _status, 'retry': lambda: _run(failed_only=True)}


def _define_flags() -> None:
  cli.define_config_flag(Config)
  flags.DEFINE_string('out', None, 'cut: the manifest to write. Others: the output root.')
  flags.DEFINE_integer('overlap', 16, 'cut: minimum number of frames shared by neighbours.')
  flags.DEFINE_string('windows', '', 'The window manifest that cut wrote.')
  flags.DEFINE_integer('index', None, 'run, retry: the index of one window.')
  flags.DEFINE_string('shard', '0/1', 'run, retry: I/N, every Nth window starting with the Ith.')
  flags.DEFINE_list('indices', [], f'status: print the indices with these statuses: {STATUSES}.')
  cli.require_flags('out')


if __name__ == '__main__':
  _define_flags()
  cli.run(_COMMANDS)
