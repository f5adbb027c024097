"""Accumulates all metrics over the evaluated images of a run.

Each metric lives in its own module as sums and counts that merge. The names `paper.*` are counted
as the paper's program does, all others in the plain form. Images of all added cameras count
equally, so add only image_00 for results that are comparable with published ones. Fractions lie in
[0, 1], depth.rmse is in metres, image.psnr in decibels. Without its input (ground truth, LiDAR,
pseudo-labels) a metric is absent; `not_scored` names these.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files, labels
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation.frame_result import FrameResult, sample_at
from pnerf_jax.evaluation.metrics import (
  calibration_error,
  consistency,
  depth,
  image,
  panoptic,
  paper_consistency,
  paper_panoptic,
  paper_semantic,
  semantic,
)

_CLASSES = {
  'all': np.ones(labels.NUM_IDS, bool),
  'things': labels.IS_THING,
  'stuff': ~labels.IS_THING,
}
_QUALITY = ('pq', 'sq', 'rq')
# A metric, and why it may be absent.
_REASONS = {
  'semantic.miou': 'labels (no usable ground truth)',
  'panoptic.all.pq': 'panoptic quality (no usable instance ground truth)',
  'agreement.pixels': 'agreement with pseudo-labels (there are none)',
  'confidence.mean': 'confidence (not rendered)',
  'depth.rmse': 'depth (no LiDAR)',
  'depth.stereo_rmse': 'depth against stereo (there is none)',
  'consistency.mc': 'multi-view consistency (no LiDAR points that two frames share)',
  'image.psnr': 'colour (not rendered)',
}
CONFIDENCE_BINS = 10  # of equal width

Metrics = dict[str, int | float]


class Evaluator:
  """Accumulates `FrameResult`s; `compute` may be called at any time.

  Attributes:
    confusion: of the predicted semantics over all images so far.
    reliability: of the confidence over all images so far.
    confidence_histogram: [CONFIDENCE_BINS] int64, pixels of all images so far.
  """

  def __init__(self, label_scale: float = 1.0) -> None:
    """Begin with no image.

    Args:
      label_scale: size at which the maps were rendered, relative to that of the ground truth.
    """
    self._label_scale = label_scale
    self.confusion = semantic.Confusion.empty()
    self.reliability = calibration_error.Reliability.empty()
    self.confidence_histogram = np.zeros(CONFIDENCE_BINS, np.int64)
    self._confidence_sum = 0.0
    self._instance_pixels = 0  # with a class in the instance ground truth
    self._class_pixels = np.zeros(256, np.int64)  # of the rendered semantics, by id
    self._agreement = semantic.Confusion.empty()  # of rendered semantics and pseudo-labels
    self._fixed = semantic.Confusion.empty()
    self._pseudo = semantic.Confusion.empty()
    self._official = semantic.Confusion.empty()
    self._paper = semantic.Confusion.empty()
    self._panoptic = panoptic.SegmentCounts.empty()
    self._paper_panoptic = panoptic.SegmentCounts.empty()
    self._depth = depth.DepthCounts()
    self._visible_depth = depth.DepthCounts()
    self._stereo = depth.DepthCounts()
    self._image = image.ImageCounts()
    self._tracks: dict[str, dict[int, consistency.FramePoints]] = {}  # by camera and frame
    self._paper_tracks: dict[str, dict[int, paper_consistency.PixelPoints | None]] = {}  # likewise
    self._added: set[tuple[str, int]] = set()
    self._seconds: list[float] = []

  def add(self, result: FrameResult) -> None:
    """Add the counts of one image.

    Raises:
      ValueError: the image was added before, or contains invalid ids.
    """
    if (result.camera, result.frame) in self._added:
      raise ValueError(f'{result.camera} {result.frame} was added twice.')
    self._added.add((result.camera, result.frame))
    truth, instance = result.truth_semantic, result.truth_instance
    if result.seconds is not None:
      self._seconds.append(result.seconds)
    if truth is not None:
      self._merge('confusion', semantic.count, result.semantic, truth)
      self._merge('_official', semantic.count, result.semantic, truth, result.truth_confidence)
      self._merge('_paper', paper_semantic.count, result.semantic, truth)
      self._merge('_fixed', semantic.count, result.fixed, truth)
      self._merge('_pseudo', semantic.count, result.pseudo, truth)
    self._class_pixels += np.bincount(result.semantic.ravel(), minlength=256)
    self._merge('_agreement', semantic.count, result.semantic, result.pseudo)
    if result.confidence is not None:
      self.confidence_histogram += np.histogram(result.confidence, CONFIDENCE_BINS, (0, 1))[0]
      self._confidence_sum += float(result.confidence.sum(dtype=np.float64))
      counts = calibration_error.count(
        result.confidence, result.semantic, truth, result.unsupported
      )
      self.reliability = self.reliability.merge(counts)
    if instance is not None:
      self._instance_pixels += int(np.count_nonzero(instance >= 1000))
    self._merge('_panoptic', panoptic.count, result.instance, instance)
    self._merge('_paper_panoptic', paper_panoptic.count, result.instance, instance)
    self._merge('_image', image.count, result.rgb, result.photo)
    self._merge('_stereo', depth.count, result.depth, result.stereo_uvz)
    self._add_lidar(result)

  def _merge(
    self,
    name: str,
    count: Callable[..., Any],
    prediction: np.ndarray | None,
    truth: np.ndarray | None,
    *options: np.ndarray | None,
  ) -> None:
    """Add `count(prediction, truth, *options)` to a counter, unless one of the two is None."""
    if prediction is not None and truth is not None:
      setattr(self, name, getattr(self, name).merge(count(prediction, truth, *options)))

  def _add_lidar(self, result: FrameResult) -> None:
    """Add the depth and the labels at the LiDAR points, if there are any."""
    points, points_world, visible = result.lidar_uvz, result.lidar_world, result.lidar_visible
    self._paper_tracks.setdefault(result.camera, {})[result.frame] = _pixel_points(result)
    if points is None or points_world is None:  # FrameResult checks that both are given or neither
      return
    self._merge('_depth', depth.count, result.depth, points)
    visible_points = points if visible is None else points[visible]
    self._merge('_visible_depth', depth.count, result.depth, visible_points)
    truth = result.truth_semantic
    self._tracks.setdefault(result.camera, {})[result.frame] = consistency.FramePoints(
      points=points_world,
      classes=sample_at(result.semantic, points),
      visible=visible,
      truth=None if truth is None else sample_at(truth, points),
    )

  def compute(self, step: int | None = None) -> Metrics:
    """Return the metrics of all images so far; step: checkpoint step, included in the result."""
    num_confidences = int(self.confidence_histogram.sum())
    shares = self._class_pixels[: labels.NUM_IDS] / max(self._class_pixels.sum(), 1)
    metrics: dict[str, int | float | None] = {
      'step': step,
      'frames': len(self._added),
      'labels.scale': self._label_scale,
      'truth.pixels': int(self._class_pixels.sum()),
      'truth.semantic_pixels': int(self.confusion.scored().sum()) or None,
      'truth.instance_pixels': self._instance_pixels or None,
      'truth.lidar_points': self._depth.points or None,
      'semantic.miou': self.confusion.miou(),
      'semantic.accuracy': self.confusion.accuracy(),
      'semantic.miou_official': semantic.official_miou(self._official),
      'fixed.miou': self._fixed.miou(),
      'fixed.accuracy': self._fixed.accuracy(),
      'pseudo.miou': self._pseudo.miou(),
      'pseudo.accuracy': self._pseudo.accuracy(),
      **self._panoptic_means(),
      'agreement.pixels': self._agreement.accuracy(),
      **self._consistency(),
      'confidence.mean': self._confidence_sum / num_confidences if num_confidences else None,
      'confidence.ece': self.reliability.ece(),
      'confidence.aurc': self.reliability.aurc(),
      'confidence.aurc_oracle': self.reliability.oracle_aurc(),
      'confidence.unsupported_mean': self.reliability.unsupported_mean(),
      'depth.rmse': self._depth.rmse(),
      'depth.delta1': self._depth.delta1(),
      'depth.rmse_visible': self._visible_depth.rmse(),
      'depth.delta1_visible': self._visible_depth.delta1(),
      'depth.stereo_rmse': self._stereo.rmse(),
      'depth.stereo_delta1': self._stereo.delta1(),
      'image.psnr': self._image.psnr(),
      'image.ssim': self._image.ssim(),
      'timing.seconds_per_frame': float(np.mean(self._seconds)) if self._seconds else None,
      **_per_class('semantic.iou', self.confusion.iou()),
      **_per_class('panoptic.pq', self._panoptic.quality()[0]),
      **_per_class('agreement.iou', self._agreement.iou()),
      **_per_class('semantic.share', np.where(shares > 0, shares, np.nan)),
      **self._as_paper(),
    }
    return {name: value for name, value in metrics.items() if value is not None}

  def _consistency(self) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    for name, visible, truth in (
      ('mc', False, False),
      ('mc_visible', True, False),
      ('mc_truth', False, True),
      ('mc_visible_truth', True, True),
    ):
      counts = consistency.MatchCounts()
      for track in self._tracks.values():
        counts = counts.merge(consistency.count_track(track, visible, truth))
      metrics[f'consistency.{name}'] = counts.mc()
    return metrics

  def _panoptic_means(self) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    for name, classes in _CLASSES.items():
      values = self._panoptic.mean(classes) or (None, None, None)
      for key, value in zip(_QUALITY, values):
        metrics[f'panoptic.{name}.{key}'] = value
    return metrics

  def _as_paper(self) -> dict[str, float | None]:
    """Return the metrics as the paper's program counts them."""
    counts = self._paper_panoptic
    averaged = paper_panoptic.averaged(counts)
    metrics: dict[str, float | None] = {
      'paper.miou': paper_semantic.miou(self._paper),
      'paper.accuracy': self._paper.accuracy(),
    }
    for name, classes in (
      ('', averaged),
      ('things.', averaged & paper_panoptic.THINGS),
      ('stuff.', averaged & ~paper_panoptic.THINGS),
    ):
      values = paper_panoptic.mean(counts, classes) or (None, None, None)
      metrics.update({f'paper.{name}{key}': value for key, value in zip(_QUALITY, values)})
    before = paper_panoptic.mean(counts, paper_panoptic.averaged(counts, before_2022_12=True))
    metrics['paper.pq_before_2022_12'] = before[0] if before else None
    matches = consistency.MatchCounts()
    for track in self._paper_tracks.values():
      matches = matches.merge(paper_consistency.count_track(track))
    metrics['paper.mc'] = matches.mc()
    iou = np.where(self._paper.present(), paper_semantic.iou(self._paper), np.nan)
    metrics.update(_per_class('paper.iou', iou))
    for key, per_class in zip(_QUALITY, paper_panoptic.quality(counts)):
      metrics.update(_per_class(f'paper.{key}', per_class))
    return metrics


def _pixel_points(result: FrameResult) -> paper_consistency.PixelPoints | None:
  """Return the labelled points of an image at the centres of their pixels, or None."""
  points, world = result.lidar_uvz, result.lidar_pixel_world
  if points is None or world is None:
    return None
  classes = sample_at(result.semantic, points)
  return paper_consistency.PixelPoints(points=world, depth=points[:, 2], classes=classes)


def _per_class(prefix: str, values: np.ndarray) -> dict[str, float]:
  """Return values [45] by class name, without classes absent from the ground truth (nan)."""
  return {
    f'{prefix}.{labels.BY_ID[i].name}': float(value)
    for i, value in enumerate(values)
    if not np.isnan(value)
  }


def usable_truth(metrics: Metrics) -> str:
  """Return the number of pixels and points with usable ground truth, in one line."""
  count = lambda kind: int(metrics.get(f'truth.{kind}', 0))
  kinds = ('semantic', 'instance')
  parts = [f'{k} {count(f"{k}_pixels")} of {count("pixels")} pixels' for k in kinds]
  return f'{", ".join(parts)}; {count("lidar_points")} LiDAR points'


def not_scored(metrics: Metrics) -> str:
  """Return what has no metric and why, in one line; '' if nothing is absent."""
  return '; '.join(reason for name, reason in _REASONS.items() if name not in metrics)


def read_metrics(path: Path) -> Metrics:
  """Read a metrics.json.

  Raises:
    InputError: the file is damaged.
  """
  hint = 'Remove it and evaluate again.'
  metrics = files.read_json(path, hint=hint)
  if not isinstance(metrics, dict) or not all(
    value is None or isinstance(value, (int, float)) for value in metrics.values()
  ):
    raise InputError(f'{path}: holds no metrics ({metrics!r:.60}). {hint}')
  return {name: value for name, value in metrics.items() if value is not None}  # of an old version


def write_metrics(path: Path, metrics: Metrics) -> None:
  """Write metrics.json atomically."""
  files.write_bytes(path, (json.dumps(metrics, indent=2, allow_nan=False) + '\n').encode())
