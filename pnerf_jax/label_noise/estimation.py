"""Build the noise model of a window's pseudo-labels.

Letters: V views, H x W training size, N = V H W pixels, K intervals of a ray, M primitives,
C classes present in the window.
"""

import logging

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.config.schema import LossConfig
from pnerf_jax.data import labels
from pnerf_jax.data.window import Window
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.geometry import cameras
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.label_noise import transition
from pnerf_jax.label_noise.model import LabelNoise
from pnerf_jax.label_noise.stereo import depth_tolerance

_LOG = logging.getLogger(__name__)


def build_label_noise(
  window: Window,
  loss: LossConfig,
  class_ids: tuple[int, ...],
  *,
  semantic: np.ndarray,
  intervals: Intervals,
  label: np.ndarray,
) -> LabelNoise:
  """Build the noise model of a window's pseudo-labels, as `config.loss.label_noise` selects it.

  Args:
    window: the window.
    loss: config.loss.
    class_ids: the C ids present.
    semantic: [M], ids of the primitives.
    intervals: [N, K], numpy.
    label: [N], pseudo-label ids; 0 = none, or not to be counted.
  """
  if loss.label_noise == 'estimated':
    counts = count_anchor_labels(
      window, loss, class_ids, semantic=semantic, intervals=intervals, label=label
    )
    matrix = transition.estimate_transition(
      counts,
      class_ids,
      prior_count=loss.transition_prior_mass * counts.sum(),
      uniform_noise=loss.uniform_label_noise,
    )
    reliability = label_reliability(window, counts, class_ids)
    if not label.any():
      _LOG.warning(
        'there are no pseudo-labels: the primitives alone give the labels, all else is labelled'
        ' sky. Make them with python -m pnerf_jax.prepare labels'
      )
    elif not counts[:-1].any():
      _LOG.info('pseudo-label reliability 1.00 is assumed, since there are no anchor pixels')
    else:
      hint = '' if reliability >= transition.MIN_RELIABILITY else f': {transition.UNRELIABLE}'
      level = logging.WARNING if hint else logging.INFO
      _LOG.log(level, 'pseudo-label reliability %.2f (scales the L_2D weight)%s', reliability, hint)
  else:
    matrix = transition.transition_from_label_sets(class_ids, loss.uniform_label_noise)
    reliability = 1.0
  any_label = matrix.max(axis=0) > 0
  return LabelNoise(
    transition=jnp.asarray(matrix),
    noise_distribution=jnp.asarray(any_label / any_label.sum(), jnp.float32),
    compatible=jnp.asarray(labels.compatibility_matrix(class_ids)),
    class_prior=jnp.asarray(transition.class_prior(window.primitives, class_ids)),
    reliability=jnp.asarray(reliability, jnp.float32),
  )


def label_reliability(window: Window, counts: np.ndarray, class_ids: tuple[int, ...]) -> float:
  """Return transition.label_reliability of a window; unannotated space may hold any class."""
  partial = window.unannotated_space == 'void'
  annotated = {record.semantic for record in window.primitives} if partial else None
  return transition.label_reliability(counts, class_ids, annotated)


def count_anchor_labels(
  window: Window,
  loss: LossConfig,
  class_ids: tuple[int, ...],
  *,
  semantic: np.ndarray,
  intervals: Intervals,
  label: np.ndarray,
) -> np.ndarray:
  """Sum transition.count_anchor_labels over all views, [C + 1, 45]. Args: of build_label_noise."""
  views, size = len(window.view_frame), (window.height, window.width)
  split_views = lambda x: x.reshape(views, *size, *x.shape[1:])
  depth = window.pseudo_depth
  # Without a depth loss, stereo depth is not used here either.
  if depth is None or not loss.depth > 0:
    depth = np.zeros((views, *size), np.float32)
  planar_depth = np.where(depth < loss.depth_max, depth, 0.0)
  intervals, label = jax.tree.map(split_views, intervals), split_views(label)
  pixels = cameras.pixel_grid(window.width, window.height)

  def count_view(view: int) -> np.ndarray:
    """Count the labels of one view, [C + 1, 45]."""
    rays = cameras.pixel_rays(
      window.intrinsics[view], window.world_from_cam[view], pixels, np.int32(view)
    )
    distance = planar_depth[view] / np.asarray(rays.depth_per_t)
    return transition.count_anchor_labels(
      jax.tree.map(lambda x: x[view], intervals),
      distance,
      depth_tolerance(distance, loss.depth_sigma),
      label[view],
      semantic=semantic,
      class_ids=class_ids,
    )

  return sum(map_threads(count_view, range(views)))
