"""Training of PSPNet: it learns, resumes bit-identically, fine-tunes and predicts labels."""

import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import kitti360 as field_configs
from configs import pspnet as configs
from pnerf_jax.contrib.preparation import prepare_labels
from pnerf_jax.contrib.segmentation import checkpoint, cityscapes, optimizer, task
from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError, Interrupted
from pnerf_jax.runs import checkpoints
from pnerf_jax.training import train_state

_ROOT = pathlib.Path(__file__).resolve().parents[3]


def make_config(street, **train):
  config = configs.get_config('tiny')
  config.data.roots = str(street)
  config.train.update(train)
  return config


@pytest.fixture(scope='module')
def trained(street, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  task.train(make_config(street), workdir)
  return workdir


@pytest.fixture(scope='module')
def read_state(street):
  """Return `read_state(workdir)`, the state of the newest checkpoint."""
  segmentation_task = task.SegmentationTask(make_config(street))
  abstract = checkpoints.abstract(
    jax.eval_shape(segmentation_task.init_state), sharding.replicated(segmentation_task.mesh)
  )

  def read(workdir):
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
      return saved.restore(abstract)

  return read


def read_scalars(workdir):
  return [json.loads(line) for line in (workdir / 'scalars.jsonl').read_text().splitlines()]


def test_train_writes_the_run_folder(trained, street, read_state):
  scalars = read_scalars(trained)
  assert [line['step'] for line in scalars] == [2, 4]
  for line in scalars:
    assert {'loss', 'main', 'auxiliary', 'accuracy', 'learning_rate', 'crops_per_second'} <= set(
      line
    )
    assert line['loss'] == pytest.approx(line['main'] + 0.4 * line['auxiliary'], rel=1e-5)
  assert json.loads((trained / 'config.json').read_text())['data']['roots'] == str(street)
  assert (trained / 'checkpoints' / '4').is_dir() and list((trained / 'tensorboard').iterdir())
  preview = image_io.read_rgb(next((trained / 'previews' / '000004').glob('*.png')))
  image = image_io.read_rgb(next(street.glob('data_2d_raw/*/image_00/data_rect/*.png')))
  assert preview.shape == (3 * image.shape[0], *image.shape[1:])  # image, ground truth, prediction
  _, exported = checkpoint.read(trained)
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, np.asarray(b, np.float16).astype(np.float32)),
    exported,
    read_state(trained).params,
  )


@pytest.mark.slow
def test_interrupted_training_resumes_bit_identically(
  trained, street, read_state, tmp_path, interrupt_training
):
  with interrupt_training(), pytest.raises(Interrupted):
    task.train(make_config(street), tmp_path)
  assert int(read_state(tmp_path).step) == 1
  task.train(make_config(street), tmp_path)
  jax.tree.map(np.testing.assert_array_equal, *map(read_state, (trained, tmp_path)))
  assert (tmp_path / 'pspnet.npz').read_bytes() == (trained / 'pspnet.npz').read_bytes()


@pytest.mark.slow
def test_training_learns_road_and_sky(street, tmp_path):
  config = make_config(street, steps=150, log_every=50, checkpoint_every=150, preview_every=150)
  config.optim.learning_rate = 3e-3
  config.train.crop_height, config.train.crop_width = 30, 48
  task.train(config, tmp_path / 'run')
  scalars = read_scalars(tmp_path / 'run')
  assert scalars[-1]['loss'] < 0.7 * scalars[0]['loss']
  data = field_configs.get_config('tiny').data
  data.root, data.derived_root = str(street), str(tmp_path / 'derived')
  prepare_labels.prepare_labels(data, f'pspnet:{tmp_path / "run"}')
  accuracy = []
  for path in (tmp_path / 'derived').rglob('semantic/*.png'):
    predicted = image_io.read_label(path)
    relative = path.relative_to(tmp_path / 'derived').as_posix()
    truth = image_io.read_label(street / relative.replace('pseudo_semantics', 'semantics'))
    assert set(np.unique(predicted)) <= set(cityscapes.ID_FROM_TRAIN_ID[:19].tolist())
    easy = np.isin(truth, [labels.SKY, labels.BY_NAME['road'].id])
    accuracy.append((predicted == truth)[easy].mean())
    confidence = image_io.read_confidence(path.parent.with_name('confidence') / path.name)
    correct = predicted == truth
    assert 1 / 19 < confidence.min()
    assert confidence[correct].mean() > confidence[~correct].mean()
  assert len(accuracy) == 4 and np.mean(accuracy) > 0.85


@pytest.mark.slow
def test_fine_tuning_starts_from_the_weights_of_a_run(trained, street, tmp_path):
  config = make_config(street)  # of as many steps as `trained`, so that nothing is compiled again
  config.model.init_from = str(trained)
  folder = next(street.glob('data_2d_raw/*/image_00/data_rect'))
  config.data.frames = (kitti360.frames_in(folder)[0],)
  initial = checkpoint.read(trained)[1]
  params = task.SegmentationTask(config).init_state().params
  jax.tree.map(np.testing.assert_array_equal, params, initial)
  task.train(config, tmp_path)
  change = jax.tree.map(
    lambda a, b: float(np.abs(a - b).max()), checkpoint.read(tmp_path)[1], initial
  )
  assert 0 < max(jax.tree.leaves(change)) < 2e-2
  config.model.width = 8
  with pytest.raises(InputError, match='has width 4, blocks 1, stride 8. Set config.model'):
    task.SegmentationTask(config)


def test_loss_terms_match_a_loop():
  rng = np.random.default_rng(0)
  main, auxiliary = rng.normal(size=(2, 1, 2, 3, 19)).astype(np.float32)
  train_ids = np.array([[[0, 255, 18], [4, 4, 255]]], np.uint8)
  known = [index for index in np.ndindex(train_ids.shape) if train_ids[index] != 255]
  terms = task.loss_terms((jnp.asarray(main), jnp.asarray(auxiliary)), jnp.asarray(train_ids))
  for name, logits in (('main', main), ('auxiliary', auxiliary)):
    entropies = [
      -math.log(math.exp(logits[index][train_ids[index]]) / sum(map(math.exp, logits[index])))
      for index in known
    ]
    assert float(terms[name]) == pytest.approx(sum(entropies) / 4, rel=1e-5)
  correct = sum(main[index].argmax() == train_ids[index] for index in known)
  assert float(terms['accuracy']) == pytest.approx(correct / 4)
  empty = task.loss_terms((jnp.asarray(main),) * 2, jnp.full((1, 2, 3), 255, jnp.uint8))
  assert all(float(value) == 0 for value in empty.values())


def test_poly_learning_rate_matches_the_paper():
  optim = configs.get_config().optim
  optim.update(learning_rate=0.5, poly_power=0.9, warmup_steps=10)
  rate = lambda step: float(optimizer.poly_learning_rate(step, optim, 100))
  assert rate(4) == pytest.approx(0.5 * 0.96**0.9 * 0.5)  # the middle of the warm-up
  assert rate(60) == pytest.approx(0.5 * 0.4**0.9)
  assert rate(100) == rate(120) == 0


class TwoHeads(nn.Module):
  """A network with the interface of PSPNet that compiles in a second."""

  @nn.compact
  def __call__(self, images):
    """Return the logits of two heads."""
    x = nn.relu(nn.Conv(4, (3, 3))(images / 255))
    return nn.Conv(19, (1, 1))(x), nn.Conv(19, (1, 1))(x)


def test_step_is_the_same_on_one_device_and_four():
  """Test the update; that images are independent of each other in PSPNet is in pspnet_test.py."""
  network, adam = TwoHeads(), optimizer.make_poly_optimizer(configs.get_config('tiny').optim, 10)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (4, 16, 24, 3)).astype(np.uint8)
  train_ids = rng.integers(0, 19, (4, 16, 24)).astype(np.uint8)
  train_ids[0], train_ids[1, :9] = 255, 255  # crops of different weight in the means
  params = jax.device_get(network.init(jax.random.key(0), images)['params'])
  after = []
  for num_devices in (1, 4):
    mesh = sharding.make_mesh(num_devices)
    state = jax.device_put(
      train_state.init_state(params, adam, aux=None), sharding.replicated(mesh)
    )
    batch = [jax.device_put(x, sharding.by_ray(mesh)) for x in (images, train_ids)]
    assert len(batch[0].sharding.device_set) == num_devices
    state, metrics = task.make_update(network, adam, 0.4, mesh)(state, *batch)
    after.append(jax.device_get((metrics, state.params)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *after)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after[0][1], params)
  assert min(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize(
  'name, value, message',
  [
    ('model.stride', 6, 'config.model.stride: 6 is not one of'),
    ('data.roots', '/nowhere', "config.data.roots: '/nowhere' matches no folder"),
    ('model.init_from', '/nowhere.npz', '/nowhere.npz: no such file'),
    ('train.rays', 5, 'config.train.rays: unknown config field'),
  ],
)
def test_train_rejects_bad_fields_before_it_writes(street, tmp_path, name, value, message):
  config = make_config(street)
  group, field = name.split('.')
  with config.unlocked():
    config[group][field] = value
  with pytest.raises(InputError, match=f'^{message}'):
    task.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
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
    env={**os.environ, 'JAX_NUM_CPU_DEVICES': '4'},  # as in this process: reuse its compilations
  )
  assert done.returncode == 0, done.stderr
  assert 'step 4/4' in done.stderr and 'crops/s' in done.stderr
  assert (tmp_path / 'pspnet.npz').is_file()
