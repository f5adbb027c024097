"""Interleaved timing, peak memory, limits of the machine, and the table of results."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
  """One row of the table.

  Attributes:
    suite: name of the suite.
    name: the measured quantity.
    size: problem size.
    median: of all repeats.
    low: minimum.
    high: maximum.
    unit: of the three values.
    repeats: number of values.
    remark: free text.
  """

  suite: str
  name: str
  size: str
  median: float
  low: float
  high: float
  unit: str
  repeats: int
  remark: str


def summarize(
  suite: str, name: str, size: str, values: Any, unit: str, *, remark: str = ''
) -> Measurement:
  """Return the row of one value or of several repeats."""
  values = np.atleast_1d(np.asarray(values, float))
  return Measurement(
    suite=suite,
    name=name,
    size=size,
    median=float(np.median(values)),
    low=float(values.min()),
    high=float(values.max()),
    unit=unit,
    repeats=len(values),
    remark=remark,
  )


def interleaved(cases: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
  """Return the seconds of every case in every round, after one warm-up round.

  All cases run once per round, in alternating order, so that a slow phase of the machine affects
  all of them.
  """
  seconds = {name: [] for name in cases}
  for turn in range(repeats + 1):
    for name in list(cases)[:: 1 if turn % 2 else -1]:
      start = time.perf_counter()
      jax.block_until_ready(cases[name]())
      if turn:
        seconds[name].append(time.perf_counter() - start)
  return seconds


def ratios(numerator: list[float], denominator: list[float]) -> np.ndarray:
  """Return the ratio of two cases in every round."""
  return np.asarray(numerator) / np.asarray(denominator)


class PeakMemory:
  """Context manager that measures the largest growth of the process's memory, `.bytes`."""

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
  """Return the resident memory of the process."""
  return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def product_peak(dtype: Any, repeats: int) -> list[float]:
  """Return the FLOP/s of a large matrix product in every repeat."""
  size = 8192 if jax.default_backend() == 'gpu' else 2048
  a = jnp.ones((size, size), dtype)
  product = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32)[0, 0])
  seconds = interleaved({'product': lambda: product(a)}, repeats)['product']
  return [2.0 * size**3 / s for s in seconds]


def bandwidth(repeats: int) -> list[float]:
  """Return the bytes/s of x + 1 over an array larger than the caches, reads plus writes."""
  count = 2**29 if jax.default_backend() == 'gpu' else 2**26
  x = jnp.ones(count)
  add = jax.jit(lambda x: x + 1, donate_argnums=0)

  def once():
    nonlocal x
    x = add(x)
    return x

  seconds = interleaved({'add': once}, repeats)['add']
  return [8.0 * count / s for s in seconds]


def describe_machine() -> dict[str, str]:
  """Return date, hardware, load, command and package versions."""
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  model = re.search(r'model name\s*:\s*(.*)', cpuinfo.read_text()) if cpuinfo.exists() else None
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
  load = os.getloadavg()
  packages = [f'{name} {_version(name)}' for name in _PACKAGES if _version(name)]
  return {
    'date': datetime.datetime.now().isoformat(timespec='minutes'),
    'machine': f'{model[1] if model else platform.machine()}, '
    f'{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB; '
    f'{jax.device_count()} x {jax.devices()[0].device_kind}',
    'load before': f'{load[0]:.1f} (1 minute), {load[1]:.1f} (5 minutes)',
    'command': ' '.join(['python', *sys.argv]),
    'versions': ', '.join([f'Python {platform.python_version()}', *packages]),
  }


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ''


def markdown(machine: dict[str, str], measurements: list[Measurement]) -> str:
  """Return the table of all measurements, preceded by a list that describes the machine."""
  lines = [f'- {name}: {value}' for name, value in machine.items()]
  lines += [
    '',
    '| suite | quantity | size | median | low – high | unit | repeats | remark |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for m in measurements:
    spread = '' if m.repeats == 1 else f'{_format(m.low)} – {_format(m.high)}'
    lines.append(
      f'| {m.suite} | {m.name} | {m.size} | {_format(m.median)} | {spread} | {m.unit} | '
      f'{m.repeats} | {m.remark} |'
    )
  return '\n'.join(lines) + '\n'


def _format(value: float) -> str:
  """Return three digits, with an exponent only for very large and very small values."""
  if value and (abs(value) >= 1e7 or abs(value) < 1e-4):
    return f'{value:.2e}'
  return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'
