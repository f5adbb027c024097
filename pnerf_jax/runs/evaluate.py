"""Evaluates a run: renders its evaluation frames and writes the metrics."""

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tqdm

from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.evaluation import ground_truth
from pnerf_jax.evaluation.evaluator import (
  Evaluator,
  Metrics,
  not_scored,
  usable_truth,
  write_metrics,
)
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run

_LOG = logging.getLogger(__name__)

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
  overrides: Mapping[str, Any] | None = None,
  reporter: Reporter | None = None,
) -> Metrics:
  """Render the evaluation frames at the size of the source images and score them.

  Frames without ground truth are scored by what they have: image, LiDAR, pseudo-labels.

  Args:
    workdir: RUN; writes RUN/eval/metrics.json.
    step: of the checkpoint; None = the newest.
    overrides: other values of free config fields; see config_file.load_config.
    reporter: shows the results.

  Returns:
    The content of RUN/eval/metrics.json.

  Raises:
    InputError: no run, or unreadable input.
  """
  workdir = Path(workdir)
  config = load_config(workdir, overrides)
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frames = ground_truth.frames_to_score(dataset, camera, config.data.eval_frames)
  ground_truth.check_ground_truth(dataset, camera, frames)
  trained = load_trained_run(workdir, step, overrides=overrides)
  count = min(config.eval.num_panels, len(frames))
  shown = {frames[i] for i in np.linspace(0, len(frames) - 1, count).round().astype(int)}
  scores = Evaluator()
  for frame in tqdm.tqdm(frames, desc='eval', unit='image'):
    result = _render_frame(trained, dataset, camera, frame)
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
  write_metrics(workdir / 'eval' / 'metrics.json', metrics)  # last: then all is complete
  for name in _LOGGED:
    if name in metrics:
      of_views = ' (training views)' if name.startswith('image.') else ''
      _LOG.info('%-26s %.4f%s', name, metrics[name], of_views)
  _LOG.info('usable ground truth: %s', usable_truth(metrics))
  if missing := not_scored(metrics):
    _LOG.info('not scored: %s', missing)
  return metrics


def _render_frame(
  trained: TrainedRun, dataset: DatasetIndex, camera: str, frame: int
) -> FrameResult:
  """Render a frame at the size of the source image, and read its ground truth."""
  view = dataset_camera(trained.run.scene, dataset.view_index(frame, camera), full=True)
  truth = ground_truth.read_ground_truth(
    dataset, camera, frame, view.world_from_cam, view.intrinsics
  )
  compiled, start = trained.renderer.is_compiled(view), time.perf_counter()
  image = trained.renderer(trained.params, view)
  seconds = time.perf_counter() - start if compiled else None
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
