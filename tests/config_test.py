"""Every config builds, every field is commented, and every field is read somewhere."""
import pathlib
import re

import pytest

from configs import kitti360, street

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_VARIANTS = ('default', 'cpu', 'published', 'tiny')


def fields():
  config = kitti360.get_config()
  return [(group, field) for group in config for field in config[group]]


@pytest.mark.parametrize('variant', _VARIANTS)
def test_every_variant_has_the_same_fields(variant):
  default, config = kitti360.get_config(), kitti360.get_config(variant)
  assert {g: set(config[g]) for g in config} == {g: set(default[g]) for g in default}
  # What a variant changes keeps its type, so that flags parse alike.
  for group, field in fields():
    assert type(config[group][field]) is type(default[group][field]), (group, field)


def test_unknown_variant_is_refused():
  with pytest.raises(ValueError, match='gpu.*no such variant'):
    kitti360.get_config('gpu')


def test_street_config_differs_in_its_data_alone():
  ours, theirs = street.get_config(), kitti360.get_config('cpu')
  differing = [f'{g}.{f}' for g, f in fields() if ours[g][f] != theirs[g][f]]
  assert differing == ['data.root']


@pytest.mark.parametrize('group, field', fields())
def test_every_field_is_read_and_commented(group, field):
  source = '\n'.join(p.read_text() for p in (_ROOT / 'pnerf_jax').rglob('*.py'))
  if group == 'loss' and re.search(rf"LOSS_TERMS = \([^)]*'{field}'", source):
    pass  # read as a loss weight, by name
  else:
    owner = {'train': r'(train|settings)'}.get(group, group)
    assert re.search(rf'\b{owner}\.{field}\b', source) or re.search(
        rf"_override\(\w+, '{field}'", source), f'config.{group}.{field} is never read'
  text = (_ROOT / 'configs' / 'kitti360.py').read_text()
  alias = {'eval': 'evaluation'}.get(group, group)
  assert re.search(rf'^  {alias}\.{field} = .*# ', text, re.M), f'{group}.{field}: no comment'
