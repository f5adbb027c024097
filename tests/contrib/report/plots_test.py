"""Plots: scalars of an interrupted run, and files that open and are not blank."""

import json
import os

import numpy as np
from PIL import Image

from pnerf_jax.contrib.report import plots
from pnerf_jax.evaluation.metrics import calibration_error, semantic


def _inked(path):
  """Return the fraction of pixels that are not white."""
  return (np.asarray(Image.open(path).convert('L')) < 250).mean()


def test_read_scalars_skips_a_truncated_line(tmp_path):
  path = tmp_path / 'scalars.jsonl'
  lines = [json.dumps({'step': step, 'loss': 1.0 / (step + 1)}) for step in (20, 10, 30)]
  path.write_text('\n'.join(lines) + '\n{"step": 40, "lo')
  assert [record['step'] for record in plots.read_scalars(path)] == [10, 20, 30]
  assert plots.read_scalars(tmp_path / 'absent.jsonl') == []


def test_read_scalars_skips_lines_of_another_form_and_files_that_never_end(tmp_path):
  path, pipe = tmp_path / 'scalars.jsonl', tmp_path / 'pipe'
  path.write_bytes(b'[1]\n{"loss": 1}\n{"step": "2"}\n{"step": null}\n\xff\n{"step": 3}\n')
  assert plots.read_scalars(path) == [{'step': 3}]
  os.mkfifo(pipe)
  assert plots.read_scalars(pipe) == []


def test_write_curves_needs_a_record(tmp_path):
  path = tmp_path / 'curves.png'
  assert not plots.write_curves(path, [])
  assert not plots.write_curves(path, [{'step': 1, 'loss': None}])
  assert not path.exists()
  assert plots.write_curves(path, [{'step': i, 'loss': 2.0**-i, 'psnr': i} for i in range(9)])
  assert 0.01 < _inked(path) < 0.5
  assert [p.name for p in tmp_path.iterdir()] == ['curves.png']


def test_confusion_percentages_by_hand(tmp_path):
  truth = np.array([[7, 7, 7, 7, 26, 0]], np.uint8)
  prediction = np.array([[7, 7, 7, 11, 255, 40]], np.uint8)
  confusion = semantic.count(prediction, truth)
  rows, columns, percent = plots.confusion_percentages(confusion)
  assert rows.tolist() == [7, 26] and columns.tolist() == [0, 7, 11, 26]
  np.testing.assert_array_equal(percent, [[0, 75, 25, 0], [100, 0, 0, 0]])
  plots.write_confusion(tmp_path / 'confusion.png', confusion)
  assert _inked(tmp_path / 'confusion.png') > 0.1


def test_write_bars_draws_the_fractions(tmp_path):
  path, inked = tmp_path / 'bars.png', []
  for value in (0.0, 1.0):
    plots.write_bars(path, ['road', 'car'], {'IoU': ({'road': value}, value), 'PQ': ({}, None)})
    inked.append(_inked(path))
  assert 0.01 < inked[0] < inked[1] < 0.5


def test_confidence_plots_are_drawn(tmp_path):
  rng = np.random.default_rng(0)
  p = rng.random((40, 50))
  counts = calibration_error.count(p, (rng.random(p.shape) < p) * 7, np.full(p.shape, 7), None)
  plots.write_reliability(tmp_path / 'reliability.png', counts)
  plots.write_risk_coverage(tmp_path / 'risk.png', counts)
  for name in ('reliability.png', 'risk.png'):
    assert 0.03 < _inked(tmp_path / name) < 0.8
