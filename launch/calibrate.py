"""Fits config.eval.confidence on finished runs with ground truth, and says how far it carries.

    PYTHONPATH=. python launch/calibrate.py RUN RUN RUN ... [--every=2]

Prints the numbers fitted on all runs and, for each run, calibration error (ECE) and area under risk
and coverage (AURC) with the run's own numbers, with numbers fitted on all the other runs, and with
those fitted on all. Give it runs of streets that are kept for development.
"""
import argparse
import logging
import pathlib
import sys

import numpy as np

from pnerf_jax import cli
from pnerf_jax.data.footage import find_footage
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import calibration, confidence, truth
from pnerf_jax.evaluation.calibration import Sample
from pnerf_jax.rendering.confidence import Calibration, calibrated
from pnerf_jax.rendering.images import recorded_view
from pnerf_jax.training.trained import Trained, load_trained

_LOG = logging.getLogger('pnerf_jax.calibrate')
_MOST = 1_000_000  # pixels of a run
_RIGHT, _WRONG = 7, 8  # any two ids


def sample(trained: Trained, every: int) -> Sample:
  """Evidence of the run's frames with ground truth, each `every`-th of them."""
  config, scene = trained.run.config, trained.run.scene
  footage = find_footage(config.data)
  camera = truth.camera_to_score(footage, config.eval.camera)
  frames = truth.frames_with_truth(footage, camera)[::every]
  if not frames:
    raise InputError(f'{footage.root}: no ground truth of {camera}. Take a run that has some.')
  parts = []
  for frame in frames:
    view = recorded_view(scene, footage.view(frame, camera), full=True)
    true = truth.read_truth(
        footage, camera, frame, view.world_from_cam, view.intrinsics).truth_semantic
    out = trained.renderer(trained.params, view)
    known = ~np.isin(true, (0, 255))
    parts.append((out.evidence[known], out.outside[known], (out.semantic == true)[known]))
  columns = [np.concatenate(column) for column in zip(*parts)]
  chosen = slice(None, None, -(-len(columns[0]) // _MOST))
  return Sample(*(column[chosen] for column in columns))


def score(pixels: Sample, numbers: tuple[float, ...]) -> tuple[float, float]:
  """ECE and AURC of a run's pixels with some numbers."""
  trust = calibrated(pixels.evidence, pixels.outside, Calibration(*numbers))
  counts = confidence.count(
      trust, np.where(pixels.right, _RIGHT, _WRONG), np.full(trust.shape, _RIGHT), None)
  return counts.ece(), counts.aurc()


def main() -> None:
  """Fits on the runs of the command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--every', type=int, default=2, help='take each N-th frame')
  options = parser.parse_args()
  samples, own = [], []
  for run in options.runs:
    trained = load_trained(run, None)
    samples.append(sample(trained, options.every))
    own.append(tuple(trained.run.config.eval.confidence))
    _LOG.info('%s: %d pixels, %.1f %% right', run, len(samples[-1].right),
              100 * samples[-1].right.mean())
  whole = calibration.fit(samples)
  print(f'config.eval.confidence = {whole}')
  print(f'{"run":30s} {"own: ECE":>10s} {"AURC":>7s} {"others: ECE":>12s} {"AURC":>7s} '
        f'{"all: ECE":>9s} {"AURC":>7s}')
  for i, (run, pixels) in enumerate(zip(options.runs, samples)):
    others = samples[:i] + samples[i + 1:]
    fits = (own[i], calibration.fit(others) if others else None, whole)
    values = [score(pixels, numbers) if numbers else (np.nan, np.nan) for numbers in fits]
    print(f'{str(run)[-30:]:30s} {values[0][0]:10.4f} {values[0][1]:7.4f} {values[1][0]:12.4f} '
          f'{values[1][1]:7.4f} {values[2][0]:9.4f} {values[2][1]:7.4f}')


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
