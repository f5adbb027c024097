"""Declarations of all config fields, and the checks across fields, of both schemas."""

import dataclasses
import json
import re
import typing

import pytest

from pnerf_jax.config import schema, spec
from pnerf_jax.contrib.segmentation import config as segmentation
from pnerf_jax.errors import InputError

NAN, INF = float('nan'), float('inf')
SCHEMAS = pytest.mark.parametrize('module', [schema, segmentation], ids=['field', 'pspnet'])


@SCHEMAS
def test_declarations_are_consistent(module):
  for group in spec.groups(module.Config).values():
    types = typing.get_type_hints(group)
    for field in dataclasses.fields(group):
      annotation = typing.get_origin(types[field.name]) or types[field.name]
      assert type(field.default) is annotation, field.name
      assert field.metadata['spec'].accepts(field.default), field.name
      assert re.fullmatch(r'\S.*[^.\s]', field.metadata['meaning']), field.name


@SCHEMAS
def test_every_field_rejects_other_types_and_values_out_of_range(module):
  config = module.default_config().to_dict()
  for name, field in spec.fields(module.Config):
    group, leaf = name.split('.')
    good = field.default
    bad = [None, {}, object(), NAN, INF, -INF, (NAN,), ({},), [1.0, INF, 2.0]]
    bad += ['a\0'] if isinstance(good, str) else ['many']
    bad += [1, 0] if isinstance(good, bool) else [True]
    if type(good) in (int, float):
      bad += [1e300, -1e300, 10**40, -(10**40)]
    if type(good) is int:
      bad += [1.5, 10**12, -7]
    if isinstance(good, tuple):
      bad += [3, 'ab']
    for value in bad:
      config[group][leaf] = value
      with pytest.raises(InputError) as error:
        module.parse_config(config, 1)
      line = f'config.{name}: {value!r:.60} is not {field.metadata["spec"].description}.'
      assert str(error.value) == f'{line} Give --config.{name} such a value.'
    config[group][leaf] = good
  module.parse_config(config, 1)  # all is restored


@SCHEMAS
def test_config_survives_json(module):
  config = module.default_config()
  parsed = module.parse_config(config, 1)
  assert module.parse_config(json.loads(config.to_json()), 1) == parsed
  assert module.parse_config(dataclasses.asdict(parsed), 1) == parsed
  assert module.parse_config(parsed, 1) is parsed


CROSS_FIELD = [
  (schema, {'train.steps': 10001}, 1, 'train.steps: 10001 is not a multiple of .*steps_per_call'),
  (schema, {'train.log_every': 3}, 1, 'train.log_every: 3 is not a multiple'),
  (schema, {'train.checkpoint_every': 3}, 1, 'train.checkpoint_every: 3 is not a multiple'),
  (schema, {'train.preview_every': 3}, 1, 'train.preview_every: 3 is not a multiple'),
  (schema, {}, 7, 'train.batch_rays: 8192 cannot be divided over 7 devices .* a multiple of 28.'),
  (schema, {'scene.far': 0.3}, 1, 'scene.near: 0.3 is not below config.scene.far .0.3.. Lower it'),
  (schema, {'scene.bounds': (0, 0, 0, 1, 0, 1)}, 1, 'scene.bounds: .*Put the lower corner first'),
  (schema, {'model.grid_min_cell': 5.0}, 1, 'model.grid_min_cell: 5.0 is above .* .4.0.. Lower'),
  (
    segmentation,
    {},
    7,
    'train.batch_size: 16 cannot be divided over 7 devices. Make it a multiple',
  ),
  (segmentation, {'train.scale_low': 9.0}, 1, 'train.scale_low: 9.0 is above .* .2.0.. Lower it'),
]


@pytest.mark.parametrize('module, changes, num_devices, message', CROSS_FIELD)
def test_contradictions_between_fields_are_errors(module, changes, num_devices, message):
  config = module.default_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(InputError, match=rf'^config\.{message}') as error:
    module.parse_config(config, num_devices)
  assert '\n' not in str(error.value)


def test_typed_config_is_checked_for_the_devices():
  parsed = schema.parse_config(schema.default_config(), 1)
  with pytest.raises(InputError, match='cannot be divided over 7 devices'):
    schema.parse_config(parsed, 7)


def test_devices_take_whole_pixels():
  config = schema.default_config()
  config.train.update(batch_rays=72, refine_fraction=0.5, refine_supersampling=3)
  schema.parse_config(config, 4)  # two pixels of nine rays each
  with pytest.raises(InputError, match='72 cannot be divided over 16 .* a multiple of 144'):
    schema.parse_config(config, 16)
  config.train.refine_fraction = 0.0
  schema.parse_config(config, 8)
