"""Colour maps of all visualisations: labels, instances, depth and confidence.

Maps [...] become colours [..., 3] uint8. Colours do not depend on the range of the input, so equal
values have equal colours in all images.
"""

import matplotlib
import numpy as np

from pnerf_jax.data import labels

_TURBO = (matplotlib.colormaps['turbo'](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
_NEAR, _FAR = 3.0, 100.0  # metres, depths of the red and the blue end
_NO_INSTANCE = 0.45  # brightness of stuff in instance images, relative to its class colour

# Increment of hue, saturation and value per instanceId, modulo 1. Neighbours in a street mostly
# have close ids; any 16 consecutive ids are at least a CIELAB distance of 19 apart.
_STEPS = np.array([0.648, 0.241, 0.466])


def semantic_rgb(semantic: np.ndarray) -> np.ndarray:
  """Return the colours of the label table; other ids, e.g. 255, are black."""
  return labels.COLORS[np.asarray(semantic, np.uint8)]


def instance_rgb(instance: np.ndarray) -> np.ndarray:
  """Return one colour per instance; stuff and things without instanceId get a dark class colour.

  Args:
    instance: [...] uint16, id * 1000 + instanceId.

  Returns:
    [..., 3] uint8.
  """
  values, index = np.unique(np.asarray(instance, np.int64), return_inverse=True)
  semantic = np.minimum(values // 1000, 255)
  dimmed = _NO_INSTANCE * labels.COLORS[semantic].astype(np.float64)
  hue, saturation, value = ((values[:, None] * _STEPS) % 1).T
  vivid = 255 * _rgb_from_hsv(hue, 0.35 + 0.65 * saturation, 1 - 0.5 * value)
  is_thing = (semantic < labels.NUM_IDS) & labels.IS_THING[semantic % labels.NUM_IDS]
  table = np.where((is_thing & (values % 1000 > 0))[:, None], vivid, dimmed)
  return table.round().astype(np.uint8)[index].reshape(*np.shape(instance), 3)


def depth_rgb(depth: np.ndarray) -> np.ndarray:
  """Map log depth to the Turbo colour map, red at 3 m to blue at 100 m; no depth is black.

  Args:
    depth: [...] metres, 0 or not finite = none.

  Returns:
    [..., 3] uint8.
  """
  depth = np.asarray(depth, np.float64)
  valid = np.isfinite(depth) & (depth > 0)
  clipped = np.clip(np.where(valid, depth, _FAR), _NEAR, _FAR)
  nearness = np.log(_FAR / clipped) / np.log(_FAR / _NEAR)
  rgb = _TURBO[(255 * nearness).round().astype(np.int64)]
  return np.where(valid[..., None], rgb, np.uint8(0))


def fraction_rgb(fraction: np.ndarray) -> np.ndarray:
  """Map confidences or opacities [...] in [0, 1] to grey [..., 3] uint8."""
  grey = (255 * np.clip(fraction, 0, 1)).round().astype(np.uint8)
  return np.repeat(grey[..., None], 3, axis=-1)


def _rgb_from_hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
  """Convert hue, saturation and value [...] in [0, 1] to RGB [..., 3] in [0, 1]."""
  offset = (np.array([5, 3, 1]) + 6 * hue[..., None]) % 6
  ramp = np.clip(np.minimum(offset, 4 - offset), 0, 1)
  return value[..., None] * (1 - saturation[..., None] * ramp)
