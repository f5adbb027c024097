"""Objects of JSON files, whose values are checked as they are read."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.config.spec import MAX_LENGTH
from pnerf_jax.data import files
from pnerf_jax.errors import InputError

_MAX_BYTES = 2**28
HINT = 'Correct it; docs/data_custom.md describes the file.'


@dataclasses.dataclass(frozen=True)
class JsonObject:
  """An object of a JSON file.

  Attributes:
    values: by key.
    where: the file and the position of the object in it, for error messages.
  """

  values: dict[str, Any]
  where: str

  def error(self, problem: str, hint: str = HINT) -> InputError:
    """Return the error of a problem with this object."""
    return InputError(f'{self.where}: {problem}. {hint}')

  def check_keys(self, known: Collection[str]) -> None:
    """Raise InputError if there is any other key."""
    for key in sorted(self.values.keys() - known):
      raise self.error(f'{key!r:.40} is an unknown key', f'Use {sorted(known)}.')

  def numbers(self, key: str, *shape: int) -> np.ndarray:
    """Return an array of numbers of magnitude up to MAX_LENGTH, float64; () is one number."""
    values = self.values.get(key)
    array = np.array(values, object)
    wrong = [values] if array.shape != shape else [x for x in array.flat if not _is_number(x)]
    if wrong:
      expected = f'{" x ".join(map(str, shape))} numbers' if shape else 'a number'
      found = f'{wrong[0]!r:.80}' if key in self.values else 'absent'
      if array.ndim > 1 and array.shape != shape:
        found = f'{" x ".join(map(str, array.shape))} values'
      raise self.error(f'{key}: {found}, expected {expected} of magnitude up to {MAX_LENGTH:g}')
    return array.astype(np.float64)

  def integer(self, key: str, high: int, *, default: Any, hint: str = HINT) -> int:
    """Return an integer in [0, high]; `default` is checked too."""
    value = self.values.get(key, default)
    if not is_integer(value, 0, high):
      raise self.error(f'{key} is {value!r:.40}, not an integer from 0 to {high}', hint)
    return value


def _is_number(value: Any) -> bool:
  # Compared before any conversion: an integer may be too large for a float.
  return (
    isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_LENGTH
  )


def is_integer(value: Any, low: int, high: int) -> bool:
  """Return whether a value is an integer (no bool, no float) in [low, high]."""
  return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def read_list(path: Path, key: str) -> tuple[JsonObject, list[JsonObject]]:
  """Read a JSON object that holds a list of objects under a key.

  Returns:
    The whole object, and the objects of the list.

  Raises:
    InputError: the file is absent or damaged, or there is no such list; the entry is named.
  """
  content = files.read_json(path, _MAX_BYTES, HINT)
  entries = content.get(key) if isinstance(content, dict) else None
  if not isinstance(entries, list):
    raise InputError(f'{path}: no list "{key}". {HINT}')
  objects = [JsonObject(entry, f'{path}: {key}[{i}]') for i, entry in enumerate(entries)]
  for entry in objects:
    if not isinstance(entry.values, dict):
      raise entry.error(f'{entry.values!r:.40} is not an object')
  return JsonObject(content, str(path)), objects
