"""The 19 training classes of Cityscapes and their ids in KITTI-360.

`train_id`: index of a class, 0..18; 255 = no class, neither trained nor scored.
"""

import numpy as np

from pnerf_jax.data import labels

IGNORED = 255
NUM_CLASSES = 19

# [256] uint8: KITTI-360's id of each class, 0 for no class. Garage, gate and small pole share the
# train id of another class, which precedes them in the table.
ID_FROM_TRAIN_ID = np.zeros(256, np.uint8)
for _label in reversed(labels.LABELS):
  if 0 <= _label.train_id < NUM_CLASSES:
    ID_FROM_TRAIN_ID[_label.train_id] = _label.id

# [256] uint8: the class that Cityscapes' annotation policy gives to KITTI-360's ids. The label
# table maps garage to building, gate to fence and small pole to pole, and has no train id for what
# Cityscapes ignores: parking, trailer, trash bin, box. Cityscapes annotates lamps as poles.
TRAIN_ID_FROM_ID = np.full(256, IGNORED, np.uint8)
for _label in labels.BY_ID.values():
  TRAIN_ID_FROM_ID[_label.id] = _label.train_id
TRAIN_ID_FROM_ID[labels.BY_NAME['lamp'].id] = labels.BY_NAME['pole'].train_id
