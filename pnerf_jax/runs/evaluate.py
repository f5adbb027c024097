"""Evaluates a run: renders its evaluation frames and writes the metrics."""

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import ground_truth
from pnerf_jax.evaluation.evaluator import (
  Evaluator,
  Metrics,
  not_scored,
  usable_truth,
  write_metrics,
)
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.labelling.half_size import enlarge, half_size_camera
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.progress import progress_bar
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run

_LOG = logging.getLogger(__name__)

FOLDERS = {'full': 'eval', 'paper': 'eval_paper'}  # of a RUN, by protocol
_LABEL_SCALES = {'full': 1.0, 'paper': 0.5}
_LOGGED = (
  'semantic.miou',
  'semantic.accuracy',
  'pseudo.miou',
  'pseudo.accuracy',
  'fixed.miou',
  'panoptic.all.pq',
  'panoptic.things.pq',
  'agreement.pixels',
  'consistency.mc',
  'consistency.mc_visible',
  'paper.miou',
  'paper.accuracy',
  'paper.pq',
  'paper.mc',
  'confidence.mean',
  'confidence.ece',
  'confidence.aurc',
  'depth.rmse',
  'depth.delta1',
  'depth.stereo_delta1',
  'image.psnr',
  'image.ssim',
  'timing.seconds_per_frame',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """The scored frames of a run.

  Attributes:
    workdir: RUN.
    trained: the run with its parameters.
    dataset: the files of its window.
    camera: of the scored frames.
    frames: scored frame numbers.
    scores: counts of all frames.
    metrics: computed from the counts.
  """

  workdir: Path
  trained: TrainedRun
  dataset: DatasetIndex
  camera: str
  frames: list[int]
  scores: Evaluator
  metrics: Metrics


class Reporter(Protocol):
  """Shows an evaluation, e.g. contrib.report.run_report."""

  def add(self, result: FrameResult) -> None:
    """Show one of the config.eval.num_panels frames."""

  def finish(self, evaluation: Evaluation) -> None:
    """Show everything else."""


def evaluate(
  workdir: Path,
  step: int | None = None,
  *,
  protocol: str = 'full',
  overrides: Mapping[str, Any] | None = None,
  reporter: Reporter | None = None,
) -> Metrics:
  """Render the evaluation frames and score them at the size of the source images.

  Frames without ground truth are scored by what they have: image, LiDAR, pseudo-labels.

  Args:
    workdir: RUN; writes RUN/eval/metrics.json, or RUN/eval_paper/metrics.json.
    step: of the checkpoint; None = the newest.
    protocol: 'full' renders at the size of the source images; 'paper' at half of it, with every
      pixel repeated to 2 x 2 before scoring.
    overrides: other values of free config fields; see config_file.load_config.
    reporter: shows the results.

  Returns:
    The content of metrics.json.

  Raises:
    InputError: no run, unreadable input, or images that cannot be halved.
  """
  workdir = Path(workdir)
  config = load_config(workdir, overrides)
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frames = ground_truth.frames_to_score(dataset, camera, config.data.eval_frames)
  ground_truth.check_ground_truth(dataset, camera, frames)
  if protocol == 'paper':
    _check_even_sizes(dataset, camera, frames)
  trained = load_trained_run(workdir, step, overrides=overrides)
  count = min(config.eval.num_panels, len(frames))
  shown = {frames[i] for i in np.linspace(0, len(frames) - 1, count).round().astype(int)}
  scores = Evaluator(_LABEL_SCALES[protocol])
  for frame in progress_bar(frames, 'eval', 'image'):
    result = _render_frame(trained, dataset, camera, frame, halve=protocol == 'paper')
    scores.add(result)
    if reporter is not None and frame in shown:
      reporter.add(result)
  metrics = scores.compute(trained.step)
  if reporter is not None:
    reporter.finish(
      Evaluation(
        workdir=workdir,
        trained=trained,
        dataset=dataset,
        camera=camera,
        frames=frames,
        scores=scores,
        metrics=metrics,
      )
    )
  write_metrics(workdir / FOLDERS[protocol] / 'metrics.json', metrics)  # last: then all is complete
  _log(metrics)
  return metrics


def _log(metrics: Metrics) -> None:
  for name in _LOGGED:
    if name in metrics:
      of_views = ' (training views)' if name.startswith('image.') else ''
      _LOG.info('%-26s %.4f%s', name, metrics[name], of_views)
  _LOG.info('usable ground truth: %s', usable_truth(metrics))
  if missing := not_scored(metrics):
    _LOG.info('not scored: %s', missing)


def _check_even_sizes(dataset: DatasetIndex, camera: str, frames: list[int]) -> None:
  """Raise InputError if an image to score cannot be halved."""
  for frame in frames:
    width, height = dataset.size(frame, camera)
    if width % 2 or height % 2:
      raise InputError(
        f'--protocol=paper: {camera} of frame {frame} has {width}x{height} pixels, which cannot be'
        ' halved. Use --protocol=full.'
      )


def _render_frame(
  trained: TrainedRun, dataset: DatasetIndex, camera: str, frame: int, *, halve: bool
) -> FrameResult:
  """Render a frame and read its ground truth, both at the size of the source image.

  Args:
    trained: the run.
    dataset: the files of its window.
    camera: of the frame.
    frame: frame number.
    halve: render at half the size and enlarge.
  """
  index = dataset.view_index(frame, camera)
  source = view = dataset_camera(trained.run.scene, index, full=True)
  truth = ground_truth.read_ground_truth(
    dataset, camera, frame, source.world_from_cam, source.intrinsics
  )
  if halve:
    origin = trained.run.config.data.pixel_origin
    view = half_size_camera(source, dataset.intrinsics[index], origin)
  compiled, start = trained.renderer.is_compiled(view), time.perf_counter()
  image = trained.renderer(trained.params, view)
  seconds = time.perf_counter() - start if compiled else None
  if halve:
    image = enlarge(image)
  return FrameResult(
    frame=frame,
    camera=camera,
    semantic=image.semantic,
    instance=image.instance,
    fixed=image.fixed,
    confidence=image.confidence,
    unsupported=image.unsupported,
    depth=image.depth,
    rgb=image.rgb,
    seconds=seconds,
    **vars(truth),
  )
