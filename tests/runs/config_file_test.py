"""config.json of a run: absolute paths, what may change, and what must agree."""

import dataclasses
import json
import logging

import pytest

from pnerf_jax.config.schema import default_config, parse_config
from pnerf_jax.errors import InputError
from pnerf_jax.runs.config_file import load_config, save_config


def make_config(**changes):
  config = default_config()
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in changes.items()})
  return parse_config(config)


def saved(workdir):
  return json.loads((workdir / 'config.json').read_text())


def test_paths_are_kept_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_config(make_config(data__root='a b/data', data__derived_root=''), tmp_path)
  assert saved(tmp_path)['data']['root'] == f'{tmp_path}/a b/data'
  assert saved(tmp_path)['data']['derived_root'] == ''
  monkeypatch.chdir('/')
  assert load_config(tmp_path).data.root == f'{tmp_path}/a b/data'


def test_free_fields_may_change_and_are_kept(tmp_path):
  save_config(make_config(data__root='/a'), tmp_path)
  save_config(make_config(data__root='/b', eval__num_panels=3, train__log_every=10), tmp_path)
  assert saved(tmp_path)['data']['root'] == '/b'
  assert saved(tmp_path)['eval']['num_panels'] == 3
  with pytest.raises(InputError, match=r"config.data.root is '/b' there but '/c' now. Use another"):
    save_config(make_config(data__root='/c'), tmp_path, also_same=['data.root'])


@pytest.mark.parametrize(
  'name, value', [('data.start', 3), ('scene.far', 9.0), ('loss.rgb', 2.0), ('train.seed', 1)]
)
def test_other_fields_must_agree(tmp_path, name, value):
  save_config(make_config(), tmp_path)
  before = (tmp_path / 'config.json').read_bytes()
  changed = make_config(**{name: value})
  with pytest.raises(InputError, match=rf'/config.json: config.{name} is .* but {value} now. Use'):
    save_config(changed, tmp_path, extend=True)
  assert (tmp_path / 'config.json').read_bytes() == before


def test_steps_may_only_grow_and_only_when_asked(tmp_path, caplog):
  save_config(make_config(train__steps=100), tmp_path)
  longer = make_config(train__steps=200)
  with pytest.raises(InputError, match='train.steps is 100 there but 200 now .steps may only grow'):
    save_config(longer, tmp_path)
  with caplog.at_level(logging.INFO, 'pnerf_jax'):
    save_config(longer, tmp_path, extend=True)
  assert 'config.train.steps grows from 100 to 200: the learning rate and the stages' in caplog.text
  assert saved(tmp_path)['train']['steps'] == 200
  with pytest.raises(InputError, match='train.steps is 200 there but 100 now .steps may only grow'):
    save_config(make_config(train__steps=100), tmp_path, extend=True)


def test_an_absent_field_is_named_as_absent(tmp_path):
  save_config(make_config(), tmp_path)
  content = saved(tmp_path)
  del content['loss']['rgb']
  (tmp_path / 'config.json').write_text(json.dumps(content))
  with pytest.raises(InputError, match='config.json: config.loss.rgb: absent. .*trained again'):
    save_config(make_config(), tmp_path)


def test_overrides_change_free_fields_alone(tmp_path):
  config = make_config(data__root='/a', eval__camera='image_01')
  save_config(config, tmp_path)
  found = load_config(tmp_path, {'data.root': '/b', 'data.eval_frames': [3, 4]})
  changed = dataclasses.replace(config.data, root='/b', eval_frames=(3, 4))
  assert found == dataclasses.replace(config, data=changed)
  for name in ('train.steps', 'scene.center', 'data.sequence', 'nope', 'data.nope'):
    with pytest.raises(InputError, match=rf'^--config.{name}: cannot be changed after training.'):
      load_config(tmp_path, {name: 1})
  with pytest.raises(InputError, match='config.eval.num_panels: -1 is not an integer from 0'):
    load_config(tmp_path, {'eval.num_panels': -1})
  assert saved(tmp_path)['data']['root'] == '/a'
