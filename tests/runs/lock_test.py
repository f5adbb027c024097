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
_HOLDER = """
import sys, time
from pnerf_jax.training import lock
with lock.acquire(sys.argv[1]):
  print('held', flush=True)
  {then}
"""


def start(workdir, then='time.sleep(300)'):
  process = subprocess.Popen(
    [sys.executable, '-c', _HOLDER.format(then=then), str(workdir)],
    cwd=_ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'held\n'
  return process


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_the_second_process_is_refused_until_the_first_is_gone(tmp_path, number):
  with start(tmp_path) as process:
    with pytest.raises(InputError, match=rf'lock: process {process.pid} on .* is training'):
      with lock.acquire(tmp_path):
        pass
    process.send_signal(number)
    process.wait(timeout=60)
  with lock.acquire(tmp_path):
    assert f'process {os.getpid()} on' in (tmp_path / 'lock').read_text()
    other = subprocess.run(
      [sys.executable, '-c', _HOLDER.format(then='pass'), str(tmp_path)],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    assert other.returncode == 1 and f'process {os.getpid()} on' in other.stderr


def test_an_error_lets_go(tmp_path):
  for _ in range(2):
    with pytest.raises(KeyError):
      with lock.acquire(tmp_path):
        raise KeyError


def test_a_filesystem_without_locks_is_told(tmp_path, monkeypatch, caplog):
  def refuse(*_):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with lock.acquire(tmp_path):
    pass
  assert 'has no locks (No locks available)' in caplog.text


def test_other_errors_are_not_swallowed(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(errno.EIO, 'Input/output error')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with pytest.raises(OSError, match='Input/output'):
    with lock.acquire(tmp_path):
      pass


def test_words_of_any_kind_in_the_file_do_no_harm(tmp_path):
  (tmp_path / 'lock').write_bytes(b'\xff' * 10_000)
  with lock.acquire(tmp_path):
    assert len((tmp_path / 'lock').read_text()) < 200
