"""Fits config.eval.confidence_coefficients on finished runs with ground truth.

    PYTHONPATH=. python launch/calibrate.py RUN RUN RUN ... [--every=2]

Prints the coefficients fitted on all runs and, for each run, expected calibration error (ECE) and
area under the risk-coverage curve (AURC) with the run's own coefficients, with those fitted on all
other runs, and with those fitted on all. Use runs of development scenes: the ground truth of a
window must not enter its own confidence.

The model (labelling/confidence.py) is a logistic regression of "the label is correct" on the
calibration features. Each run has the same total weight. Feature weights are non-negative, so that
the confidence never decreases with a feature.

References:
  Platt, Probabilistic Outputs for Support Vector Machines, 1999 (logistic calibration).
"""

import argparse
import dataclasses
import logging
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from scipy.special import expit

from pnerf_jax import cli
from pnerf_jax.data import labels
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import ground_truth
from pnerf_jax.evaluation.metrics import calibration_error
from pnerf_jax.labelling.confidence import ConfidenceModel, calibrated_confidence
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.trained_run import TrainedRun, load_trained_run

_LOG = logging.getLogger('pnerf_jax.calibrate')
_LABEL_FEATURE = 2  # column of the label agreement, nan without a pseudo-label
_DIGITS = 3
_MAX_PIXELS = 1_000_000  # of a run
_CORRECT, _WRONG = 7, 8  # any two ids


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
  """Pixels of one run.

  Attributes:
    features: [N, 4] float32, calibration features.
    unsupported: [N] bool, pixels not supported by a primitive.
    correct: [N] bool, pixels whose label agrees with the ground truth.
  """

  features: np.ndarray
  unsupported: np.ndarray
  correct: np.ndarray


def fit(samples: Sequence[Sample]) -> tuple[float, ...]:
  """Fit the coefficients of `ConfidenceModel`.

  Pixels that are unsupported or have no pseudo-label are ignored. The last coefficient, the label
  agreement without a pseudo-label, is the mean of the label agreement.

  Raises:
    ValueError: a sample has no usable pixel.
  """
  rows, correct, weight, agreement = [], [], [], []
  for sample in samples:
    used = ~sample.unsupported & ~np.isnan(sample.features[:, _LABEL_FEATURE])
    if not used.any():
      raise ValueError('a run without any usable pixel.')
    rows.append(np.concatenate([np.ones((used.sum(), 1)), sample.features[used]], axis=1))
    correct.append(sample.correct[used].astype(np.float64))
    weight.append(np.full(used.sum(), 1 / used.sum() / len(samples)))
    agreement.append(sample.features[used, _LABEL_FEATURE].mean(dtype=np.float64))
  rows, correct, weight = np.concatenate(rows), np.concatenate(correct), np.concatenate(weight)

  def loss(coefficients):
    logits = rows @ coefficients
    gradient = rows.T @ (weight * (expit(logits) - correct))
    return weight @ (np.logaddexp(0, logits) - correct * logits), gradient

  result = scipy.optimize.minimize(
    loss,
    np.zeros(rows.shape[1]),
    jac=True,
    bounds=[(None, None), *[(0, None)] * (rows.shape[1] - 1)],
    method='L-BFGS-B',
    options={'ftol': 1e-12, 'gtol': 1e-8},
  )
  return tuple(round(float(x), _DIGITS) for x in (*result.x, np.mean(agreement)))


def read_sample(trained: TrainedRun, every: int) -> Sample:
  """Render every `every`-th frame with ground truth of a run, and return its pixels."""
  config, scene = trained.run.config, trained.run.scene
  dataset = open_dataset(config.data)
  camera = ground_truth.camera_to_score(dataset, config.eval.camera)
  frames = ground_truth.frames_with_ground_truth(dataset, camera)[::every]
  if not frames:
    raise InputError(f'{dataset.root}: no ground truth of {camera}. Use a run that has some.')
  parts = []
  for frame in frames:
    view = dataset_camera(scene, dataset.view_index(frame, camera), full=True)
    truth = ground_truth.read_ground_truth(
      dataset, camera, frame, view.world_from_cam, view.intrinsics
    ).truth_semantic
    image = trained.renderer(trained.params, view)
    known = ~np.isin(truth, labels.UNKNOWN)
    parts.append(
      (image.features[known], image.unsupported[known], (image.semantic == truth)[known])
    )
  columns = [np.concatenate(column) for column in zip(*parts)]
  every_pixel = slice(None, None, -(-len(columns[0]) // _MAX_PIXELS))
  features, unsupported, correct = (column[every_pixel] for column in columns)
  return Sample(features=features, unsupported=unsupported, correct=correct)


def score(sample: Sample, coefficients: tuple[float, ...]) -> tuple[float, float]:
  """Return ECE and AURC of a run's pixels."""
  confidence = calibrated_confidence(
    sample.features, sample.unsupported, ConfidenceModel(*coefficients)
  )
  prediction = np.where(sample.correct, _CORRECT, _WRONG)
  counts = calibration_error.count(confidence, prediction, np.full_like(prediction, _CORRECT), None)
  return counts.ece(), counts.aurc()


def main() -> None:
  """Fit on the runs of the command line and print the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path, nargs='+', metavar='RUN')
  parser.add_argument('--every', type=int, default=2, help='use each N-th frame')
  options = parser.parse_args()
  samples, own = [], []
  for run in options.runs:
    trained = load_trained_run(run, None)
    sample = read_sample(trained, options.every)
    samples.append(sample)
    own.append(tuple(trained.run.config.eval.confidence_coefficients))
    accuracy = 100 * sample.correct.mean()
    _LOG.info('%s: %d pixels, accuracy %.1f %%', run, len(sample.correct), accuracy)
  fitted = fit(samples)
  print(f'config.eval.confidence_coefficients = {fitted}')
  print(
    f'{"run":30s} {"own: ECE":>10s} {"AURC":>7s} {"others: ECE":>12s} {"AURC":>7s} '
    f'{"all: ECE":>9s} {"AURC":>7s}'
  )
  for i, (run, sample) in enumerate(zip(options.runs, samples)):
    others = samples[:i] + samples[i + 1 :]
    values = []
    for coefficients in (own[i], fit(others) if others else None, fitted):
      values += score(sample, coefficients) if coefficients else (np.nan, np.nan)
    widths = (10, 7, 12, 7, 9, 7)
    cells = (f'{value:{width}.4f}' for value, width in zip(values, widths))
    print(f'{str(run)[-30:]:30s} {" ".join(cells)}')


if __name__ == '__main__':
  cli.show_progress()
  try:
    main()
  except InputError as e:
    sys.exit(f'error: {e}')
