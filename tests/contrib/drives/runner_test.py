"""Running a window, with an interpreter that only plays train, eval and render."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pnerf_jax.contrib.drives import runner
from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder
from pnerf_jax.errors import InputError

_ENTRY = WindowSpec(0, 'drive', 10, 12, 2, 1, 0)
# Plays `python -m pnerf_jax.NAME WORDS`; a file NAME beside it holds what it shall do.
_FAKE = """#!/bin/bash
here="$(dirname "$0")" name="${2#pnerf_jax.}"
echo "$*" >>"$here/calls"
for word in "$@"; do [[ $word == --workdir=* ]] && run="${word#--workdir=}"; done
mkdir -p "$run" && cp "$here/config.json" "$run/"
if [[ -f "$here/$name" ]]; then source "$here/$name"; fi
"""
_SLEEP = "trap 'kill $!; echo saved; exit 130' TERM; sleep 60 & touch $here/ready; wait"


class _Stage:
  """The fake interpreter and the output root."""

  def __init__(self, path):
    self.path, self.out = path, path / 'out'
    self.folder = WindowFolder(self.out / _ENTRY.name)
    self.python = path / 'python'
    self.python.write_text(_FAKE)
    self.python.chmod(0o755)
    self.calls = path / 'calls'
    (path / 'config.json').write_text(
      json.dumps(
        {
          'data': {'root': str(path / 'data'), 'sequence': 'drive', 'start': 10, 'frames': 2},
          'eval': {'camera': 'image_00'},
        }
      )
    )

  def truth(self, frame):
    folder = self.path / 'data/data_2d_semantics/train/drive/image_00/semantic'
    folder.mkdir(parents=True)
    (folder / f'{frame:010d}.png').touch()

  def play(self, name, what):
    (self.path / name).write_text(what)

  def run(self):
    """Result of run_window, and the commands that were called."""
    self.calls.write_text('')
    reason = runner.run_window(self.out, _ENTRY, ['--config=a.py'])
    return reason, [
      line.split()[1].removeprefix('pnerf_jax.') for line in self.calls.read_text().splitlines()
    ]


@pytest.fixture
def stage(tmp_path, monkeypatch):
  stage = _Stage(tmp_path)
  monkeypatch.setattr(sys, 'executable', str(stage.python))
  return stage


def test_the_commands_run_in_order_once(stage):
  stage.truth(11)
  assert stage.run() == ('', ['train', 'eval', 'render'])
  run, labels = stage.folder.run, stage.folder.labels
  window = '--config.data.sequence=drive --config.data.start=10 --config.data.frames=2'
  assert stage.calls.read_text().splitlines() == [
    f'-m pnerf_jax.train --config=a.py {window} --workdir={run}',
    f'-m pnerf_jax.eval --workdir={run}',
    f'-m pnerf_jax.render --workdir={run} --out={labels}',
  ]
  assert stage.folder.state().name == 'done' and not (stage.folder.path / 'beat.json').exists()
  assert stage.run() == ('', [])
  with pytest.raises(InputError, match='was done with other flags'):
    runner.run_window(stage.out, _ENTRY, ['--config=b.py'])


def test_what_training_keeps_to_resume_goes_when_all_is_done(stage):
  stage.play('train', 'mkdir -p "$run/cache" "$run/checkpoints"; touch "$run/cache/a"')
  stage.play('render', 'exit 1')
  stage.run()
  assert (stage.folder.run / 'cache' / 'a').exists()
  stage.play('render', '')
  stage.run()
  assert [path.name for path in stage.folder.run.iterdir() if path.is_dir()] == ['checkpoints']


def test_nothing_is_evaluated_where_there_is_no_truth(stage):
  stage.truth(12)  # the frame behind the window
  assert stage.run() == ('', ['train', 'render'])


@pytest.mark.parametrize(
  'what, reason',
  [
    ('echo "error: a.png: bad. Replace it."; echo later; exit 1', 'a.png: bad. Replace it.'),
    ('echo Traceback; echo "KeyError: 3"; exit 1', 'KeyError: 3'),
    ('exit 1', '--- '),
    ('echo loading; kill -9 $$', 'killed by SIGKILL (out of memory?); last: loading'),
  ],
)
def test_why_a_command_failed(stage, what, reason):
  stage.play('render', what)
  found, called = stage.run()
  expected = 'it said nothing' if reason == '--- ' else reason
  assert found == f'render: {expected}' and called == ['train', 'render']
  assert stage.folder.state() == type(stage.folder.state())('failed', f'render: {expected}')
  stage.play('render', '')
  assert stage.run()[0] == '' and stage.folder.state().name == 'done'
  assert stage.folder.log.read_text().count('--- render') == 2


def test_what_stops_it_is_handed_on(stage):
  stage.play('train', _SLEEP)

  def stop(*_):
    if (stage.path / 'ready').exists():
      signal.setitimer(signal.ITIMER_REAL, 0)
      raise KeyboardInterrupt

  old = signal.signal(signal.SIGALRM, stop)
  signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
  try:
    with pytest.raises(KeyboardInterrupt):
      stage.run()
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
  assert 'saved' in stage.folder.log.read_text()
  assert stage.folder.state().name == 'stopped'


def test_a_window_is_taken_while_anything_of_it_lives(stage):
  stage.play('train', f'echo $$ >$here/child; {_SLEEP}')
  code = (
    'import sys; from pnerf_jax.drive import runner; from pnerf_jax.contrib.drives.manifest import Entry;'
    'sys.executable = sys.argv[1];'
    f'runner.run_window(sys.argv[2], {_ENTRY!r}, ["--config=a.py"])'
  )
  with subprocess.Popen(
    [os.path.realpath('/proc/self/exe'), '-c', code, stage.python, stage.out],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
  ) as process:
    wait_until(lambda: (stage.path / 'ready').exists())
    assert stage.folder.state().name == 'running'
    process.kill()
  assert stage.folder.state().name == 'running'  # the training lives on, and holds the lock
  with pytest.raises(InputError, match=f'process {process.pid} on '):
    stage.run()
  os.killpg(int((stage.path / 'child').read_text()), signal.SIGKILL)
  wait_until(lambda: stage.folder.state().name != 'running')
  assert 'train: process' in stage.folder.state().about
  stage.play('train', '')
  assert stage.run()[0] == '' and stage.folder.state().name == 'done'


def wait_until(holds):
  limit = time.monotonic() + 60
  while not holds():
    assert time.monotonic() < limit
    time.sleep(0.02)
