"""Tests of the limitation that a CPU is."""

import shlex

import pytest

from configs import kitti360
from pnerf_jax.config.files import read_config
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.preparation import estimate_cost, limitations

OWN = """
from configs import kitti360

def get_config():
  return kitti360.get_config()
"""


def slow_training(flag, hours=2.3, platform='cpu'):
  """Return the limitations of training with the config of a flag."""
  config = parse_config(read_config(shlex.split(flag)[0].partition('=')[2]))
  cost = estimate_cost.CostEstimate(
    compile=1.0,
    intervals=1.0,
    step=hours * 3600 / config.train.steps,
    num_steps=config.train.steps,
    measured_steps=10,
    arrays=0,
    workspace=None,
    device_memory=None,
  )
  return limitations.slow_training(config, cost, platform, f'{flag} --config.data.root=DATA')


@pytest.mark.parametrize(
  'name',
  [
    'configs/kitti360.py',
    'configs/kitti360.py:paper',
    'configs/transforms.py',
    'configs/street.py:default',
  ],
)
def test_long_training_on_a_cpu_names_the_variant_cpu_of_the_config_file(name):
  (slow,) = slow_training(f'--config={name}')
  assert slow.cause == 'training takes about 2.3 h on this CPU'
  hint = f'this config is meant for a GPU or TPU: use --config={name.partition(":")[0]}:cpu'
  assert slow.worth == slow.text() == hint
  assert not slow_training(f'--config={name}', platform='gpu')
  assert not slow_training(f'--config={name}', hours=0.9)


def test_variants_for_a_cpu_are_not_slow():
  assert limitations._CPU_BATCH_RAYS == kitti360.get_config('cpu').train.batch_rays
  for name in ('kitti360.py:cpu', 'transforms.py:cpu', 'street.py', 'ablations.py:paper'):
    assert not slow_training(f'--config=configs/{name}')


def test_own_config_without_the_variant_is_told_to_lower_its_batch(tmp_path):
  path = tmp_path / 'my own.py'
  path.write_text(OWN)
  (slow,) = slow_training(shlex.join([f'--config={path}']))
  assert slow.worth.endswith(': use --config.train.batch_rays=1024 and fewer --config.train.steps')
  path.write_text(OWN.replace('get_config()', "get_config(variant='default')", 1))
  path.write_text(path.read_text().replace('get_config()', 'get_config(variant)'))
  (slow,) = slow_training(shlex.join([f'--config={path}']))
  assert slow.worth.endswith(f": use --config='{path}:cpu'")
