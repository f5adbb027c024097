"""Colours for pictures of labels, instances and depth; every picture of the project uses these.

Letters: maps are [H, W] (any leading shape works), pictures [H, W, 3] uint8. Equal values have
equal colours in every picture: nothing here looks at the range of its input.
"""

import matplotlib
import numpy as np

from pnerf_jax.data import labels

_TURBO = (matplotlib.colormaps['turbo'](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
_NO_DEPTH = (0, 0, 0)
_NO_INSTANCE = 0.45  # share of its class colour that stuff keeps beside instances

# What one more instanceId adds to hue, saturation and value, modulo 1. Neighbours in a street
# mostly have near ids; these steps keep any two of 16 in a row a CIELAB distance of 19 apart.
_STEPS = np.array([0.648, 0.241, 0.466])


def semantic_rgb(semantic: np.ndarray) -> np.ndarray:
  """Colours of the label table; ids outside it, 255 among them, are black."""
  return labels.COLORS[np.asarray(semantic, np.uint8)]


def instance_rgb(instance: np.ndarray) -> np.ndarray:
  """A colour for every instance; stuff and things without instanceId are a dimmed class colour.

  Args:
    instance: [...] uint16, id * 1000 + instanceId. The colour depends on this value alone, so an
      object keeps it in all views.

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


def depth_rgb(depth: np.ndarray, near: float = 3.0, far: float = 100.0) -> np.ndarray:
  """Turbo over log depth: near is red, far is blue, no depth is black.

  Args:
    depth: [...] metres, 0 or not finite = none.
    near: metres, the red end; nearer is red too.
    far: metres, the blue end; farther is blue too.

  Returns:
    [..., 3] uint8.
  """
  depth = np.asarray(depth, np.float64)
  known = np.isfinite(depth) & (depth > 0)
  clipped = np.clip(np.where(known, depth, far), near, far)
  share = np.log(far / clipped) / np.log(far / near)
  rgb = _TURBO[(255 * share).round().astype(np.int64)]
  return np.where(known[..., None], rgb, np.uint8(_NO_DEPTH))


def share_rgb(share: np.ndarray) -> np.ndarray:
  """Grey from black (0) to white (1), for confidences and opacities [...]: [..., 3] uint8."""
  grey = (255 * np.clip(share, 0, 1)).round().astype(np.uint8)
  return np.repeat(grey[..., None], 3, axis=-1)


def _rgb_from_hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
  """Hue, saturation, value [...] in [0, 1] as RGB [..., 3] in [0, 1]."""
  offset = (np.array([5, 3, 1]) + 6 * hue[..., None]) % 6
  ramp = np.clip(np.minimum(offset, 4 - offset), 0, 1)
  return value[..., None] * (1 - saturation[..., None] * ramp)
