"""Variants of the config files: they parse, and change exactly what they document."""

import ast
import pathlib
import re

import pytest

from configs import ablations, kitti360, pspnet, street, transforms
from pnerf_jax.config import schema, spec
from pnerf_jax.contrib.segmentation import config as segmentation

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_FIELD_VARIANTS = ('default', 'cpu', 'paper', 'tiny')
_ABLATIONS = {
  'full': {},
  'no_fixed': {'loss.semantic_2d_fixed': 0.0},
  'no_2d': {'loss.semantic_2d': 0.0},
  'no_reach': {'loss.mask_unsupported_labels': False},
  'no_posterior': {'loss.posterior_weight_warmup': 0.0, 'loss.posterior_weight': 0.0},
  'no_3d': {'loss.semantic_3d': 0.0},
  'no_depth': {'loss.depth': 0.0},
  'fixed_only': {
    'loss.semantic_2d': 0.0,
    'loss.semantic_3d': 0.0,
    'eval.label_field': 'fixed',
  },
  'no_primitives': {'data.primitives': 'none', 'scene.unannotated_space': 'void'},
  'paper': {
    'model.field': 'paper',
    'optim.learning_rate': 5e-4,
    'optim.final_lr_fraction': 0.5,
    'optim.adam_eps': 1e-8,
  },
}


def changes(config, base):
  """Return the fields of `config` that differ from `base`, flat."""
  return {
    f'{group}.{field}': value
    for group in config
    for field, value in config[group].items()
    if value != base[group][field]
  }


@pytest.mark.parametrize(
  'module, parse, variants',
  [
    (kitti360, schema.parse_config, _FIELD_VARIANTS),
    (street, schema.parse_config, _FIELD_VARIANTS),
    (transforms, schema.parse_config, _FIELD_VARIANTS),
    (ablations, schema.parse_config, ablations.VARIANTS),
    (pspnet, segmentation.parse_config, ('default', 'street', 'tiny')),
  ],
  ids=['kitti360', 'street', 'transforms', 'ablations', 'pspnet'],
)
def test_variants_parse(module, parse, variants):
  parse(module.get_config())  # without a variant
  default = kitti360.get_config() if parse is schema.parse_config else pspnet.get_config()
  for variant in variants:
    config = module.get_config(variant)
    parse(config)
    for name, value in changes(config, default).items():
      group, field = name.split('.')
      assert type(value) is type(default[group][field]), f'{variant}: flags of {name} parse alike'
  with pytest.raises(ValueError, match='gpu: no such variant'):
    module.get_config('gpu')


def test_street_differs_from_cpu_in_data_and_length():
  differing = changes(street.get_config(), kitti360.get_config('cpu'))
  assert set(differing) == {'data.root', 'train.steps'}
  assert differing['train.steps'] < kitti360.get_config('cpu').train.steps


def test_transforms_differs_in_its_source_and_takes_all_cameras():
  assert changes(transforms.get_config(), kitti360.get_config()) == {
    'data.source': 'transforms',
    'data.cameras': (),
  }


@pytest.mark.parametrize('variant', ablations.VARIANTS)
def test_ablation_changes_only_what_it_documents(variant):
  assert changes(ablations.get_config(variant), kitti360.get_config('cpu')) == _ABLATIONS[variant]


def test_ablations_are_documented_and_run_by_the_script():
  documented = re.findall(r'^    (\w+)  +\S', ablations.__doc__, re.M)
  script = (_ROOT / 'launch' / 'ablate.sh').read_text()
  run = re.search(r'^all="([\w ]+)"', script, re.M).group(1).split()
  assert documented == run == list(ablations.VARIANTS) == list(_ABLATIONS)


@pytest.mark.parametrize(
  'config, folders',
  [
    (schema.Config, ('pnerf_jax',)),
    (segmentation.Config, ('pnerf_jax/contrib/segmentation', 'pnerf_jax/training')),
  ],
  ids=['field', 'pspnet'],
)
def test_every_field_is_read(config, folders):
  declarations = {_ROOT / 'pnerf_jax/config/schema.py', pathlib.Path(segmentation.__file__)}
  read = set()
  for folder in folders:
    for path in set((_ROOT / folder).rglob('*.py')) - declarations:
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
          read.add(node.attr)
        elif isinstance(node, ast.Constant):  # loss weights are read by name
          read.add(node.value)
  assert [name for name, _ in spec.fields(config) if name.split('.')[1] not in read] == []
