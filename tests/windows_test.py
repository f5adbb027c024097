"""Tests of the windows binary: selection of windows, status, errors."""

import json
import pathlib

import pytest
from absl import flags

from configs import kitti360 as configs
from pnerf_jax import windows
from pnerf_jax.contrib.drives import manifest, runner
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock
from pnerf_jax.runs.config_file import SCHEMA, to_json

_CONFIG = f'--config={pathlib.Path(configs.__file__).absolute()}:tiny'


@pytest.fixture
def drive(tmp_path, monkeypatch):
  """Five windows: done, failed, running, pending, stopped; and the indices that are run."""
  specs = tuple(WindowSpec(i, 'drive', 10 * i, 10 * i + 12, 12, 1, 0) for i in range(5))
  (tmp_path / 'windows.txt').write_text(manifest.to_text(WindowManifest((_CONFIG,), specs)))
  folders = [WindowFolder(tmp_path / 'out' / window.name) for window in specs]
  for folder in folders:
    folder.path.mkdir(parents=True)
  folders[0].write_done([])
  folders[0].run.mkdir()
  config = specs[0].config(WindowManifest((_CONFIG,), specs).config())
  content = {'schema': SCHEMA, **to_json(config)}
  (folders[0].run / 'config.json').write_text(json.dumps(content))
  monkeypatch.setattr(WindowFolder, 'damaged_labels', lambda _: [])
  folders[1].write_failure('train', 'a.png: bad. Replace it.')
  folders[4].log.touch()
  indices = []

  def run_window(out, window, train_flags):
    assert (out, train_flags) == (tmp_path / 'out', (_CONFIG,))
    indices.append(window.index)
    if window.index == 2:
      raise InputError('process 7 is running')
    return 'render: full' if window.index == 3 else ''

  monkeypatch.setattr(runner, 'run_window', run_window)
  with lock.acquire(folders[2].path):
    yield tmp_path, indices


def call(folder, *arguments):
  """Run `python -m pnerf_jax.windows ARGUMENTS` in this process."""
  values = flags.FlagValues()
  flags.DEFINE_string('out', str(folder / 'out'), '', flag_values=values)
  flags.DEFINE_string('windows', str(folder / 'windows.txt'), '', flag_values=values)
  flags.DEFINE_integer('index', None, '', flag_values=values)
  flags.DEFINE_string('shard', '0/1', '', flag_values=values)
  flags.DEFINE_list('indices', [], '', flag_values=values)
  (command,) = values(['windows', *arguments])[1:]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(flags, 'FLAGS', values)
    return windows._COMMANDS[command]()


def test_status_lists_windows_that_need_attention(drive, capsys):
  call(drive[0], 'status')
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == '5 windows: 1 done, 1 running, 1 failed, 1 stopped, 1 pending'
  assert [line.split()[0] for line in lines[1:]] == ['1', '2', '4']
  assert lines[1].endswith('0000000010_0000000021  failed: train: a.png: bad. Replace it.')
  assert '  running: process ' in lines[2] and lines[3].endswith('  stopped')


def test_status_prints_indices_for_array_jobs(drive, capsys):
  call(drive[0], 'status', '--indices=pending,stopped,running')
  assert capsys.readouterr().out == '2-4\n'
  call(drive[0], 'status', '--indices=done,pending')
  assert capsys.readouterr().out == '0,3\n'
  with pytest.raises(InputError, match='lost is not a status'):
    call(drive[0], 'status', '--indices=done,lost')


def test_status_shows_the_progress_of_a_running_window(drive, capsys):
  folder = WindowFolder(drive[0] / 'out' / 'drive' / '0000000020_0000000031')
  folder.heartbeat('train', 7)
  folder.log.write_text('--- train, 2026-12-01\n12:00:01 step 40/4000  7.1k rays/s  left 9:54\n')
  call(drive[0], 'status')
  line = capsys.readouterr().out.splitlines()[2]
  assert line.endswith(', 12:00:01 step 40/4000  7.1k rays/s  left 9:54')
  assert '  running: train, process ' in line
  folder.log.write_text('--- eval, 2026-12-01\neval:   0%|\reval:  50%|##  | 2/4 [00:07<00:07]')
  call(drive[0], 'status')
  assert capsys.readouterr().out.splitlines()[2].endswith(', eval:  50%|##  | 2/4 [00:07<00:07]')


def test_run_continues_after_failures(drive):
  folder, indices = drive
  with pytest.raises(InputError, match=r'windows 2-3 are not done\. Window 2: process 7'):
    call(folder, 'run')
  assert indices == [1, 2, 3, 4]


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['retry'], [1]),
    (['run', '--shard=1/3'], [1, 4]),
    (['run', '--index=4'], [4]),
    (['run', '--index=0'], []),
    (['retry', '--index=4'], []),
  ],
)
def test_run_and_retry_select_windows(drive, arguments, expected):
  folder, indices = drive
  call(folder, *arguments)
  assert indices == expected


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['run', '--index=7'], r'no such window in the manifest\. Use one of 0-4'),
    (['run', '--shard=2/2'], 'not I/N'),
    (['run', '--shard=2'], 'not I/N'),
    (['run', '--windows='], '--windows is missing'),
    (['status', f'--out={__file__}'], f'^--out={__file__}: {__file__} is a file. Name a folder.$'),
    (['retry', f'--out={__file__}'], f'^--out={__file__}: {__file__} is a file. Name a folder.$'),
  ],
)
def test_invalid_arguments_are_one_clear_error(drive, arguments, message):
  with pytest.raises(InputError, match=message):
    call(drive[0], *arguments)
