"""Plots of a run: bars, confusion, confidence, training curves; one PNG file each.

Plots have a light background, so that they are readable on any page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pnerf_jax.data import labels
from pnerf_jax.data.files import atomic_write, json_lines
from pnerf_jax.evaluation.metrics.calibration_error import BINS, Reliability
from pnerf_jax.evaluation.metrics.semantic import Confusion

Bars = tuple[Mapping[str, float], float | None]  # fractions by name, and their mean

_BAR = '#3b6ea8'
_INK = '#222222'
_CURVES = (('loss', 'total loss', True), ('psnr', 'PSNR of the batch (dB)', False))


def confusion_percentages(confusion: Confusion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return true ids [R], true or predicted ids [P], and percentages [R, P] of the true pixels."""
  counts = confusion.scored()
  rows = np.flatnonzero(counts.sum(axis=1) > 0)
  columns = np.flatnonzero((counts.sum(axis=0) > 0) | (counts.sum(axis=1) > 0))
  counts = counts[np.ix_(rows, columns)]
  return rows, columns, 100 * counts / counts.sum(axis=1, keepdims=True)


def write_confusion(path: Path, confusion: Confusion) -> None:
  """Plot the confusion matrix, each row (true class) normalised to 100 %."""
  rows, columns, percent = confusion_percentages(confusion)
  figure = Figure(figsize=(2.4 + 0.42 * len(columns), 2.0 + 0.36 * len(rows)), layout='tight')
  axes = figure.add_subplot()
  # The square root keeps small confusions visible next to the diagonal.
  axes.imshow(np.sqrt(percent), cmap='Blues', vmin=0, vmax=10, aspect='auto')
  for i, j in zip(*np.nonzero(percent >= 0.5)):
    color = 'white' if percent[i, j] > 45 else _INK
    text = f'{percent[i, j]:.0f}'
    axes.text(j, i, text, ha='center', va='center', fontsize=7, color=color)
  axes.set_xticks(range(len(columns)), [_name(i) for i in columns], rotation=90, fontsize=8)
  axes.set_yticks(range(len(rows)), [_name(i) for i in rows], fontsize=8)
  finish(axes, 'Confusion, % of the pixels of each true class', 'predicted class', 'true class')
  save_figure(path, figure)


def write_bars(path: Path, names: Sequence[str], groups: Mapping[str, Bars]) -> None:
  """Plot fractions by name, one column of bars a group.

  Args:
    path: PNG.
    names: from top to bottom.
    groups: fractions by name and their mean (dotted) or None, by title.
  """
  figure = Figure(figsize=(1.8 + 2.6 * len(groups), 1.0 + 0.27 * len(names)), layout='tight')
  for i, (title, (values, mean)) in enumerate(groups.items()):
    axes = figure.add_subplot(1, len(groups), i + 1)
    bars = [100 * values.get(name, 0) for name in names]
    axes.barh(range(len(names)), bars, color=_BAR, height=0.72)
    background = {'color': 'white', 'pad': 0.5, 'linewidth': 0}
    for row, (name, bar) in enumerate(zip(names, bars)):
      text = f'{bar:.3g}' if 0 < bar < 1 else f'{bar:.0f}' if name in values else '–'
      axes.text(bar + 1, row, text, va='center', fontsize=8, color=_INK, bbox=background)
    if mean is not None:
      axes.axvline(100 * mean, zorder=1.5, color=_INK, linewidth=1, linestyle=':')
      title += f', mean {100 * mean:.1f}'
    axes.set_yticks(range(len(names)), names if i == 0 else [''] * len(names), fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 112)
    finish(axes, title, '%', grid='x')
  save_figure(path, figure)


def write_reliability(path: Path, reliability: Reliability) -> None:
  """Plot accuracy against confidence in bins of equal width, and the pixels in each bin."""
  pixels, confidence, correct = reliability.bins()
  used = pixels > 0
  centers = (np.arange(BINS) + 0.5) / BINS
  accuracy = correct[used] / pixels[used]
  figure = Figure(figsize=(4.6, 5.2), layout='tight')
  axes, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  axes.bar(centers[used], accuracy, 0.9 / BINS, color=_BAR)
  axes.plot([0, 1], [0, 1], ':', color=_INK, linewidth=1)
  axes.plot(confidence[used] / pixels[used], accuracy, color=_INK, linewidth=1, marker='.')
  axes.set_xlim(0, 1)
  axes.set_ylim(0, 1)
  title = f'Reliability, expected calibration error {reliability.ece():.3f}'
  finish(axes, title, y_label='accuracy', grid='both')
  histogram.bar(centers, 100 * pixels / pixels.sum(), 0.9 / BINS, color=_BAR)
  finish(histogram, x_label='confidence', y_label='% of pixels', grid='y')
  save_figure(path, figure)


def write_risk_coverage(path: Path, reliability: Reliability) -> None:
  """Plot the error rate of the kept pixels when the least confident ones are dropped."""
  coverage, risk = reliability.risk_coverage()
  aurc, oracle_aurc = reliability.aurc(), reliability.oracle_aurc()
  assert aurc is not None and oracle_aurc is not None  # None only without ground truth
  oracle = np.linspace(1 - risk[-1], 1, 100)  # coverages at which the oracle drops only errors
  oracle_risk = 100 * (oracle - 1 + risk[-1]) / oracle
  figure = Figure(figsize=(4.6, 3.6), layout='tight')
  axes = figure.add_subplot()
  axes.plot(
    100 * np.append(0, coverage),
    100 * np.append(risk[0], risk),  # constant among the pixels of the highest confidence
    color=_BAR,
    linewidth=1.6,
    label=f'exported confidence, area {100 * aurc:.2f}',
  )
  label = f'oracle, area {100 * oracle_aurc:.2f}'
  axes.plot(100 * oracle, oracle_risk, ':', color=_INK, linewidth=1, label=label)
  axes.set_xlim(0, 100)
  axes.set_ylim(0, None)
  axes.legend(fontsize=8, frameon=False)
  finish(axes, 'Risk-coverage curve', 'coverage (% of the pixels)', 'risk (% wrong)', grid='both')
  save_figure(path, figure)


def read_scalars(path: Path) -> list[dict[str, Any]]:
  """Read scalars.jsonl, skipping damaged lines; return [] if the file is missing."""
  records, _ = json_lines(path.read_bytes() if path.is_file() else b'')
  records = [record for record in records if isinstance(record.get('step'), int)]
  return sorted(records, key=lambda record: record['step'])


def write_curves(path: Path, records: list[dict[str, Any]]) -> bool:
  """Plot loss and PSNR over the training steps; return False without any such records."""
  curves = [
    (title, log, [(r['step'], r[key]) for r in records if isinstance(r.get(key), (int, float))])
    for key, title, log in _CURVES
  ]
  curves = [curve for curve in curves if curve[2]]
  if not curves:
    return False
  figure = Figure(figsize=(9, 3), layout='tight')
  for i, (title, log, points) in enumerate(curves):
    axes = figure.add_subplot(1, len(curves), i + 1)
    steps, values = np.array(points, np.float64).T
    axes.plot(steps, values, color=_BAR, linewidth=1.4, marker='.' if len(points) < 40 else None)
    if log and (values > 0).all():
      axes.set_yscale('log')
      axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
      axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f'{y:g}'))
      axes.yaxis.set_minor_formatter(NullFormatter())
    finish(axes, title, 'step', grid='both')
  save_figure(path, figure)
  return True


def save_figure(path: Path, figure: Figure) -> None:
  """Write a figure as PNG, atomically."""
  with atomic_write(path) as file:
    FigureCanvasAgg(figure).print_figure(file, format='png', dpi=130, facecolor='white')


def _name(class_id: int) -> str:
  return '(none)' if class_id == labels.VOID else labels.BY_ID[int(class_id)].name


def finish(
  axes: Axes,
  title: str = '',
  x_label: str = '',
  y_label: str = '',
  *,
  grid: Literal['x', 'y', 'both'] | None = None,
) -> None:
  """Set title and labels; grid: axes with grid lines, or None for an image with its frame."""
  axes.set_title(title, fontsize=10)
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  if grid:
    axes.grid(axis=grid, color='#d9d9d9', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
