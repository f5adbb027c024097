"""What all tests share: four simulated CPU devices, and the folder of real and golden files."""
import os
import pathlib

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 4)


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
  """Folder of real KITTI-360 files, streets and golden numbers, which lie outside the project."""
  default = pathlib.Path(__file__).resolve().parents[2] / 'shared'
  path = pathlib.Path(os.environ.get('PNERF_SHARED', default))
  if not path.is_dir():
    pytest.skip(f'{path} is absent')
  return path
