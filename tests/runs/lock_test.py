"""Two processes and one run folder."""

import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_OWNER = """
import subprocess, sys, time
from pnerf_jax.runs import lock
with lock.acquire(sys.argv[1]) as descriptors:
  print('acquired', flush=True)
  {then}
"""
_START_CHILD = """
  child = subprocess.Popen(['sleep', '300'], pass_fds=descriptors, stdout=subprocess.DEVNULL)
  print(child.pid, flush=True)
  child.wait()
"""


def start(workdir, then='time.sleep(300)'):
  process = subprocess.Popen(
    [sys.executable, '-c', _OWNER.format(then=then), str(workdir)],
    cwd=_ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'acquired\n'
  return process


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_acquire_fails_until_the_owner_has_ended(tmp_path, number):
  with start(tmp_path) as process:
    assert lock.owner(tmp_path).startswith(f'process {process.pid} on ')
    with pytest.raises(
      InputError, match=rf'lock: process {process.pid} on .* is writing to this folder'
    ):
      with lock.acquire(tmp_path):
        pass
    process.send_signal(number)
    process.wait(timeout=60)
  assert lock.owner(tmp_path) == ''
  with lock.acquire(tmp_path):
    assert f'process {os.getpid()} on' in (tmp_path / 'lock').read_text()
    other = subprocess.run(
      [sys.executable, '-c', _OWNER.format(then='pass'), str(tmp_path)],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    assert other.returncode == 1 and f'process {os.getpid()} on' in other.stderr
  assert lock.owner(tmp_path) == ''


def test_a_child_with_the_descriptor_keeps_the_lock(tmp_path):
  with start(tmp_path, _START_CHILD.strip()) as process:
    child = int(process.stdout.readline())
    process.kill()
    process.wait(timeout=60)
    try:
      assert lock.owner(tmp_path) == f'process {process.pid} on {os.uname().nodename}'
      with pytest.raises(
        InputError, match=f'process {process.pid} on .* is writing to this folder'
      ):
        with lock.acquire(tmp_path):
          pass
    finally:
      os.kill(child, signal.SIGKILL)


def test_an_error_in_the_block_releases_the_lock(tmp_path):
  for _ in range(2):
    with pytest.raises(KeyError):
      with lock.acquire(tmp_path):
        raise KeyError


def test_acquire_warns_on_a_filesystem_without_locks(tmp_path, monkeypatch, caplog):
  def refuse(*_):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with lock.acquire(tmp_path) as descriptors:
    assert descriptors == () and lock.owner(tmp_path) == ''
  assert caplog.text.count('has no locks (No locks available)') == 1


def test_acquire_raises_other_errors(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(errno.EIO, 'Input/output error')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with pytest.raises(OSError, match='Input/output'):
    with lock.acquire(tmp_path):
      pass


def test_acquire_replaces_any_content_of_the_file(tmp_path):
  (tmp_path / 'lock').write_bytes(b'\xff' * 10_000)
  with lock.acquire(tmp_path):
    assert len((tmp_path / 'lock').read_text()) < 200
