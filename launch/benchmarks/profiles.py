"""Profile of a compiled program by part of the source, from JAX's trace.

A fusion computes several operations at once and is attributed to its last one, so that the shares
of the parts are approximate.
"""

import collections
import pathlib
import re
import tempfile
from collections.abc import Callable
from typing import Any

import jax

# (substring of the source name, part); the first match counts. Source names are made of flax's
# module names and of jax.named_scope.
_PARTS = (
  ('optimizer', 'optimiser'),
  ('lookup', 'hash lookup'),
  ('field', 'MLP'),
  ('batch', 'batch'),
  ('sampling', 'sampling'),
  ('composite', 'compositing'),
  ('losses', 'losses'),
)


def source_names(compiled: Any) -> dict[str, str]:
  """Return the source name of every instruction of a compiled program, by instruction."""
  names = {}
  for line in compiled.as_text().splitlines():
    match = re.match(r'\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"', line)
    if match:
      names[match[1]] = match[2]
  return names


def trace(function: Callable[[], Any]) -> collections.Counter:
  """Return the nanoseconds of one call by instruction (CPU) or kernel (GPU)."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(function())
    (path,) = pathlib.Path(folder).rglob('*.xplane.pb')
    data = jax.profiler.ProfileData.from_file(str(path))
    durations = collections.Counter()
    for plane in data.planes:
      on_device = plane.name.startswith('/device:')
      for line in plane.lines:
        for event in line.events:
          if on_device or not re.search(r'[$: (]|::', event.name):
            durations[event.name] += event.duration_ns
  return durations


def time_by_part(durations: collections.Counter, names: dict[str, str]) -> dict[str, float]:
  """Return the nanoseconds by part of the program, largest first."""
  total = collections.Counter()
  for instruction, nanoseconds in _leaves(durations, names):
    total[part_of(names[instruction])] += nanoseconds
  return dict(total.most_common())


def longest(
  durations: collections.Counter, names: dict[str, str], count: int
) -> list[tuple[str, float, str]]:
  """Return the longest instructions: instruction, nanoseconds, source name."""
  return [
    (instruction, nanoseconds, names[instruction].rpartition('closed_call/')[2].replace('|', ' '))
    for instruction, nanoseconds in _leaves(durations, names)[:count]
  ]


def _leaves(durations: collections.Counter, names: dict[str, str]) -> list[tuple[str, float]]:
  """Return the instructions that are not loops or calls of others, longest first."""
  return [
    (instruction, nanoseconds)
    for instruction, nanoseconds in durations.most_common()
    if instruction in names and not re.match(r'(while|call|conditional)\b', instruction)
  ]


def part_of(source_name: str) -> str:
  """Return the part of the program of a source name."""
  name = source_name.lower()
  part = next((part for substring, part in _PARTS if substring in name), 'other')
  return f'{part}, backward' if 'transpose(' in name else part
