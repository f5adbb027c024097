"""RUN/config.json: the resolved config of a run."""

import dataclasses
import json
import pathlib
from typing import Any

import jax

from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.data.files import read_json, write_bytes
from pnerf_jax.errors import InputError

SCHEMA = 2  # increased when fields are renamed or change their meaning
_MAX_BYTES = 2**20


def to_json(config: Any) -> dict[str, Any]:
  """Return a config dataclass as JSON types."""
  return json.loads(json.dumps(dataclasses.asdict(config)))


def save_config(config: Any, workdir: pathlib.Path) -> None:
  """Write RUN/config.json, or check that the existing one has the same values.

  Args:
    config: a config dataclass.
    workdir: RUN.

  Raises:
    InputError: the folder belongs to another config; the first differing field is named.
  """
  path = workdir / 'config.json'
  current = to_json(config)
  if not path.exists():
    write_bytes(path, json.dumps({'schema': SCHEMA, **current}, indent=2).encode())
    return
  saved = read_config(path)
  for group, fields in current.items():
    for field, value in fields.items():
      old = saved.get(group, {}).get(field, 'absent')
      if old != value:
        raise InputError(
          f'{path}: config.{group}.{field} is {old!r} there but {value!r} now. '
          'Use another folder, or the same config to resume.'
        )


def load_config(workdir: pathlib.Path) -> Config:
  """Read the config of a run.

  Raises:
    InputError: there is none, it is of another version, or a field is wrong.
  """
  path = workdir / 'config.json'
  return parse_config(read_config(path), jax.device_count(), f'{path}: ')


def read_config(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Read the groups of a config.json of this version without checking their fields.

  Raises:
    InputError: the file is missing, damaged or of another version.
  """
  found = read_json(
    path, _MAX_BYTES, f'Is {path.parent} a workdir that train wrote? If so, train again.'
  )
  if not isinstance(found, dict):
    raise InputError(f'{path}: holds {found!r:.60}, not a config. Remove the run and train again.')
  schema = found.pop('schema', 1)
  if schema != SCHEMA:
    raise InputError(
      f'{path}: config schema {schema}, expected {SCHEMA}: this run is of another version of'
      ' pnerf_jax. Train again in another --workdir.'
    )
  if not all(isinstance(group, dict) for group in found.values()):
    raise InputError(f'{path}: holds {found!r:.60}, not a config. Remove the run and train again.')
  return found
