"""Which pixels a moving object covers: a box says where it may be, labels and colours where it is.

Moving objects are not trained; they are laid over the static scene in their own frame. A 2D
network's outlines are about a pixel too wide, and inside a box nothing else would correct them.
Where the photo looks as the static scene behind does, the object is not.

Letters: H, W image size.
"""

import numpy as np
import scipy.ndimage

from pnerf_jax.data import labels

# How likely a label of a moving object is true, by its distance in pixels from where the label
# ends: on the outermost pixel, one further in, deeper. A label without an inside is no wider than
# what it names.
_TRUE = (0.3, 0.85, 0.99)
_UNLABELLED = 0.5  # the same where there is no label
_LEAST_ERROR = 2.0  # of 255; photos are no more exact than that
_ENOUGH = 20  # pixels whose colour error can be averaged


def dynamic_object_mask(
  box: np.ndarray,
  semantic: np.ndarray,
  words: np.ndarray,
  static_rgb: np.ndarray,
  photo: np.ndarray | None,
) -> np.ndarray:
  """Pixels of a view that show the moving object whose box is in front there.

  The colour error of what stands still, and that of what moves, are taken to be exponential, with
  the means of this view.

  Args:
    box: [H, W] bool, a moving primitive is nearer than the static scene.
    semantic: [H, W] its id; anything where there is no box.
    words: [H, W] pseudo labels, 0 = unknown.
    static_rgb: [H, W, 3] uint8, the static scene as rendered.
    photo: [H, W, 3] uint8, or None where the view was not recorded; labels alone decide then.

  Returns:
    [H, W] bool, within `box`.
  """
  found = np.zeros(box.shape, bool)
  inward = np.zeros(box.shape, np.float32)
  for moving in np.unique(semantic[box]):
    named = np.isin(words, (0, *labels.confusable_classes(int(moving))))
    here = box & (semantic == moving) & named
    found |= here
    # Where the label has no end, all of it is deep: beyond the image's edge the object goes on.
    ends = (
      np.full(named.shape, np.inf) if named.all() else scipy.ndimage.distance_transform_edt(named)
    )
    thin = (ends < 2) & (scipy.ndimage.maximum_filter(ends, 3) < 2)
    inward[here] = np.where(thin, 2, ends)[here]
  if photo is None or not found.any():
    return found
  error = np.abs(photo.astype(np.float32) - static_rgb).max(axis=-1)
  deep = found & (inward > len(_TRUE) - 1)
  still = max(_LEAST_ERROR, _mean_error(error[~box]))
  # An object of the background's own colour hides from this test: it keeps its labels.
  moves = max(2.0 * still, _mean_error(error[deep]))
  true = np.asarray(_TRUE)[np.clip(inward - 1, 0, len(_TRUE) - 1).astype(int)]
  true = np.where(words == 0, _UNLABELLED, true)
  odds = np.log(true / (1 - true)) + np.log(still / moves) + error / still - error / moves
  return found & (odds > 0)


def _mean_error(error: np.ndarray) -> float:
  """Mean of an exponential distribution by its median, which outliers do not move; 0 for few."""
  return float(np.median(error) / np.log(2.0)) if error.size >= _ENOUGH else 0.0
