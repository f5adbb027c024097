"""Tests of running windows, with an interpreter that simulates train, eval and render."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from pnerf_jax.contrib.drives import runner
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import WindowFolder, WindowStatus
from pnerf_jax.data import files
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.runs.config_file import SCHEMA, to_json

_CONFIG = f'--config={pathlib.Path(configs.__file__).absolute()}:tiny'
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
    self.manifest = WindowManifest((_CONFIG,), (_WINDOW,), 'windows.txt')
    config = _WINDOW.config(self.manifest.config())
    (path / 'config.json').write_text(json.dumps({'schema': SCHEMA, **to_json(config)}))
    self.script('render', f'mkdir -p "$here/labels"; cp -r "$here/labels" "{self.folder.path}/"')
    for kind in export.KINDS:
      file = path / 'labels' / 'image_00' / kind / '0000000010.png'
      shape = (4, 6, 3) if 'rgb' in kind else (4, 6)
      dtype = np.uint8 if 'rgb' in kind or kind == 'semantic' else np.uint16
      files.write_bytes(file, b'')
      Image.fromarray(np.zeros(shape, dtype)).save(file)
    pose = np.eye(4).tolist()
    views = [{'camera': 'image_00', 'frame': 10, 'width': 6, 'height': 4, 'world_from_cam': pose}]
    (path / 'labels' / 'views.json').write_text(json.dumps({'views': views}))

  def script(self, name, text):
    (self.path / name).write_text(text)

  def run(self):
    """Return the result of run_window and the names of the called commands."""
    self.calls.write_text('')
    reason = runner.run_window(self.out, _WINDOW, self.manifest.flags)
    return reason, [
      line.split()[1].removeprefix('pnerf_jax.') for line in self.calls.read_text().splitlines()
    ]


@pytest.fixture
def setup(tmp_path, monkeypatch):
  setup = _Setup(tmp_path)
  monkeypatch.setattr(sys, 'executable', str(setup.python))
  return setup


def test_run_window_runs_the_commands_once_in_order(setup):
  assert setup.run() == ('', ['train', 'eval', 'render'])
  run, labels = setup.folder.run, setup.folder.labels
  window = '--config.data.sequence=drive --config.data.start=10 --config.data.frames=2'
  assert setup.calls.read_text().splitlines() == [
    f'-m pnerf_jax.train {_CONFIG} {window} --workdir={run}',
    f'-m pnerf_jax.eval --workdir={run}',
    f'-m pnerf_jax.render --workdir={run} --out={labels}',
  ]
  assert (
    setup.folder.status().name == 'done' and not (setup.folder.path / 'heartbeat.json').exists()
  )


def test_run_windows_reports_progress_and_time_left(setup, caplog, monkeypatch):
  monkeypatch.setattr(runner, 'PROGRESS_INTERVAL', 0.05)
  setup.script('train', 'echo "12:00:01 step 1/4  left 0:07"; sleep 0.4')
  with caplog.at_level('INFO'):
    runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  lines = caplog.messages
  assert lines[0] == 'window 0: drive/0000000010_0000000011'
  assert lines.count('train: step 1/4  left 0:07') == 1
  assert lines[-1].startswith('window 0 took 0:00:0') and lines[-1].endswith('; 0 windows left')


def test_run_windows_without_work_says_so(setup, caplog):
  runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  setup.calls.write_text('')
  with caplog.at_level('INFO'):
    runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
    runner.run_windows(setup.manifest, setup.manifest.windows, setup.out, failed_only=True)
  counts = '(1 done, 0 running, 0 failed, 0 stopped, 0 pending)'
  assert caplog.messages[-2:] == [
    f'nothing to do: all selected windows are done {counts}',
    f'nothing to retry: no window failed {counts}',
  ]
  assert not setup.calls.read_text()


@pytest.mark.parametrize('failed_only', [False, True])
def test_windows_done_with_other_flags_are_not_passed_off_as_done(setup, failed_only):
  runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  setup.calls.write_text('')
  later = WindowSpec(1, 'drive', 12, 14, 2, 1, 0)
  changed = WindowManifest((_CONFIG, '--config.train.steps=6'), (_WINDOW, later))
  line = (
    f'was done with other flags: config.train.steps is 4 in {setup.folder.run}/config.json, but 6'
    ' in the window manifest. Run the windows into another folder, or correct the manifest.'
  )
  with pytest.raises(InputError) as error:
    runner.run_windows(changed, changed.windows, setup.out, failed_only)
  assert str(error.value) == f'windows 0 are not done. Window 0: {line}'
  assert not setup.calls.read_text()  # nothing was started
  assert runner.status_lines(changed, setup.out) == [
    '2 windows: 0 done, 0 running, 1 failed, 0 stopped, 1 pending',
    f'     0  {_WINDOW.name}  failed: {line}',
  ]
  assert runner.indices_with_status(changed, setup.out, ['done']) == ''


def test_damaged_labels_of_a_window_that_is_done_are_rendered_again(setup, caplog):
  runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  path = setup.folder.labels / 'image_00' / 'instance' / '0000000010.png'
  whole = path.read_bytes()
  done = (setup.folder.path / 'done.json').read_bytes()
  for damage in (path.unlink, lambda: path.write_bytes(whole[:40])):
    damage()
    setup.calls.write_text('')
    runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
    (call,) = setup.calls.read_text().splitlines()
    assert call.startswith('-m pnerf_jax.render --workdir=')
    assert path.read_bytes() == whole
    assert f'rendering 1 damaged images again: {path}: ' in caplog.text
  assert (setup.folder.path / 'done.json').read_bytes() == done


def test_damaged_files_of_one_window_are_repaired_and_do_not_stop_the_others(setup):
  runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  later = WindowSpec(1, 'drive', 12, 14, 2, 1, 0)
  both = WindowManifest((_CONFIG,), (_WINDOW, later))
  for name in ('done', 'heartbeat'):
    (setup.folder.path / f'{name}.json').write_text('{')
  head, first = runner.status_lines(both, setup.out)
  assert head == '2 windows: 0 done, 0 running, 1 failed, 0 stopped, 1 pending'
  assert first.startswith(
    f'     0  {_WINDOW.name}  failed: {setup.folder.path}/done.json: not JSON'
  )
  runner.run_windows(both, both.windows[:1], setup.out)
  assert setup.folder.status() == WindowStatus('done')


def _remove(path):
  path.unlink()


def _damage(path):
  path.write_text('{')


def _without_a_view(path):
  path.write_text('{"step": 4, "views": []}')


@pytest.mark.parametrize(
  'damage, reason, replaced',
  [
    (_remove, 'no such file.', True),
    (_damage, 'not JSON (', True),
    (_without_a_view, 'has 0 views, expected 1.', False),
  ],
)
def test_views_json_of_a_window_that_is_done_is_written_again(
  setup, caplog, damage, reason, replaced
):
  runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  (setup.folder.run / 'window.json').write_text('{"positions": [[0, 0, 0]]}')
  path = setup.folder.labels / 'views.json'
  whole = path.read_bytes()
  damage(path)
  setup.calls.write_text('')
  runner.run_windows(setup.manifest, setup.manifest.windows, setup.out)
  (call,) = setup.calls.read_text().splitlines()
  assert call == ' '.join(
    [f'-m pnerf_jax.render --workdir={setup.folder.run} --out={setup.folder.labels}']
    + ['--overwrite'] * replaced
  )
  assert f'{path}: {reason}' in caplog.text and path.read_bytes() == whole


def test_labels_of_another_step_or_of_a_removed_run_are_replaced(setup):
  views = setup.folder.labels / 'views.json'
  replaced = lambda: '--overwrite' in setup.calls.read_text()
  setup.script('render', '')
  for content, expected in (
    ('{"step": 4, "views": []}', False),
    ('{"step": 2, "views": []}', True),
  ):
    files.write_bytes(setup.folder.run / 'config.json', b'{}')
    files.write_bytes(views, content.encode())
    setup.run()
    assert replaced() == expected, content
    (setup.folder.path / 'done.json').unlink()
  views.write_text('{"step": 4, "views": []}')
  shutil.rmtree(setup.folder.run)
  setup.run()
  assert replaced() and not views.exists()


def test_run_window_deletes_the_cache_when_done(setup):
  setup.script('train', 'mkdir -p "$run/cache" "$run/checkpoints"; touch "$run/cache/a"')
  setup.script('render', 'exit 1')
  setup.run()
  assert (setup.folder.run / 'cache' / 'a').exists()
  setup.script('render', '')
  setup.run()
  assert [path.name for path in setup.folder.run.iterdir() if path.is_dir()] == ['checkpoints']


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
  assert found == f'render: {expected}' and called == ['train', 'eval', 'render']
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
