"""Declarations of all config fields, and the checks across fields, of both schemas."""

import dataclasses
import json
import re
import typing

import pytest

from configs import kitti360
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
        module.parse_config(config)
      line = f'config.{name}: {value!r:.60} is not {field.metadata["spec"].description}.'
      assert str(error.value) == f'{line} Give --config.{name} such a value.'
    config[group][leaf] = good
  module.parse_config(config)  # all is restored


@SCHEMAS
def test_config_survives_json(module):
  config = module.default_config()
  parsed = module.parse_config(config)
  assert module.parse_config(json.loads(config.to_json())) == parsed
  assert module.parse_config(dataclasses.asdict(parsed)) == parsed
  assert module.parse_config(parsed) is parsed


CROSS_FIELD = [
  (schema, {'train.steps': 10001}, 'train.steps: 10001 is not a multiple of .*steps_per_call'),
  (schema, {'train.log_every': 3}, 'train.log_every: 3 is not a multiple'),
  (schema, {'train.checkpoint_every': 3}, 'train.checkpoint_every: 3 is not a multiple'),
  (schema, {'train.preview_every': 3}, 'train.preview_every: 3 is not a multiple'),
  (
    schema,
    {'train.batch_rays': 74, 'train.refine_supersampling': 3},
    'train.batch_rays: 74 are not whole pixels .* a multiple of 9.',
  ),
  (
    schema,
    dict.fromkeys([f'loss.{name}' for name in schema.LOSS_TERMS], 0.0),
    r'loss: the weights of all terms \(rgb, depth, .*semantic_3d\) are 0, .* --config.loss.rgb=1.',
  ),
  (schema, {'scene.far': 0.3}, 'scene.near: 0.3 is not below config.scene.far .0.3.. Lower it'),
  (schema, {'scene.bounds': (0, 0, 0, 1, 0, 1)}, 'scene.bounds: .*Put the lower corner first'),
  (schema, {'model.grid_min_cell': 5.0}, 'model.grid_min_cell: 5.0 is above .* .4.0.. Lower'),
  (
    schema,
    {'train.rays_from': 'image'},
    "train.importance_fraction: 0.5, but config.train.rays_from='image' draws uniformly.*=0.",
  ),
  (schema, {'loss.form': 'paper'}, "model.field: 'hash_grid', but .* needs 'paper'. .*:paper."),
  (segmentation, {'train.scale_low': 9.0}, 'train.scale_low: 9.0 is above .* .2.0.. Lower it'),
]


@pytest.mark.parametrize('module, changes, message', CROSS_FIELD)
def test_contradictions_between_fields_are_errors(module, changes, message):
  config = module.default_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(InputError, match=rf'^config\.{message}') as error:
    module.parse_config(config)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'train.refine_fraction': 0.5}, 'train.refine_fraction: 0.5, but .* needs 0, since'),
    ({'scene.unannotated_space': 'void'}, "scene.unannotated_space: 'void', but .* needs 'empty'"),
    ({'scene.max_intervals_per_ray': 74}, 'model.num_samples: 148, but .* needs more than 2 .*148'),
    ({'model.num_render_samples': 20}, 'model.num_render_samples: 20, but .* needs more than'),
  ],
)
def test_what_the_forms_of_the_paper_need(changes, message):
  config = kitti360.get_config('paper')
  assert schema.parse_config(config).loss.form == 'paper'
  config.update_from_flattened_dict(changes)
  with pytest.raises(InputError, match=rf'^config\.{message}'):
    schema.parse_config(config)


def test_a_typed_config_is_checked_across_fields():
  parsed = schema.parse_config(schema.default_config())
  train = dataclasses.replace(parsed.train, steps=7)
  with pytest.raises(InputError, match='config.train.steps: 7 is not a multiple'):
    schema.parse_config(dataclasses.replace(parsed, train=train))


def test_one_loss_term_or_an_unrefined_batch_of_any_size_is_enough():
  config = schema.default_config()
  config.loss.update(dict.fromkeys(schema.LOSS_TERMS, 0.0), semantic_3d=1e-9)
  config.train.update(batch_rays=73, refine_fraction=0.0)
  parsed = schema.parse_config(config)
  assert parsed.train.batch_rays == 73
  weights = {name: getattr(parsed.loss, name) for name in schema.LOSS_TERMS}
  assert {name: weight for name, weight in weights.items() if weight} == {'semantic_3d': 1e-9}


def test_free_fields_are_those_without_an_effect_on_the_parameters():
  free = spec.free_fields(schema.Config)
  assert {'data.root', 'data.derived_root', 'data.eval_frames', 'eval.num_panels'} < set(free)
  assert {name for name, _ in spec.fields(schema.Config) if name.startswith('eval.')} < set(free)
  for group in ('scene', 'model', 'loss', 'optim'):
    assert not [name for name in free if name.startswith(f'{group}.')]
  assert not {'data.start', 'data.cameras', 'train.steps', 'train.seed'} & set(free)
