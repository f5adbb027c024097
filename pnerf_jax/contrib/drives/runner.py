"""Runs windows: train, eval if there is ground truth, render, each in a subprocess.

A subprocess returns all its memory, and what kills it does not kill the runner, which records the
reason.
"""

import contextlib
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

from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.contrib.drives.window_folder import (
  HEARTBEAT_INTERVAL,
  STATUSES,
  WindowFolder,
  WindowStatus,
)
from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock
from pnerf_jax.runs.config_file import read_config

_LOG = logging.getLogger(__name__)
_INTERRUPTED = 130
_LOG_TAIL = 2**16  # bytes at the end of the log that are searched for an error
_MAX_REASON = 300  # characters


def statuses(windows: Sequence[WindowSpec], out: Path) -> dict[WindowSpec, WindowStatus]:
  """Return the status of every window below the output root."""
  return {window: WindowFolder(Path(out, window.name)).status() for window in windows}


def status_lines(windows: Sequence[WindowSpec], out: Path) -> list[str]:
  """Return the number of windows per status, then a line per window that needs attention."""
  found = statuses(windows, out)
  counts = {name: sum(status.name == name for status in found.values()) for name in STATUSES}
  lines = [
    f'{len(found)} windows: ' + ', '.join(f'{count} {name}' for name, count in counts.items())
  ]
  for window, status in found.items():
    if status.name in ('running', 'failed', 'stopped'):
      detail = f': {status.detail}' if status.detail else ''
      lines.append(f'{window.index:6d}  {window.name}  {status.name}{detail}')
  return lines


def indices_with_status(windows: Sequence[WindowSpec], out: Path, names: Sequence[str]) -> str:
  """Return the indices of the windows with one of some statuses as array jobs expect them.

  Raises:
    InputError: no such status.
  """
  unknown = sorted(set(names) - set(STATUSES))
  if unknown:
    raise InputError(
      f'--indices={",".join(names)}: {unknown[0]} is not a status. Use some of'
      f' {", ".join(STATUSES)}.'
    )
  found = statuses(windows, out)
  indices = [window.index for window, status in found.items() if status.name in names]
  return format_ranges(indices, len(found)).replace(' ', '')


def run_windows(
  manifest: WindowManifest, windows: Sequence[WindowSpec], out: Path, failed_only: bool = False
) -> None:
  """Run windows one after the other; a failure does not stop the remaining ones.

  Args:
    manifest: the manifest with the flags of train.
    windows: windows of the manifest; complete ones are skipped.
    out: output root.
    failed_only: run only windows that failed before.

  Raises:
    InputError: some windows are not complete at the end.
  """
  reasons = {}
  for number, window in enumerate(windows, 1):
    status = WindowFolder(Path(out, window.name)).status().name
    if status == 'done' or (failed_only and status != 'failed'):
      continue
    _LOG.info('window %d (%d of %d): %s', window.index, number, len(windows), window.name)
    try:
      reason = run_window(Path(out), window, manifest.flags)
    except InputError as e:
      reason = str(e)
    if reason:
      _LOG.warning('window %d: %s', window.index, reason)
      reasons[window.index] = reason
  if reasons:
    index, reason = next(iter(reasons.items()))
    raise InputError(f'windows {format_ranges(reasons)} are not done. Window {index}: {reason}')


def run_window(out: Path, window: WindowSpec, flags: Sequence[str]) -> str:
  """Run the commands of one window, or resume them.

  Args:
    out: output root.
    window: the window.
    flags: flags of train, common to all windows.

  Returns:
    '' if the window is complete, otherwise the reason in one line.

  Raises:
    InputError: another process is running the window, or it was completed with other flags.
    KeyboardInterrupt: the command was interrupted; call again to resume.
  """
  folder, train_flags = WindowFolder(Path(out, window.name)), [*flags, *window.flags()]
  done = folder.read_done()
  if done is not None:
    if done['flags'] != train_flags:
      raise InputError(
        f'{folder.path}/done.json: completed with other flags ({done["flags"]}) than'
        f' {train_flags}. Use another --out, or delete the folder.'
      )
    return ''
  folder.path.mkdir(parents=True, exist_ok=True)
  folder.wait_until_idle()
  with lock.acquire(folder.path) as lock_fds, _Heartbeat(folder) as heartbeat:
    folder.clear_failure()
    for name, arguments in _commands(folder, train_flags):
      heartbeat.set_command(name)
      reason = _run_command(folder, name, arguments, lock_fds)
      if reason:
        folder.write_failure(name, reason)
        return f'{name}: {reason}'
    # Only a resumed training reads the cache; those of a thousand windows would fill a disk.
    shutil.rmtree(folder.run / 'cache', ignore_errors=True)
    folder.write_done(train_flags)
  return ''


def _commands(folder: WindowFolder, train_flags: list[str]) -> Iterator[tuple[str, list[str]]]:
  """Yield (binary, arguments) of every command after the previous ones are done."""
  yield 'train', [*train_flags, f'--workdir={folder.run}']
  if _has_ground_truth(folder.run / 'config.json'):
    yield 'eval', [f'--workdir={folder.run}']
  yield 'render', [f'--workdir={folder.run}', f'--out={folder.labels}']


def _has_ground_truth(path: Path) -> bool:
  """Return whether a frame of the window of RUN/config.json has a semantic ground truth."""
  config = read_config(path)
  data = config['data']
  folder = kitti360.truth_folder(
    data['root'], data['sequence'], config['eval']['camera'], 'semantic'
  )
  frames = range(data['start'], data['start'] + data['frames'])
  return any(frame in frames for frame in kitti360.frames_in(folder))


def _run_command(
  folder: WindowFolder, name: str, arguments: list[str], lock_fds: tuple[int, ...]
) -> str:
  """Run one command with its output appended to the log; return why it failed, or ''."""
  with folder.log.open('ab') as log:
    log.write(f'--- {name}, {time.strftime("%Y-%m-%d %H:%M:%S")}\n'.encode())
    log.flush()
    start = log.tell()
    # The subprocess inherits the lock: the window stays locked while it lives, even if this process
    # is killed. A session of its own, because signals to this process are forwarded once, below.
    process = subprocess.Popen(
      [sys.executable, '-m', f'pnerf_jax.{name}', *arguments],
      stdout=log,
      stderr=log,
      stdin=subprocess.DEVNULL,
      pass_fds=lock_fds,
      start_new_session=True,
    )
    with _forward_interrupt(process):
      code = process.wait()
  if code == _INTERRUPTED:
    raise KeyboardInterrupt
  return _failure_reason(folder.log, start, code) if code else ''


@contextlib.contextmanager
def _forward_interrupt(process: subprocess.Popen) -> Iterator[None]:
  """Forward an interrupt as SIGTERM, so that training saves; kill the process on other errors."""
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


def _failure_reason(log: Path, start: int, code: int) -> str:
  """Return the error line of a command, or else its last line of output.

  Args:
    log: the log file.
    start: byte at which the output of the command starts.
    code: exit code of the command.
  """
  with log.open('rb') as file:
    file.seek(max(start, file.seek(0, os.SEEK_END) - _LOG_TAIL))
    lines = file.read().decode('utf-8', 'replace').replace('\r', '\n').splitlines()
  lines = [line.strip() for line in lines if line.strip()]
  errors = [line for line in lines if line.startswith('error: ')]
  last = (errors or lines or ['no output'])[-1].removeprefix('error: ')[:_MAX_REASON]
  if code >= 0:
    return last
  out_of_memory = ' (out of memory?)' if -code == signal.SIGKILL else ''
  return f'killed by {signal.Signals(-code).name}{out_of_memory}; last output: {last}'


class _Heartbeat:
  """A context that writes the heartbeat of a window in a background thread."""

  def __init__(self, folder: WindowFolder):
    self._folder, self._command = folder, 'start'
    self._stop, self._write_lock = threading.Event(), threading.Lock()
    self._thread = threading.Thread(target=self._loop, daemon=True)

  def set_command(self, name: str) -> None:
    """Record which command is running."""
    with self._write_lock:
      self._command = name
      self._folder.heartbeat(name, os.getpid())

  def __enter__(self) -> '_Heartbeat':
    self.set_command(self._command)
    self._thread.start()
    return self

  def __exit__(self, *exc) -> None:
    self._stop.set()
    self._thread.join()
    self._folder.stop_heartbeat()

  def _loop(self) -> None:
    while not self._stop.wait(HEARTBEAT_INTERVAL):
      try:
        self.set_command(self._command)
      except OSError as e:  # a full disk; the command reports it as well
        _LOG.warning('%s: %s', self._folder.path, e)
