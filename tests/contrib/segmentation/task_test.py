"""PSPNet by the one training machinery: learns, resumes bit by bit, fine-tunes, labels."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import kitti360 as fields
from configs import pspnet as configs
from pnerf_jax.contrib.preparation import prepare_labels
from pnerf_jax.contrib.segmentation import checkpoint, cityscapes, pspnet, task
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data import labels as table
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError, Interrupted
from pnerf_jax.runs import checkpoints
from pnerf_jax.training import train_state as states

_ROOT = pathlib.Path(__file__).resolve().parents[3]


def config_of(street, **train):
  config = configs.get_config('tiny')
  config.data.roots = str(street)
  config.train.update(train)
  return config


@pytest.fixture(scope='module')
def trained(street, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  task.train(config_of(street), workdir)
  return workdir


def state_in(workdir, config):
  saved = checkpoints.Checkpoints(workdir, read_only=True)
  segmenter = task.SegmenterTask(config)
  state = saved.restore(
    checkpoints.abstract(jax.eval_shape(segmenter.fresh_state), sharding.replicated(segmenter.mesh))
  )
  saved.close()
  return state


def test_a_run_folder_holds_what_the_fields_holds(trained, street):
  lines = [json.loads(line) for line in (trained / 'scalars.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [2, 4]
  for line in lines:
    assert {'loss', 'main', 'auxiliary', 'accuracy', 'learning_rate', 'crops_per_second'} <= set(
      line
    )
    assert line['loss'] == pytest.approx(line['main'] + 0.4 * line['auxiliary'], rel=1e-5)
  assert json.loads((trained / 'config.json').read_text())['data']['roots'] == str(street)
  assert (trained / 'checkpoints' / '4').is_dir() and list((trained / 'tensorboard').iterdir())
  picture = image_io.read_rgb(next((trained / 'previews' / '000004').glob('*.png')))
  photo = image_io.read_rgb(next(street.glob('data_2d_raw/*/image_00/data_rect/*.png')))
  assert picture.shape == (3 * photo.shape[0], *photo.shape[1:])  # photo, truth, answer
  np.testing.assert_array_equal(  # what is written for labelling is the last state
    np.concatenate([x.ravel() for x in jax.tree.leaves(checkpoint.read(trained)[1])]),
    np.concatenate(
      [
        np.asarray(x, np.float16).ravel().astype(np.float32)
        for x in jax.tree.leaves(state_in(trained, config_of(street)).params)
      ]
    ),
  )


def test_a_stopped_training_ends_bit_by_bit_as_an_undisturbed_one(
  trained, street, tmp_path, monkeypatch
):
  original = task.make_step

  def stopping(*args):
    step = original(*args)

    def once(*inner):
      os.kill(os.getpid(), signal.SIGTERM)
      return step(*inner)

    return once

  with monkeypatch.context() as patch:
    patch.setattr(task, 'make_step', stopping)
    with pytest.raises(Interrupted):
      task.train(config_of(street), tmp_path)
  assert int(state_in(tmp_path, config_of(street)).step) == 1
  task.train(config_of(street), tmp_path)
  one, two = (state_in(workdir, config_of(street)) for workdir in (trained, tmp_path))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert (tmp_path / 'pspnet.npz').read_bytes() == (trained / 'pspnet.npz').read_bytes()


def test_it_learns_what_is_sky_and_what_is_road(street, tmp_path):
  config = config_of(street, steps=150, log_every=50, checkpoint_every=150, preview_every=150)
  config.optim.learning_rate = 3e-3
  config.train.crop_height, config.train.crop_width = 30, 48
  task.train(config, tmp_path / 'run')
  lines = [
    json.loads(line) for line in (tmp_path / 'run' / 'scalars.jsonl').read_text().splitlines()
  ]
  assert lines[-1]['loss'] < 0.7 * lines[0]['loss']
  data = fields.get_config('tiny').data
  data.root, data.derived = str(street), str(tmp_path / 'derived')
  prepare_labels.prepare_labels(data, f'pspnet:{tmp_path / "run"}')
  right = []
  for path in (tmp_path / 'derived').rglob('semantic/*.png'):
    got = image_io.read_label(path)
    truth = image_io.read_label(
      street
      / path.relative_to(tmp_path / 'derived').as_posix().replace('pseudo_semantics', 'semantics')
    )
    assert set(np.unique(got)) <= set(cityscapes.IDS.tolist())
    easy = np.isin(truth, [table.SKY, table.BY_NAME['road'].id])
    right.append((got == truth)[easy].mean())
    sure = image_io.read_confidence(path.parent.with_name('confidence') / path.name)
    assert 1 / 19 < sure.min() and sure[got == truth].mean() > sure[got != truth].mean()
  assert len(right) == 4 and np.mean(right) > 0.85


def test_fine_tuning_starts_from_a_runs_weights(trained, street, tmp_path):
  config = config_of(street, steps=1, log_every=1, checkpoint_every=1, preview_every=1)
  config.model.init_from = str(trained)
  folder = next(street.glob('data_2d_raw/*/image_00/data_rect'))
  config.data.frames = (kitti360.frames_in(folder)[0],)
  segmenter = task.SegmenterTask(config)
  jax.tree.map(
    np.testing.assert_array_equal, segmenter.fresh_state().params, checkpoint.read(trained)[1]
  )
  task.train(config, tmp_path)
  moved = jax.tree.map(
    lambda a, b: float(np.abs(a - b).max()),
    checkpoint.read(tmp_path)[1],
    checkpoint.read(trained)[1],
  )
  assert 0 < max(jax.tree.leaves(moved)) < 2e-2
  config.model.width = 8
  with pytest.raises(InputError, match='is of width 4, blocks 1, stride 8. Set config.model'):
    task.SegmenterTask(config)


def test_loss_by_hand():
  rng = np.random.default_rng(0)
  main, aside = rng.normal(size=(2, 1, 2, 3, 19)).astype(np.float32)
  train = np.array([[[0, 255, 18], [4, 4, 255]]], np.uint8)
  terms = task.loss_terms((jnp.asarray(main), jnp.asarray(aside)), jnp.asarray(train))
  for name, logits in (('main', main), ('auxiliary', aside)):
    each = [
      -math.log(math.exp(logits[place][train[place]]) / sum(map(math.exp, logits[place])))
      for place in np.ndindex(train.shape)
      if train[place] != 255
    ]
    assert float(terms[name]) == pytest.approx(sum(each) / 4, rel=1e-5)
  right = sum(main[place].argmax() == train[place] for place in np.ndindex(train.shape))
  assert float(terms['accuracy']) == pytest.approx(right / 4)
  nothing = task.loss_terms((jnp.asarray(main),) * 2, jnp.full((1, 2, 3), 255, jnp.uint8))
  assert all(float(value) == 0 for value in nothing.values())


def test_one_device_and_four_give_the_same_step(street):
  network = pspnet.PSPNet(4, 1, 8)
  optimizer = states.make_poly_optimizer(1e-3, 0.9, 10, 1, 0.01)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (4, 16, 24, 3)).astype(np.uint8)
  train = rng.integers(0, 19, (4, 16, 24)).astype(np.uint8)
  losses = []
  for devices in (1, 4):
    mesh = sharding.make_mesh(devices)
    state = jax.device_put(
      states.init_state(pspnet.init_params(network, jax.random.key(0)), optimizer, None),
      sharding.replicated(mesh),
    )
    place = lambda x: jax.device_put(x, sharding.by_ray(mesh))
    _, metrics = task.make_step(network, optimizer, 0.4, mesh)(state, place(images), place(train))
    losses.append(float(metrics['loss']))
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
  'group, field, value, word',
  [
    ('train', 'crops', 3, 'devices'),
    ('train', 'scale_low', 9.0, 'above config.train.scale_high'),
    ('model', 'stride', 6, '4 or 8'),
    ('data', 'roots', '/nowhere', 'names no folder'),
    ('model', 'start', '/nowhere.npz', 'no such file'),
    ('train', 'rays', 5, 'unknown'),
  ],
)
def test_bad_fields_are_named(street, tmp_path, group, field, value, word):
  config = config_of(street)
  with config.unlocked():
    config[group][field] = value
  with pytest.raises(InputError, match=f'{field}.*{word}|{value}: {word}'):
    task.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_every_field_is_checked_and_commented():
  source = (_ROOT / 'configs' / 'pspnet.py').read_text()
  for variant in ('default', 'street', 'tiny'):
    config = configs.get_config(variant)
    assert {(g, f) for g in config for f in config[g]} == {
      (g, f) for g in task.FIELDS for f in task.FIELDS[g]
    }
    checked = config.copy_and_resolve_references()
    task.check(checked, 4)
  for group in config:
    for field in config[group]:
      assert any(
        line.startswith(f'  {group}.{field} =') and '# ' in line for line in source.splitlines()
      ), f'{group}.{field}: no comment'
  with pytest.raises(ValueError, match='no such variant'):
    configs.get_config('huge')


def test_command(street, tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'pnerf_jax.pspnet',
      '--config=configs/pspnet.py:tiny',
      f'--workdir={tmp_path}',
      f'--config.data.roots={street}',
    ],
    cwd=_ROOT,
    text=True,
    capture_output=True,
    timeout=300,
    env={**os.environ, 'JAX_NUM_CPU_DEVICES': '4'},
  )  # what is compiled already is taken
  assert done.returncode == 0, done.stderr
  assert 'step 4/4' in done.stderr and 'crops/s' in done.stderr
  assert (tmp_path / 'pspnet.npz').is_file()
