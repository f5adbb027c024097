"""Tests of the import of released weights: reference outputs, and runs of a tiny street."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.release import torch_file, weights
from pnerf_jax.errors import InputError
from pnerf_jax.fields.paper_field import PaperField
from pnerf_jax.rendering.scene import init_params
from pnerf_jax.runs import lock, trained_run
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.training import field_task

_SHAPES = {  # of the released network
  'pts_linears.0': (256, 93),
  **{f'pts_linears.{i}': (256, 256) for i in (1, 2, 3, 4, 6, 7)},
  'pts_linears.5': (256, 349),
  'alpha_linear': (1, 256),
  'feature_linear': (256, 256),
  'rgb_linears.0': (128, 283),
  'rgb_linear': (3, 128),
  **{f'semantic_linears.{i}': (256, 256) for i in range(4)},
  'semantic_output1': (128, 256),
  'semantic_output2': (50, 128),
}


@pytest.fixture
def tensors(monkeypatch):
  """The state dict of random weights that the reader returns; tests may change it."""
  rng = np.random.default_rng(0)
  state = {}
  for layer, shape in _SHAPES.items():
    state[f'nerf_0.{layer}.weight'] = rng.normal(0, 0.1, shape).astype(np.float32)
    state[f'nerf_0.{layer}.bias'] = rng.normal(0, 0.1, shape[:1]).astype(np.float32)
  state['nerf_0.alpha_linear.bias'][:] = 10.0  # density everywhere
  monkeypatch.setattr(torch_file, 'read_tensors', lambda path, key: dict(state))
  return state


def test_released_network_reproduces_the_reference_outputs(shared):
  golden = shared / 'golden'
  if not golden.is_dir():
    pytest.skip(f'{golden} is absent')
  params = weights.read_params(golden / 'latest.pth')
  numbers = np.load(golden / 'published_network.npz')
  raw = PaperField(scale=1.0, class_ids=(23,)).apply(
    {'params': params}, numbers['points'], numbers['directions'], method='raw'
  )
  want = numbers['raw_train']
  assert np.max(np.abs(raw - want) / np.abs(want).max(axis=0)) < 1e-5
  # Exactly the parameters of the field.
  initial = init_params(PaperField(scale=1.0, class_ids=(23,)), jax.random.key(0))
  assert jax.tree.map(np.shape, initial) == jax.tree.map(np.shape, params)


def test_read_params_transposes_weights(tensors):
  params = weights.read_params('latest.pth')
  assert len(jax.tree.leaves(params)) == len(tensors) == 36
  np.testing.assert_array_equal(
    params['pts_linears_5']['kernel'], tensors['nerf_0.pts_linears.5.weight'].T
  )
  np.testing.assert_array_equal(
    params['semantic_output2']['bias'], tensors['nerf_0.semantic_output2.bias']
  )


@pytest.mark.parametrize(
  'name, value, message',
  [
    ('nerf_0.alpha_linear.bias', None, 'lacks nerf_0.alpha_linear.bias'),
    (
      'nerf_0.pts_linears.0.weight',
      np.zeros((256, 63), np.float32),
      r'pts_linears.0.weight is float32 \(256, 63\), expected float32 \(256, 93\)',
    ),
    ('nerf_0.rgb_linear.bias', np.zeros(3, np.int64), r'rgb_linear.bias is int64 \(3,\)'),
    ('nerf_0.rgb_linear.bias', np.array([0, np.nan, 0], np.float32), 'bias is not finite'),
    ('nerf_0.scene_code', np.zeros(4, np.float32), 'network lacks: nerf_0.scene_code'),
  ],
)
def test_read_params_refuses_unexpected_tensors(tensors, name, value, message):
  tensors[name] = value
  if value is None:
    del tensors[name]
  with pytest.raises(InputError, match=f'latest.pth: .*{message}.* Use '):
    weights.read_params('latest.pth')


def test_make_run_refuses_another_form(config, tmp_path):
  ours = dataclasses.replace(config, loss=dataclasses.replace(config.loss, form='default'))
  with pytest.raises(InputError, match=r"config.loss.form: 'default'.*:paper"):
    weights.make_run(ours, tmp_path, tmp_path / 'latest.pth')


@pytest.fixture
def config(street):
  config = configs.get_config('paper')
  config.data.root = str(street)
  config.data.update(cameras=('image_00',), frames=1)
  config.data.image_scale = 0.0
  config.scene.center = (1000.0, 4000.0, 115.0)
  config.scene.far = 200.0
  config.scene.max_intervals_per_ray = 2
  config.model.num_samples = config.model.num_render_samples = 6
  config.eval.chunk_rays = 512
  config.train.update(
    steps=1, batch_rays=8, steps_per_call=1, log_every=1, checkpoint_every=1, preview_every=1
  )
  return parse_config(config)


@pytest.mark.slow
def test_a_run_is_evaluated_and_trained(config, tensors, tmp_path, monkeypatch):
  monkeypatch.setattr(field_task.FieldTask, 'write_preview', lambda *_: None)  # seconds
  weights.make_run(config, tmp_path, tmp_path / 'latest.pth')
  run = trained_run.load_trained_run(tmp_path, None)
  assert run.step == 0 and run.run.module.scale == 200.0
  jax.tree.map(np.testing.assert_array_equal, run.params, weights.read_params(''))
  evaluate(tmp_path)
  assert (tmp_path / 'eval' / 'metrics.json').is_file()
  with pytest.raises(InputError, match='checkpoints: exists already'):
    weights.make_run(config, tmp_path, tmp_path / 'latest.pth')
  field_task.train(config, tmp_path)
  after = trained_run.load_trained_run(tmp_path, None)
  assert after.step == 1
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after.params, run.params)
  assert 0 < max(jax.tree.leaves(moved)) < 1e-3  # one step of Adam from the released weights


@pytest.mark.slow
def test_the_second_of_two_simultaneous_calls_is_refused(config, tensors, tmp_path, monkeypatch):
  monkeypatch.setattr(
    weights,
    'build_experiment',
    _call_first(
      weights.build_experiment, lambda: weights.make_run(config, tmp_path, tmp_path / 'latest.pth')
    ),
  )
  with pytest.raises(InputError, match='checkpoints: exists already'):  # the inner call came first
    weights.make_run(config, tmp_path, tmp_path / 'latest.pth')
  assert trained_run.load_trained_run(tmp_path, None).step == 0
  other = tmp_path / 'other'
  other.mkdir()
  with (
    lock.acquire(other),
    pytest.raises(InputError, match=r'lock: process \d+ .*another --workdir'),
  ):
    weights.make_run(config, other, tmp_path / 'latest.pth')
  assert [path.name for path in other.iterdir()] == ['lock']


def _call_first(function, call):
  """Wrap a function to make another call before its first result."""
  calls = [call]

  def wrapped(*args):
    if calls:
      calls.pop()()
    return function(*args)

  return wrapped


def test_centre_and_far_bound_are_required(config, tensors, tmp_path):
  for field, value in (('center', ()), ('far', 0.0)):
    scene = dataclasses.replace(config.scene, **{field: value})
    wrong = dataclasses.replace(config, scene=scene)
    message = 'config.scene.center, config.scene.far: .*docs/data_kitti360.md'
    with pytest.raises(InputError, match=message):
      weights.make_run(wrong, tmp_path / 'run', tmp_path / 'latest.pth')
  model = dataclasses.replace(config.model, field='hash_grid')
  wrong = dataclasses.replace(config, model=model)
  with pytest.raises(InputError, match="config.model.field: 'hash_grid'.*:paper"):
    weights.make_run(wrong, tmp_path / 'run', tmp_path / 'latest.pth')
  assert not (tmp_path / 'run').exists()
