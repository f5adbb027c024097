"""The 2D networks that can label photos, by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.segmentation import checkpoint, hugging_face
from pnerf_jax.errors import InputError

# images [N, H, W, 3] uint8 -> ids of KITTI-360 [N, H, W] uint8 (0 = unknown), confidence
# [N, H, W] float32: the probability of that id.
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_KINDS = {'transformers': hugging_face.load, 'pspnet': checkpoint.load}


def load(network: str) -> Predict:
  """The network 'transformers:FOLDER', or 'pspnet:CHECKPOINT': a run of ours, or its file.

  Raises:
    InputError: no such kind, or its loader's own errors.
  """
  kind, _, path = network.partition(':')
  if kind not in _KINDS or not path:
    raise InputError(
      f'--network={network}: no such network. Use transformers:FOLDER or pspnet:CHECKPOINT.'
    )
  return _KINDS[kind](Path(path))
