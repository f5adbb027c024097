"""KITTI-360's label table, instance encoding, and labels of a 2D network compatible with a class.

`id` is the class id in PNG files (0..44), `kitti_id` that in the XML of the primitives (1..37),
`train_id` one of the 19 classes of Cityscapes (255 = ignored).

References:
  kitti360Scripts, helpers/labels.py.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Label:
  """One row of the official table."""

  name: str
  id: int
  kitti_id: int
  train_id: int
  category: str
  has_instances: bool
  ignore_in_eval: bool
  ignore_in_instance_eval: bool
  color: tuple[int, int, int]


# fmt: off
LABELS = (
    Label('unlabeled', 0, -1, 255, 'void', False, True, True, (0, 0, 0)),
    Label('ego vehicle', 1, -1, 255, 'void', False, True, True, (0, 0, 0)),
    Label('rectification border', 2, -1, 255, 'void', False, True, True, (0, 0, 0)),
    Label('out of roi', 3, -1, 255, 'void', False, True, True, (0, 0, 0)),
    Label('static', 4, -1, 255, 'void', False, True, True, (0, 0, 0)),
    Label('dynamic', 5, -1, 255, 'void', False, True, True, (111, 74, 0)),
    Label('ground', 6, -1, 255, 'void', False, True, True, (81, 0, 81)),
    Label('road', 7, 1, 0, 'flat', False, False, False, (128, 64, 128)),
    Label('sidewalk', 8, 3, 1, 'flat', False, False, False, (244, 35, 232)),
    Label('parking', 9, 2, 255, 'flat', False, True, True, (250, 170, 160)),
    Label('rail track', 10, 10, 255, 'flat', False, True, True, (230, 150, 140)),
    Label('building', 11, 11, 2, 'construction', True, False, False, (70, 70, 70)),
    Label('wall', 12, 7, 3, 'construction', False, False, False, (102, 102, 156)),
    Label('fence', 13, 8, 4, 'construction', False, False, False, (190, 153, 153)),
    Label('guard rail', 14, 30, 255, 'construction', False, True, True, (180, 165, 180)),
    Label('bridge', 15, 31, 255, 'construction', False, True, True, (150, 100, 100)),
    Label('tunnel', 16, 32, 255, 'construction', False, True, True, (150, 120, 90)),
    Label('pole', 17, 21, 5, 'object', True, False, True, (153, 153, 153)),
    Label('polegroup', 18, -1, 255, 'object', False, True, True, (153, 153, 153)),
    Label('traffic light', 19, 23, 6, 'object', True, False, True, (250, 170, 30)),
    Label('traffic sign', 20, 24, 7, 'object', True, False, True, (220, 220, 0)),
    Label('vegetation', 21, 5, 8, 'nature', False, False, False, (107, 142, 35)),
    Label('terrain', 22, 4, 9, 'nature', False, False, False, (152, 251, 152)),
    Label('sky', 23, 9, 10, 'sky', False, False, False, (70, 130, 180)),
    Label('person', 24, 19, 11, 'human', True, False, False, (220, 20, 60)),
    Label('rider', 25, 20, 12, 'human', True, False, False, (255, 0, 0)),
    Label('car', 26, 13, 13, 'vehicle', True, False, False, (0, 0, 142)),
    Label('truck', 27, 14, 14, 'vehicle', True, False, False, (0, 0, 70)),
    Label('bus', 28, 34, 15, 'vehicle', True, False, False, (0, 60, 100)),
    Label('caravan', 29, 16, 255, 'vehicle', True, True, True, (0, 0, 90)),
    Label('trailer', 30, 15, 255, 'vehicle', True, True, True, (0, 0, 110)),
    Label('train', 31, 33, 16, 'vehicle', True, False, False, (0, 80, 100)),
    Label('motorcycle', 32, 17, 17, 'vehicle', True, False, False, (0, 0, 230)),
    Label('bicycle', 33, 18, 18, 'vehicle', True, False, False, (119, 11, 32)),
    Label('garage', 34, 12, 2, 'construction', True, True, True, (64, 128, 128)),
    Label('gate', 35, 6, 4, 'construction', False, True, True, (190, 153, 153)),
    Label('stop', 36, 29, 255, 'construction', True, True, True, (150, 120, 90)),
    Label('smallpole', 37, 22, 5, 'object', True, True, True, (153, 153, 153)),
    Label('lamp', 38, 25, 255, 'object', True, True, True, (0, 64, 64)),
    Label('trash bin', 39, 26, 255, 'object', True, True, True, (0, 128, 192)),
    Label('vending machine', 40, 27, 255, 'object', True, True, True, (128, 64, 0)),
    Label('box', 41, 28, 255, 'object', True, True, True, (64, 64, 128)),
    Label('unknown construction', 42, 35, 255, 'void', False, True, True, (102, 0, 0)),
    Label('unknown vehicle', 43, 36, 255, 'void', False, True, True, (51, 0, 51)),
    Label('unknown object', 44, 37, 255, 'void', False, True, True, (32, 32, 32)),
    Label('license plate', -1, -1, -1, 'vehicle', False, True, True, (0, 0, 142)),
)
# fmt: on

VOID = 0
SKY = 23
UNKNOWN = (0, 255)  # pseudo-labels without supervision
NUM_IDS = 45  # ids run from 0 to 44

BY_ID = {label.id: label for label in LABELS if label.id >= 0}
BY_NAME = {label.name: label for label in LABELS if label.id >= 0}
CLASS_NAMES = tuple(BY_NAME)[1:]  # without 'unlabeled'
ID_FROM_KITTI_ID = {label.kitti_id: label.id for label in LABELS if label.kitti_id > 0}
IS_THING = np.array([BY_ID[i].has_instances for i in range(NUM_IDS)])
COLORS = np.zeros((256, 3), np.uint8)
COLORS[:NUM_IDS] = [BY_ID[i].color for i in range(NUM_IDS)]

# Labels of a Cityscapes network that are compatible with classes which Cityscapes lacks. All labels
# but sky are compatible with a class that is neither here nor in Cityscapes.
_COMPATIBLE_NAMES = {
  'ground': ('road', 'sidewalk', 'terrain'),
  'parking': ('road', 'sidewalk'),
  'rail track': ('road', 'terrain'),
  'guard rail': ('fence', 'wall'),
  'bridge': ('building', 'wall'),
  'tunnel': ('building', 'wall'),
  'polegroup': ('pole',),
  'caravan': ('car', 'truck', 'bus'),
  'trailer': ('car', 'truck'),
  'garage': ('building',),
  'gate': ('fence',),
  'smallpole': ('pole',),
  'lamp': ('pole',),
}

# People, vehicles, two-wheelers.
_CONFUSABLE = ((24, 25), (26, 27, 28, 29, 30, 31, 43), (32, 33))

# Class -> class into which the published code merges it, since Cityscapes lacks it.
_MERGED = {27: 26, 28: 26, 29: 26, 30: 26, 31: 26, 39: 41, 9: 8, 35: 13}


def paper_merged_class(class_id: int) -> int:
  """Return the class into which the published code merges `class_id` for training."""
  return _MERGED.get(class_id, class_id)


def pack_instance(semantic: np.ndarray, instance: np.ndarray) -> np.ndarray:
  """Return id * 1000 + instanceId, uint16, with instanceId 0 for stuff."""
  semantic = np.asarray(semantic, np.int64)
  instance = np.where(IS_THING[semantic], instance, 0)
  return (semantic * 1000 + instance).astype(np.uint16)


def strict_labels(class_id: int) -> tuple[int, ...]:
  """Return the class itself and the labels for it of a network whose classes lack it."""
  names = _COMPATIBLE_NAMES.get(BY_ID[class_id].name, ())
  return (class_id, *(BY_NAME[name].id for name in names))


def compatible_labels(class_id: int) -> tuple[int, ...]:
  """Return the labels of a 2D network that are compatible with a class, itself first."""
  label = BY_ID[class_id]
  if label.name in _COMPATIBLE_NAMES or 0 <= label.train_id < 19:
    return strict_labels(class_id)
  return (class_id, *(i for i in range(1, NUM_IDS) if i not in (class_id, SKY)))


def are_train_ids(pixels: np.ndarray) -> bool:
  """Return whether labels are train ids: a hundredth or more is of ids that have none, none above.

  Args:
    pixels: [256], pixel counts of the values.
  """
  known = pixels[1:NUM_IDS]
  untrained = [BY_ID[i].train_id == 255 for i in range(1, 19)]
  return not known[18:].any() and known[:18][untrained].sum() > 0.01 * known.sum()


def confusable_classes(class_id: int) -> tuple[int, ...]:
  """Return the compatible labels of a dynamic class and those of similar dynamic classes.

  Networks often confuse persons with riders and vans with trucks, but seldom with the background.
  """
  similar = next((group for group in _CONFUSABLE if class_id in group), ())
  return tuple(sorted({*compatible_labels(class_id), *similar}))


def compatibility_matrix(class_ids: tuple[int, ...]) -> np.ndarray:
  """Return [C, 45] bool, the labels that are compatible with each of C ids."""
  return np.array([[y in compatible_labels(c) for y in range(NUM_IDS)] for c in class_ids])
