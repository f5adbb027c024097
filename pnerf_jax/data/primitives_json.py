"""Primitives as a list of cuboids in JSON, for data that is not annotated with meshes.

    {"boxes": [{"class": "car", "instance": 3, "center": [x, y, z], "size": [l, w, h], "yaw": 0.5}]}

Metres, radians, the world of the poses; the axes of a cuboid are x along its length, y along its
width, z up. docs/data_custom.md describes every key.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pnerf_jax.data import files, json_object, kitti360, labels
from pnerf_jax.data import primitives as primitives_lib
from pnerf_jax.data.json_object import JsonObject
from pnerf_jax.data.primitives import PrimitiveRecord

_MAX_MOVING_FRAMES = 250_000  # of a file: a box becomes one primitive in each of its frames
MAX_SIZE = 1e5  # metres
_KEYS = {'class', 'instance', 'center', 'size', 'rotation', 'yaw', 'frame', 'frames', 'velocity'}


def read_primitives(
  path: Path, predicate: Callable[[int, int, int], bool] = lambda *_: True
) -> list[PrimitiveRecord]:
  """Read the primitives of an XML or JSON file; see `primitives.read_primitives_xml`."""
  read = read_primitives_json if str(path).endswith('.json') else primitives_lib.read_primitives_xml
  return read(path, predicate)


def read_primitives_json(
  path: Path, predicate: Callable[[int, int, int], bool] = lambda *_: True
) -> list[PrimitiveRecord]:
  """Read the cuboids of a JSON list for which `predicate(start_frame, end_frame, timestamp)` holds.

  A cuboid with a velocity becomes one primitive for every accepted frame. All entries are checked,
  including those that are not accepted.

  Raises:
    InputError: the file is absent or damaged, or a value is unusable; the entry is named.
  """
  records = []
  num_frames = 0
  content, entries = json_object.read_list(path, 'boxes')
  content.check_keys({'boxes'})
  for index, entry in enumerate(entries):
    entry.check_keys(_KEYS)
    semantic = _class_id(entry)
    instance = entry.integer('instance', primitives_lib.MAX_INSTANCE, default=0)
    size = entry.numbers('size', 3)
    if size.min() < primitives_lib.MIN_EXTENT or size.max() > MAX_SIZE:
      raise entry.error(
        f'size is {size.tolist()}, expected {primitives_lib.MIN_EXTENT:g} to {MAX_SIZE:g} m'
      )
    corners = (primitives_lib.CUBE_VERTICES - 0.5) * size @ _rotation(entry).T
    for (start, end, timestamp), center in _placements(entry, _MAX_MOVING_FRAMES - num_frames):
      num_frames += 'velocity' in entry.values
      if predicate(start, end, timestamp):
        records.append(
          PrimitiveRecord(
            index=index,
            annotation=index + 1,
            label=labels.BY_ID[semantic].name,
            semantic=semantic,
            instance=instance,
            timestamp=timestamp,
            start_frame=start,
            end_frame=end,
            vertices=corners + center,
            faces=primitives_lib.CUBE_FACES,
          )
        )
  return records


def write_primitives_json(path: Path, entries: list[dict[str, Any]]) -> None:
  """Write entries of the form above, atomically."""
  lines = ',\n'.join(json.dumps(entry) for entry in entries)
  files.write_bytes(path, f'{{"boxes": [\n{lines}\n]}}\n'.encode())


def _placements(
  entry: JsonObject, max_frames: int
) -> Iterable[tuple[tuple[int, int, int], np.ndarray]]:
  """Return ((start_frame, end_frame, timestamp), center [3]) of the primitives of an entry."""
  center = entry.numbers('center', 3)
  frames = entry.values.get('frames')
  if frames is not None and not (
    isinstance(frames, list)
    and len(frames) == 2
    and all(json_object.is_integer(frame, 0, kitti360.MAX_FRAME) for frame in frames)
    and frames[0] <= frames[1]
  ):
    raise entry.error(f'frames is {frames!r:.60}, expected [first, last]')
  if 'frame' not in entry.values:
    if 'velocity' in entry.values:
      raise entry.error(
        'velocity without the frame at which the box is at its center',
        'Give "frame" and "frames" too.',
      )
    # A range of 0 to 0 would mean "unknown" (primitives.annotated_in_window).
    start, end = (-1, -1) if frames is None else (frames[0], max(frames[1], 1))
    return [((start, end, -1), center)]
  frame = entry.integer('frame', kitti360.MAX_FRAME, default=None)
  if ('velocity' in entry.values) != (frames is not None):
    raise entry.error('of velocity and frames, a moving box has both or none')
  if frames is None:
    return [((-1, -1, frame), center)]
  velocity = entry.numbers('velocity', 3)
  if frames[1] - frames[0] >= max_frames:
    raise entry.error(
      f'frames is {frames}, which makes more than {_MAX_MOVING_FRAMES} boxes of all that move',
      'Shorten it to the frames in which the object is there.',
    )
  moving = range(frames[0], frames[1] + 1)
  return (((-1, -1, f), center + (f - frame) * velocity) for f in moving)


def _class_id(entry: JsonObject) -> int:
  """Return the id of a class that is given by its name or by its id."""
  value: Any = entry.values.get('class')
  if isinstance(value, str) and value in labels.BY_NAME:
    value = labels.BY_NAME[value].id
  if not json_object.is_integer(value, 1, labels.NUM_IDS - 1):
    raise entry.error(
      f'class is {value!r:.40}, not an id (1 to {labels.NUM_IDS - 1}) or a name of the label table',
      f'Use one of: {", ".join(labels.CLASS_NAMES)}.',
    )
  return value


def _rotation(entry: JsonObject) -> np.ndarray:
  """Return world_from_box [3, 3] of a quaternion (w, x, y, z) or of a yaw about z, radians."""
  if ('rotation' in entry.values) == ('yaw' in entry.values):
    has = 'both rotation and' if 'yaw' in entry.values else 'neither rotation nor'
    raise entry.error(f'{has} yaw', 'Give one of them.')
  if 'yaw' in entry.values:
    yaw = float(entry.numbers('yaw'))
    if abs(yaw) > 2 * np.pi + 1e-3:
      raise entry.error(f'yaw is {yaw:g}, beyond a turn of 2 pi', 'Write radians, not degrees.')
    return Rotation.from_euler('z', yaw).as_matrix()
  quaternion = entry.numbers('rotation', 4)
  if abs(np.linalg.norm(quaternion) - 1) > 1e-3:
    raise entry.error(
      f'rotation is {quaternion.tolist()}, a quaternion (w, x, y, z) of length'
      f' {np.linalg.norm(quaternion):.4g}, not 1'
    )
  return Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
