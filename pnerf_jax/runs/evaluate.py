"""Evaluates a run: renders its evaluation frames and writes metrics, panels and a report."""

import logging
import time
from pathlib import Path

import tqdm

from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.evaluation import ground_truth
from pnerf_jax.evaluation.evaluator import Evaluator, write_metrics
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.evaluation.report import page, panels
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
  'consistency.mc',
  'consistency.mc_visible',
  'confidence.ece',
  'confidence.aurc',
  'depth.rmse',
  'depth.delta1',
  'depth.stereo_delta1',
  'image.psnr',
  'image.ssim',
  'timing.seconds_per_frame',
)


def evaluate(workdir: Path, step: int | None = None) -> dict[str, int | float | None]:
  """Render the evaluation frames at the size of the source images and score them.

  Args:
    workdir: RUN; writes RUN/eval.
    step: of the checkpoint; None = the newest.

  Returns:
    The content of RUN/eval/metrics.json.

  Raises:
    InputError: no run, or unreadable input.
  """
  workdir = Path(workdir)
  config = load_config(workdir)
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frames = ground_truth.frames_to_score(dataset, camera, config.data.eval_frames)
  trained = load_trained_run(workdir, step)
  folder = workdir / 'eval'
  evaluator, panel_paths = Evaluator(), []
  panel_frames = set(frames[:: max(1, len(frames) // max(1, config.eval.num_panels))])
  for frame in tqdm.tqdm(frames, desc='eval', unit='image'):
    result = _render_frame(trained, dataset, camera, frame)
    evaluator.add(result)
    if frame in panel_frames:
      panel_paths.append(folder / 'panels' / f'{camera}_{kitti360.frame_name(frame)}.png')
      panels.save(panel_paths[-1], panels.panel(result))
  metrics = evaluator.compute(trained.step)
  report = page.write_report(
    folder,
    f'{dataset.sequence}, frames {dataset.frames[0]}-{dataset.frames[-1]}',
    metrics,
    confusion=evaluator.confusion,
    reliability=evaluator.reliability,
    panels=panel_paths,
    scalars=workdir / 'scalars.jsonl',
  )
  write_metrics(folder / 'metrics.json', metrics)  # last: its presence means that all is complete
  for name in _LOGGED:
    value = metrics[name]
    _LOG.info('%-26s %s', name, 'no ground truth' if value is None else f'{value:.4f}')
  _LOG.info('report: %s', report)
  return metrics


def _render_frame(
  trained: TrainedRun, dataset: DatasetIndex, camera: str, frame: int
) -> FrameResult:
  """Render a frame at the size of the source image, and read its ground truth."""
  view = dataset_camera(trained.run.scene, dataset.view_index(frame, camera), full=True)
  truth = ground_truth.read_ground_truth(
    dataset, camera, frame, view.world_from_cam, view.intrinsics
  )
  start = time.perf_counter()
  image = trained.renderer(trained.params, view)
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
    seconds=time.perf_counter() - start,
    **vars(truth),
  )
