"""A whole drive, or all drives: cuts them into windows, runs these, tells how far they are.

    python -m pnerf_jax.windows cut --config=configs/kitti360.py --out=windows.txt [--overlap=16]
        [--config.data.root=DATA --config.data.sequence=SEQ --config.data.frames=64]
    python -m pnerf_jax.windows run --windows=windows.txt --out=OUT [--index=3 | --share=0/8]
    python -m pnerf_jax.windows status --windows=windows.txt --out=OUT [--indices=failed,stopped]
    python -m pnerf_jax.windows retry --windows=windows.txt --out=OUT

`cut` takes the drive of config.data.sequence, or all of the root; the table holds the config's
flags for `run`. `run` trains, evaluates where there is truth and renders: one window, every 8th, or
all, one after the other; what is done is skipped, what was stopped goes on. `retry` runs those
alone that failed. `status --indices` prints the indices in such states, as array jobs want them.
"""

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from pnerf_jax import cli
from pnerf_jax.contrib.drives import manifest, runner, split
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import STATES, WindowFolder, WindowStatus
from pnerf_jax.data.dataset import ranges
from pnerf_jax.data.files import write_bytes
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)


def cut(config, words: Sequence[str], out: Path, overlap: int = 16) -> WindowManifest:
  """Writes the table of windows.

  Args:
    config: of training.
    words: the flags that made it, for the table.
    out: the file.
    overlap: usable frames that neighbouring windows share at least.
  """
  found = split.split_sequence(config, overlap)
  made = WindowManifest(tuple(words), tuple(found.entries))
  for comment in found.comments:
    _LOG.info('%s', comment)
  comments = [
    f'{len(found.entries)} windows of {config.data.frames} frames that share {overlap}'
    ' or more with their neighbours.',
    *found.comments,
  ]
  write_bytes(Path(out), manifest.to_text(made, comments).encode())
  return made


def run(windows: WindowManifest, out: Path, entries: Sequence[WindowSpec]) -> dict[int, str]:
  """Runs windows one after the other; returns why some are not done, by index.

  One that fails, or is another process's, does not keep the others from being run.
  """
  reasons = {}
  for i, entry in enumerate(entries, 1):
    if WindowFolder(Path(out, entry.name)).state().name == 'done':
      continue
    _LOG.info('window %d (%d of %d): %s', entry.index, i, len(entries), entry.name)
    try:
      reason = runner.run_window(Path(out), entry, windows.flags)
    except InputError as e:
      reason = str(e)
    if reason:
      _LOG.warning('window %d: %s', entry.index, reason)
      reasons[entry.index] = reason
  return reasons


def states(windows: WindowManifest, out: Path) -> dict[WindowSpec, WindowStatus]:
  """What is known of every window."""
  return {entry: WindowFolder(Path(out, entry.name)).state() for entry in windows.entries}


def config_words(argv: Sequence[str]) -> list[str]:
  """The words of a command line that make the config, each as one word with a single value."""
  words, following = [], [*argv[1:], '']
  for word, value in zip(argv, following):
    flag = word.lstrip('-').partition('=')[0]
    if not word.startswith('-') or not re.match(r'(no)?config(\.|$)', flag):
      continue
    alone = '=' not in word and value and not value.startswith('--')
    words.append(f'{word}={value}' if alone else word)
  return words


def share_of(entries: Sequence[WindowSpec], share: str) -> Sequence[WindowSpec]:
  """Every Nth window beginning with the Ith, for 'I/N'."""
  found = re.fullmatch('([0-9]{1,9})/([0-9]{1,9})', share)
  if not found or int(found[1]) >= int(found[2]):
    raise InputError(f'--share={share}: not I/N with I < N. Write for example --share=0/8.')
  return entries[int(found[1]) :: int(found[2])]


def _cut() -> None:
  options = flags.FLAGS
  if options.config is None:
    raise InputError('--config is missing. Use --config=configs/kitti360.py.')
  made = cut(options.config, config_words(sys.argv), options.out, options.overlap)
  _LOG.info('%d windows in %s', len(made.entries), options.out)


def _chosen(windows: WindowManifest) -> Sequence[WindowSpec]:
  """The windows that --index or --share name, else all."""
  options = flags.FLAGS
  if options.index is None:
    return share_of(windows.entries, options.share)
  chosen = [entry for entry in windows.entries if entry.index == options.index]
  if not chosen:
    raise InputError(
      f'--index={options.index}: {options.windows} has no such window (it has '
      f'{ranges(entry.index for entry in windows.entries)}). Name one of them.'
    )
  return chosen


def _run() -> int:
  windows = _table()
  return _tell(run(windows, flags.FLAGS.out, _chosen(windows)))


def _retry() -> int:
  windows = _table()
  failed = [
    entry
    for entry in _chosen(windows)
    if WindowFolder(Path(flags.FLAGS.out, entry.name)).state().name == 'failed'
  ]
  return _tell(run(windows, flags.FLAGS.out, failed))


def _tell(reasons: dict[int, str]) -> int:
  """The exit code, and the reasons as one line."""
  if not reasons:
    return 0
  index, reason = next(iter(reasons.items()))
  raise InputError(f'windows {ranges(reasons)} are not done. Window {index}: {reason}')


def _status() -> None:
  windows, wanted = _table(), flags.FLAGS.indices
  unknown = sorted(set(wanted) - set(STATES))
  if unknown:
    raise InputError(
      f'--indices={",".join(wanted)}: there is no state {unknown[0]}. Choose among'
      f' {", ".join(STATES)}.'
    )
  found = states(windows, flags.FLAGS.out)
  if wanted:
    print(
      ranges(
        (entry.index for entry, state in found.items() if state.name in wanted), most=len(found)
      ).replace(' ', '')
    )
    return
  counts = {name: sum(state.name == name for state in found.values()) for name in STATES}
  print(f'{len(found)} windows: ' + ', '.join(f'{count} {name}' for name, count in counts.items()))
  for entry, state in found.items():
    if state.name in ('running', 'failed', 'stopped'):
      print(f'{entry.index:6d}  {entry.name}  {state.name}' + (state.about and f': {state.about}'))


def _table() -> WindowManifest:
  if not flags.FLAGS.windows:
    raise InputError('--windows is missing. Name the table that windows cut wrote.')
  return manifest.read(Path(flags.FLAGS.windows))


_COMMANDS = {'cut': _cut, 'run': _run, 'status': _status, 'retry': _retry}


def _define_flags() -> None:
  config_flags.DEFINE_config_file('config', None, 'cut: the config.', lock_config=True)
  flags.DEFINE_string('out', None, 'cut: the table to write. Else: the output root.')
  flags.DEFINE_integer('overlap', 16, 'cut: frames that neighbouring windows share at least.')
  flags.DEFINE_string('windows', None, 'The table that cut wrote.')
  flags.DEFINE_integer('index', None, 'run, retry: the one window with this index.')
  flags.DEFINE_string('share', '0/1', 'run, retry: I/N, every Nth window beginning with the Ith.')
  flags.DEFINE_list('indices', [], f'status: print the indices in these states ({STATES}) alone.')
  cli.require_words('out')


def main(command: str) -> int | None:
  """Runs one of the commands with the flags."""
  if command not in _COMMANDS:
    raise InputError(f'windows {command}: no such command. Use one of: {", ".join(_COMMANDS)}.')
  return _COMMANDS[command]()


if __name__ == '__main__':
  _define_flags()
  cli.run(main, positional=1)
