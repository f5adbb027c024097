"""Tests of running windows, with an interpreter that simulates train, eval and render."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pnerf_jax.contrib.drives import runner
from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder, WindowStatus
from pnerf_jax.errors import InputError

_WINDOW = WindowSpec(0, 'drive', 10, 12, 2, 1, 0)
# Simulates `python -m pnerf_jax.NAME ARGUMENTS`; the file NAME next to it is the script to run.
_INTERPRETER = """#!/bin/bash
here="$(dirname "$0")" name="${2#pnerf_jax.}"
echo "$*" >>"$here/calls"
for flag in "$@"; do [[ $flag == --workdir=* ]] && run="${flag#--workdir=}"; done
mkdir -p "$run" && cp "$here/config.json" "$run/"
if [[ -f "$here/$name" ]]; then source "$here/$name"; fi
"""
_SLEEP = "trap 'kill $!; echo saved; exit 130' TERM; sleep 60 & touch $here/ready; wait"


class _Setup:
  """The simulated interpreter and the output root."""

  def __init__(self, path):
    self.path, self.out = path, path / 'out'
    self.folder = WindowFolder(self.out / _WINDOW.name)
    self.python = path / 'python'
    self.python.write_text(_INTERPRETER)
    self.python.chmod(0o755)
    self.calls = path / 'calls'
    (path / 'config.json').write_text(
      json.dumps(
        {
          'schema': 2,
          'data': {'root': str(path / 'data'), 'sequence': 'drive', 'start': 10, 'frames': 2},
          'eval': {'camera': 'image_00'},
        }
      )
    )

  def add_ground_truth(self, frame):
    folder = self.path / 'data/data_2d_semantics/train/drive/image_00/semantic'
    folder.mkdir(parents=True)
    (folder / f'{frame:010d}.png').touch()

  def script(self, name, text):
    (self.path / name).write_text(text)

  def run(self):
    """Return the result of run_window and the names of the called commands."""
    self.calls.write_text('')
    reason = runner.run_window(self.out, _WINDOW, ['--config=a.py'])
    return reason, [
      line.split()[1].removeprefix('pnerf_jax.') for line in self.calls.read_text().splitlines()
    ]


@pytest.fixture
def setup(tmp_path, monkeypatch):
  setup = _Setup(tmp_path)
  monkeypatch.setattr(sys, 'executable', str(setup.python))
  return setup


def test_run_window_runs_the_commands_once_in_order(setup):
  setup.add_ground_truth(11)
  assert setup.run() == ('', ['train', 'eval', 'render'])
  run, labels = setup.folder.run, setup.folder.labels
  window = '--config.data.sequence=drive --config.data.start=10 --config.data.frames=2'
  assert setup.calls.read_text().splitlines() == [
    f'-m pnerf_jax.train --config=a.py {window} --workdir={run}',
    f'-m pnerf_jax.eval --workdir={run}',
    f'-m pnerf_jax.render --workdir={run} --out={labels}',
  ]
  assert (
    setup.folder.status().name == 'done' and not (setup.folder.path / 'heartbeat.json').exists()
  )
  assert setup.run() == ('', [])
  with pytest.raises(InputError, match='completed with other flags'):
    runner.run_window(setup.out, _WINDOW, ['--config=b.py'])


def test_run_window_deletes_the_cache_when_done(setup):
  setup.script('train', 'mkdir -p "$run/cache" "$run/checkpoints"; touch "$run/cache/a"')
  setup.script('render', 'exit 1')
  setup.run()
  assert (setup.folder.run / 'cache' / 'a').exists()
  setup.script('render', '')
  setup.run()
  assert [path.name for path in setup.folder.run.iterdir() if path.is_dir()] == ['checkpoints']


def test_run_window_skips_eval_without_ground_truth(setup):
  setup.add_ground_truth(12)  # the frame after the window
  assert setup.run() == ('', ['train', 'render'])


@pytest.mark.parametrize(
  'script, reason',
  [
    ('echo "error: a.png: bad. Replace it."; echo later; exit 1', 'a.png: bad. Replace it.'),
    ('echo Traceback; echo "KeyError: 3"; exit 1', 'KeyError: 3'),
    ('exit 1', '--- '),
    ('echo loading; kill -9 $$', 'killed by SIGKILL (out of memory?); last output: loading'),
  ],
)
def test_run_window_reports_why_a_command_failed(setup, script, reason):
  setup.script('render', script)
  found, called = setup.run()
  expected = 'no output' if reason == '--- ' else reason
  assert found == f'render: {expected}' and called == ['train', 'render']
  assert setup.folder.status() == WindowStatus('failed', f'render: {expected}')
  setup.script('render', '')
  assert setup.run()[0] == '' and setup.folder.status().name == 'done'
  assert setup.folder.log.read_text().count('--- render') == 2


@pytest.mark.stress
def test_run_window_forwards_an_interrupt(setup):
  setup.script('train', _SLEEP)

  def stop(*_):
    if (setup.path / 'ready').exists():
      signal.setitimer(signal.ITIMER_REAL, 0)
      raise KeyboardInterrupt

  old = signal.signal(signal.SIGALRM, stop)
  signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
  try:
    with pytest.raises(KeyboardInterrupt):
      setup.run()
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
  assert 'saved' in setup.folder.log.read_text()
  assert setup.folder.status().name == 'stopped'


@pytest.mark.stress
def test_a_window_is_locked_while_a_subprocess_lives(setup):
  setup.script('train', f'echo $$ >$here/child; {_SLEEP}')
  code = (
    'import sys; from pnerf_jax.contrib.drives import runner;'
    'from pnerf_jax.contrib.drives.manifest import WindowSpec;'
    'sys.executable = sys.argv[1];'
    f'runner.run_window(sys.argv[2], {_WINDOW!r}, ["--config=a.py"])'
  )
  with subprocess.Popen(
    [os.path.realpath('/proc/self/exe'), '-c', code, setup.python, setup.out],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
  ) as process:
    wait_until(lambda: (setup.path / 'ready').exists())
    assert setup.folder.status().name == 'running'
    process.kill()
  assert setup.folder.status().name == 'running'  # the training is alive and holds the lock
  with pytest.raises(InputError, match=f'process {process.pid} on '):
    setup.run()
  os.killpg(int((setup.path / 'child').read_text()), signal.SIGKILL)
  wait_until(lambda: setup.folder.status().name != 'running')
  assert 'train: process' in setup.folder.status().detail
  setup.script('train', '')
  assert setup.run()[0] == '' and setup.folder.status().name == 'done'


def wait_until(condition):
  limit = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < limit
    time.sleep(0.02)
