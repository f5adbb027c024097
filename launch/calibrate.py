"""Fits config.eval.confidence_coefficients on finished runs with ground truth, and says how far it carries.

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
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import fit_confidence, ground_truth
from pnerf_jax.evaluation.fit_confidence import Sample
from pnerf_jax.evaluation.metrics import calibration_error
from pnerf_jax.labelling.confidence import ConfidenceModel, calibrated_confidence
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run

_LOG = logging.getLogger('pnerf_jax.calibrate')
_MOST = 1_000_000  # pixels of a run
_RIGHT, _WRONG = 7, 8  # any two ids


def sample(trained: TrainedRun, every: int) -> Sample:
  """Evidence of the run's frames with ground truth, each `every`-th of them."""
  config, scene = trained.run.config, trained.run.scene
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frames = ground_truth.frames_with_ground_truth(dataset, camera)[::every]
  if not frames:
    raise InputError(f'{dataset.root}: no ground truth of {camera}. Take a run that has some.')
  parts = []
  for frame in frames:
    view = dataset_camera(scene, dataset.view_index(frame, camera), full=True)
    true = ground_truth.read_ground_truth(
      dataset, camera, frame, view.world_from_cam, view.intrinsics
    ).truth_semantic
    out = trained.renderer(trained.params, view)
    known = ~np.isin(true, (0, 255))
    parts.append((out.evidence[known], out.outside[known], (out.semantic == true)[known]))
  columns = [np.concatenate(column) for column in zip(*parts)]
  chosen = slice(None, None, -(-len(columns[0]) // _MOST))
  return Sample(*(column[chosen] for column in columns))


def score(pixels: Sample, numbers: tuple[float, ...]) -> tuple[float, float]:
  """ECE and AURC of a run's pixels with some numbers."""
  trust = calibrated_confidence(pixels.evidence, pixels.outside, ConfidenceModel(*numbers))
  counts = calibration_error.count(
    trust, np.where(pixels.right, _RIGHT, _WRONG), np.full(trust.shape, _RIGHT), None
  )
  return counts.ece(), counts.aurc()


def main() -> None:
  """Fits on the runs of the command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--every', type=int, default=2, help='take each N-th frame')
  options = parser.parse_args()
  samples, own = [], []
  for run in options.runs:
    trained = load_trained_run(run, None)
    samples.append(sample(trained, options.every))
    own.append(tuple(trained.run.config.eval.confidence_coefficients))
    _LOG.info(
      '%s: %d pixels, %.1f %% right', run, len(samples[-1].right), 100 * samples[-1].right.mean()
    )
  whole = fit_confidence.fit(samples)
  print(f'config.eval.confidence_coefficients = {whole}')
  print(
    f'{"run":30s} {"own: ECE":>10s} {"AURC":>7s} {"others: ECE":>12s} {"AURC":>7s} '
    f'{"all: ECE":>9s} {"AURC":>7s}'
  )
  for i, (run, pixels) in enumerate(zip(options.runs, samples)):
    others = samples[:i] + samples[i + 1 :]
    fits = (own[i], fit_confidence.fit(others) if others else None, whole)
    values = [score(pixels, numbers) if numbers else (np.nan, np.nan) for numbers in fits]
    print(
      f'{str(run)[-30:]:30s} {values[0][0]:10.4f} {values[0][1]:7.4f} {values[1][0]:12.4f} '
      f'{values[1][1]:7.4f} {values[2][0]:9.4f} {values[2][1]:7.4f}'
    )


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
