"""The output folder of one window, and the status that its files indicate.

    OUT/SEQUENCE/FIRST_LAST/  run/            output of train and eval
                              labels/         output of render
                              log.txt         output of all commands
                              done.json       the window is complete; with the flags of train
                              failed.json     a command failed: its name and the reason
                              lock, heartbeat.json   a process is running, or was killed

The lock indicates whether that process is alive, on one machine and on all machines of a cluster
with a shared lock manager. Without one, the age of the heartbeat does.
"""

import dataclasses
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from pnerf_jax.config import spec
from pnerf_jax.config.schema import Config
from pnerf_jax.data import kitti360
from pnerf_jax.data.files import read_json, write_bytes
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.runs import lock
from pnerf_jax.runs.config_file import SCHEMA, first_difference, read_config
from pnerf_jax.runs.window_record import num_views

STATUSES = ('done', 'running', 'failed', 'stopped', 'pending')
HEARTBEAT_INTERVAL = 20.0  # seconds
HEARTBEAT_TIMEOUT = 180.0  # seconds without a heartbeat; the process on another machine is dead
_MAX_BYTES = 2**20
_HINT = 'It is replaced when the window is run again.'
_TYPES = {  # of the entries of the JSON files
  **dict.fromkeys(('command', 'host', 'reason', 'time'), str),
  **dict.fromkeys(('process', 'schema', 'seconds'), int),
  'flags': list,
}
_LOG_TAIL = 2**16  # bytes at the end of the log
# These fields may be changed after training, but the labels depend on them.
_OF_LABELS = ('eval.label_field', 'eval.confidence_coefficients')


@dataclasses.dataclass(frozen=True)
class WindowStatus:
  """The status of a window.

  Attributes:
    name: one of STATUSES.
    detail: the reason of a failure, or the running process and its progress; '' for other
      statuses.
  """

  name: str
  detail: str = ''


@dataclasses.dataclass(frozen=True)
class WindowFolder:
  """The output folder of one window.

  Attributes:
    path: OUT/SEQUENCE/FIRST_LAST.
  """

  path: Path

  @property
  def run(self) -> Path:
    """The folder of train and eval."""
    return self.path / 'run'

  @property
  def labels(self) -> Path:
    """The folder of render."""
    return self.path / 'labels'

  @property
  def log(self) -> Path:
    """The log file of all commands."""
    return self.path / 'log.txt'

  def status(self, config: Config | None = None) -> WindowStatus:
    """Return the current status; one done with another config, or with damaged files, failed."""
    try:
      return self._status(config)
    except InputError as e:  # one damaged file does not hide the other windows
      return WindowStatus('failed', str(e))

  def _status(self, config: Config | None) -> WindowStatus:
    if self.read_done() is not None:
      reason = self._changed_field(config) if config else ''
      return WindowStatus('failed', reason) if reason else WindowStatus('done')
    heartbeat = self._read('heartbeat', 'host', 'command', 'process')
    owner = lock.owner(self.path) or lock.owner(self.run)
    if owner or (heartbeat is not None and self._is_alive_elsewhere(heartbeat)):
      if heartbeat is None:
        return WindowStatus('running', owner)
      process = owner or _process_of(heartbeat)
      progress = [line for line in [self.last_line()] if line and not line.startswith('---')]
      return WindowStatus('running', ', '.join([f'{heartbeat["command"]}', process, *progress]))
    if heartbeat is not None:
      process = _process_of(heartbeat)
      return WindowStatus(
        'failed', f'{heartbeat["command"]}: {process} exited without an error message (killed?)'
      )
    failure = self._read('failed', 'command', 'reason')
    if failure is not None:
      return WindowStatus('failed', f'{failure["command"]}: {failure["reason"]}')
    return WindowStatus('stopped' if self.log.exists() else 'pending')

  def read_done(self) -> dict[str, Any] | None:
    """Return the contents of done.json, None if the window is not complete.

    Raises:
      InputError: the file is damaged, or the window was completed by another version.
    """
    content = self._read('done', 'flags')
    if content is not None and content.get('schema') != SCHEMA:
      raise InputError(
        f'{self.path}: was done by another version of pnerf_jax. Run the windows into another'
        ' folder.'
      )
    return content

  def is_done(self) -> bool:
    """Return whether the window is complete; with a damaged done.json it is not.

    Raises:
      InputError: the window was completed by another version.
    """
    try:
      self._read('done', 'flags')
    except InputError:
      return False
    return self.read_done() is not None

  def _changed_field(self, config: Config) -> str:
    """Return how the labels' config differs from another one; '' if it does not."""
    path = self.run / 'config.json'
    try:
      old = spec.parse(Config, read_config(path), f'{path}: ')
    except InputError:
      return f'{path}: is not a config of this version. Run the windows into another folder.'
    difference = first_difference(old, config, _OF_LABELS)
    if difference is None:
      return ''
    name, before, now = difference
    return (
      f'was done with other flags: config.{name} is {before!r} in {path}, but {now!r} in the'
      ' window manifest. Run the windows into another folder, or correct the manifest.'
    )

  def labels_are_foreign(self) -> bool:
    """Return whether labels/ holds images that are not known to be of the run's last step."""
    if not self.labels.is_dir():
      return False
    try:
      views = export.read_views(self.labels)
      steps = read_config(self.run / 'config.json').get('train', {}).get('steps')
    except InputError:
      return True
    return views is None or views.get('step') != steps

  def damaged_labels(self) -> list[str]:
    """Return a line on views.json, or on every image whose labels are absent or damaged."""
    path = self.labels / 'views.json'
    try:
      views = export.read_views(self.labels) or {}
    except InputError as e:
      return [without_remedy(e)]
    if not views:
      return [f'{path}: no such file.']
    expected = num_views(self.run)
    if expected is not None and len(views['views']) != expected:
      return [f'{path}: has {len(views["views"])} views, expected {expected}.']

    def problem(key: tuple[str, int], view: dict[str, Any]) -> str:
      """Return a line on the first damaged image of a view, '' if there is none."""
      name = f'{kitti360.frame_name(key[1])}.png'
      paths = {kind: self.labels / key[0] / kind / name for kind in export.KINDS}
      try:
        export.check_images(paths, (view['width'], view['height']))
      except InputError as e:
        return without_remedy(e)
      return ''

    return [line for line in map_threads(problem, *zip(*views['views'].items())) if line]

  def log_lines(self, start: int = 0) -> list[str]:
    """Return the last lines of the log, from a byte on, with the latest state of progress bars."""
    if not self.log.is_file():  # opening a pipe would wait
      return []
    with self.log.open('rb') as file:
      file.seek(max(start, file.seek(0, os.SEEK_END) - _LOG_TAIL))
      text = file.read().decode('utf-8', 'replace')
    return [line.strip() for line in text.replace('\r', '\n').splitlines() if line.strip()]

  def last_line(self) -> str:
    """Return the last line of the log, '' if there is none."""
    return (self.log_lines() or [''])[-1]

  def write_done(self, flags: list[str], seconds: float = 0.0) -> None:
    """Mark the window as complete, trained with these flags; seconds: of the last process."""
    self._write(
      'done', flags=flags, schema=SCHEMA, seconds=round(seconds), host=socket.gethostname()
    )

  def write_failure(self, command: str, reason: str) -> None:
    """Mark the window as failed, for a reason of one line."""
    self._write('failed', command=command, reason=reason)

  def clear_failure(self) -> None:
    """Remove the mark of a failure."""
    (self.path / 'failed.json').unlink(missing_ok=True)

  def heartbeat(self, command: str, process: int) -> None:
    """Record that a process of this machine runs a command now."""
    self._write('heartbeat', command=command, process=process, host=socket.gethostname())

  def stop_heartbeat(self) -> None:
    """Record that no process is running."""
    (self.path / 'heartbeat.json').unlink(missing_ok=True)

  def wait_until_idle(self, pause: float = 5.0) -> None:
    """Return when no process of a machine without shared locks can be running.

    A process with a recent heartbeat either sends another one (it is alive) or times out.

    Args:
      pause: seconds between two looks at the heartbeat.

    Raises:
      InputError: the process is alive.
    """
    first = self._read_heartbeat()
    while True:
      heartbeat = self._read_heartbeat()
      if heartbeat is None or not self._is_alive_elsewhere(heartbeat):
        return
      if heartbeat != first:
        raise InputError(
          f'{self.path}: {_process_of(heartbeat)} is running this window. Wait until it ends.'
        )
      time.sleep(pause)

  def _read_heartbeat(self) -> dict[str, Any] | None:
    """Return the heartbeat; None also if it is damaged, since a live process replaces it."""
    try:
      return self._read('heartbeat', 'host', 'command', 'process')
    except InputError:
      return None

  def _is_alive_elsewhere(self, heartbeat: dict[str, Any]) -> bool:
    """Return whether a heartbeat is recent and of another machine; on this one the lock counts."""
    if heartbeat['host'] == socket.gethostname():
      return False
    try:
      age = time.time() - (self.path / 'heartbeat.json').stat().st_mtime
    except FileNotFoundError:
      return False
    return age < HEARTBEAT_TIMEOUT

  def _write(self, name: str, **content: Any) -> None:
    """Write a JSON file with the current time."""
    content['time'] = time.strftime('%Y-%m-%d %H:%M:%S %z')
    write_bytes(self.path / f'{name}.json', json.dumps(content, indent=1).encode())

  def _read(self, name: str, *required: str) -> dict[str, Any] | None:
    """Read a JSON file with required keys, None if it does not exist."""
    path = self.path / f'{name}.json'
    if not path.exists():
      return None
    try:
      content = read_json(path, _MAX_BYTES, _HINT)
    except InputError:
      if not path.exists():  # deleted by another process in the meantime
        return None
      raise
    if not isinstance(content, dict) or not content.keys() >= set(required):
      raise InputError(f'{path}: has no entry {" or no ".join(required)}. {_HINT}')
    for key in content.keys() & _TYPES.keys():
      if not isinstance(content[key], _TYPES[key]):
        raise InputError(f'{path}: {key} is {content[key]!r:.40}. {_HINT}')
    return content


def without_remedy(error: InputError) -> str:
  """Return the line of an error without its last sentence: rendering again is the remedy."""
  return f'{str(error).rpartition(". ")[0]}.'


def _process_of(heartbeat: dict[str, Any]) -> str:
  return f'process {heartbeat["process"]} on {heartbeat["host"]}'
