"""Runs a window: train, eval where there is truth, render, each as a process of its own.

A process of its own gives all its memory back, and what kills it does not kill the one that has to
write down why.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pnerf_jax.contrib.drives.manifest import WindowSpec
from pnerf_jax.contrib.drives.window_folder import BEAT_EVERY, WindowFolder
from pnerf_jax.data import kitti360
from pnerf_jax.data.files import read_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock

_LOG = logging.getLogger(__name__)
_INTERRUPTED = 130
_MAX_CONFIG = 2**20
_TAIL = 2**16  # bytes of the log in which the reason of a failure is looked for
_LONGEST = 300  # characters of a reason


def run_window(out: Path, entry: WindowSpec, flags: Sequence[str]) -> str:
  """Runs what is not finished of a window.

  Args:
    out: output root.
    entry: the window.
    flags: words that train gets for all windows.

  Returns:
    '' if the window is done now, else why not, in one line.

  Raises:
    InputError: another process is at work there, or it was done with other flags.
    KeyboardInterrupt: stopped; call again to go on.
  """
  folder, words = WindowFolder(Path(out, entry.name)), [*flags, *entry.flags()]
  done = folder.done()
  if done is not None:
    if done['flags'] != words:
      raise InputError(
        f'{folder.path}/done.json: was done with other flags ({done["flags"]}) than'
        f' {words}. Name another --out, or remove the folder.'
      )
    return ''
  folder.path.mkdir(parents=True, exist_ok=True)
  folder.wait_until_idle()
  with lock.acquire(folder.path) as held, _Beat(folder) as beat:
    folder.clear_failure()
    for name, command in _commands(folder, words):
      beat.at(name)
      reason = _call(folder, name, command, held)
      if reason:
        folder.write_failed(name, reason)
        return f'{name}: {reason}'
    # Only a training that is resumed reads it; of a thousand windows it would fill a disk.
    shutil.rmtree(folder.run / 'cache', ignore_errors=True)
    folder.write_done(words)
  return ''


def _commands(folder: WindowFolder, words: list[str]) -> Iterator[tuple[str, list[str]]]:
  """(name, words after `python -m pnerf_jax.NAME`), each asked for when those before are done."""
  yield 'train', [*words, f'--workdir={folder.run}']
  if _has_truth(folder.run / 'config.json'):
    yield 'eval', [f'--workdir={folder.run}']
  yield 'render', [f'--workdir={folder.run}', f'--out={folder.labels}']


def _has_truth(path: Path) -> bool:
  """Whether a frame of the trained window has a true semantic map. path: RUN/config.json."""
  config = json.loads(read_bytes(path, _MAX_CONFIG, 'Remove the run to train anew.'))
  data = config['data']
  folder = kitti360.truth_folder(
    data['root'], data['sequence'], config['eval']['camera'], 'semantic'
  )
  span = range(data['start'], data['start'] + data['frames'])
  return any(frame in span for frame in kitti360.frames_in(folder))


def _call(folder: WindowFolder, name: str, words: list[str], held: int) -> str:
  """Runs one command to its end, its words into the log; returns why it failed, or ''."""
  with folder.log.open('ab') as log:
    log.write(f'--- {name}, {time.strftime("%Y-%m-%d %H:%M:%S")}\n'.encode())
    log.flush()
    start = log.tell()
    # It inherits the lock: as long as it lives the window is taken, even if this process is killed.
    # It has a session of its own, since what stops this process is handed on below, once.
    process = subprocess.Popen(
      [sys.executable, '-m', f'pnerf_jax.{name}', *words],
      stdout=log,
      stderr=log,
      stdin=subprocess.DEVNULL,
      pass_fds=(held,),
      start_new_session=True,
    )
    with _handed_on(process):
      code = process.wait()
  if code in (0, _INTERRUPTED):
    if code:
      raise KeyboardInterrupt
    return ''
  return _reason(folder.log, start, code)


@contextlib.contextmanager
def _handed_on(process: subprocess.Popen) -> Iterator[None]:
  """Ends the process as gently as this one is asked to end: training saves first."""
  try:
    yield
  except KeyboardInterrupt:
    process.send_signal(signal.SIGTERM)
    process.wait()
    raise
  except BaseException:
    process.kill()
    process.wait()
    raise


def _reason(log: Path, start: int, code: int) -> str:
  """Why a command failed, in one line: its own error, or the last thing that it said."""
  with log.open('rb') as file:
    file.seek(max(start, file.seek(0, os.SEEK_END) - _TAIL))
    lines = file.read().decode('utf-8', 'replace').replace('\r', '\n').splitlines()
  lines = [line.strip() for line in lines if line.strip()]
  errors = [line for line in lines if line.startswith('error: ')]
  last = (errors or lines or ['it said nothing'])[-1].removeprefix('error: ')[:_LONGEST]
  if code < 0:
    killed = f'killed by {signal.Signals(-code).name}'
    if -code == signal.SIGKILL:
      killed += ' (out of memory?)'
    return f'{killed}; last: {last}'
  return last


class _Beat:
  """Writes the beat of a window until the block is left, however it is left."""

  def __init__(self, folder: WindowFolder):
    self._folder, self._at = folder, 'start'
    self._left, self._writing = threading.Event(), threading.Lock()
    self._thread = threading.Thread(target=self._go_on, daemon=True)

  def at(self, name: str) -> None:
    """Tells which command runs."""
    with self._writing:
      self._at = name
      self._folder.heartbeat(name, os.getpid())

  def __enter__(self) -> '_Beat':
    self.at(self._at)
    self._thread.start()
    return self

  def __exit__(self, *exc) -> None:
    self._left.set()
    self._thread.join()
    self._folder.stop_heartbeat()

  def _go_on(self) -> None:
    while not self._left.wait(BEAT_EVERY):
      try:
        self.at(self._at)
      except OSError as e:  # a full disk; the command itself will tell
        _LOG.warning('%s: %s', self._folder.path, e)
