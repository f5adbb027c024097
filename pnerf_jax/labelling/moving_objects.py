"""Segmentation of moving objects inside their primitives, from pseudo-labels and photometric error.

Moving objects are not trained; they are composited over the static scene in their own frame.
Pseudo-label masks are about one pixel too wide, so pixels where the image looks like the static
scene behind the object are removed. The decision is a likelihood ratio test, whose prior is the
reliability of the pseudo-label and whose photometric errors are exponentially distributed.

Letters: H, W image size.
"""

import numpy as np
from scipy import ndimage

from pnerf_jax.data import labels

# Prior probability that a label of a moving object is right, by the distance in pixels from the
# label's edge: the outermost pixel, the next one, all others.
_LABEL_RELIABILITY = (0.3, 0.85, 0.99)
_UNLABELLED_PRIOR = 0.5
_MIN_ERROR = 2.0  # mean photometric error, of 255: the noise of images
_MIN_PIXELS = 20  # for an estimate of the mean error


def dynamic_object_mask(
  candidate: np.ndarray,
  semantic: np.ndarray,
  pseudo_label: np.ndarray,
  static_rgb: np.ndarray,
  image: np.ndarray | None,
) -> np.ndarray:
  """Return the pixels of a view that show a moving object, [H, W] bool, within `candidate`.

  Args:
    candidate: [H, W] bool, a moving primitive is nearer than the static scene.
    semantic: [H, W], label id of that primitive; arbitrary elsewhere.
    pseudo_label: [H, W], label id, 0 for unknown.
    static_rgb: [H, W, 3] uint8, the static scene as rendered.
    image: [H, W, 3] uint8, or None if the view was not recorded: only labels are used.
  """
  mask = np.zeros(candidate.shape, bool)
  edge_distance = np.zeros(candidate.shape, np.float32)
  for class_id in np.unique(semantic[candidate]):
    confusable = np.isin(pseudo_label, (0, *labels.confusable_classes(int(class_id))))
    selected = candidate & (semantic == class_id) & confusable
    mask |= selected
    # The image border is no edge of a label: the object continues beyond it.
    distance = (
      np.full(confusable.shape, np.inf)
      if confusable.all()
      else ndimage.distance_transform_edt(confusable)
    )
    # Labels without interior pixels are no wider than their object.
    is_thin = (distance < 2) & (ndimage.maximum_filter(distance, 3) < 2)
    edge_distance[selected] = np.where(is_thin, 2, distance)[selected]
  if image is None or not mask.any():
    return mask
  error = np.abs(image.astype(np.float32) - static_rgb).max(axis=-1)
  interior = mask & (edge_distance > len(_LABEL_RELIABILITY) - 1)
  static_error = max(_MIN_ERROR, _mean_error(error[~candidate]))
  # An object of the colour of its background cannot be tested: it keeps its labels.
  moving_error = max(2.0 * static_error, _mean_error(error[interior]))
  index = np.clip(edge_distance - 1, 0, len(_LABEL_RELIABILITY) - 1).astype(int)
  prior = np.where(pseudo_label == 0, _UNLABELLED_PRIOR, np.asarray(_LABEL_RELIABILITY)[index])
  log_odds = (
    np.log(prior / (1 - prior))
    + np.log(static_error / moving_error)
    + error / static_error
    - error / moving_error
  )
  return mask & (log_odds > 0)


def _mean_error(error: np.ndarray) -> float:
  """Estimate the mean of an exponential distribution from its median, robust to outliers.

  Returns 0 for fewer than _MIN_PIXELS values.
  """
  return float(np.median(error) / np.log(2.0)) if error.size >= _MIN_PIXELS else 0.0
