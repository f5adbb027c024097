"""Field specifications, and the checks and defaults that follow from them.

A config is a dataclass of groups, and a group is a dataclass of fields made by `declare`. Nothing
else states what a field may hold: checks, defaults, command-line help and docs/configuration.md are
derived from these declarations.
"""

import dataclasses
import math
import numbers
import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import ml_collections

from pnerf_jax.errors import InputError

MAX_INT = 2**31 - 1  # what device counters hold
MAX_LENGTH = 1e8  # metres; world coordinates of KITTI-360 stay below 1e7

C = TypeVar('C')


@dataclasses.dataclass(frozen=True)
class FieldSpec:
  """The accepted values of a field.

  Attributes:
    description: the accepted values in English, e.g. 'an integer from 1 to 8'.
    accepts: returns whether a value is accepted.
  """

  description: str
  accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
  return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
  return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def int_range(low: int, high: int = MAX_INT) -> FieldSpec:
  """Return the spec of integers in [low, high]."""
  return FieldSpec(
    f'an integer from {low} to {high}', lambda value: _is_int(value) and low <= value <= high
  )


def float_range(low: float, high: float, exclusive: bool = False) -> FieldSpec:
  """Return the spec of finite numbers in [low, high], or in (low, high] if `exclusive`."""
  start = f'above {low:g} and up' if exclusive else f'from {low:g}'
  return FieldSpec(
    f'a number {start} to {high:g}',
    lambda value: (
      _is_number(value) and (low < value or (not exclusive and low == value)) and value <= high
    ),
  )


def choice(*options: Any) -> FieldSpec:
  """Return the spec of one of some values."""
  return FieldSpec(
    f'one of {options}',
    lambda value: any(type(value) is type(option) and value == option for option in options),
  )


def sequence_of(element: FieldSpec, description: str, lengths: tuple[int, ...] = ()) -> FieldSpec:
  """Return the spec of tuples of accepted elements, of any length or of one of `lengths`."""
  return FieldSpec(
    description,
    lambda value: (
      isinstance(value, (tuple, list))
      and all(element.accepts(x) for x in value)
      and (not lengths or len(value) in lengths)
    ),
  )


TEXT = FieldSpec('text', lambda value: isinstance(value, str) and '\0' not in value)
FLAG = FieldSpec('True or False', lambda value: isinstance(value, bool))
PATH, PATHS = dataclasses.replace(TEXT), dataclasses.replace(TEXT)  # PATHS: separated by commas
TEXTS = sequence_of(TEXT, 'a tuple of strings')
INTS = sequence_of(int_range(0), 'a tuple of integers from 0')
WEIGHT = float_range(0, 1e9)
FRACTION = float_range(0, 1)
LENGTH = float_range(0, MAX_LENGTH, exclusive=True)


def coordinates(*lengths: int) -> FieldSpec:
  """Return the spec of tuples of coordinates in metres, of one of `lengths`."""
  description = f'{max(lengths)} numbers of at most {MAX_LENGTH:g}'
  element = float_range(-MAX_LENGTH, MAX_LENGTH)
  return sequence_of(element, description + (' or ()' if 0 in lengths else ''), lengths)


def declare(default: Any, spec: FieldSpec, meaning: str, *, free: bool = False) -> Any:
  """Declare a field of a config group.

  Args:
    default: the value in the default config.
    spec: the accepted values.
    meaning: one line for help and documentation, with the unit.
    free: the trained parameters do not depend on it, so it may be changed for an existing run.
  """
  metadata = {'spec': spec, 'meaning': meaning, 'free': free}
  return dataclasses.field(default=default, metadata=metadata)


def groups(schema: type) -> dict[str, type]:
  """Return the group dataclasses of a config dataclass by name."""
  hints = typing.get_type_hints(schema)
  return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def fields(schema: type) -> Iterator[tuple[str, dataclasses.Field]]:
  """Yield ('group.field', its declaration) of every field of a config dataclass."""
  for name, group in groups(schema).items():
    for field in dataclasses.fields(group):
      yield f'{name}.{field.name}', field


def defaults(schema: type) -> ml_collections.ConfigDict:
  """Return the default config, mutable, in the form that `--config` files return."""
  return ml_collections.ConfigDict(
    {
      name: {field.name: field.default for field in dataclasses.fields(group)}
      for name, group in groups(schema).items()
    }
  )


def absolute_paths(config: Any) -> Any:
  """Return a config with the paths of this machine made absolute; addresses (gs://…) are kept."""

  def absolute(value: Any, declared: FieldSpec) -> Any:
    if declared is PATHS:
      return ','.join(absolute(part, PATH) for part in value.split(','))
    is_path = declared is PATH and value and '://' not in value
    return str(pathlib.Path(value).absolute()) if is_path else value

  def with_absolute(group: Any) -> Any:
    declared = {field.name: field.metadata['spec'] for field in dataclasses.fields(group)}
    return dataclasses.replace(
      group, **{name: absolute(getattr(group, name), spec) for name, spec in declared.items()}
    )

  return dataclasses.replace(
    config, **{name: with_absolute(getattr(config, name)) for name in groups(type(config))}
  )


def free_fields(schema: type) -> list[str]:
  """Return 'group.field' of the fields that may be changed for an existing run."""
  return [name for name, field in fields(schema) if field.metadata['free']]


def parse(
  schema: type[C],
  config: C | Mapping[str, Any],
  source: str = '',
  example: str = 'configs/kitti360.py',
) -> C:
  """Check every field of a config by itself and return the config typed.

  Args:
    schema: the config dataclass.
    config: groups of fields, e.g. a ConfigDict or the contents of RUN/config.json.
    source: 'FILE: ' if the config was read from a file.
    example: the config file named in the remedy.

  Raises:
    InputError: a group or field is unknown, absent, of the wrong type or out of range.
  """
  if isinstance(config, schema):
    return config
  assert isinstance(config, Mapping | ml_collections.ConfigDict), type(config)
  known = groups(schema)
  for name in config:
    if name not in known:
      raise InputError(f'{source}config.{name}: unknown config group. Remove it, or use {example}.')
  return schema(
    **{
      name: _parse_group(name, group, config.get(name), source, example)
      for name, group in known.items()
    }
  )


def _parse_group(name: str, group: type, values: Any, source: str, example: str) -> Any:
  """Check the fields of one group; return the group typed."""
  if not hasattr(values, 'items'):
    raise InputError(
      f'{source}config.{name}: {values!r:.60} is not a group of fields. Use those of {example}.'
    )
  declared = {field.name: field.metadata['spec'] for field in dataclasses.fields(group)}
  for field, value in values.items():
    if field not in declared:
      raise InputError(
        f'{source}config.{name}.{field}: unknown config field ({value!r:.60}). Remove it, or use'
        f' {example}.'
      )
  for field, spec in declared.items():
    if field not in values:
      raise InputError(
        f'{source}config.{name}.{field}: absent. Take it from {example}; a run of another version'
        ' must be trained again.'
      )
    if not spec.accepts(values[field]):
      raise InputError(
        f'{source}config.{name}.{field}: {values[field]!r:.60} is not {spec.description}.'
        f' Give --config.{name}.{field} such a value.'
      )
  return group(
    **{field: tuple(value) if isinstance(value, list) else value for field, value in values.items()}
  )
