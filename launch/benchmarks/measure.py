"""Medians of interleaved repeats, memory, the machine's limits, and the table that tells them."""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# FLOP/s of dense bfloat16 products and bytes/s of memory, of NVIDIA's data sheets (SXM).
DATA_SHEETS = {'H100': (989e12, 3.35e12), 'H200': (989e12, 4.8e12)}
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'trimesh', 'embreex', 'torch')


@dataclasses.dataclass(frozen=True)
class Figure:
  """One row: what was measured at which size, its median, extremes and unit, and a remark."""

  suite: str
  what: str
  size: str
  median: float
  low: float
  high: float
  unit: str
  repeats: int = 1
  remark: str = ''


def figure(suite: str, what: str, size: str, values: Any, unit: str, remark: str = '') -> Figure:
  """A row from one number or from several."""
  values = np.atleast_1d(np.asarray(values, float))
  return Figure(
    suite,
    what,
    size,
    float(np.median(values)),
    float(values.min()),
    float(values.max()),
    unit,
    len(values),
    remark,
  )


def interleaved(cases: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
  """Seconds of every case in every round, after one round that is not counted.

  Rounds alternate their order: what slows the machine for a while slows all cases.
  """
  seconds = {name: [] for name in cases}
  for turn in range(repeats + 1):
    for name in list(cases)[:: 1 if turn % 2 else -1]:
      start = time.perf_counter()
      jax.block_until_ready(cases[name]())
      if turn:
        seconds[name].append(time.perf_counter() - start)
  return seconds


def ratios(over: list[float], under: list[float]) -> np.ndarray:
  """Round by round, how many times as long `over` took as `under`."""
  return np.asarray(over) / np.asarray(under)


class PeakMemory:
  """`with PeakMemory() as peak: ...` -> peak.bytes, how much the process grew at its largest."""

  def __init__(self):
    self.bytes = 0
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    self._before = resident_bytes()
    self._thread.start()
    return self

  def _watch(self):
    while not self._done.wait(0.005):
      self.bytes = max(self.bytes, resident_bytes() - self._before)

  def __exit__(self, *exc):
    self._done.set()
    self._thread.join()


def resident_bytes() -> int:
  """Memory that the process holds now."""
  return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def product_peak(dtype: Any, repeats: int) -> list[float]:
  """FLOP/s of a large matrix product, each of some repeats."""
  size = 8192 if jax.default_backend() == 'gpu' else 2048
  a = jnp.ones((size, size), dtype)
  product = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32)[0, 0])
  seconds = interleaved({'product': lambda: product(a)}, repeats)['product']
  return [2.0 * size**3 / s for s in seconds]


def bandwidth(repeats: int) -> list[float]:
  """Bytes/s of x + 1 over an array that no cache holds, reading and writing both counted."""
  count = 2**29 if jax.default_backend() == 'gpu' else 2**26
  x = jnp.ones(count)
  add = jax.jit(lambda x: x + 1, donate_argnums=0)

  def once():
    nonlocal x
    x = add(x)
    return x

  seconds = interleaved({'add': once}, repeats)['add']
  return [8.0 * count / s for s in seconds]


def machine() -> dict[str, str]:
  """What the figures depend on besides the program."""
  cpu = pathlib.Path('/proc/cpuinfo')
  found = re.search(r'model name\s*:\s*(.*)', cpu.read_text()) if cpu.exists() else None
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
  load = os.getloadavg()
  return {
    'date': datetime.datetime.now().isoformat(timespec='minutes'),
    'machine': f'{found[1] if found else platform.machine()}, '
    f'{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB; '
    f'{jax.device_count()} x {jax.devices()[0].device_kind}',
    'load before': f'{load[0]:.1f} (1 minute), {load[1]:.1f} (5 minutes)',
    'command': ' '.join(['python', *sys.argv]),
    'versions': ', '.join(
      [
        f'Python {platform.python_version()}',
        *(f'{name} {_version(name)}' for name in _PACKAGES if _version(name)),
      ]
    ),
  }


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ''


def markdown(about: dict[str, str], figures: list[Figure]) -> str:
  """The table of all figures, with what they were measured on."""
  lines = [f'- {name}: {value}' for name, value in about.items()]
  lines += [
    '',
    '| suite | what | size | median | low – high | unit | repeats | remark |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for f in figures:
    spread = '' if f.repeats == 1 else f'{_short(f.low)} – {_short(f.high)}'
    lines.append(
      f'| {f.suite} | {f.what} | {f.size} | {_short(f.median)} | {spread} | {f.unit} | '
      f'{f.repeats} | {f.remark} |'
    )
  return '\n'.join(lines) + '\n'


def _short(value: float) -> str:
  """Three digits, without an exponent for ordinary sizes."""
  if value and (abs(value) >= 1e7 or abs(value) < 1e-4):
    return f'{value:.2e}'
  return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'
