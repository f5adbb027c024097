"""Tests of the status of a window folder."""

import json
import os
import time

import pytest

from pnerf_jax.contrib.drives import window_folder
from pnerf_jax.contrib.drives.window_folder import WindowFolder, WindowStatus
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock


@pytest.fixture
def folder(tmp_path):
  return WindowFolder(tmp_path)


def write_heartbeat(folder, host='far', age=0.0):
  path = folder.path / 'heartbeat.json'
  path.write_text(json.dumps({'command': 'train', 'process': 12, 'host': host, 'time': ''}))
  os.utime(path, (time.time() - age,) * 2)


def test_status_on_one_machine(folder):
  assert folder.status() == WindowStatus('pending')
  folder.log.touch()
  assert folder.status() == WindowStatus('stopped')
  with lock.acquire(folder.path):
    folder.heartbeat('train', 12)
    status = folder.status()
    assert status.name == 'running' and status.detail.startswith(
      f'train, process {os.getpid()} on '
    )
  # Without the lock the heartbeat is that of a killed process.
  status = folder.status()
  assert status.name == 'failed' and status.detail.startswith('train: process 12 on ')
  assert status.detail.endswith('exited without an error message (killed?)')
  folder.stop_heartbeat()
  folder.write_failure('eval', 'no space')
  assert folder.status() == WindowStatus('failed', 'eval: no space')
  folder.clear_failure()
  assert folder.status() == WindowStatus('stopped')
  folder.write_done(['--a'])
  assert folder.status() == WindowStatus('done') and folder.read_done()['flags'] == ['--a']


def test_status_is_running_while_the_run_is_locked(folder):
  folder.run.mkdir()
  with lock.acquire(folder.run):
    assert folder.status().name == 'running'
  assert folder.status().name == 'pending'


def test_status_of_another_machine_follows_its_heartbeat(folder):
  write_heartbeat(folder)
  assert folder.status() == WindowStatus('running', 'train, process 12 on far')
  write_heartbeat(folder, age=window_folder.HEARTBEAT_TIMEOUT + 1)
  assert folder.status().name == 'failed'
  folder.wait_until_idle(pause=0)  # returns, since the process is dead


def test_wait_until_idle_returns_or_raises_when_the_state_is_known(folder, monkeypatch):
  write_heartbeat(folder)

  def send_heartbeat(_):
    (folder.path / 'heartbeat.json').write_text(
      json.dumps({'command': 'eval', 'process': 12, 'host': 'far', 'time': ''})
    )

  monkeypatch.setattr(window_folder.time, 'sleep', send_heartbeat)
  with pytest.raises(InputError, match='process 12 on far is running this window'):
    folder.wait_until_idle()

  write_heartbeat(folder)
  monkeypatch.setattr(window_folder.time, 'sleep', lambda _: write_heartbeat(folder, age=1e6))
  folder.wait_until_idle()


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"flags"', '{"flags": [], "seconds": "x"}'])
def test_status_names_a_damaged_file(folder, content):
  (folder.path / 'done.json').write_text(content)
  status = folder.status()
  assert status.name == 'failed' and not folder.is_done()
  assert status.detail.startswith(f'{folder.path / "done.json"}: ')
  assert status.detail.endswith(' It is replaced when the window is run again.')
