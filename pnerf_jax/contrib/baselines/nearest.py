"""The nearest primitive: a pixel is what its ray enters first.

Letters: H, W image size.
"""

import numpy as np

from pnerf_jax.contrib.baselines.ray_labels import RayLabels


def nearest(met: RayLabels, depth_per_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The label of every ray's first interval, the sky where there is none.

  Void space is passed through: it says nothing of what is there.

  Args:
    met: of an image.
    z_per_t: [H, W] metres of planar depth per metre along the ray.

  Returns:
    label [H, W] index, and planar depth of entry [H, W] float32 in metres, 0 for the sky. A camera
    inside a primitive enters it at the near bound.
  """
  first = np.argmax(met.label >= 0, axis=-1)[..., None]
  label = np.take_along_axis(met.label, first, axis=-1)[..., 0]
  found = label >= 0
  enter = np.take_along_axis(met.enter, first, axis=-1)[..., 0]
  depth = np.where(found, np.where(found, enter, 0) * depth_per_t, 0).astype(np.float32)
  return np.where(found, label, met.sky), depth
