"""Options of JAX from the environment, free memory, and error lines of devices."""

import os
import resource
import subprocess
import sys

import jax
import pytest

from pnerf_jax.distributed import devices


def test_options_that_change_results_are_overruled_and_logged(caplog):
  jax.config.update('jax_enable_x64', True)
  jax.config.update('jax_numpy_rank_promotion', 'raise')
  with caplog.at_level('WARNING', 'pnerf_jax'):
    devices.fix_options()
  lines = [record.getMessage() for record in caplog.records]
  assert lines == [
    'JAX_ENABLE_X64=True is ignored (in use: False)',
    'JAX_NUMPY_RANK_PROMOTION=raise is ignored (in use: allow)',
  ]
  assert not jax.config.jax_enable_x64 and jax.numpy.arange(2.0).dtype == 'float32'
  caplog.clear()
  devices.fix_options()
  assert not caplog.records


class Device:
  """A device of some platform and memory statistics."""

  def __init__(self, platform, stats):
    self.platform, self._stats = platform, stats

  def memory_stats(self):
    return self._stats


@pytest.mark.parametrize(
  'device, expected',
  [
    (Device('gpu', {'bytes_limit': 100, 'bytes_in_use': 30}), 70),
    (Device('gpu', None), None),
    (Device('cpu', None), 8_000_000 * 1024 // 4),  # four devices of one memory
  ],
)
def test_free_memory_of_devices(device, expected, tmp_path, monkeypatch):
  (tmp_path / 'meminfo').write_text('MemTotal: 16000000 kB\nMemAvailable:  8000000 kB\n')
  monkeypatch.setattr(devices, '_MEMORY_INFO', tmp_path / 'meminfo')
  monkeypatch.setattr(devices, '_CONTAINER', tmp_path)
  monkeypatch.setattr(jax, 'local_device_count', lambda: 4)
  assert devices.free_memory(device) == expected


def test_free_memory_of_a_container_and_of_a_limited_process(tmp_path, monkeypatch):
  (tmp_path / 'meminfo').write_text('MemAvailable:  8000000 kB\n')
  monkeypatch.setattr(devices, '_MEMORY_INFO', tmp_path / 'meminfo')
  monkeypatch.setattr(devices, '_CONTAINER', tmp_path)
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
  (tmp_path / 'memory.max').write_text('max\n')
  assert devices.free_memory(Device('cpu', None)) == 8_000_000 * 1024
  (tmp_path / 'memory.max').write_text('5000\n')
  (tmp_path / 'memory.stat').write_text('anon 1000\nfile 3500\n')  # file pages can be dropped
  assert devices.free_memory(Device('cpu', None)) == 4000
  monkeypatch.setattr(resource, 'getrlimit', lambda _: (1, 1))
  assert devices.free_memory(Device('cpu', None)) < 0


@pytest.mark.parametrize(
  'error, expected',
  [
    (MemoryError('Unable to allocate 9 GiB'), 'out of memory (Unable to allocate 9 GiB). Lower --'),
    (
      RuntimeError('RESOURCE_EXHAUSTED: Out of memory'),
      'out of memory (RESOURCE_EXHAUSTED: Out of',
    ),
    (RuntimeError('INTERNAL: a bug'), None),
    (KeyError('x'), None),
  ],
)
def test_failure_message_of_exhausted_memory(error, expected):
  line = devices.failure_message(error)
  assert line is None if expected is None else line.startswith(f'error: {expected}')


@pytest.mark.parametrize(
  'raised, reason',
  [
    (AssertionError(), 'the platform is not installed'),
    (RuntimeError("Unable to initialize backend 'x'\nmore"), "Unable to initialize backend 'x'"),
  ],
)
def test_failure_message_of_missing_devices(monkeypatch, raised, reason):
  def no_devices():
    raise raised

  monkeypatch.setattr(jax, 'devices', no_devices)
  line = devices.failure_message(raised)
  platforms = jax.config.jax_platforms
  assert line == (
    f'error: JAX_PLATFORMS={platforms}: JAX finds no such device ({reason}). Unset JAX_PLATFORMS,'
    ' or install JAX for this device (docs/troubleshooting.md).'
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, value', [('JAX_NUM_CPU_DEVICES', 'abc'), ('JAX_ENABLE_X64', 'maybe')]
)
def test_an_environment_variable_that_jax_refuses_is_one_line(name, value):
  found = subprocess.run(
    [sys.executable, '-m', 'pnerf_jax.eval', '--workdir=RUN'],
    env={**os.environ, name: value},
    capture_output=True,
    text=True,
  )
  line = f'error: {name}={value}: JAX takes no such value. Correct or unset it.\n'
  assert (found.returncode, found.stdout, found.stderr) == (1, '', line)
