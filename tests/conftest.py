"""What all tests share: simulated devices, compiled programs, the folder of real files."""

import os
import pathlib
import shutil
import tempfile

import jax
import pytest

_CACHE = 'JAX_COMPILATION_CACHE_DIR'

# Here and in the processes that tests start: with other devices they would compile all anew.
jax.config.update('jax_num_cpu_devices', 4)
os.environ['JAX_NUM_CPU_DEVICES'] = '4'


def pytest_configure(config):
  """Lets all workers, and what they run, share what one of them has compiled."""
  if not hasattr(config, 'workerinput') and _CACHE not in os.environ:
    config.pnerf_cache = os.environ[_CACHE] = tempfile.mkdtemp(prefix='pnerf_tests_')
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    # For tests in this very process; jax read its environment when it was imported.
    jax.config.update('jax_compilation_cache_dir', config.pnerf_cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def pytest_unconfigure(config):
  """Removes the session's folder."""
  if hasattr(config, 'pnerf_cache'):
    shutil.rmtree(config.pnerf_cache, ignore_errors=True)


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
  """Folder of real KITTI-360 files, streets and golden numbers, which lie outside the project."""
  default = pathlib.Path(__file__).resolve().parents[2] / 'shared'
  path = pathlib.Path(os.environ.get('PNERF_SHARED', default))
  if not path.is_dir():
    pytest.skip(f'{path} is absent')
  return path


@pytest.fixture(scope='session')
def street(tmp_path_factory) -> pathlib.Path:
  """A tiny street on disk, two stereo frames. Read it; what damages it copies it first."""
  from pnerf_jax.contrib.street import generate, scenery  # not every worker needs the ray caster

  root = tmp_path_factory.mktemp('street') / 'data'
  generate.generate(
    root, scenery.Parameters('boulevard', seed=3, frames=2, scale=0.08, predictions='noise')
  )
  return root
