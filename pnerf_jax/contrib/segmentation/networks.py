"""2D networks that predict pseudo-labels, by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.segmentation import checkpoint, hugging_face
from pnerf_jax.errors import InputError

# images [N, H, W, 3] uint8 -> ids of KITTI-360 [N, H, W] uint8 (0 = unknown), and their
# probabilities [N, H, W] float32.
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_LOADERS = {'transformers': hugging_face.load, 'pspnet': checkpoint.load}


def load(network: str) -> Predict:
  """Load a network.

  Args:
    network: 'transformers:FOLDER', or 'pspnet:PATH' with a run of pnerf_jax.pspnet or its
      pspnet.npz.

  Raises:
    InputError: the kind is unknown, or the network cannot be loaded.
  """
  kind, _, path = network.partition(':')
  if kind not in _LOADERS or not path:
    raise InputError(
      f'--network={network}: unknown network. Use transformers:FOLDER or pspnet:PATH.'
    )
  return _LOADERS[kind](Path(path))
