"""Scores a run against ground truth files and LiDAR, and writes pictures and a report.

    python -m pnerf_jax.eval --workdir=RUN [--step=N]

Writes RUN/eval/metrics.json, panels, plots and report.html.
"""
import logging
from pathlib import Path
import time

from absl import flags
import tqdm

from pnerf_jax import cli
from pnerf_jax.data import kitti360
from pnerf_jax.data.footage import find_footage
from pnerf_jax.evaluation import depth, evaluator, frames, panels, report, truth
from pnerf_jax.rendering.images import recorded_view
from pnerf_jax.training.setup import load_config
from pnerf_jax.training.trained import load_trained

_LOG = logging.getLogger(__name__)


def evaluate(workdir: Path, step: int | None = None) -> dict:
  """Renders the evaluation frames at the size of the source images and scores them.

  Returns:
    The metrics, as written to RUN/eval/metrics.json.
  """
  workdir = Path(workdir)
  config = load_config(workdir)
  footage = find_footage(config.data)
  camera = truth.camera_to_score(footage, config.eval.camera)
  chosen = truth.frames_to_score(footage, camera, config.data.eval_frames)
  trained = load_trained(workdir, step)
  scene, folder = trained.run.scene, workdir / 'eval'
  scores, stereo = evaluator.Evaluator(), depth.DepthCounts()
  pictures = []
  pictured = set(chosen[::max(1, len(chosen) // max(1, config.eval.panels))])
  for frame in tqdm.tqdm(chosen, desc='eval', unit='image'):
    image = footage.view(frame, camera)
    view = recorded_view(scene, image, full=True)
    found = truth.read_truth(footage, camera, frame, view.world_from_cam, view.intrinsics)
    start = time.perf_counter()
    out = trained.renderer(trained.params, view)
    result = frames.FrameResult(
        frame=frame, camera=camera, semantic=out.semantic, instance=out.instance, fixed=out.fixed,
        confidence=out.confidence, outside=out.outside, depth=out.depth, rgb=out.rgb,
        seconds=time.perf_counter() - start, **found.fields())
    scores.add(result)
    if found.stereo_uvz is not None:
      stereo = stereo.merge(depth.count(out.depth, found.stereo_uvz))
    if frame in pictured:
      pictures.append(folder / 'panels' / f'{camera}_{kitti360.frame_name(frame)}.png')
      panels.write_panel(pictures[-1], result)
  metrics = {**scores.compute(trained.step),
             'depth.stereo_rmse': stereo.rmse(), 'depth.stereo_delta1': stereo.delta1()}
  report.write_report(
      folder, f'{footage.sequence}, frames {footage.frames[0]}-{footage.frames[-1]}', metrics,
      scores.confusion, scores.reliability, pictures, workdir / 'scalars.jsonl')
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
  for name in ('semantic.miou', 'semantic.accuracy', 'pseudo.miou', 'pseudo.accuracy',
               'fixed.miou', 'panoptic.all.pq', 'panoptic.things.pq', 'consistency.mc',
               'consistency.mc_visible', 'confidence.ece', 'confidence.aurc', 'depth.rmse',
               'depth.delta1', 'depth.stereo_delta1', 'image.psnr', 'image.ssim',
               'timing.seconds_per_frame'):
    value = metrics[name]
    _LOG.info('%-26s %s', name, 'no ground truth' if value is None else f'{value:.4f}')
  _LOG.info('report: %s', Path(options.workdir, 'eval', 'report.html'))


if __name__ == '__main__':
  _define_flags()
  cli.run(main)
