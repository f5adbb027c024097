"""The devices of this process: fixed options of JAX, free memory, and error lines."""

import logging
import os
import re
import resource
from pathlib import Path

import jax

from pnerf_jax.errors import first_line

_LOG = logging.getLogger(__name__)

# Options that change results, break resuming, or forbid ordinary code; the environment sets them.
_OPTIONS = {
  'jax_enable_x64': False,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
  'jax_random_seed_offset': 0,
  'jax_default_matmul_precision': None,
  'jax_numpy_dtype_promotion': 'standard',
  'jax_numpy_rank_promotion': 'allow',
  'jax_disable_jit': False,
  'jax_debug_infs': False,
  'jax_transfer_guard': None,
}
_MEMORY_INFO = Path('/proc/meminfo')
_CONTAINER = Path('/sys/fs/cgroup')


def fix_options() -> None:
  """Set the options of JAX that results depend on, and log which ones were set otherwise."""
  for name, value in _OPTIONS.items():
    found = getattr(jax.config, name)
    if found != value:
      jax.config.update(name, value)
      _LOG.warning('%s=%s is ignored (in use: %s)', name.upper(), found, value)


def free_memory(device: jax.Device) -> int | None:
  """Return the bytes that are free for arrays on a device; None if unknown."""
  stats = device.memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats.get('bytes_in_use', 0)
  if device.platform != 'cpu' or not _MEMORY_INFO.exists():
    return None
  found = re.search(r'MemAvailable: *(\d+) kB', _MEMORY_INFO.read_text())
  limits = [int(found.group(1)) * 1024] if found else []
  maximum = _CONTAINER / 'memory.max'
  if maximum.exists() and (limit := maximum.read_text().strip()).isdigit():
    used = re.search(r'anon (\d+)', (_CONTAINER / 'memory.stat').read_text())
    limits.append(int(limit) - int(used.group(1) if used else 0))
  limit_of_process, _ = resource.getrlimit(resource.RLIMIT_AS)
  if limit_of_process != resource.RLIM_INFINITY:
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limits.append(limit_of_process - pages * os.sysconf('SC_PAGE_SIZE'))
  # All devices of a CPU are in one memory.
  return min(limits) // jax.local_device_count() if limits else None


def failure_message(error: BaseException) -> str | None:
  """Return the error line for missing devices or exhausted memory; None for other errors."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as e:  # AssertionError: a known platform without a plugin
    platforms = jax.config.jax_platforms
    reason = (str(e).splitlines() or ['the platform is not installed'])[0]
    return (
      f'error: JAX_PLATFORMS={platforms}: JAX finds no such device ({reason:.200}). Unset'
      ' JAX_PLATFORMS, or install JAX for this device (docs/troubleshooting.md).'
    )
  first = first_line(error)
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in first:
    return (
      f'error: out of memory ({first:.200}). Lower --config.train.batch_rays,'
      ' --config.eval.chunk_rays, --config.data.frames or --config.model.log2_hashmap_size.'
    )
  return None
