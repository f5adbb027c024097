"""Every config builds, every field is commented, and every field is read somewhere."""

import pathlib
import re

import pytest

from configs import ablations, kitti360, street

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_VARIANTS = ('default', 'cpu', 'paper', 'tiny')


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


def test_street_config_differs_in_its_data_and_length_alone():
  ours, theirs = street.get_config(), kitti360.get_config('cpu')
  differing = [f'{g}.{f}' for g, f in fields() if ours[g][f] != theirs[g][f]]
  assert differing == ['data.root', 'train.steps']
  assert ours.train.steps < theirs.train.steps


@pytest.mark.parametrize(
  'variant, changes',
  [
    ('full', {}),
    ('no_fixed', {'loss.semantic_2d_fixed': 0.0}),
    ('no_2d', {'loss.semantic_2d': 0.0}),
    ('no_reach', {'loss.mask_unsupported_labels': False}),
    ('no_posterior', {'loss.posterior_weight_warmup': 0.0, 'loss.posterior_weight': 0.0}),
    ('no_3d', {'loss.semantic_3d': 0.0}),
    ('no_depth', {'loss.depth': 0.0}),
    ('fixed_only', {'loss.semantic_2d': 0.0, 'loss.semantic_3d': 0.0, 'eval.label_field': 'fixed'}),
    ('no_primitives', {'data.primitives': 'none', 'scene.unannotated_space': 'void'}),
    (
      'paper',
      {
        'model.field': 'paper',
        'optim.learning_rate': 5e-4,
        'optim.final_lr_fraction': 0.5,
        'optim.adam_eps': 1e-8,
      },
    ),
  ],
)
def test_ablations_change_what_they_say_and_nothing_else(variant, changes):
  ours, full = ablations.get_config(variant), kitti360.get_config('cpu')
  assert set(ours) == set(full)
  differing = {f'{g}.{f}': ours[g][f] for g, f in fields() if ours[g][f] != full[g][f]}
  assert differing == changes
  assert re.search(rf'^    {variant}  ', ablations.__doc__, re.M)


def test_every_ablation_is_tested_and_run():
  tested = test_ablations_change_what_they_say_and_nothing_else.pytestmark[0].args[1]
  assert {variant for variant, _ in tested} == set(ablations.VARIANTS)
  script = (_ROOT / 'launch' / 'ablate.sh').read_text()
  assert re.search(r'^every="([\w ]+)"', script, re.M).group(1).split() == list(ablations.VARIANTS)
  with pytest.raises(ValueError, match='no_sky.*no such variant'):
    ablations.get_config('no_sky')


@pytest.mark.parametrize('group, field', fields())
def test_every_field_is_read_and_commented(group, field):
  source = '\n'.join(p.read_text() for p in (_ROOT / 'pnerf_jax').rglob('*.py'))
  if group == 'loss' and re.search(rf"LOSS_TERMS = \([^)]*'{field}'", source):
    pass  # read as a loss weight, by name
  else:
    owner = {'train': '(train|settings)', 'eval': '(eval|evaluation)'}.get(group, group)
    assert re.search(rf'\b{owner}\.{field}\b', source) or re.search(
      rf"_override\(\w+, '{field}'", source
    ), f'config.{group}.{field} is never read'
  text = (_ROOT / 'configs' / 'kitti360.py').read_text()
  alias = {'eval': 'evaluation'}.get(group, group)
  assert re.search(rf'^  {alias}\.{field} = .*# ', text, re.M), f'{group}.{field}: no comment'
