"""One scene of a dataset with nuScenes' tables as transforms.json, boxes.json and linked images.

    ROOT/v1.0-*/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor,
                 sample_annotation,instance,category}.json
    ROOT/samples/CAM_*/...

Only the published layout of the tables is used; nothing of nuScenes' data or code is here. Frames
are the scene's samples, counted from 0; cameras are the channels; the world is the tables' global
frame. Boxes are of things only: what stands still becomes one box, what moves one box a sample.
Source: the schema on nuscenes.org (quaternions w, x, y, z; sizes width, length, height).
"""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from pnerf_jax.data import files, kitti360, labels, primitives_json, transforms
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
BOXES = 'boxes.json'
_MAX_TABLE = 2**32  # bytes; sample_data.json of the largest release has some 1.3e9
_REMEDY = 'Copy the dataset again.'
_STILL = 0.5  # metres between the centres of an object that stands still
# Beginnings of category names and the classes that they become.
_CLASSES = (
  ('human.pedestrian', 'person'),
  ('vehicle.car', 'car'),
  ('vehicle.emergency.police', 'car'),
  ('vehicle.emergency.ambulance', 'truck'),
  ('vehicle.truck', 'truck'),
  ('vehicle.bus', 'bus'),
  ('vehicle.trailer', 'trailer'),
  ('vehicle.bicycle', 'bicycle'),
  ('vehicle.motorcycle', 'motorcycle'),
  ('vehicle.construction', 'unknown vehicle'),
  ('movable_object', 'unknown object'),
  ('static_object', 'unknown object'),
)


def convert(root: Path, out: Path, scene: str) -> transforms.Transforms:
  """Writes one scene.

  Args:
    root: of the dataset.
    out: folder for transforms.json, boxes.json and images (links, or copies where none can be).
    scene: its name in the table, such as scene-0061.

  Returns:
    What was written.

  Raises:
    InputError: no such scene; a table or image that is missing, damaged or does not fit the others.
  """
  root, out = Path(root), Path(out)
  files.check_is_folder(out, '--out')
  tables = Tables(_version(root, scene))
  (record,) = tables.select('scene', 'name', {scene})
  samples = tables.select('sample', 'scene_token', {_text(record, 'token', 'scene')})
  samples.sort(key=lambda sample: _numbers(sample, 'timestamp', 'sample', 1)[0])
  frames = {_text(sample, 'token', 'sample'): i for i, sample in enumerate(samples)}
  if not frames:
    raise InputError(f'{tables.folder}: scene {scene} has no sample. {_REMEDY}')
  shots = _shots(tables, frames)
  boxes = _boxes(tables, frames)
  lacking = [shot.files['rgb'] for shot in shots if not (root / shot.files['rgb']).is_file()]
  if lacking:
    raise InputError(
      f'{root / lacking[0]}: no such file ({len(lacking)} of {len(shots)} images'
      f' are missing). {_REMEDY}'
    )
  named = {}
  for shot in tqdm.tqdm(shots, 'images', unit='file', mininterval=1.0):
    source = root / shot.files['rgb']
    inside = f'images/{shot.camera}/{kitti360.frame_name(shot.frame)}{source.suffix}'
    files.link(source, out / inside)
    named[shot.frame, shot.camera] = transforms.ImageRecord(
      shot.camera, shot.frame, shot.size, shot.intrinsics, shot.world_from_cam, {'rgb': inside}
    )
  primitives_json.write_primitives_json(out / BOXES, boxes)
  found = transforms.Transforms(
    scene, named, tuple(sorted({shot.camera for shot in shots})), (), BOXES
  )
  transforms.write(out / transforms.NAME, found)
  transforms.read(out), primitives_json.read_primitives_json(out / BOXES)  # checks every value
  _LOG.info(
    '%s: %d samples, %d images of %d cameras, %d boxes (%d of what moves). Space outside'
    ' them is unknown: train with --config.scene.unannotated_space=void',
    out / transforms.NAME,
    len(frames),
    len(named),
    len(found.cameras),
    len(boxes),
    sum('frame' in box for box in boxes),
  )
  return found


class Tables:
  """The JSON tables of one version; each is a list of records that name each other by tokens."""

  def __init__(self, folder: Path):
    self.folder = folder

  def select(self, table: str, key: str, wanted: set[str]) -> list[dict[str, Any]]:
    """The records of a table whose `key` is among those wanted; the others are not kept."""
    return [
      record
      for record in self.records(table)
      if isinstance(record.get(key), str) and record[key] in wanted
    ]

  def by_token(self, table: str, tokens: set[str]) -> dict[str, dict[str, Any]]:
    """Records by their tokens, all of which must be there."""
    found = {record['token']: record for record in self.select(table, 'token', tokens)}
    lacking = sorted(tokens - found.keys())
    if lacking:
      raise InputError(
        f'{self.folder / f"{table}.json"}: no record {lacking[0]!r:.60}, which'
        f' another table names. {_REMEDY}'
      )
    return found

  def records(self, table: str) -> Iterator[dict[str, Any]]:
    """One record after the other: the largest tables fill the memory many times as objects."""
    path = self.folder / f'{table}.json'
    try:
      text = files.read_bytes(path, _MAX_TABLE, _REMEDY).decode()
      place, decoder = _skip(text, 0, '['), json.JSONDecoder()
      while text[place : place + 1] != ']':
        record, place = decoder.raw_decode(text, place)
        if not isinstance(record, dict) or not all(
          isinstance(value, str) for key, value in record.items() if key.endswith('token')
        ):
          raise ValueError(f'{str(record)[:40]} is no record')
        yield record
        place = _skip(text, place, '')
        if text[place : place + 1] != ']':
          place = _skip(text, place, ',')
    except (ValueError, RecursionError) as e:
      if isinstance(e, InputError):
        raise
      raise InputError(f'{path}: is no JSON list of records ({str(e)[:80]}). {_REMEDY}') from None


_BLANK = re.compile(r'\s*')


def _skip(text: str, place: int, word: str) -> int:
  """The place behind blanks, a word and blanks; ValueError where the word is not there."""
  place = _BLANK.match(text, place).end()
  if not text.startswith(word, place):
    raise ValueError(f'expected {word!r} at character {place}')
  return _BLANK.match(text, place + len(word)).end()


def _version(root: Path, scene: str) -> Path:
  """The folder of tables that has the scene."""
  folders = sorted(path.parent for path in root.glob('v1.0-*/scene.json'))
  if not folders:
    raise InputError(
      f'{root}: holds no v1.0-*/scene.json. Name the folder of a dataset with'
      " nuScenes' tables with --from."
    )
  names = []
  for folder in folders:
    there = [str(record.get('name')) for record in Tables(folder).records('scene')]
    if there.count(scene) == 1:
      return folder
    names += there
  raise InputError(
    f'--scene={scene}: {root} has {", ".join(sorted(names)[:8]) or "no scene"}'
    f'{", ..." if len(names) > 8 else ""}. Name one of its scenes.'
  )


def _shots(tables: Tables, frames: dict[str, int]) -> list[transforms.ImageRecord]:
  """The camera images of all samples; their 'rgb' is the path inside the dataset."""
  data = [
    record
    for record in tables.select('sample_data', 'sample_token', set(frames))
    if record.get('is_key_frame') is True
  ]
  tokens = lambda records, key, table: {_text(record, key, table) for record in records}
  calibrated = tables.by_token(
    'calibrated_sensor', tokens(data, 'calibrated_sensor_token', 'sample_data')
  )
  sensors = tables.by_token(
    'sensor', tokens(calibrated.values(), 'sensor_token', 'calibrated_sensor')
  )
  data = [
    record
    for record in data
    if sensors[calibrated[record['calibrated_sensor_token']]['sensor_token']].get('modality')
    == 'camera'
  ]
  poses = tables.by_token('ego_pose', tokens(data, 'ego_pose_token', 'sample_data'))
  shots = []
  for record in data:
    sensor = calibrated[record['calibrated_sensor_token']]
    where = f'sample_data {record.get("token")!r:.60}'
    k = _numbers(sensor, 'camera_intrinsic', f'calibrated_sensor {sensor["token"]!r:.60}', 9)
    shots.append(
      transforms.ImageRecord(
        camera=transforms.folder_name(
          sensors[sensor['sensor_token']].get('channel'), 'channel', 'sensor'
        ),
        frame=frames[record['sample_token']],
        size=tuple(int(_numbers(record, key, where, 1)[0]) for key in ('width', 'height')),
        intrinsics=k[[0, 4, 2, 5]],  # of OpenCV's calibration: integers are pixel centres
        world_from_cam=(
          _rigid(poses[record['ego_pose_token']], 'ego_pose') @ _rigid(sensor, 'calibrated_sensor')
        ),
        files={'rgb': transforms.inside(record.get('filename'), 'filename', where)},
      )
    )
  if not shots:
    raise InputError(f'{tables.folder}: the scene has no camera image. {_REMEDY}')
  return sorted(shots, key=lambda shot: (shot.frame, shot.camera))


def _boxes(tables: Tables, frames: dict[str, int]) -> list[dict[str, Any]]:
  """The objects of the scene as entries of a box list."""
  seen: dict[str, list[dict[str, Any]]] = {}
  for record in tables.select('sample_annotation', 'sample_token', set(frames)):
    seen.setdefault(_text(record, 'instance_token', 'sample_annotation'), []).append(record)
  instances = tables.by_token('instance', set(seen))
  categories = tables.by_token(
    'category', {_text(instance, 'category_token', 'instance') for instance in instances.values()}
  )
  counts: dict[str, int] = {}
  boxes, unknown = [], set()
  for token, records in seen.items():
    category = _text(categories[instances[token]['category_token']], 'name', 'category')
    name = next((name for start, name in _CLASSES if category.startswith(start)), None)
    if name is None:
      unknown.add(category)
      continue
    counts[name] = counts.get(name, 0) + 1
    boxes += _object(name, counts[name], records, frames)
  if unknown:
    _LOG.warning('left out, since they have no class here: %s', ', '.join(sorted(unknown)))
  return boxes


def _object(
  name: str, number: int, records: list[dict[str, Any]], frames: dict[str, int]
) -> list[dict[str, Any]]:
  """The boxes of one object from its annotations."""
  entries = []
  for record in sorted(records, key=lambda record: frames[record['sample_token']]):
    where = f'sample_annotation {record.get("token")!r:.60}'
    width, length, height = _numbers(record, 'size', where, 3)
    entries.append(
      {
        'class': name,
        'instance': number if labels.IS_THING[labels.BY_NAME[name].id] else 0,
        'center': _numbers(record, 'translation', where, 3).tolist(),
        'size': [length, width, height],
        'rotation': _numbers(record, 'rotation', where, 4).tolist(),
        'frame': frames[record['sample_token']],
      }
    )
  centers = np.array([entry['center'] for entry in entries])
  offset = np.linalg.norm(centers - np.median(centers, axis=0), axis=-1)
  if offset.max() > _STILL:
    return entries
  entry = entries[int(np.argmin(offset))]
  del entry['frame']
  return [entry]


def _rigid(record: dict[str, Any], table: str) -> np.ndarray:
  """[4, 4] from translation and rotation."""
  where = f'{table} {record["token"]!r:.60}'
  quaternion = _numbers(record, 'rotation', where, 4)
  if abs(np.linalg.norm(quaternion) - 1) > 1e-3:
    raise InputError(f'{where}: rotation is {quaternion.tolist()}, not of length 1. {_REMEDY}')
  out = np.eye(4)
  out[:3, :3] = primitives_json.quaternion_matrix(quaternion)
  out[:3, 3] = _numbers(record, 'translation', where, 3)
  return out


def _numbers(record: dict[str, Any], key: str, where: str, count: int) -> np.ndarray:
  """[count] finite numbers, whatever the nesting of their lists."""
  try:
    values = np.array(record.get(key), np.float64).ravel()
  except (ValueError, TypeError, OverflowError):
    values = np.zeros(0)
  # Timestamps, in microseconds, are the largest.
  if len(values) != count or not (np.abs(values) <= 1e18).all():
    raise InputError(
      f'{where}: {key} is {str(record.get(key))[:80]}, expected {count} finite numbers. {_REMEDY}'
    )
  return values


def _text(record: dict[str, Any], key: str, table: str) -> str:
  value = record.get(key)
  if not isinstance(value, str) or not value:
    raise InputError(f'{table}: a record has {key} {value!r:.40}, not a word. {_REMEDY}')
  return value
