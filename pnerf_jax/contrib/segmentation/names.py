"""What the classes of other data sets are called in KITTI-360's label table.

A name is made plain first: 'construction--flat--bike-lane' and 'Bike Lane' become 'bike lane',
'Traffic Sign (Front)' 'traffic sign', 'building, edifice' 'building'. Source: the class lists of
Cityscapes (35), Mapillary Vistas 1.2 (66) and 2.0 (124), and ADE20K (150).
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from pnerf_jax.data import labels

UNKNOWN = 0  # gives no supervision (formats.md section 9)

# KITTI-360's name -> plain names of the others. Names of KITTI-360 itself need no line.
_OTHERS = {
  'road': (
    'bike lane',
    'crosswalk',
    'crosswalk plain',
    'service lane',
    'lane marking',
    'marking',
    'marking only',
    'catch basin',
    'manhole',
    'pothole',
    'road shoulder',
    'runway',
    'lane separator',
  ),
  'sidewalk': ('curb', 'curb cut', 'pedestrian area', 'path', 'traffic island', 'pavement'),
  'parking': ('parking aisle', 'driveway'),
  'rail track': ('railroad',),
  'building': (
    'house',
    'skyscraper',
    'hovel',
    'tower',
    'door',
    'windowpane',
    'awning',
    'canopy',
    'booth',
    'column',
    'trade name',
    'signage store',
  ),
  'wall': ('concrete block', 'parapet', 'ambiguous barrier'),
  'fence': ('barrier', 'temporary barrier', 'railing', 'bannister'),
  'pole': ('utility pole', 'traffic sign frame'),
  'polegroup': ('pole group',),
  'traffic sign': ('signboard', 'signage information'),
  'vegetation': ('tree', 'plant', 'palm', 'flower'),
  'terrain': (
    'grass',
    'earth',
    'field',
    'land',
    'dirt track',
    'sand',
    'snow',
    'hill',
    'mountain',
    'rock',
    'road side',
    'road median',
  ),
  'person': ('pedestrian', 'person group'),
  'rider': ('bicyclist', 'motorcyclist', 'other rider'),
  'car': ('van',),
  'train': ('on rails',),
  'motorcycle': ('minibike',),
  'bicycle': ('bike',),
  'lamp': ('street light', 'streetlight'),
  'trash bin': ('trash can', 'ashcan'),
  'box': ('junction box', 'mailbox'),
  'unknown vehicle': ('other vehicle', 'wheeled slow', 'boat', 'ship'),
}
_ADE_INDOORS = {'lamp', 'box'}  # the same words for things of a room
_ID_OF = {name: labels.BY_NAME[ours].id for ours, names in _OTHERS.items() for name in names}
_ID_OF |= {
  label.name: label.id
  for label in labels.BY_ID.values()
  if label.category != 'void' or label.name.startswith('unknown ')
}


def plain(name: str) -> list[str]:
  """Plain forms of a class name, the most specific first."""
  parts = [part for part in re.split(r'--|::', name.strip().lower()) if part]
  found = []
  for part in reversed(parts):
    part = re.split(r'[;,]', part)[0]
    shorter = re.split(r' - | \(', part)[0]
    for form in (part, shorter):
      form = ' '.join(re.sub(r'[^a-z0-9]+', ' ', form).split())
      if form not in found:
        found.append(form)
  return found


def id_of(name: str, indoors: bool = False) -> int:
  """KITTI-360 id of a class of another data set; 0 for what has no counterpart.

  Args:
    name: as the other data set writes it.
    indoors: whether that data set also has rooms (ADE20K).
  """
  for form in plain(name):
    if form in _ID_OF:
      return UNKNOWN if indoors and form in _ADE_INDOORS else _ID_OF[form]
  return UNKNOWN


def ids_of(names: Mapping[int, str]) -> tuple[np.ndarray, list[str]]:
  """A network's whole list of classes.

  Args:
    names: channel -> name; every channel from 0 on.

  Returns:
    [classes] uint8 ids of KITTI-360, and the names that have none.
  """
  indoors = _has_rooms(names.values())
  ids = [id_of(names[channel], indoors) for channel in range(len(names))]
  return (
    np.array(ids, np.uint8),
    [names[channel] for channel, found in enumerate(ids) if found == UNKNOWN],
  )


def _has_rooms(names: Iterable[str]) -> bool:
  return any('ceiling' in plain(name) for name in names)
