"""Mapping of class names of other datasets to KITTI-360's ids.

Names are normalised first: 'construction--flat--bike-lane' and 'Bike Lane' become 'bike lane',
'Traffic Sign (Front)' becomes 'traffic sign', 'building, edifice' becomes 'building'. Covers the
class lists of Cityscapes (35), Mapillary Vistas 1.2 (66) and 2.0 (124), and ADE20K (150).
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from pnerf_jax.data import labels

UNKNOWN = 0  # pixels with this id give no supervision

# KITTI-360's name -> normalised names in other datasets, where these differ.
_SYNONYMS = {
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
_INDOOR_NAMES = {'lamp', 'box'}  # denote objects of a room in ADE20K
_ID_OF = {name: labels.BY_NAME[key].id for key, names in _SYNONYMS.items() for name in names}
_ID_OF |= {
  label.name: label.id
  for label in labels.BY_ID.values()
  if label.category != 'void' or label.name.startswith('unknown ')
}


def normalized_names(name: str) -> list[str]:
  """Return the normalised forms of a class name, the most specific first."""
  parts = [part for part in re.split(r'--|::', name.strip().lower()) if part]
  forms = []
  for part in reversed(parts):
    part = re.split(r'[;,]', part)[0]
    shorter = re.split(r' - | \(', part)[0]
    for form in (part, shorter):
      form = ' '.join(re.sub(r'[^a-z0-9]+', ' ', form).split())
      if form not in forms:
        forms.append(form)
  return forms


def id_of(name: str, indoors: bool = False) -> int:
  """Return KITTI-360's id of a class of another dataset; 0 without a counterpart.

  Args:
    name: the class name in the other dataset.
    indoors: whether that dataset also has indoor classes (ADE20K).
  """
  for form in normalized_names(name):
    if form in _ID_OF:
      return UNKNOWN if indoors and form in _INDOOR_NAMES else _ID_OF[form]
  return UNKNOWN


def ids_of(names: Mapping[int, str]) -> tuple[np.ndarray, list[str]]:
  """Map all classes of a network.

  Args:
    names: name of every channel, counted from 0.

  Returns:
    [C] uint8 ids of KITTI-360, and the names without a counterpart.
  """
  indoors = _has_indoor_classes(names.values())
  ids = [id_of(names[channel], indoors) for channel in range(len(names))]
  return (
    np.array(ids, np.uint8),
    [names[channel] for channel, id_ in enumerate(ids) if id_ == UNKNOWN],
  )


def _has_indoor_classes(names: Iterable[str]) -> bool:
  return any('ceiling' in normalized_names(name) for name in names)
