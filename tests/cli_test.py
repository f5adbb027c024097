"""Bad command lines, a full disk and signals, in subprocesses."""

import errno
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from pnerf_jax import cli
from pnerf_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = """
import errno, logging, os, signal, time
from absl import flags
from ml_collections import config_flags
from pnerf_jax import cli
from pnerf_jax.errors import InputError
CONFIG = config_flags.DEFINE_config_file('config')
WHAT = flags.DEFINE_string('what', 'print', '')
cli.require_flags('config')
class Dropping:
  def __del__(self):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)  # the interrupt is raised here, where Python drops it
def main(word):
  if WHAT.value == 'drop':
    Dropping()
    time.sleep(60)
  if WHAT.value == 'print':
    print(word, CONFIG.value.group.number)
    logging.getLogger(__name__).warning('of a doubt')
    logging.getLogger(__name__).info('a log line')
  if WHAT.value == 'input':
    raise InputError('file: bad.\\n  Remedy.')
  if WHAT.value == 'bug':
    raise ValueError('a bug')
  if WHAT.value == 'full':
    raise OSError(errno.ENOSPC, 'No space left on device', '/runs/a')
  if WHAT.value == 'code':
    return 3
  if WHAT.value == 'sleep':
    print('ready', flush=True)
    time.sleep(60)
if __name__ == '__main__':
  cli.run({word: lambda word=word: main(word) for word in ('word', 'other')}, {'old': 'other'})
"""
CONFIG = """
import ml_collections
from pnerf_jax.errors import InputError
def get_config(variant='a'):
  if variant not in ('a', 'b'):
    raise InputError(f'{variant}: no such variant. Use a or b.')
  return ml_collections.ConfigDict({'group': {'number': 1, 'names': ('x',)}, 'other': {'steps': 2}})
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('cli')
  (folder / 'binary.py').write_text(BINARY)
  (folder / 'config.py').write_text(CONFIG)
  return folder


def start(folder, *arguments):
  # Background processes of a shell ignore SIGINT, and children inherit that.
  return subprocess.Popen(
    [sys.executable, 'binary.py', *arguments],
    cwd=folder,
    env={'PYTHONPATH': str(ROOT)},
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
  )


def run(folder, *arguments):
  with start(folder, *arguments) as process:
    out, err = process.communicate(timeout=180)
  return process.returncode, out, err


def test_config_flags_of_a_command_line_in_either_form():
  words = [
    'check',
    '--config',
    'a b.py:x',
    '--out=c.png',
    '--config.data.start',
    '7',
    '-config.y=1',
  ]
  expected = "'--config=a b.py:x' --config.data.start=7 -config.y=1"
  assert cli.config_flags_of(words) == expected


def test_run_passes_flags_and_arguments(folder):
  code, out, err = run(folder, 'word', '--config=config.py:b', '--config.group.number=7')
  assert (code, out) == (0, 'word 7\n')
  assert re.fullmatch(r'[\d:]+ warning: of a doubt\n[\d:]+ a log line\n', err)
  code, out, _ = run(folder, '-config', 'config.py', '--config.group.number', '-1', 'word')
  assert (code, out) == (0, 'word -1\n')


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['--config.group.numbr=2'], ['--config.group.numbr: unknown', 'mean --config.group.number?']),
    (['--config.steps=2'], ['--config.steps: unknown', 'Did you mean --config.other.steps?']),
    (['-config.grp.number', '2'], ['-config.grp.number: unknown', '--config.group.number?']),
    (['--config.group.number=two'], ['--config.group.number=two', "'two'"]),
    (['--config.group.number=2.5'], ['--config.group.number=2.5']),
    (['--config.group.number'], ['Missing value for flag --config.group.number']),
    (['--config=config.py:c'], ['c: no such variant. Use a or b.']),
    (['--config=nowhere.py'], ["--config: no such file: 'nowhere.py'"]),
    (['--confg=config.py'], ['confg', 'Did you mean: config']),
    (['--config='], ["--config: no such file: ''"]),
    (['another'], ['binary: expected one command, got: word another. Use one of: word, other.']),
    (['--what=input'], ['error: file: bad. Remedy.']),
    (['--what=full'], ['/runs/a: the disk is full']),
  ],
)
def test_run_reports_errors_in_one_line(folder, arguments, expected):
  given = [] if arguments[0].startswith('--config=') else ['--config=config.py']
  code, out, err = run(folder, 'word', *given, *arguments)
  assert code == 1 and out == ''
  assert err.startswith('error: ') and err.count('\n') == 1 and 'Traceback' not in err
  for part in expected:
    assert part in err


@pytest.mark.parametrize(
  'arguments, expected',
  [
    ([], 'binary: expected one command, got: none. Use one of: word, other.'),
    (['--config=config.py'], 'binary: expected one command, got: none. Use one of: word, other.'),
    (['nope', '--config=config.py'], 'binary nope: no such command. Use one of: word, other.'),
    (['old', '--config=config.py'], 'binary old: is now called other. Use binary other.'),
    (['word'], '--config is missing. Use --config=configs/kitti360.py.'),
  ],
)
def test_run_names_its_commands(folder, arguments, expected):
  assert run(folder, *arguments) == (1, '', f'error: {expected}\n')


def test_run_shows_the_traceback_of_a_bug(folder):
  code, _, err = run(folder, 'word', '--config=config.py', '--what=bug')
  assert code == 1 and 'Traceback' in err and err.endswith('ValueError: a bug\n')


def test_config_is_found_beside_the_package(folder):
  code, out, _ = run(folder, 'word', '--config=configs/street.py', '--what=code')
  assert (code, out) == (3, '')


def test_run_returns_the_exit_code_of_main(folder):
  assert run(folder, 'word', '--config=config.py', '--what=code')[0] == 3


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_run_is_interrupted_by_signals(folder, number):
  with start(folder, 'word', '--config=config.py', '--what=sleep') as process:
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(number)
    _, err = process.communicate(timeout=180)
  assert process.returncode == 130 and err == 'interrupted\n'


def test_an_interrupt_that_a_callback_drops_is_raised_again(folder):
  start_time = time.monotonic()
  code, _, err = run(folder, 'word', '--config=config.py', '--what=drop')
  assert (code, err) == (130, 'interrupted\n') and time.monotonic() - start_time < 30


def test_an_interrupt_during_imports_is_one_line(tmp_path):
  (tmp_path / 'absl.py').write_text('print("importing", flush=True)\nimport time\ntime.sleep(60)')
  for number in (signal.SIGINT, signal.SIGTERM):
    with subprocess.Popen(
      [sys.executable, '-m', 'pnerf_jax.train'],
      cwd=tmp_path,
      env={'PYTHONPATH': f'{tmp_path}:{ROOT}'},
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
      assert process.stdout.readline() == 'importing\n'
      process.send_signal(number)
      _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, 'interrupted\n')


@pytest.mark.parametrize(
  'error, expected',
  [
    (InputError('x: bad.'), 'error: x: bad.'),
    (OSError(errno.ENOSPC, 'No space left on device', 'a.png'), 'a.png: the disk is full'),
    (ValueError('RESOURCE_EXHAUSTED: write: No space left on device'), 'the disk is full'),
    (
      ValueError('Error writing "state/0" at local file "/runs/a/2/": No space left on device'),
      '/runs/a/2/: the disk is full',
    ),
    (ValueError('Error writing "/runs/a/2/": File too large'), '/runs/a/2/: the disk is full'),
    (PermissionError(errno.EACCES, 'Permission denied', 'a.png'), 'a.png: Permission denied'),
    (OSError(errno.EROFS, 'Read-only file system', 'a'), 'a: Read-only file system'),
    (
      FileNotFoundError(errno.ENOENT, 'No such file', '/no/a'),
      'error: /no/a: No such file or directory. Correct it, or use another path.',
    ),
    (
      OSError(errno.ENOSPC, 'No space left', 'photo.png', None, 'copy.png'),
      'error: copy.png: the disk is full. Free some space and start again.',
    ),
    (
      PermissionError(errno.EACCES, '', b'in\n.xml'),
      'error: in .xml: Permission denied. Change its permissions, or use another path.',
    ),
    (OSError(errno.ENAMETOOLONG, '', 'n' * 5000), 'File name too long. Use a shorter name.'),
    (OSError(errno.ENOTDIR, '', 'a'), 'error: a: Not a directory. Correct it, or use another'),
    (
      UnicodeEncodeError('utf-8', 'b\udcff', 1, 2, 'surrogates not allowed'),
      r"error: 'b\udcff': holds a name that is not UTF-8. Rename the file.",
    ),
    (UnicodeEncodeError('ascii', '\xe9', 0, 1, 'no ascii'), None),
    (OSError(errno.ENOENT, 'No such file'), None),
    (ConnectionResetError(errno.ECONNRESET, 'reset'), None),
    (ValueError('x'), None),
    (KeyError('x'), None),
  ],
)
def test_error_line(error, expected):
  line = cli.error_line(error)
  assert line is None if expected is None else expected in line
