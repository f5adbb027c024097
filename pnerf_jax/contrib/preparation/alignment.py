"""Comparison of a window's primitives with its pseudo-labels and depth, in some of its views.

Letters: V views, H x W training size, N = V H W pixels, K intervals of a ray.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.preparation.estimate_cost import select_views
from pnerf_jax.contrib.preparation.overlay import frames_with_lidar
from pnerf_jax.data import image_io, labels
from pnerf_jax.data.bounds import distance_of_depth
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.window import Window
from pnerf_jax.evaluation import ground_truth
from pnerf_jax.evaluation.frame_result import sample_at
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.label_noise import estimation
from pnerf_jax.runs.experiment import Experiment
from pnerf_jax.training import interval_cache

_NUM_VIEWS = 4
_NUM_FRAMES = 2  # whose LiDAR is compared
_NUM_PIXELS = 4000  # whose depth is compared
_NUM_POINTS = 50  # of a LiDAR, at least
_SCALES = 10.0 ** (np.arange(-60, 61) / 20)  # factors of depth, 12 % apart, with 1 in the middle
_MARGIN = 0.05  # of a depth, relative
_MIN_FIT = 0.4  # fraction of the depths, at a scale that explains them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alignment:
  """The agreement of a window's inputs, over some of its views.

  Attributes:
    num_views: views compared.
    hit: fraction of the pixels whose ray intersects a primitive.
    bare: fraction of the pixels with a pseudo-label other than sky whose ray intersects none; None
      without pseudo-labels.
    reliability: of the pseudo-labels; None without anchor pixels.
    depth_scale: factor with which stereo depth lies inside primitives; None if it does already, or
      with no factor.
  """

  num_views: int
  hit: float
  bare: float | None
  reliability: float | None
  depth_scale: float | None


def compare(experiment: Experiment) -> Alignment:
  """Compare the inputs of a window in views that are evenly distributed over it."""
  total = len(experiment.scene.window.view_frame)
  views = np.unique(np.linspace(0, total - 1, _NUM_VIEWS).round().astype(int)).tolist()
  scene = select_views(experiment, views).scene
  window, config = scene.window, experiment.config
  intervals, moving = interval_cache.view_intervals(
    scene, range(len(views)), config.scene.max_intervals_per_ray, None
  )
  semantic = np.asarray(scene.primitives.semantic)
  usable = window.valid_pixels().ravel() & ~moving
  inside = (intervals.primitive >= 0) & (semantic[intervals.primitive] != labels.VOID)
  hit = inside.any(axis=-1)
  bare = reliability = None
  if window.pseudo_label is not None:
    label = np.where(usable, window.pseudo_label.ravel(), 0)
    surface = (label > 0) & (label != labels.SKY)
    bare = float(np.mean(~hit[surface])) if surface.any() else None
    counts = estimation.count_anchor_labels(
      window, config.loss, scene.class_ids, semantic=semantic, intervals=intervals, label=label
    )
    if counts[:-1].any():
      reliability = estimation.label_reliability(window, counts, scene.class_ids)
  return Alignment(
    num_views=len(views),
    hit=float(np.mean(hit[usable])) if usable.any() else 0.0,
    bare=bare,
    reliability=reliability,
    depth_scale=_depth_scale(window, intervals, inside & usable[:, None]),
  )


def _depth_scale(window: Window, intervals: Intervals, inside: np.ndarray) -> float | None:
  """Return Alignment.depth_scale. inside: [N, K] bool, intervals of primitives other than void."""
  if window.pseudo_depth is None:
    return None
  distance = distance_of_depth(window.pseudo_depth, window.intrinsics).ravel()
  pixels = np.flatnonzero((distance > 0) & inside.any(axis=-1))
  pixels = pixels[:: len(pixels) // _NUM_PIXELS + 1]
  if not len(pixels):
    return None
  scaled = _SCALES[:, None, None] * distance[pixels, None]
  fits = inside[pixels] & (scaled >= (1 - _MARGIN) * intervals.enter[pixels])
  fits &= scaled <= (1 + _MARGIN) * intervals.exit[pixels]
  fraction = fits.any(axis=-1).mean(axis=-1)
  best = int(fraction.argmax())
  is_explained = fraction[best] >= _MIN_FIT and fraction[len(_SCALES) // 2] < fraction[best] / 2
  return float(_SCALES[best]) if is_explained else None


def depth_over_lidar(dataset: DatasetIndex, camera: str) -> float | None:
  """Return the median ratio of stereo depth and LiDAR over some frames; None without both."""
  ratios = [np.zeros(0)]
  paths = {
    f: dataset.path_of('pseudo_depth', f, camera) for f in frames_with_lidar(dataset, camera)
  }
  both = {frame: path for frame, path in paths.items() if path is not None and path.exists()}
  for frame in list(both)[:: len(both) // _NUM_FRAMES + 1]:
    view = dataset.view_index(frame, camera)
    truth = ground_truth.read_ground_truth(
      dataset, camera, frame, dataset.world_from_cam[view], dataset.intrinsics[view]
    )
    if truth.lidar_uvz is not None:
      depth = sample_at(
        image_io.read_depth(both[frame], dataset.size(frame, camera)), truth.lidar_uvz
      )
      ratios.append((depth / truth.lidar_uvz[:, 2])[depth > 0])
  ratio = np.concatenate(ratios)
  return float(np.median(ratio)) if len(ratio) >= _NUM_POINTS else None
