"""Fixtures of all tests: devices, compiled programs, binaries, genuine files, golden arrays."""

import contextlib
import itertools
import logging
import os
import pathlib
import runpy
import shutil
import signal
import sys
import tempfile

import jax
import numpy as np
import pytest
from absl import app, flags

_CACHE = 'JAX_COMPILATION_CACHE_DIR'

# Also for the processes that tests start: another device count would compile everything again.
jax.config.update('jax_num_cpu_devices', 4)
os.environ['JAX_NUM_CPU_DEVICES'] = '4'
# Most of the time of these tests is compilation, which this shortens. Read by XLA on first use.
os.environ['XLA_FLAGS'] = ' '.join(
  [
    '--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true',
    os.environ.get('XLA_FLAGS', ''),
  ]
)


def pytest_configure(config):
  """Share compiled programs between all workers and the processes that they start."""
  if not hasattr(config, 'workerinput') and _CACHE not in os.environ:
    config.pnerf_cache = os.environ[_CACHE] = tempfile.mkdtemp(prefix='pnerf_tests_')
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    # For this process: jax has read its environment on import.
    jax.config.update('jax_compilation_cache_dir', config.pnerf_cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def pytest_collection_modifyitems(items):
  """Run files with slow tests first, so that no worker is left with one of them at the end."""
  slow = {item.path for item in items if item.get_closest_marker('slow')}
  items.sort(key=lambda item: item.path not in slow)  # stable: files stay together


def pytest_unconfigure(config):
  """Remove the folder of compiled programs."""
  if hasattr(config, 'pnerf_cache'):
    shutil.rmtree(config.pnerf_cache, ignore_errors=True)


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
  """Return the folder of genuine KITTI-360 files and streets, which is not part of the project."""
  default = pathlib.Path(__file__).resolve().parents[2] / 'shared'
  path = pathlib.Path(os.environ.get('PNERF_SHARED', default))
  if not path.is_dir():
    pytest.skip(f'{path} (genuine files, not part of the project) is absent; see PNERF_SHARED')
  return path


@pytest.fixture(scope='session')
def street(tmp_path_factory) -> pathlib.Path:
  """Return a tiny street on disk, two stereo frames, read-only: tests that change it copy it."""
  from pnerf_jax.contrib.street import generate, scenery  # not every worker needs the ray caster

  root = tmp_path_factory.mktemp('street') / 'data'
  generate.generate(
    root, scenery.Parameters('boulevard', seed=3, frames=2, scale=0.08, predictions='noise')
  )
  return root


@pytest.fixture(scope='session')
def paper_network() -> tuple[dict, dict]:
  """Return the golden arrays of the authors' network: its parameters, and inputs and outputs."""
  folder = pathlib.Path(__file__).with_name('assets')
  params: dict = {}
  with np.load(folder / 'paper_network_weights.npz') as file:
    for name in file.files:
      layer, kind = name.split('/')
      planes = np.ascontiguousarray(np.moveaxis(file[name], 0, -1))
      params.setdefault(layer, {})[kind] = planes.view('<f4')[..., 0]
  with np.load(folder / 'paper_network.npz') as file:
    return params, dict(file)


@pytest.fixture(scope='session')
def golden(shared):
  """Return a function that reads the arrays of the authors' program from shared/golden/NAME.npz."""

  def read(name: str) -> dict[str, np.ndarray]:
    path = shared / 'golden' / f'{name}.npz'
    if not path.is_file():
      pytest.skip(f'{path} is absent')
    with np.load(path) as file:
      return dict(file)

  return read


@pytest.fixture(scope='session')
def config_of(street):
  """Return a function that gives the config of a variant for the street, with train settings."""
  from configs import kitti360

  def make(variant='tiny', **train):
    config = kitti360.get_config(variant)
    config.data.root = str(street)
    config.train.update(train)
    return config

  return make


@pytest.fixture(scope='session')
def trained(config_of, tmp_path_factory) -> pathlib.Path:
  """Return the folder of a run of the tiny variant, read-only."""
  from pnerf_jax.training import field_task

  workdir = tmp_path_factory.mktemp('run')
  field_task.train(config_of(), workdir)
  return workdir


@pytest.fixture
def interrupt_training(monkeypatch):
  """Return a function that gives a context in which the n-th call of a train step gets SIGTERM."""
  from pnerf_jax.distributed.program import Program

  @contextlib.contextmanager
  def interrupt(call=1):
    original, calls = Program.__call__, itertools.count(1)

    def interrupting(self, *args):
      if 'train step' in self._name and next(calls) == call:
        os.kill(os.getpid(), signal.SIGTERM)
      return original(self, *args)

    with monkeypatch.context() as patch:
      patch.setattr(Program, '__call__', interrupting)
      yield

  return interrupt


@pytest.fixture
def binary(monkeypatch, capsys):
  """Run `python -m pnerf_jax.MODULE ARGUMENTS` in this process; return exit code and stderr."""

  def call(module, *arguments):
    monkeypatch.chdir(pathlib.Path(__file__).resolve().parents[1])
    monkeypatch.setattr(sys, 'argv', [f'pnerf_jax/{module}.py', *map(str, arguments)])
    # By name: a restored flag belongs to no module any more.
    mine = {name: flags.FLAGS[name] for name in flags.FLAGS if name not in _ABSL_FLAGS}
    handler, loggers = signal.getsignal(signal.SIGTERM), _loggers()
    for name in mine:
      delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    capsys.readouterr()
    try:
      with pytest.raises(SystemExit) as end:
        runpy.run_module(f'pnerf_jax.{module}', run_name='__main__')
    finally:
      for name in [name for name in flags.FLAGS if name not in _ABSL_FLAGS]:
        delattr(flags.FLAGS, name)
      for name, flag in mine.items():
        flags.FLAGS[name] = flag
      signal.signal(signal.SIGTERM, handler)
      for name, (handlers, level, propagate) in loggers.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    return end.value.code, capsys.readouterr().err

  return call


app.define_help_flags()
_ABSL_FLAGS = {
  flag.name
  for name, found in flags.FLAGS.flags_by_module_dict().items()
  if name.startswith('absl')
  for flag in found
}


def _loggers():
  loggers = {name: logging.getLogger(name) for name in ('pnerf_jax', '__main__')}
  return {
    name: (logger.handlers[:], logger.level, logger.propagate) for name, logger in loggers.items()
  }
