"""Primitives as a plain list of boxes in JSON, for data that is not annotated with meshes.

    {"boxes": [{"class": "car", "instance": 3, "center": [x, y, z], "size": [l, w, h], "yaw": 0.5}]}

Metres, radians, the world of the poses; a box's own axes are x along its length, y along its width,
z up. docs/own_data.md tells every key.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, kitti360, labels
from pnerf_jax.data import primitives as boxes_lib
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError

_MAX_BYTES = 2**28
_MAX_FRAMES = 100_000  # through which one box may move
_MAX_SIZE = 1e5  # metres
_KEYS = {'class', 'instance', 'center', 'size', 'rotation', 'yaw', 'frame', 'frames', 'velocity'}
_REMEDY = 'Correct it; docs/own_data.md describes the file.'


def read_primitives(
  path: Path, selects: Callable[[int, int, int], bool] = lambda *_: True
) -> list[PrimitiveRecord]:
  """All primitives of an XML or JSON file; arguments and errors as of `boxes.read_boxes`."""
  read = read_primitives_json if str(path).endswith('.json') else boxes_lib.read_primitives_xml
  return read(path, selects)


def read_primitives_json(
  path: Path, selects: Callable[[int, int, int], bool] = lambda *_: True
) -> list[PrimitiveRecord]:
  """The boxes of a JSON list that `selects(start_frame, end_frame, timestamp)` accepts.

  A box with a velocity becomes one primitive for every frame that is accepted. All entries are
  checked, whether they are selected or not.
  """
  found = files.read_json(path, _MAX_BYTES, _REMEDY)
  if not isinstance(found, dict) or not isinstance(found.get('boxes'), list):
    raise InputError(f'{path}: holds no list "boxes". {_REMEDY}')
  boxes = []
  for number, entry in enumerate(found['boxes']):
    where = f'{path}: boxes[{number}]'
    if not isinstance(entry, dict):
      raise InputError(f'{where}: {entry!r:.40} is no object. {_REMEDY}')
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
      raise InputError(f'{where}: {unknown[0]!r:.40} is no key of a box. Use {sorted(_KEYS)}.')
    semantic = _class_id(entry.get('class'), where)
    instance = _whole(entry, 'instance', where, 0, boxes_lib.MAX_INSTANCE)
    size = _vector(entry, 'size', where, 3)
    if size.min() < boxes_lib.MIN_EXTENT or size.max() > _MAX_SIZE:
      raise InputError(
        f'{where}: size is {size.tolist()}, expected {boxes_lib.MIN_EXTENT:g} to'
        f' {_MAX_SIZE:g} m. {_REMEDY}'
      )
    corners = (boxes_lib.CUBE - 0.5) * size @ _rotation(entry, where).T
    for (start, end, timestamp), center in _places(entry, where):
      if selects(start, end, timestamp):
        boxes.append(
          PrimitiveRecord(
            index=number,
            annotation=number + 1,
            label=labels.BY_ID[semantic].name,
            semantic=semantic,
            instance=instance,
            timestamp=timestamp,
            start_frame=start,
            end_frame=end,
            vertices=corners + center,
            faces=boxes_lib.CUBE_FACES,
          )
        )
  return boxes


def write_primitives_json(path: Path, entries: list[dict[str, Any]]) -> None:
  """Writes entries of the form above; the file is whole or absent."""
  lines = ',\n'.join(json.dumps(entry) for entry in entries)
  files.write_bytes(path, f'{{"boxes": [\n{lines}\n]}}\n'.encode())


def _places(entry: dict[str, Any], where: str) -> list[tuple[tuple[int, int, int], np.ndarray]]:
  """((start_frame, end_frame, timestamp) as of Box, centre [3]) of every primitive of an entry."""
  center = _vector(entry, 'center', where, 3)
  frames = entry.get('frames')
  if frames is not None and not (
    isinstance(frames, list)
    and len(frames) == 2
    and all(map(_is_frame, frames))
    and frames[0] <= frames[1]
  ):
    raise InputError(f'{where}: frames is {frames!r:.60}, expected [first, last]. {_REMEDY}')
  if 'frame' not in entry:
    if 'velocity' in entry:
      raise InputError(
        f'{where}: velocity without the frame at which the box is at its center.'
        ' Give "frame" and "frames" too.'
      )
    # Where both are 0 or less a primitive belongs everywhere (boxes.belongs).
    start, end = (-1, -1) if frames is None else (frames[0], max(frames[1], 1))
    return [((start, end, -1), center)]
  frame = _whole(entry, 'frame', where, 0, kitti360.MAX_FRAME)
  if ('velocity' in entry) != (frames is not None):
    raise InputError(f'{where}: of velocity and frames, a moving box has both or none. {_REMEDY}')
  if frames is None:
    return [((-1, -1, frame), center)]
  velocity = _vector(entry, 'velocity', where, 3)
  if frames[1] - frames[0] >= _MAX_FRAMES:
    raise InputError(f'{where}: frames {frames} are more than {_MAX_FRAMES}. {_REMEDY}')
  return [((-1, -1, f), center + (f - frame) * velocity) for f in range(frames[0], frames[1] + 1)]


def _class_id(value: Any, where: str) -> int:
  """The id of a class that is given by its name or by that id."""
  if isinstance(value, str) and value in labels.BY_NAME:
    value = labels.BY_NAME[value].id
  if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < labels.NUM_IDS:
    raise InputError(
      f'{where}: class is {value!r:.40}, no name and no id (1 to'
      f' {labels.NUM_IDS - 1}) of the label table. {_REMEDY}'
    )
  return value


def _rotation(entry: dict[str, Any], where: str) -> np.ndarray:
  """[3, 3] world_from_box from a quaternion (w, x, y, z), or from radians about the world's z."""
  if ('rotation' in entry) == ('yaw' in entry):
    has = 'both rotation and' if 'yaw' in entry else 'neither rotation nor'
    raise InputError(f'{where}: has {has} yaw. Give one of them.')
  if 'yaw' in entry:
    yaw = _vector({'yaw': [entry['yaw']]}, 'yaw', where, 1)[0]
    return np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
  quaternion = _vector(entry, 'rotation', where, 4)
  if abs(np.linalg.norm(quaternion) - 1) > 1e-3:
    raise InputError(
      f'{where}: rotation is {quaternion.tolist()}, a quaternion (w, x, y, z) of'
      f' length {np.linalg.norm(quaternion):.4g}, not 1. {_REMEDY}'
    )
  return quaternion_matrix(quaternion)


def quaternion_matrix(quaternion: np.ndarray) -> np.ndarray:
  """Rotation [3, 3] of a quaternion [4] (w, x, y, z) of any length but 0."""
  w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
  return np.array(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
  )


def _is_frame(value: Any) -> bool:
  return (
    isinstance(value, int) and not isinstance(value, bool) and (0 <= value <= kitti360.MAX_FRAME)
  )


def _whole(entry: dict[str, Any], key: str, where: str, low: int, high: int) -> int:
  value = entry.get(key, 0)
  if not _is_frame(value) or not low <= value <= high:
    raise InputError(
      f'{where}: {key} is {value!r:.40}, not a whole number from {low} to {high}. {_REMEDY}'
    )
  return value


def _vector(entry: dict[str, Any], key: str, where: str, count: int) -> np.ndarray:
  values = entry.get(key)
  if (
    not isinstance(values, list)
    or len(values) != count
    or not all(
      isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) <= kitti360.FAR_AWAY
      for x in values
    )
  ):
    raise InputError(
      f'{where}: {key} is {str(values)[:80]}, expected {count} numbers of at most'
      f' {kitti360.FAR_AWAY:g}. {_REMEDY}'
    )
  return np.array(values, np.float64)
