"""Cityscapes' 19 classes, which a 2D network for streets is trained on, and KITTI-360's ids.

Letters: `train` index of a class, 0..18; 255 = no class, neither trained nor scored.
"""

import numpy as np

from pnerf_jax.data import labels

IGNORED = 255
NUM_CLASSES = 19
_POLES = ('lamp',)  # what Cityscapes' annotators called a pole, though KITTI-360 has a class for it

# [19] uint8: KITTI-360's id of each class. Garage, gate and small pole share another's number.
IDS = np.zeros(NUM_CLASSES, np.uint8)
for _label in reversed(labels.LABELS):
  if 0 <= _label.train_id < NUM_CLASSES:
    IDS[_label.train_id] = _label.id

# [256] uint8: what a Cityscapes annotator would have called a pixel of KITTI-360's id. The table's
# own train ids say building for garage, fence for gate, pole for small pole, and nothing for what
# Cityscapes leaves out: parking, trailers, bins, boxes.
TRAIN_FROM_ID = np.full(256, IGNORED, np.uint8)
for _label in labels.BY_ID.values():
  TRAIN_FROM_ID[_label.id] = (
    labels.BY_NAME['pole'].train_id if _label.name in _POLES else _label.train_id
  )
