"""Conversion of a scene of a dataset with nuScenes' tables to transforms.json and boxes.json.

    ROOT/v1.0-*/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor,
                 sample_annotation,instance,category}.json
    ROOT/samples/CAM_*/...

Only the published layout of the tables is used, no data or code of nuScenes. Frames are the samples
of the scene, counted from 0; cameras are the channels; the world is the global frame of the tables.
Only things are annotated: a static object becomes one box, a moving object one box per sample.

References:
  The schema on nuscenes.org (quaternions w, x, y, z; sizes width, length, height).
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from scipy.spatial.transform import Rotation

from pnerf_jax.data import files, kitti360, labels, primitives_json, transforms
from pnerf_jax.errors import InputError

Record = dict[str, Any]

_LOG = logging.getLogger(__name__)
BOXES = 'boxes.json'
_MAX_TABLE = 2**32  # bytes; sample_data.json of the largest release has some 1.3e9
_HINT = 'Copy the dataset again.'
_MAX_STATIC_MOTION = 0.5  # metres between the centres of a static object
# Prefixes of category names and the classes that they become.
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
  """Convert one scene.

  Args:
    root: root of the dataset.
    out: folder of transforms.json, boxes.json and the images (links, or copies if necessary).
    scene: name in the table, such as scene-0061.

  Returns:
    The contents of transforms.json.

  Raises:
    InputError: there is no such scene, or a table or image is missing, damaged or inconsistent.
  """
  root, out = Path(root), Path(out)
  files.check_is_folder(out, '--out')
  tables = Tables(_find_tables(root, scene))
  (record,) = tables.select('scene', 'name', {scene})
  samples = tables.select('sample', 'scene_token', {_text(record, 'token', 'scene')})
  samples.sort(key=lambda sample: _numbers(sample, 'timestamp', 'sample', 1)[0])
  frames = {_text(sample, 'token', 'sample'): i for i, sample in enumerate(samples)}
  if not frames:
    raise InputError(f'{tables.folder}: scene {scene} has no sample. {_HINT}')
  sources = _image_records(tables, frames)
  boxes = _boxes(tables, frames)
  missing = [source for source in sources if not (root / source.files['rgb']).is_file()]
  if missing:
    raise InputError(
      f'{root / missing[0].files["rgb"]}: no such file ({len(missing)} of {len(sources)} images'
      f' are missing). {_HINT}'
    )
  records = {}
  for source in tqdm.tqdm(sources, 'images', unit='file', mininterval=1.0):
    path = root / source.files['rgb']
    target = f'images/{source.camera}/{kitti360.frame_name(source.frame)}{path.suffix}'
    files.link(path, out / target)
    records[source.frame, source.camera] = dataclasses.replace(source, files={'rgb': target})
  primitives_json.write_primitives_json(out / BOXES, boxes)
  cameras = tuple(sorted({source.camera for source in sources}))
  result = transforms.Transforms(scene, records, cameras, (), BOXES)
  transforms.write(out / transforms.NAME, result)
  # Reading validates every value.
  transforms.read(out)
  primitives_json.read_primitives_json(out / BOXES)
  _LOG.info(
    '%s: %d samples, %d images of %d cameras, %d boxes (%d of moving objects). The space outside'
    ' them is not annotated: train with --config.scene.unannotated_space=void',
    out / transforms.NAME,
    len(frames),
    len(records),
    len(cameras),
    len(boxes),
    sum('frame' in box for box in boxes),
  )
  return result


class Tables:
  """The JSON tables of one version: lists of records that refer to each other by tokens."""

  def __init__(self, folder: Path):
    """Bind the folder of the tables."""
    self.folder = folder

  def read(self, table: str, keep: Callable[[Record], bool] = lambda _: True) -> list[Record]:
    """Read the records of a table for which `keep` is true."""
    path = self.folder / f'{table}.json'
    content = files.read_bytes(path, _MAX_TABLE, _HINT)
    # Records are dropped during parsing: as objects the largest tables would fill the memory.
    drop = lambda record: record if keep(record) else None
    try:
      records = json.loads(content, object_hook=drop)
      if not isinstance(records, list):
        raise ValueError('no list')
      records = [record for record in records if record is not None]
      for record in records:
        if not isinstance(record, dict) or not all(
          isinstance(value, str) for key, value in record.items() if key.endswith('token')
        ):
          raise ValueError(f'{str(record)[:40]} is not a record')
    except (ValueError, RecursionError) as e:
      raise InputError(f'{path}: is not a JSON list of records ({str(e)[:80]}). {_HINT}') from None
    return records

  def select(self, table: str, key: str, values: set[str]) -> list[Record]:
    """Read the records of a table whose `key` has one of some values."""
    return self.read(
      table, lambda record: isinstance(record.get(key), str) and record[key] in values
    )

  def by_token(self, table: str, tokens: Iterable[str]) -> dict[str, Record]:
    """Read the records with some tokens. Raises InputError if one is missing."""
    tokens = set(tokens)
    records = {record['token']: record for record in self.select(table, 'token', tokens)}
    missing = sorted(tokens - records.keys())
    if missing:
      raise InputError(
        f'{self.folder / f"{table}.json"}: no record {missing[0]!r:.60}, to which another table'
        f' refers. {_HINT}'
      )
    return records


def _find_tables(root: Path, scene: str) -> Path:
  """Return the folder of the tables that contain the scene."""
  folders = sorted(path.parent for path in root.glob('v1.0-*/scene.json'))
  if not folders:
    raise InputError(
      f"{root}: contains no v1.0-*/scene.json. Use the folder of a dataset with nuScenes' tables"
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


def _image_records(tables: Tables, frames: dict[str, int]) -> list[transforms.ImageRecord]:
  """Return the camera images of all samples; their 'rgb' is the path inside the dataset."""
  data = [
    record
    for record in tables.select('sample_data', 'sample_token', set(frames))
    if record.get('is_key_frame') is True
  ]
  calibrated = tables.by_token(
    'calibrated_sensor',
    (_text(record, 'calibrated_sensor_token', 'sample_data') for record in data),
  )
  sensors = tables.by_token(
    'sensor',
    (_text(record, 'sensor_token', 'calibrated_sensor') for record in calibrated.values()),
  )
  sensor_of = lambda record: sensors[calibrated[record['calibrated_sensor_token']]['sensor_token']]
  data = [record for record in data if sensor_of(record).get('modality') == 'camera']
  poses = tables.by_token(
    'ego_pose', (_text(record, 'ego_pose_token', 'sample_data') for record in data)
  )
  images = []
  for record in data:
    calibration = calibrated[record['calibrated_sensor_token']]
    where = f'sample_data {record.get("token")!r:.60}'
    pixels = lambda key: int(_numbers(record, key, where, 1)[0])
    matrix = _numbers(
      calibration, 'camera_intrinsic', f'calibrated_sensor {calibration["token"]!r:.60}', 9
    )
    world_from_ego = _rigid(poses[record['ego_pose_token']], 'ego_pose')
    images.append(
      transforms.ImageRecord(
        camera=transforms.folder_name(sensor_of(record).get('channel'), 'channel', 'sensor'),
        frame=frames[record['sample_token']],
        size=(pixels('width'), pixels('height')),
        intrinsics=matrix[[0, 4, 2, 5]],  # OpenCV convention: integers are pixel centres
        world_from_cam=world_from_ego @ _rigid(calibration, 'calibrated_sensor'),
        files={'rgb': transforms.relative_path(record.get('filename'), 'filename', where)},
      )
    )
  if not images:
    raise InputError(f'{tables.folder}: the scene has no camera image. {_HINT}')
  return sorted(images, key=lambda image: (image.frame, image.camera))


def _boxes(tables: Tables, frames: dict[str, int]) -> list[Record]:
  """Return the objects of the scene as entries of boxes.json."""
  annotations: dict[str, list[Record]] = {}
  for record in tables.select('sample_annotation', 'sample_token', set(frames)):
    annotations.setdefault(_text(record, 'instance_token', 'sample_annotation'), []).append(record)
  instances = tables.by_token('instance', annotations)
  categories = tables.by_token(
    'category', (_text(record, 'category_token', 'instance') for record in instances.values())
  )
  counts: dict[str, int] = {}
  boxes, unknown = [], set()
  for token, records in annotations.items():
    category = _text(categories[instances[token]['category_token']], 'name', 'category')
    name = next((name for prefix, name in _CLASSES if category.startswith(prefix)), None)
    if name is None:
      unknown.add(category)
      continue
    counts[name] = counts.get(name, 0) + 1
    boxes += _boxes_of_object(name, counts[name], records, frames)
  if unknown:
    _LOG.warning('skipping categories without a class: %s', ', '.join(sorted(unknown)))
  return boxes


def _boxes_of_object(
  name: str, number: int, annotations: list[Record], frames: dict[str, int]
) -> list[Record]:
  """Return the boxes of one object.

  Args:
    name: class name.
    number: number of the object among those of its class, from 1.
    annotations: records of the object.
    frames: frame number by sample token.
  """
  entries = []
  for record in sorted(annotations, key=lambda record: frames[record['sample_token']]):
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
  distance = np.linalg.norm(centers - np.median(centers, axis=0), axis=-1)
  if distance.max() > _MAX_STATIC_MOTION:
    return entries
  static = entries[int(np.argmin(distance))]
  del static['frame']
  return [static]


def _rigid(record: Record, table: str) -> np.ndarray:
  """Return [4, 4] of the translation and rotation of a record."""
  where = f'{table} {record["token"]!r:.60}'
  quaternion = _numbers(record, 'rotation', where, 4)
  if abs(np.linalg.norm(quaternion) - 1) > 1e-3:
    raise InputError(f'{where}: rotation is {quaternion.tolist()}, not of length 1. {_HINT}')
  out = np.eye(4)
  out[:3, :3] = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
  out[:3, 3] = _numbers(record, 'translation', where, 3)
  return out


def _numbers(record: Record, key: str, where: str, count: int) -> np.ndarray:
  """Return [count] finite numbers of a record, flattened."""
  try:
    values = np.array(record.get(key), np.float64).ravel()
  except (ValueError, TypeError, OverflowError):
    values = np.zeros(0)
  # Timestamps, in microseconds, are the largest.
  if len(values) != count or not (np.abs(values) <= 1e18).all():
    raise InputError(
      f'{where}: {key} is {str(record.get(key))[:80]}, expected {count} finite numbers. {_HINT}'
    )
  return values


def _text(record: Record, key: str, table: str) -> str:
  """Return a non-empty text of a record."""
  value = record.get(key)
  if not isinstance(value, str) or not value:
    raise InputError(f'{table}: {key} of a record is {value!r:.40}, expected text. {_HINT}')
  return value
