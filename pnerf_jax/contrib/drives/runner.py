"""Runs windows: train, eval, render, each in a subprocess.

A subprocess returns all its memory, and what kills it does not kill the runner, which records the
reason.
"""

import collections
import contextlib
import datetime
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec, quote
from pnerf_jax.contrib.drives.window_folder import (
  HEARTBEAT_INTERVAL,
  STATUSES,
  WindowFolder,
  WindowStatus,
)
from pnerf_jax.data import files
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock

_LOG = logging.getLogger(__name__)
_INTERRUPTED = 130
PROGRESS_INTERVAL = 10.0  # seconds
_MAX_REASON = 300  # characters


def statuses(
  manifest: WindowManifest, windows: Iterable[WindowSpec], out: Path
) -> dict[WindowSpec, WindowStatus]:
  """Return the status of windows of a manifest below the output root."""
  files.check_is_folder(Path(out), '--out')
  config = manifest.config()
  return {w: WindowFolder(Path(out, w.name)).status(w.config(config)) for w in windows}


def status_lines(manifest: WindowManifest, out: Path) -> list[str]:
  """Return the number of windows per status, then a line per window that needs attention."""
  found = statuses(manifest, manifest.windows, out)
  lines = [f'{len(found)} windows: {_counts(found.values())}']
  for window, status in found.items():
    if status.name in ('running', 'failed', 'stopped'):
      detail = f': {status.detail}' if status.detail else ''
      lines.append(f'{window.index:6d}  {quote(window.name)}  {status.name}{detail}')
  return lines


def _counts(found: Iterable[WindowStatus]) -> str:
  """Return the number of windows per status as text."""
  counts = collections.Counter(status.name for status in found)
  return ', '.join(f'{counts[name]} {name}' for name in STATUSES)


def indices_with_status(manifest: WindowManifest, out: Path, names: Sequence[str]) -> str:
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
  found = statuses(manifest, manifest.windows, out)
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
    InputError: a window was done with other flags, before any work; or some windows are not done at
      the end.
  """
  found = statuses(manifest, windows, out)
  changed = {
    w.index: found[w].detail
    for w in windows
    if found[w].name == 'failed' and WindowFolder(Path(out, w.name)).is_done()
  }
  _raise_not_done(changed)
  selected = [w for w in windows if not failed_only or found[w].name == 'failed']
  reasons, durations = {}, []
  for number, window in enumerate(selected, 1):
    start = time.monotonic()
    try:
      reason = _run_unless_done(Path(out), window, manifest.flags)
    except InputError as e:
      reason = str(e)
    if reason is None:
      continue
    durations.append(time.monotonic() - start)
    if reason:
      _LOG.warning('window %d: %s', window.index, reason)
      reasons[window.index] = reason
    left = [w for w in selected[number:] if found[w].name != 'done']
    _LOG.info(
      'window %d took %s; %d windows left%s',
      window.index,
      _duration(durations[-1]),
      len(left),
      f', about {_duration(len(left) * sum(durations) / len(durations))}' if left else '',
    )
  if not durations:
    what = 'retry: no window failed' if failed_only else 'do: all selected windows are done'
    _LOG.info('nothing to %s (%s)', what, _counts(found.values()))
  _raise_not_done(reasons)


def _raise_not_done(reasons: dict[int, str]) -> None:
  """Raise InputError with the reason of the first window, if there is one."""
  for index, reason in reasons.items():
    raise InputError(f'windows {format_ranges(reasons)} are not done. Window {index}: {reason}')


def _run_unless_done(out: Path, window: WindowSpec, flags: Sequence[str]) -> str | None:
  """Run a window as `run_window` does; None if it was done and its labels are undamaged."""
  folder = WindowFolder(Path(out, window.name))
  if not folder.is_done():
    _LOG.info('window %d: %s', window.index, quote(window.name))
  elif damaged := folder.damaged_labels():
    _LOG.warning(
      'window %d: rendering %d damaged images again: %s', window.index, len(damaged), damaged[0]
    )
  else:
    return None
  return run_window(out, window, flags)


def run_window(out: Path, window: WindowSpec, flags: Sequence[str]) -> str:
  """Run the commands of one window, or resume them; a window that is done is only rendered.

  Args:
    out: output root.
    window: the window.
    flags: flags of train, common to all windows.

  Returns:
    '' if the window is complete, otherwise the reason in one line.

  Raises:
    InputError: another process is running the window.
    KeyboardInterrupt: the command was interrupted; call again to resume.
  """
  folder, train_flags = WindowFolder(Path(out, window.name)), [*flags, *window.flags()]
  start = time.monotonic()
  folder.path.mkdir(parents=True, exist_ok=True)
  folder.wait_until_idle()
  with lock.acquire(folder.path, '--out') as lock_fds, _Heartbeat(folder) as heartbeat:
    folder.clear_failure()
    for name, arguments in _commands(folder, train_flags):
      heartbeat.set_command(name)
      reason = _run_command(folder, name, arguments, lock_fds)
      if reason:
        folder.write_failure(name, reason)
        return f'{name}: {reason}'
    # Only a resumed training reads the cache; those of a thousand windows would fill a disk.
    shutil.rmtree(folder.run / 'cache', ignore_errors=True)
    if not folder.is_done():
      folder.write_done(train_flags, time.monotonic() - start)
  return ''


def _commands(folder: WindowFolder, train_flags: list[str]) -> Iterator[tuple[str, list[str]]]:
  """Yield (binary, arguments) of every command after the previous ones are done."""
  if not folder.is_done():
    if not (folder.run / 'config.json').exists():  # labels of a run that was removed
      (folder.labels / 'views.json').unlink(missing_ok=True)
    yield 'train', [*train_flags, f'--workdir={folder.run}']
    yield 'eval', [f'--workdir={folder.run}']
  replace = ['--overwrite'] if folder.labels_are_foreign() else []
  yield 'render', [f'--workdir={folder.run}', f'--out={folder.labels}', *replace]


def _duration(seconds: float) -> str:
  """Return a duration as H:MM:SS."""
  return str(datetime.timedelta(seconds=round(seconds)))


def _run_command(
  folder: WindowFolder, name: str, arguments: list[str], lock_fds: tuple[int, ...]
) -> str:
  """Run one command with its output appended to the log; return why it failed, or ''."""
  files.check_output(folder.log)
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
      code = _wait(process, folder, name)
  if code == _INTERRUPTED:
    raise KeyboardInterrupt
  return _failure_reason(folder.log_lines(start), code) if code else ''


def _wait(process: subprocess.Popen, folder: WindowFolder, name: str) -> int:
  """Wait for a command and log its progress, the last line of its log; return its exit code."""
  _LOG.info('%s: log in %s', name, folder.log)
  shown = ''
  while True:
    try:
      return process.wait(timeout=PROGRESS_INTERVAL)
    except subprocess.TimeoutExpired:
      line = folder.last_line()
    if line != shown:
      shown = line
      _LOG.info('%s: %s', name, re.split(r'\d\d:\d\d:\d\d ', line)[-1])


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


def _failure_reason(lines: list[str], code: int) -> str:
  """Return the error line of a command, or else its last line of output.

  Args:
    lines: the output.
    code: exit code of the command.
  """
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
