"""The commands around drives: which windows they choose, what they tell."""

import pytest
from absl import flags

from pnerf_jax import windows
from pnerf_jax.contrib.drives import manifest, runner
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock


@pytest.fixture
def drive(tmp_path, monkeypatch):
  """Five windows: done, failed, running, open, stopped."""
  entries = tuple(WindowSpec(i, 'drive', 10 * i, 10 * i + 12, 12, 1, 0) for i in range(5))
  (tmp_path / 'windows.txt').write_text(
    manifest.to_text(WindowManifest(('--config=a.py',), entries), [])
  )
  folders = [WindowFolder(tmp_path / 'out' / entry.name) for entry in entries]
  for folder in folders:
    folder.path.mkdir(parents=True)
  folders[0].write_done([])
  folders[1].write_failed('train', 'a.png: bad. Replace it.')
  folders[4].log.touch()
  called = []

  def run_window(out, entry, words):
    assert (out, words) == (tmp_path / 'out', ('--config=a.py',))
    called.append(entry.index)
    if entry.index == 2:
      raise InputError('process 7 is at work')
    return 'render: full' if entry.index == 3 else ''

  monkeypatch.setattr(runner, 'run_window', run_window)
  with lock.acquire(folders[2].path):
    yield tmp_path, called


def call(folder, *words):
  """`python -m pnerf_jax.windows WORDS` in this process."""
  values = flags.FlagValues()
  flags.DEFINE_string('out', str(folder / 'out'), '', flag_values=values)
  flags.DEFINE_string('windows', str(folder / 'windows.txt'), '', flag_values=values)
  flags.DEFINE_integer('index', None, '', flag_values=values)
  flags.DEFINE_string('share', '0/1', '', flag_values=values)
  flags.DEFINE_list('indices', [], '', flag_values=values)
  (command,) = values(['windows', *words])[1:]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(flags, 'FLAGS', values)
    return windows.main(command)


def test_status_tells_what_needs_a_look(drive, capsys):
  call(drive[0], 'status')
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == '5 windows: 1 done, 1 running, 1 failed, 1 stopped, 1 open'
  assert [line.split()[0] for line in lines[1:]] == ['1', '2', '4']
  assert lines[1].endswith('0000000010_0000000021  failed: train: a.png: bad. Replace it.')
  assert '  running: process ' in lines[2] and lines[3].endswith('  stopped')


def test_indices_are_as_array_jobs_want_them(drive, capsys):
  call(drive[0], 'status', '--indices=open,stopped,running')
  assert capsys.readouterr().out == '2-4\n'
  call(drive[0], 'status', '--indices=done,open')
  assert capsys.readouterr().out == '0,3\n'
  with pytest.raises(InputError, match='there is no state lost'):
    call(drive[0], 'status', '--indices=done,lost')


def test_all_that_is_not_done_is_run_whatever_fails(drive):
  folder, called = drive
  with pytest.raises(InputError, match=r'windows 2-3 are not done\. Window 2: process 7'):
    call(folder, 'run')
  assert called == [1, 2, 3, 4]


@pytest.mark.parametrize(
  'words, expected',
  [
    (['retry'], [1]),
    (['run', '--share=1/3'], [1, 4]),
    (['run', '--index=4'], [4]),
    (['run', '--index=0'], []),
    (['retry', '--index=4'], []),
  ],
)
def test_some_are_run(drive, words, expected):
  folder, called = drive
  assert call(folder, *words) == 0
  assert called == expected


@pytest.mark.parametrize(
  'words, message',
  [
    (['run', '--index=7'], r'no such window \(it has 0-4\)'),
    (['run', '--share=2/2'], 'not I/N'),
    (['run', '--share=2'], 'not I/N'),
    (['run', '--windows='], '--windows is missing'),
    (['go'], 'no such command'),
  ],
)
def test_wrong_words_are_one_clear_error(drive, words, message):
  with pytest.raises(InputError, match=message):
    call(drive[0], *words)


def test_the_flags_of_the_config_and_no_others_go_into_the_table():
  argv = [
    'windows',
    'cut',
    '--config',
    'a.py:cpu',
    '--out=w.txt',
    '-config.data.root=/a b',
    '--config.train.steps',
    '-1',
    '--noconfig.model.mask_semantics',
    '--overlap',
    '3',
    '--config.loss.mask_unsupported_labels',
    '--configure',
  ]
  assert windows.config_words(argv) == [
    '--config=a.py:cpu',
    '-config.data.root=/a b',
    '--config.train.steps=-1',
    '--noconfig.model.mask_semantics',
    '--config.loss.mask_unsupported_labels',
  ]
