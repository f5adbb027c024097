"""Version, date, command and machine of whatever writes a result; RUN/sessions.jsonl."""

import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from pnerf_jax import __version__
from pnerf_jax.data.files import json_lines, write_bytes

_TEXTS = ('version', 'date', 'command', 'machine')


def provenance(devices: Sequence[jax.Device] = ()) -> dict[str, str]:
  """Describe this process: version (of pnerf_jax), date, command and machine.

  Args:
    devices: those that it computes on; () = the CPU without JAX, which is then not initialised.
  """
  kind = f'{len(devices)} × {devices[0].device_kind}, ' if len(devices) else ''
  return {
    'version': __version__,
    'date': datetime.datetime.now().astimezone().isoformat(' ', 'seconds'),
    'command': shlex.join(sys.orig_argv),
    'machine': f'{kind}{os.cpu_count()} cores ({platform.machine()}, {platform.system()})',
  }


def add_session(workdir: Path, step: int, devices: Sequence[jax.Device]) -> None:
  """Append this process, which trains from `step` on, to RUN/sessions.jsonl."""
  path = Path(workdir, 'sessions.jsonl')
  before = path.read_bytes() if path.is_file() else b''
  line = json.dumps({'step': step, **provenance(devices)}) + '\n'
  write_bytes(path, before + line.encode())


def read_sessions(workdir: Path) -> list[dict[str, Any]]:
  """Return the processes that trained a run, without damaged lines; [] if they are unknown."""
  path = Path(workdir, 'sessions.jsonl')
  sessions, _ = json_lines(path.read_bytes() if path.is_file() else b'')
  return [s for s in sessions if all(isinstance(s.get(key), str) for key in _TEXTS)]
