"""Boxes of the objects of a scene with nuScenes' tables.

An object that surely rests becomes one box of all frames. One that moves, may move, or was seen too
seldom to tell has a box in each of its own frames only.
"""

import logging
import re

import numpy as np

from pnerf_jax.contrib.datasets.nuscenes_tables import HINT, Record, Tables, numbers, rigid, text
from pnerf_jax.data import labels, primitives, primitives_json
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_MAX_STATIC_MOTION = 0.5  # metres from the median of the centres
_MAX_STATIC_SHIFT = 0.2  # metres from the first to the last centre, the accuracy of annotations,
_MAX_STATIC_SPEED = 0.3  # unless that is slower, in metres per second: a drift of the ego poses
_MIN_SEEN = 3  # samples, to tell that an object rests
# Names of attributes (Lyft's begin with object_action) and categories.
_RESTING = re.compile('parked|without_rider|sitting')
_MOBILE = re.compile('moving|stopped|standing|with_rider|object_action')
_FIXED = re.compile(r'static_object|movable_object\.(barrier|trafficcone)')
# Regular expressions of category names, and the classes that they become.
_CLASSES = (
  (r'human\.pedestrian.*|pedestrian', 'person'),
  (r'vehicle\.car.*|vehicle\.emergency\.police.*|car', 'car'),
  (r'vehicle\.truck.*|vehicle\.emergency\.ambulance.*|truck', 'truck'),
  (r'vehicle\.bus.*|bus', 'bus'),
  (r'vehicle\.trailer.*', 'trailer'),
  (r'(vehicle\.)?bicycle.*', 'bicycle'),
  (r'(vehicle\.)?motorcycle.*', 'motorcycle'),
  (r'vehicle\.construction.*|other_vehicle|emergency_vehicle', 'unknown vehicle'),
  (r'(movable|static)_object.*', 'unknown object'),
)


def read_boxes(tables: Tables, frames: dict[str, int], times: np.ndarray) -> list[Record]:
  """Return the objects of a scene as entries of boxes.json.

  Args:
    tables: of the dataset.
    frames: frame number by sample token.
    times: [F] of the frames, seconds.

  Raises:
    InputError: a record is missing or damaged; it is named.
  """
  table = 'sample_annotation'
  records = tables.select(table, 'sample_token', set(frames))
  annotations: dict[str, list[Record]] = {}
  for record, token in zip(records, tables.texts(table, 'instance_token', records)):
    annotations.setdefault(token, []).append(record)
  instances = tables.by_token('instance', annotations)
  tokens = tables.texts('instance', 'category_token', instances.values())
  categories = tables.by_token('category', tokens)
  attributes = tables.by_token('attribute', {t for r in records for t in _attributes(r)})
  states = dict(zip(attributes, tables.texts('attribute', 'name', attributes.values())))
  counts: dict[str, int] = {}
  boxes, unknown = [], set()
  for token, seen in annotations.items():
    record = categories[instances[token]['category_token']]
    category = text(record, 'name', tables.where('category', record))
    name = next((name for pattern, name in _CLASSES if re.fullmatch(pattern, category)), None)
    if name is None:
      unknown.add(category)
      continue
    counts[name] = counts.get(name, 0) + 1
    if counts[name] > primitives.MAX_INSTANCE:
      raise InputError(
        f'{tables.where("instance", instances[token])}: is another {name} of the scene, which has'
        f' {primitives.MAX_INSTANCE}. Split the scene.'
      )
    instance = counts[name] if labels.IS_THING[labels.BY_NAME[name].id] else 0
    seen.sort(key=lambda record: frames[record['sample_token']])
    entries = [_entry(tables, record) for record in seen]
    for entry, record in zip(entries, seen):
      entry |= {'class': name, 'instance': instance, 'frame': frames[record['sample_token']]}
    if len({entry['frame'] for entry in entries}) < len(entries):
      raise InputError(
        f'{tables.path(table)}: two records of instance {token!r:.60} are of one sample. {HINT}'
      )
    own_states = {states[state] for record in seen for state in _attributes(record)}
    velocities = [record.get('velocity') for record in seen]
    if _rests(entries, category, own_states, velocities, times):
      centers = np.array([entry['center'] for entry in entries])
      distance = np.linalg.norm(centers - np.median(centers, axis=0), axis=-1)
      entries = [entries[int(np.argmin(distance))]]
      del entries[0]['frame']
    boxes += entries
  if unknown:
    _LOG.warning('skipping categories without a class: %s', ', '.join(sorted(unknown)))
  return boxes


def _attributes(record: Record) -> list[str]:
  """Return the tokens of the attributes of an annotation."""
  tokens = record.get('attribute_tokens', [])
  return [token for token in tokens if isinstance(token, str)] if isinstance(tokens, list) else []


def _entry(tables: Tables, record: Record) -> Record:
  """Return the geometry of an annotation as an entry of boxes.json."""
  where = tables.where('sample_annotation', record)
  width, length, height = size = numbers(record, 'size', where, 3)
  low, high = primitives.MIN_EXTENT, primitives_json.MAX_SIZE
  if size.min() < low or size.max() > high:
    raise InputError(
      f'{where}: size is {size.tolist()} (width, length, height), expected {low:g} to {high:g} m.'
      f' {HINT}'
    )
  world_from_box = rigid(record, where)
  return {
    'center': world_from_box[:3, 3].tolist(),
    'size': [length, width, height],
    'rotation': numbers(record, 'rotation', where, 4).tolist(),
  }


def _rests(
  entries: list[Record], category: str, states: set[str], velocities: list, times: np.ndarray
) -> bool:
  """Return whether an object surely rests in all frames.

  Args:
    entries: its boxes, in the order of their frames.
    category: name of its category.
    states: names of its attributes, e.g. 'vehicle.parked'.
    velocities: of the annotations, metres per second; None or not finite where unknown.
    times: [F] of the frames, seconds.
  """
  resting = {state for state in states if _RESTING.search(state)}
  if any(_MOBILE.search(state) for state in states - resting):
    return False
  centers = np.array([entry['center'] for entry in entries])
  first, last = (entries[i]['frame'] for i in (0, -1))
  distance = np.linalg.norm(centers - np.median(centers, axis=0), axis=-1).max()
  shift = np.linalg.norm(centers[-1] - centers[0])
  is_slow = shift < max(_MAX_STATIC_SHIFT, _MAX_STATIC_SPEED * (times[last] - times[first]))
  if distance > _MAX_STATIC_MOTION or not is_slow or any(map(_is_fast, velocities)):
    return False
  seen_enough = len(entries) >= min(_MIN_SEEN, len(times))
  return bool(resting) or _FIXED.match(category) is not None or seen_enough


def _is_fast(velocity: object) -> bool:
  """Return whether a velocity, which some datasets give, is known and not almost zero."""
  try:
    return bool(np.linalg.norm(np.array(velocity, np.float64)) > _MAX_STATIC_SPEED)
  except (TypeError, ValueError):
    return False
