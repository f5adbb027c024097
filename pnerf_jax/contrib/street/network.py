"""The small PSPNet that predicts pseudo-labels of streets; its weights are pspnet.npz.

It was trained on images and ground truth of other streets, seeds 100 to 111 of every preset, which
are never used for evaluation:

    for preset in boulevard suburb village; do for seed in $(seq 100 111); do
      python -m pnerf_jax.street --out=STREETS/$preset-$seed --preset=$preset --seed=$seed \\
        --frames=6 --predictions=noise
    done; done
    python -m pnerf_jax.pspnet --config=configs/pspnet.py:street --workdir=RUN \\
        --config.data.roots='STREETS/*' --config.model.stride=4 --config.train.steps=1600
    cp RUN/pspnet.npz pnerf_jax/contrib/street/pspnet.npz
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from pnerf_jax.contrib.segmentation import checkpoint

_FILE = Path(__file__).with_name('pspnet.npz')
_WIDTH = 352  # pixels of the training images


def load() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """Return `predict(rgb [H, W, 3] uint8) -> ids [H, W] uint8, confidence [H, W] in [0, 1]`.

  Images are resized to the width of the training images, and predictions back.
  """
  network = checkpoint.load(_FILE)

  def predict(rgb):
    """Predict ids [H, W] and confidence [H, W] of an image [H, W, 3] uint8."""
    height, width = rgb.shape[:2]
    size = (_WIDTH, max(16, round(height * _WIDTH / width)))
    interpolation = cv2.INTER_AREA if width > _WIDTH else cv2.INTER_LINEAR
    ids, confidence = network(cv2.resize(rgb, size, interpolation=interpolation)[None])
    return (
      cv2.resize(ids[0], (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
      cv2.resize(confidence[0], (width, height), interpolation=cv2.INTER_LINEAR),
    )

  return predict
