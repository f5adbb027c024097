"""Fixtures of folders that tests damage, and the check of an error line."""

import re
import shutil

import jax
import jax.numpy as jnp
import pytest

from configs import kitti360 as configs
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import save_config
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training.field_task import FieldTask


@pytest.fixture
def data(street, tmp_path):
  return shutil.copytree(street, tmp_path / 'data')


@pytest.fixture(scope='session')
def untrained(street, tmp_path_factory):
  """A run folder with the checkpoint of step 2, made without training."""
  workdir = tmp_path_factory.mktemp('run')
  _save_run(street, workdir)
  return workdir


def _save_run(street, workdir, spoil=lambda state: state):
  config = configs.get_config('tiny')
  config.data.root = str(street)
  run = build_experiment(config)
  save_config(run.config, workdir)
  shapes = jax.eval_shape(FieldTask(run).init_state)
  state = spoil(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))
  saved = checkpoints.Checkpoints(workdir)
  saved.save(2, state)
  saved.close()


@pytest.fixture
def run_folder(untrained, tmp_path):
  return shutil.copytree(untrained, tmp_path / 'run')


def _check_line(code, err, *words):
  """One error line, last, that names the words and says what to do."""
  errors = [
    line
    for line in err.splitlines()
    if line and not re.match(r'\d\d:\d\d:\d\d |depth: |import: ', line)
  ]
  assert code == 1 and len(errors) == 1 and errors[0].startswith('error: '), err
  assert 'Traceback' not in err and errors[0][-1] in '.?' and len(errors[0]) < 900
  assert err.rstrip().endswith(errors[0])
  for word in words:
    assert word in errors[0], errors[0]


@pytest.fixture(scope='session')
def check_line():
  """Checks an exit code and what was written to stderr for one good line with some words."""
  return _check_line


@pytest.fixture(scope='session')
def save_run():
  """Makes a run folder with a checkpoint of step 2, changed by a function, without training."""
  return _save_run
