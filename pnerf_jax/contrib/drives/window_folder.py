"""The folder of one window below the output root, and what state it is in.

    OUT/DRIVE/FIRST_LAST/   run/          what train and eval write
                            labels/       what render writes
                            log.txt       everything that the commands said
                            done.json     all is finished; with the words that train was given
                            failed.json   a command failed: which, and why in one line
                            lock, beat.json   a process is at work (or was, and was killed)

The lock tells on one machine, and on every machine of a cluster whose filesystem shares locks,
whether that process still lives. Where locks are not shared, the beat does: it is written anew
every BEAT_EVERY seconds.
"""

import dataclasses
import json
import socket
import time
from pathlib import Path

from pnerf_jax.data.files import read_bytes, write_bytes
from pnerf_jax.errors import InputError
from pnerf_jax.runs import lock

STATES = ('done', 'running', 'failed', 'stopped', 'open')
BEAT_EVERY = 20.0  # seconds
BEAT_LIMIT = 180.0  # seconds without a beat, after which a process on another machine is dead
_MAX_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class WindowStatus:
  """name: of STATES. about: the reason of a failure, or who is at work; '' for others."""

  name: str
  about: str = ''


@dataclasses.dataclass(frozen=True)
class WindowFolder:
  """path: OUT/DRIVE/FIRST_LAST."""

  path: Path

  @property
  def run(self) -> Path:
    """Folder of training and evaluation."""
    return self.path / 'run'

  @property
  def labels(self) -> Path:
    """Folder of the exported labels."""
    return self.path / 'labels'

  @property
  def log(self) -> Path:
    """Everything that the commands said."""
    return self.path / 'log.txt'

  def state(self) -> WindowStatus:
    """What is known of the window now."""
    if self.done() is not None:
      return WindowStatus('done')
    beat = _read(self.path / 'beat.json')
    holder = lock.owner(self.path) or lock.owner(self.run)
    if holder or (beat is not None and self._beats_elsewhere(beat)):
      return WindowStatus('running', f'{beat["at"]}, {holder or _whose(beat)}' if beat else holder)
    if beat is not None:
      return WindowStatus('failed', f'{beat["at"]}: {_whose(beat)} ended without a word; killed?')
    failed = _read(self.path / 'failed.json')
    if failed is not None:
      return WindowStatus('failed', f'{failed["at"]}: {failed["reason"]}')
    return WindowStatus('stopped' if self.log.exists() else 'open')

  def done(self) -> dict | None:
    """What done.json holds; None if the window is not done."""
    return _read(self.path / 'done.json')

  def write_done(self, flags: list[str]) -> None:
    """Marks the window as done with these words for train."""
    _write(self.path / 'done.json', {'flags': flags, 'finished': _now()})

  def write_failed(self, at: str, reason: str) -> None:
    """Marks the window as failed. at: the command. reason: one line."""
    _write(self.path / 'failed.json', {'at': at, 'reason': reason, 'when': _now()})

  def clear_failure(self) -> None:
    """Takes the mark of a failure away."""
    (self.path / 'failed.json').unlink(missing_ok=True)

  def heartbeat(self, at: str, process: int) -> None:
    """Tells that a process of this machine is at work. at: the command."""
    _write(
      self.path / 'beat.json',
      {'at': at, 'process': process, 'host': socket.gethostname(), 'when': _now()},
    )

  def stop_heartbeat(self) -> None:
    """Tells that none is."""
    (self.path / 'beat.json').unlink(missing_ok=True)

  def wait_until_idle(self, pause: float = 5.0) -> None:
    """Returns when nobody on a machine whose locks are not seen here can be at work.

    A process that beats is waited for until it beats again (it lives) or has missed its time.

    Raises:
      InputError: it lives.
    """
    first = _read(self.path / 'beat.json')
    while True:
      beat = _read(self.path / 'beat.json')
      if beat is None or not self._beats_elsewhere(beat):
        return
      if beat != first:
        raise InputError(f'{self.path}: {_whose(beat)} is at work there. Wait until it ends.')
      time.sleep(pause)

  def _beats_elsewhere(self, beat: dict) -> bool:
    """Whether the beat is fresh and from another machine; on this one the lock decides."""
    if beat['host'] == socket.gethostname():
      return False
    try:
      age = time.time() - (self.path / 'beat.json').stat().st_mtime
    except FileNotFoundError:
      return False
    return age < BEAT_LIMIT


def _whose(beat: dict) -> str:
  return f'process {beat["process"]} on {beat["host"]}'


def _now() -> str:
  return time.strftime('%Y-%m-%d %H:%M:%S %z')


def _write(path: Path, content: dict) -> None:
  write_bytes(path, json.dumps(content, indent=1).encode())


def _read(path: Path) -> dict | None:
  """A small JSON object; None where there is no such file.

  Raises:
    InputError: it is there and is none of ours.
  """
  if not path.exists():
    return None
  remedy = 'Remove it to run the window again.'
  try:
    content = json.loads(read_bytes(path, _MAX_BYTES, remedy))
  except ValueError as e:
    if isinstance(e, InputError):
      if not path.exists():  # gone in the meantime
        return None
      raise
    raise InputError(f'{path}: is damaged ({e}). {remedy}') from None
  needed = {'done': 'flags', 'failed': 'reason', 'beat': 'host'}[path.stem]
  if not isinstance(content, dict) or needed not in content:
    raise InputError(f'{path}: holds no {needed}. {remedy}')
  return content
