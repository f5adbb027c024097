"""What is known of a window from its folder."""

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


def beat_of(folder, host='far', age=0.0):
  path = folder.path / 'beat.json'
  path.write_text(json.dumps({'at': 'train', 'process': 12, 'host': host, 'when': ''}))
  os.utime(path, (time.time() - age,) * 2)


def test_states_of_one_machine(folder):
  assert folder.state() == WindowStatus('open')
  folder.log.touch()
  assert folder.state() == WindowStatus('stopped')
  with lock.acquire(folder.path):
    folder.heartbeat('train', 12)
    state = folder.state()
    assert state.name == 'running' and state.about.startswith(f'train, process {os.getpid()} on ')
  # The lock is gone and the beat is not: the process was killed.
  state = folder.state()
  assert state.name == 'failed' and state.about.startswith('train: process 12 on ')
  assert state.about.endswith('ended without a word; killed?')
  folder.stop_heartbeat()
  folder.write_failed('eval', 'no space')
  assert folder.state() == WindowStatus('failed', 'eval: no space')
  folder.clear_failure()
  assert folder.state() == WindowStatus('stopped')
  folder.write_done(['--a'])
  assert folder.state() == WindowStatus('done') and folder.done()['flags'] == ['--a']


def test_a_training_of_another_command_counts(folder):
  folder.run.mkdir()
  with lock.acquire(folder.run):
    assert folder.state().name == 'running'
  assert folder.state().name == 'open'


def test_another_machine_is_known_by_its_beat(folder):
  beat_of(folder)
  assert folder.state() == WindowStatus('running', 'train, process 12 on far')
  beat_of(folder, age=window_folder.BEAT_LIMIT + 1)
  assert folder.state().name == 'failed'
  folder.wait_until_idle(pause=0)  # dead: may be taken over


def test_a_process_elsewhere_is_waited_for_until_it_is_known_to_live(folder, monkeypatch):
  beat_of(folder)

  def beats(_):
    (folder.path / 'beat.json').write_text(
      json.dumps({'at': 'eval', 'process': 12, 'host': 'far', 'when': ''})
    )

  monkeypatch.setattr(window_folder.time, 'sleep', beats)
  with pytest.raises(InputError, match='process 12 on far is at work there'):
    folder.wait_until_idle()

  beat_of(folder)
  monkeypatch.setattr(window_folder.time, 'sleep', lambda _: beat_of(folder, age=1e6))
  folder.wait_until_idle()


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"flags"'])
def test_a_damaged_mark_is_named(folder, content):
  (folder.path / 'done.json').write_text(content)
  with pytest.raises(InputError, match=r'done\.json: .*Remove it'):
    folder.state()
