"""The JSON tables of nuScenes: lists of records that refer to each other by tokens.

References:
  The schema on nuscenes.org (quaternions w, x, y, z; sizes width, length, height).
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pnerf_jax.config.spec import MAX_LENGTH
from pnerf_jax.data import files
from pnerf_jax.errors import InputError

Record = dict[str, Any]

FOLDERS = 'v1.0*-*'  # v1.0-mini, v1.0-trainval, ...; v1.01-train of Lyft
HINT = 'Correct the record, or copy the dataset again.'
_MAX_TABLE = 2**32  # bytes; sample_data.json of the largest release has some 1.3e9


class Tables:
  """The tables of one version."""

  def __init__(self, folder: Path):
    """Bind the folder of the tables."""
    self.folder = folder

  def path(self, table: str) -> Path:
    """Return the file of a table."""
    return self.folder / f'{table}.json'

  def where(self, table: str, record: Record) -> str:
    """Return the file and token of a record, for error messages."""
    return f'{self.path(table)}: record {record.get("token")!r:.60}'

  def read(self, table: str, keep: Callable[[Record], bool] = lambda _: True) -> list[Record]:
    """Read the records of a table for which `keep` is true."""
    path = self.path(table)
    content = files.read_bytes(path, _MAX_TABLE, HINT)

    def drop(pairs: list[tuple[str, Any]]) -> Record | None:
      # During parsing: as objects the largest tables would fill the memory.
      record = dict(pairs)
      if len(record) < len(pairs):
        raise ValueError('a key is twice in one record')
      return record if keep(record) else None

    try:
      records = json.loads(content, object_pairs_hook=drop)
      if not isinstance(records, list):
        raise ValueError('no list')
      records = [record for record in records if record is not None]
      for record in records:
        if not isinstance(record, dict) or not all(
          isinstance(value, str) for key, value in record.items() if key.endswith('token')
        ):
          raise ValueError(f'{str(record)[:40]} is not a record')
    except (ValueError, RecursionError) as e:
      raise InputError(f'{path}: is not a JSON list of records ({str(e)[:80]}). {HINT}') from None
    return records

  def select(self, table: str, key: str, values: set[str]) -> list[Record]:
    """Read the records of a table whose `key` has one of some values."""
    return self.read(
      table, lambda record: isinstance(record.get(key), str) and record[key] in values
    )

  def texts(self, table: str, key: str, records: Iterable[Record]) -> list[str]:
    """Return a non-empty text of every record, such as its token. Raises InputError."""
    return [text(record, key, self.where(table, record)) for record in records]

  def by_token(self, table: str, tokens: Iterable[str]) -> dict[str, Record]:
    """Read the records with some tokens. Raises InputError if one is missing or there twice."""
    tokens = set(tokens)
    records: dict[str, Record] = {}
    for record in self.select(table, 'token', tokens) if tokens else []:
      if records.setdefault(record['token'], record) is not record:
        raise InputError(f'{self.where(table, record)}: is there twice. {HINT}')
    missing = sorted(tokens - records.keys())
    if missing:
      raise InputError(
        f'{self.path(table)}: no record {missing[0]!r:.60}, to which another table refers. {HINT}'
      )
    return records


def find_tables(root: Path, scene: str) -> Path:
  """Return the folder of the tables that contain the scene. Raises InputError."""
  folders = sorted(path.parent for path in root.glob(f'{FOLDERS}/scene.json'))
  if not folders:
    raise InputError(
      f"{root}: contains no {FOLDERS}/scene.json. Use the folder of a dataset with nuScenes' tables"
      ' with --from.'
    )
  names = []
  for folder in folders:
    found = [str(record.get('name')) for record in Tables(folder).read('scene')]
    if found.count(scene) == 1:
      return folder
    names += found
  raise InputError(
    f'--scene={scene}: {root} has {", ".join(sorted(names)[:8]) or "no scene"}'
    f'{", ..." if len(names) > 8 else ""}. Use one of its scenes.'
  )


def rigid(record: Record, where: str) -> np.ndarray:
  """Return [4, 4] of the translation and rotation of a record."""
  quaternion = numbers(record, 'rotation', where, 4)
  if abs(np.linalg.norm(quaternion) - 1) > 1e-3:
    raise InputError(f'{where}: rotation is {quaternion.tolist()}, not of length 1. {HINT}')
  out = np.eye(4)
  out[:3, :3] = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
  out[:3, 3] = numbers(record, 'translation', where, 3)
  return out


def numbers(
  record: Record, key: str, where: str, count: int, high: float = MAX_LENGTH
) -> np.ndarray:
  """Return [count] numbers of magnitude up to `high` of a record, flattened. Raises InputError."""
  try:
    values = np.array(record.get(key), np.float64).ravel()
  except (ValueError, TypeError, OverflowError):
    values = np.zeros(0)
  if len(values) != count or not (np.abs(values) <= high).all():
    raise InputError(
      f'{where}: {key} is {str(record.get(key))[:80]}, expected {count} numbers of magnitude up to'
      f' {high:g}. {HINT}'
    )
  return values


def text(record: Record, key: str, where: str) -> str:
  """Return a non-empty text of a record."""
  value = record.get(key)
  if not isinstance(value, str) or not value:
    raise InputError(f'{where}: {key} is {value!r:.40}, expected text. {HINT}')
  return value
