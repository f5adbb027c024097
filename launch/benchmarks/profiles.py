"""Where the time of a compiled program goes: JAX's trace, told by the names of the source.

A fusion computes several things at once and is booked where its last one stands, so that the parts
are a guide, not an account.
"""

import collections
import pathlib
import re
import tempfile
from collections.abc import Callable
from typing import Any

import jax

# The first of these that a name of the source contains takes the time: flax's modules, and
# jax.named_scope in the train step.
_PARTS = (
  ('optimizer', 'optimiser'),
  ('lookup', 'hash lookup'),
  ('field', 'MLP'),
  ('batch', 'batch'),
  ('sampling', 'sampling'),
  ('composite', 'compositing'),
  ('losses', 'losses'),
)


def sources(compiled: Any) -> dict[str, str]:
  """Name of every instruction of a compiled program -> name in the source."""
  found = {}
  for line in compiled.as_text().splitlines():
    match = re.match(r'\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"', line)
    if match:
      found[match[1]] = match[2]
  return found


def instructions(run: Callable[[], Any]) -> collections.Counter:
  """Nanoseconds by the name of the instruction (CPU) or kernel (GPU), of one call."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(run())
    (path,) = pathlib.Path(folder).rglob('*.xplane.pb')
    data = jax.profiler.ProfileData.from_file(str(path))
    spent = collections.Counter()
    for plane in data.planes:
      on_device = plane.name.startswith('/device:')
      for line in plane.lines:
        for event in line.events:
          if on_device or not re.search(r'[$: (]|::', event.name):
            spent[event.name] += event.duration_ns
  return spent


def parts(spent: collections.Counter, source: dict[str, str]) -> dict[str, float]:
  """Nanoseconds by part of the program, largest first; loops are left to what they contain."""
  total = collections.Counter()
  for name, nanoseconds in _computing(spent, source):
    total[part_of(source[name])] += nanoseconds
  return dict(total.most_common())


def longest(
  spent: collections.Counter, source: dict[str, str], count: int
) -> list[tuple[str, float, str]]:
  """The instructions on which most time is spent: name, nanoseconds, where in the source."""
  return [
    (name, nanoseconds, source[name].rpartition('closed_call/')[2].replace('|', ' '))
    for name, nanoseconds in _computing(spent, source)[:count]
  ]


def _computing(spent: collections.Counter, source: dict[str, str]) -> list[tuple[str, float]]:
  """Instructions that do not only call others, longest first."""
  return [
    (name, nanoseconds)
    for name, nanoseconds in spent.most_common()
    if name in source and not re.match(r'(while|call|conditional)\b', name)
  ]


def part_of(source_name: str) -> str:
  """The part of the program that a name of the source belongs to."""
  name = source_name.lower()
  part = next((part for word, part in _PARTS if word in name), 'other')
  return f'{part}, backward' if 'transpose(' in name else part
