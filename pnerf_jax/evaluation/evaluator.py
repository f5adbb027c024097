"""All metrics of one run: every evaluated image goes in once, one flat dictionary comes out.

Each metric lives in its own module as sums and counts that merge; this one only feeds them. The
images of all cameras that are added count alike, so add only image_00 for figures to compare with
published ones. Keys are those of RUN/eval/metrics.json; fractions lie in [0, 1], `depth.rmse` is in
metres, `image.psnr` in decibels; None stands for a metric whose truth is absent.
"""

import json
from pathlib import Path

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
  paper_metrics,
  semantic,
)

_MAX_METRICS = 2**20  # bytes
_CLASSES = {
  'all': np.ones(labels.NUM_IDS, bool),
  'things': labels.IS_THING,
  'stuff': ~labels.IS_THING,
}


class Evaluator:
  """Accumulates `FrameResult`s; `compute` may be called at any time.

  Attributes:
    confusion: of the predicted semantics over all images so far.
    reliability: of the confidence over all images so far.
  """

  def __init__(self):
    self.confusion = semantic.Confusion.empty()
    self.reliability = calibration_error.Reliability.empty()
    self._fixed = semantic.Confusion.empty()
    self._pseudo = semantic.Confusion.empty()
    self._official = semantic.Confusion.empty()
    self._published = semantic.Confusion.empty()
    self._panoptic = panoptic.SegmentCounts.empty()
    self._published_panoptic = panoptic.SegmentCounts.empty()
    self._depth = depth.DepthCounts()
    self._visible_depth = depth.DepthCounts()
    self._image = image.ImageCounts()
    self._tracks = {}  # camera -> frame -> consistency.Sighting
    self._added = set()
    self._seconds = []

  def add(self, result: FrameResult) -> None:
    """Counts one image.

    Raises:
      ValueError: the image was added before, or holds ids that do not exist.
    """
    if (result.camera, result.frame) in self._added:
      raise ValueError(f'{result.camera} {result.frame} was added twice.')
    self._added.add((result.camera, result.frame))
    if result.seconds is not None:
      self._seconds.append(result.seconds)
    if result.truth_semantic is not None:
      self._add_semantic(result)
    if result.confidence is not None:
      self.reliability = self.reliability.merge(
        calibration_error.count(
          result.confidence, result.semantic, result.truth_semantic, result.outside
        )
      )
    if result.truth_instance is not None:
      self._panoptic = self._panoptic.merge(panoptic.count(result.instance, result.truth_instance))
      self._published_panoptic = self._published_panoptic.merge(
        paper_metrics.count_panoptic(result.instance, result.truth_instance)
      )
    if result.rgb is not None:
      self._image = self._image.merge(image.count(result.rgb, result.photo))
    if result.lidar_uvz is not None:
      if result.depth is not None:
        self._add_depth(result)
      at_points = lambda ids: None if ids is None else sample_at(ids, result.lidar_uvz)
      self._tracks.setdefault(result.camera, {})[result.frame] = consistency.Sighting(
        result.lidar_world,
        at_points(result.semantic),
        result.lidar_visible,
        at_points(result.truth_semantic),
      )

  def _add_depth(self, result: FrameResult) -> None:
    points, seen = result.lidar_uvz, result.lidar_visible
    self._depth = self._depth.merge(depth.count(result.depth, points))
    self._visible_depth = self._visible_depth.merge(
      depth.count(result.depth, points if seen is None else points[seen])
    )

  def _add_semantic(self, result: FrameResult) -> None:
    truth = result.truth_semantic
    self.confusion = self.confusion.merge(semantic.count(result.semantic, truth))
    self._official = self._official.merge(
      semantic.count(result.semantic, truth, result.truth_confidence)
    )
    self._published = self._published.merge(paper_metrics.count_semantic(result.instance, truth))
    if result.fixed is not None:
      self._fixed = self._fixed.merge(semantic.count(result.fixed, truth))
    if result.pseudo is not None:
      self._pseudo = self._pseudo.merge(semantic.count(result.pseudo, truth))

  def compute(self, step: int | None = None) -> dict[str, int | float | None]:
    """Metrics of all images so far; step: of the checkpoint, recorded as it is."""
    return {
      'step': step,
      'frames': len(self._added),
      'semantic.miou': self.confusion.miou(),
      'semantic.accuracy': self.confusion.accuracy(),
      'semantic.miou_published': paper_metrics.miou(self._published),
      'semantic.miou_official': semantic.official_miou(self._official),
      'fixed.miou': self._fixed.miou(),
      'fixed.accuracy': self._fixed.accuracy(),
      'pseudo.miou': self._pseudo.miou(),
      'pseudo.accuracy': self._pseudo.accuracy(),
      **self._panoptic_means(),
      'panoptic.pq_published': paper_metrics.pq(self._published_panoptic),
      **self._consistency(),
      'confidence.ece': self.reliability.ece(),
      'confidence.aurc': self.reliability.aurc(),
      'confidence.aurc_oracle': self.reliability.oracle_aurc(),
      'confidence.outside_mean': self.reliability.outside_mean(),
      'depth.rmse': self._depth.rmse(),
      'depth.delta1': self._depth.delta1(),
      'depth.rmse_visible': self._visible_depth.rmse(),
      'depth.delta1_visible': self._visible_depth.delta1(),
      'image.psnr': self._image.psnr(),
      'image.ssim': self._image.ssim(),
      'timing.seconds_per_frame': float(np.mean(self._seconds)) if self._seconds else None,
      **_per_class('semantic.iou', self.confusion.iou()),
      **_per_class('panoptic.pq', self._panoptic.quality()[0]),
    }

  def _consistency(self) -> dict[str, float | None]:
    metrics = {}
    for name, visible, truth in (
      ('mc', False, False),
      ('mc_visible', True, False),
      ('mc_truth', False, True),
      ('mc_visible_truth', True, True),
    ):
      matches = consistency.MatchCounts()
      for track in self._tracks.values():
        matches = matches.merge(consistency.count_track(track, visible, truth))
      metrics[f'consistency.{name}'] = matches.mc()
    return metrics

  def _panoptic_means(self) -> dict[str, float | None]:
    metrics = {}
    for name, classes in _CLASSES.items():
      values = self._panoptic.mean(classes) or (None, None, None)
      for key, value in zip(('pq', 'sq', 'rq'), values):
        metrics[f'panoptic.{name}.{key}'] = value
    return metrics


def _per_class(prefix: str, values: np.ndarray) -> dict[str, float]:
  """Values [45] by class name, classes absent from the truth (nan) left out."""
  return {
    f'{prefix}.{labels.BY_ID[i].name}': float(value)
    for i, value in enumerate(values)
    if not np.isnan(value)
  }


def read_metrics(path: Path) -> dict[str, int | float | None]:
  """What write_metrics wrote. Raises InputError where it is damaged."""
  remedy = 'Remove it and score again.'
  try:
    metrics = json.loads(files.read_bytes(path, _MAX_METRICS, remedy))
  except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as e:
    raise InputError(f'{path}: not JSON ({e}). {remedy}') from None
  if not isinstance(metrics, dict) or not all(
    value is None or isinstance(value, (int, float)) for value in metrics.values()
  ):
    raise InputError(f'{path}: holds no metrics ({metrics!r:.60}). {remedy}')
  return metrics


def write_metrics(path: Path, metrics: dict[str, int | float | None]) -> None:
  """Writes metrics.json; the file appears under its name only when it is whole."""
  files.write_bytes(path, (json.dumps(metrics, indent=2, allow_nan=False) + '\n').encode())
