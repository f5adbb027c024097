"""RUN/config.json: the resolved config of a run, with absolute paths."""

import dataclasses
import json
import logging
import operator
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from pnerf_jax.config import spec
from pnerf_jax.config.schema import Config, parse_config
from pnerf_jax.data.files import read_json, write_bytes
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)

SCHEMA = 4  # increased when fields are renamed or change their meaning
_MAX_BYTES = 2**20


def to_json(config: Any) -> dict[str, Any]:
  """Return a config dataclass as JSON types."""
  return json.loads(json.dumps(dataclasses.asdict(config)))


def save_config(
  config: Any, workdir: pathlib.Path, *, extend: bool = False, also_same: Collection[str] = ()
) -> None:
  """Write RUN/config.json; an existing one must agree in what the parameters depend on.

  Paths are written absolute, so that the run can be used from any folder. Free fields (see
  spec.declare) may differ; their new values are kept.

  Args:
    config: a config dataclass.
    workdir: RUN.
    extend: config.train.steps may grow.
    also_same: free fields, 'group.field', that must agree too.

  Raises:
    InputError: the folder belongs to another config; the first differing field is named.
  """
  path, config = workdir / 'config.json', spec.absolute_paths(config)
  if path.exists():
    steps = check_resumable(config, workdir, extend=extend, also_same=also_same).train.steps
    if extend and steps < config.train.steps:
      _LOG.info(
        'config.train.steps grows from %d to %d: the learning rate and the stages are those of the'
        ' longer run from now on, so the result differs from that of %d steps without a break',
        *(steps, config.train.steps, config.train.steps),
      )
  content = json.dumps({'schema': SCHEMA, **to_json(config)}, indent=2).encode()
  if not path.exists() or path.read_bytes() != content:
    write_bytes(path, content)


def check_resumable(
  config: Any, workdir: pathlib.Path, *, extend: bool = True, also_same: Collection[str] = ()
) -> Any:
  """Return the config of RUN if a config agrees with it; else raise InputError.

  Args: as of save_config.
  """
  path = workdir / 'config.json'
  old = same = spec.parse(type(config), read_config(path), f'{path}: ')
  if extend and old.train.steps < config.train.steps:
    train = dataclasses.replace(old.train, steps=config.train.steps)
    same = dataclasses.replace(old, train=train)
  check_same(same, config, path, also_same)
  return old


def check_same(old: Any, new: Any, path: pathlib.Path, also_same: Collection[str] = ()) -> None:
  """Raise InputError if two configs differ in what the parameters depend on.

  Args:
    old: of the run, read from `path`.
    new: a config dataclass.
    path: RUN/config.json.
    also_same: free fields, 'group.field', that must agree too.
  """
  if difference := first_difference(old, new, also_same):
    name, before, now = difference
    grow = ' (steps may only grow)' if name == 'train.steps' else ''
    raise InputError(
      f'{path}: config.{name} is {before!r} there but {now!r} now{grow}. Use another folder, or'
      ' the same config to resume.'
    )


def first_difference(
  old: Any, new: Any, also_same: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
  """Return name and values of the first field that differs; None if there is none.

  Free fields may differ, but for those of `also_same` ('group.field').
  """
  old, new = spec.absolute_paths(old), spec.absolute_paths(new)
  for name, field in spec.fields(type(new)):
    before, now = (operator.attrgetter(name)(config) for config in (old, new))
    if before != now and (name in also_same or not field.metadata['free']):
      return name, before, now
  return None


def load_config(workdir: pathlib.Path, overrides: Mapping[str, Any] | None = None) -> Config:
  """Read the config of a run.

  Args:
    workdir: RUN.
    overrides: other values of free fields by 'group.field', e.g. {'data.root': '/data'}.

  Raises:
    InputError: there is no config, it is of another version, or a field is wrong.
  """
  path = workdir / 'config.json'
  config, free = read_config(path), spec.free_fields(Config)
  for name, value in (overrides or {}).items():
    if name not in free:
      raise InputError(
        f'--config.{name}: cannot be changed after training. These can: {", ".join(free)}.'
      )
    group, field = name.split('.')
    config.setdefault(group, {})[field] = value
  return parse_config(config, f'{path}: ')


def read_config(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Read the groups of a config.json of this version without checking their fields.

  Raises:
    InputError: the file is missing, damaged or of another version.
  """
  if not path.parent.is_dir():
    raise InputError(f'{path.parent}: no such folder. Name one that train wrote with --workdir.')
  hint = f'Is {path.parent} a workdir that train wrote? If so, copy it again or train in another.'
  found = read_json(path, _MAX_BYTES, hint)
  if not isinstance(found, dict):
    raise InputError(f'{path}: holds {found!r:.60}, not a config. {hint}')
  schema = found.pop('schema', 1)
  if schema != SCHEMA:
    raise InputError(
      f'{path}: config schema {schema}, expected {SCHEMA}: this run is of another version of'
      ' pnerf_jax. Train again in another --workdir.'
    )
  if not all(isinstance(group, dict) for group in found.values()):
    raise InputError(f'{path}: holds {found!r:.60}, not a config. {hint}')
  return found
