"""Scores a run against ground truth files and LiDAR, and writes pictures and a report.

    python -m pnerf_jax.eval --workdir=RUN [--step=N]

Writes RUN/eval/metrics.json, panels, plots and report.html.
"""

import logging
import time
from pathlib import Path

import tqdm
from absl import flags

from pnerf_jax import cli
from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.evaluation import evaluator, frame_result, ground_truth
from pnerf_jax.evaluation.metrics import depth
from pnerf_jax.evaluation.report import page, panels
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.trained_run import load_trained_run

_LOG = logging.getLogger(__name__)


def evaluate(workdir: Path, step: int | None = None) -> dict:
  """Renders the evaluation frames at the size of the source images and scores them.

  Returns:
    The metrics, as written to RUN/eval/metrics.json.
  """
  workdir = Path(workdir)
  config = load_config(workdir)
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  chosen = ground_truth.frames_to_score(dataset, camera, config.data.eval_frames)
  trained = load_trained_run(workdir, step)
  scene, folder = trained.run.scene, workdir / 'eval'
  scores, stereo = evaluator.Evaluator(), depth.DepthCounts()
  pictures = []
  pictured = set(chosen[:: max(1, len(chosen) // max(1, config.eval.num_panels))])
  for frame in tqdm.tqdm(chosen, desc='eval', unit='image'):
    image = dataset.view_index(frame, camera)
    view = dataset_camera(scene, image, full=True)
    found = ground_truth.read_ground_truth(
      dataset, camera, frame, view.world_from_cam, view.intrinsics
    )
    start = time.perf_counter()
    out = trained.renderer(trained.params, view)
    result = frame_result.FrameResult(
      frame=frame,
      camera=camera,
      semantic=out.semantic,
      instance=out.instance,
      fixed=out.fixed,
      confidence=out.confidence,
      outside=out.outside,
      depth=out.depth,
      rgb=out.rgb,
      seconds=time.perf_counter() - start,
      **found.fields(),
    )
    scores.add(result)
    if found.stereo_uvz is not None:
      stereo = stereo.merge(depth.count(out.depth, found.stereo_uvz))
    if frame in pictured:
      pictures.append(folder / 'panels' / f'{camera}_{kitti360.frame_name(frame)}.png')
      panels.write_panel(pictures[-1], result)
  metrics = {
    **scores.compute(trained.step),
    'depth.stereo_rmse': stereo.rmse(),
    'depth.stereo_delta1': stereo.delta1(),
  }
  page.write_report(
    folder,
    f'{dataset.sequence}, frames {dataset.frames[0]}-{dataset.frames[-1]}',
    metrics,
    scores.confusion,
    scores.reliability,
    pictures,
    workdir / 'scalars.jsonl',
  )
  evaluator.write_metrics(folder / 'metrics.json', metrics)  # last: it says that all is there
  return metrics


def _define_flags() -> None:
  flags.DEFINE_string('workdir', None, 'RUN: the folder that train wrote.')
  flags.DEFINE_integer('step', None, 'Which checkpoint; the newest by default.')
  cli.require_words('workdir')


def main() -> None:
  """Evaluates with the flags and prints the main figures."""
  options = flags.FLAGS
  metrics = evaluate(options.workdir, options.step)
  for name in (
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
  ):
    value = metrics[name]
    _LOG.info('%-26s %s', name, 'no ground truth' if value is None else f'{value:.4f}')
  _LOG.info('report: %s', Path(options.workdir, 'eval', 'report.html'))


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
