"""Field specs against accepted and rejected values; parsing of groups by a small schema."""

import dataclasses
import re

import ml_collections
import pytest

from pnerf_jax.config import spec
from pnerf_jax.errors import InputError

NAN, INF = float('nan'), float('inf')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
  """A group with one field of each kind of value."""

  count: int = spec.declare(3, spec.int_range(1, 8), 'a count')
  rate: float = spec.declare(0.5, spec.FRACTION, 'a rate')
  names: tuple[str, ...] = spec.declare(('a',), spec.TEXTS, 'names')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
  """A config of one group."""

  group: Group


@pytest.mark.parametrize(
  'field_spec, accepted, rejected',
  [
    (spec.int_range(2, 4), [2, 4], [1, 5, 2.0, True, '3', None]),
    (spec.int_range(0), [0, spec.MAX_INT], [-1, spec.MAX_INT + 1]),
    (spec.float_range(0, 1), [0, 1, 0.0, 0.5], [-1e-9, 1.1, NAN, False, '0.5']),
    (spec.float_range(0, 1, exclusive=True), [1e-300, 1], [0, 0.0, 1.1, INF]),
    (spec.choice('a', 'b'), ['a'], ['', 'c', 'ab', None]),
    (spec.choice(4, 8), [4, 8], [4.0, '4', 6]),
    (spec.coordinates(0, 3), [(), (1, -2.0, 3e7)], [(1, 2), (1, 2, NAN), (1, 2, 1e9), 1, 'abc']),
    (spec.TEXTS, [(), ('a', 'b'), ['a']], ['a', (1,), ('\0',)]),
    (spec.INTS, [(), (0, 7)], [(-1,), (1.0,), 7]),
    (spec.TEXT, ['', 'a b'], ['a\0', b'a', None]),
    (spec.FLAG, [True, False], [0, 1, 'True']),
  ],
)
def test_specs_accept_exactly_their_range(field_spec, accepted, rejected):
  assert [x for x in accepted if not field_spec.accepts(x)] == []
  assert [x for x in rejected if field_spec.accepts(x)] == []
  assert field_spec.description


def test_defaults_parse_to_the_typed_config():
  config = spec.defaults(Schema)
  assert isinstance(config, ml_collections.ConfigDict)
  assert spec.parse(Schema, config) == Schema(group=Group())
  assert spec.parse(Schema, Schema(group=Group())) == Schema(group=Group())
  config.group.names = ('b', 'c')  # mutable, unlike the typed config
  assert spec.parse(Schema, config).group.names == ('b', 'c')
  assert [name for name, _ in spec.fields(Schema)] == ['group.count', 'group.rate', 'group.names']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths:
  """A group with paths."""

  one: str = spec.declare('', spec.PATH, 'a path', free=True)
  many: str = spec.declare('', spec.PATHS, 'paths')
  text: str = spec.declare('', spec.TEXT, 'no path')


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathSchema:
  """A config of paths."""

  paths: Paths


def test_paths_become_absolute_and_nothing_else(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)

  def absolute(**values):
    return dataclasses.asdict(spec.absolute_paths(PathSchema(paths=Paths(**values))).paths)

  assert absolute(one='a,b', many='a,/b,gs://c', text='a') == {
    'one': f'{tmp_path}/a,b',
    'many': f'{tmp_path}/a,/b,gs://c',
    'text': 'a',
  }
  assert absolute(one='gs://a') == {'one': 'gs://a', 'many': '', 'text': ''}
  assert absolute(one='/a/../b')['one'] == '/a/../b'  # a link may be in between
  assert spec.free_fields(PathSchema) == ['paths.one']


def test_lists_become_tuples():
  config = {'group': {'count': 1, 'rate': 0, 'names': ['x', 'y']}}  # as read from JSON
  assert spec.parse(Schema, config).group.names == ('x', 'y')


@pytest.mark.parametrize(
  'change, message',
  [
    (
      {'group': {'count': 9}},
      'config.group.count: 9 is not an integer from 1 to 8.'
      ' Give --config.group.count such a value.',
    ),
    (
      {'group': {'speed': 2.0}},
      'config.group.speed: unknown config field (2.0). Remove it, or use configs/kitti360.py.',
    ),
    ({'other': {}}, 'config.other: unknown config group. Remove it, or use configs/kitti360.py.'),
    (
      {'group': None},
      'config.group: None is not a group of fields. Use those of configs/kitti360.py.',
    ),
  ],
)
def test_errors_name_field_value_and_remedy(change, message):
  config = spec.defaults(Schema).to_dict()
  for name, value in change.items():
    config[name] = {**config.get(name, {}), **value} if value else value
  with pytest.raises(InputError, match=f'^{re.escape(message)}$'):
    spec.parse(Schema, config)
  with pytest.raises(InputError, match=f'^RUN/config.json: {re.escape(message)}$'):
    spec.parse(Schema, config, source='RUN/config.json: ')


def test_absent_fields_and_groups_are_errors():
  config = spec.defaults(Schema).to_dict()
  del config['group']['rate']
  with pytest.raises(InputError, match='^config.group.rate: absent. Take it from EXAMPLE; .*again'):
    spec.parse(Schema, config, example='EXAMPLE')
  with pytest.raises(InputError, match='^config.group: None is not a group .* those of EXAMPLE.$'):
    spec.parse(Schema, {}, example='EXAMPLE')
