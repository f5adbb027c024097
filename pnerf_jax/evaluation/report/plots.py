"""Figures of a run: confusion, scores per class, confidence, training curves; each one PNG file.

Figures have a light background of their own, so that they can be read on any page.
"""

import json
import os
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pnerf_jax.data import labels
from pnerf_jax.evaluation.metrics.calibration_error import BINS, Reliability
from pnerf_jax.evaluation.metrics.semantic import Confusion

_BAR = '#3b6ea8'
_INK = '#222222'
_GRID = '#d9d9d9'
_CURVES = (('loss', 'total loss', True), ('psnr', 'PSNR of the batch (dB)', False))


def confusion_shares(confusion: Confusion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """True ids [R] of the truth, ids [P] that are true or predicted, and percentages [R, P]."""
  counts = confusion.scored()
  rows = np.flatnonzero(counts.sum(axis=1) > 0)
  columns = np.flatnonzero((counts.sum(axis=0) > 0) | (counts.sum(axis=1) > 0))
  chosen = counts[np.ix_(rows, columns)]
  return rows, columns, 100 * chosen / chosen.sum(axis=1, keepdims=True)


def write_confusion(path: Path, confusion: Confusion) -> None:
  """Rows: true classes, each normalised to 100 %; columns: what their pixels were called."""
  rows, columns, share = confusion_shares(confusion)
  figure = Figure(figsize=(2.4 + 0.42 * len(columns), 2.0 + 0.36 * len(rows)), layout='tight')
  axes = figure.add_subplot()
  # The square root keeps small confusions visible beside the diagonal.
  axes.imshow(np.sqrt(share), cmap='Blues', vmin=0, vmax=10, aspect='auto')
  for i, j in zip(*np.nonzero(share >= 0.5)):
    axes.text(
      j,
      i,
      f'{share[i, j]:.0f}',
      ha='center',
      va='center',
      fontsize=7,
      color='white' if share[i, j] > 45 else _INK,
    )
  axes.set_xticks(range(len(columns)), [_name(i) for i in columns], rotation=90, fontsize=8)
  axes.set_yticks(range(len(rows)), [_name(i) for i in rows], fontsize=8)
  axes.set_xlabel('predicted class')
  axes.set_ylabel('true class')
  axes.set_title('Confusion, % of the pixels of each true class', fontsize=10)
  _save(path, figure)


def write_class_bars(path: Path, metrics: dict[str, int | float | None]) -> None:
  """IoU and PQ of every class of the truth, beside each other; one alone where a truth lacks."""
  groups = [
    (title, prefix, mean)
    for title, prefix, mean in (
      ('IoU', 'semantic.iou.', metrics['semantic.miou']),
      ('PQ', 'panoptic.pq.', metrics['panoptic.all.pq']),
    )
    if mean is not None
  ]
  names = [
    label.name
    for label in labels.LABELS
    if any(prefix + label.name in metrics for _, prefix, _ in groups)
  ]
  figure = Figure(figsize=(9, 1.4 + 0.27 * len(names)), layout='tight')
  for i, (title, prefix, mean) in enumerate(groups):
    axes = figure.add_subplot(1, len(groups), i + 1)
    values = [metrics.get(prefix + name) for name in names]
    axes.barh(range(len(names)), [100 * (v or 0) for v in values], color=_BAR, height=0.72)
    for row, value in enumerate(values):
      axes.text(
        100 * (value or 0) + 1,
        row,
        '–' if value is None else f'{100 * value:.0f}',
        va='center',
        fontsize=8,
        color=_INK,
        bbox={'color': 'white', 'pad': 0.5, 'linewidth': 0},
      )
    axes.axvline(100 * mean, color=_INK, linewidth=1, linestyle=':', zorder=1.5)
    axes.set_yticks(range(len(names)), names if i == 0 else [''] * len(names), fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 108)
    axes.set_xlabel('%')
    axes.set_title(f'{title} per class, mean {100 * mean:.1f} (dotted)', fontsize=10)
    _plain(axes, 'x')
  _save(path, figure)


def write_reliability(path: Path, reliability: Reliability) -> None:
  """Accuracy against confidence in bins of equal width, over the share of pixels in each bin."""
  pixels, confidence, right = reliability.bins()
  used = pixels > 0
  figure = Figure(figsize=(4.6, 5.2), layout='tight')
  axes, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  width = 1 / BINS
  centers = (np.arange(BINS) + 0.5) * width
  axes.bar(centers[used], (right / np.maximum(pixels, 1))[used], width * 0.9, color=_BAR)
  axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=':')
  axes.plot(
    (confidence / np.maximum(pixels, 1))[used],
    (right / np.maximum(pixels, 1))[used],
    color=_INK,
    linewidth=1,
    marker='.',
  )
  axes.set_xlim(0, 1)
  axes.set_ylim(0, 1)
  axes.set_ylabel('share of right labels')
  axes.set_title(f'Reliability, calibration error {reliability.ece():.3f}', fontsize=10)
  share.bar(centers, 100 * pixels / pixels.sum(), width * 0.9, color=_BAR)
  share.set_ylabel('% of pixels')
  share.set_xlabel('confidence')
  _plain(axes, 'both')
  _plain(share, 'y')
  _save(path, figure)


def write_risk_coverage(path: Path, reliability: Reliability) -> None:
  """Share of wrong labels among the kept pixels, when the least confident ones are dropped."""
  coverage, risk = reliability.risk_coverage()
  overall = risk[-1]
  best = np.linspace(1 - overall, 1, 100)  # the oracle drops what is wrong, and nothing else
  figure = Figure(figsize=(4.6, 3.6), layout='tight')
  axes = figure.add_subplot()
  # The most confident pixels of all are alike: whichever are kept, as many of them are wrong.
  axes.plot(
    100 * np.append(0, coverage),
    100 * np.append(risk[0], risk),
    color=_BAR,
    linewidth=1.6,
    label=f'exported confidence, area {100 * reliability.aurc():.2f}',
  )
  axes.plot(
    100 * best,
    100 * (best - 1 + overall) / best,
    color=_INK,
    linewidth=1,
    linestyle=':',
    label=f'oracle, area {100 * reliability.oracle_aurc():.2f}',
  )
  axes.set_xlim(0, 100)
  axes.set_ylim(0, None)
  axes.set_xlabel('% of the pixels kept, the most confident first')
  axes.set_ylabel('% of them wrong')
  axes.set_title('Risk and coverage', fontsize=10)
  axes.legend(fontsize=8, frameon=False)
  _plain(axes, 'both')
  _save(path, figure)


def read_scalars(path: Path) -> list[dict]:
  """Lines of scalars.jsonl; a last line that a kill cut off is left out. [] without a file."""
  path = Path(path)
  if not path.exists():
    return []
  records = []
  for line in path.read_text(errors='replace').splitlines():
    try:
      record = json.loads(line)
    except json.JSONDecodeError:
      continue
    if isinstance(record, dict) and 'step' in record:
      records.append(record)
  return sorted(records, key=lambda record: record['step'])


def write_curves(path: Path, records: list[dict]) -> bool:
  """Loss and PSNR over the training steps; False, and no file, where there are no such records."""
  curves = [
    (key, title, log, [r for r in records if isinstance(r.get(key), (int, float))])
    for key, title, log in _CURVES
  ]
  curves = [curve for curve in curves if curve[3]]
  if not curves:
    return False
  figure = Figure(figsize=(9, 3), layout='tight')
  for i, (key, title, log, chosen) in enumerate(curves):
    axes = figure.add_subplot(1, len(curves), i + 1)
    values = np.array([record[key] for record in chosen], np.float64)
    marker = '.' if len(chosen) < 40 else None
    axes.plot(
      [record['step'] for record in chosen], values, color=_BAR, linewidth=1.4, marker=marker
    )
    if log and (values > 0).all():
      axes.set_yscale('log')
      axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
      axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f'{y:g}'))
      axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel('step')
    axes.set_title(title, fontsize=10)
    _plain(axes, 'both')
  _save(path, figure)
  return True


def _name(class_id: int) -> str:
  return '(none)' if class_id == labels.VOID else labels.BY_ID[int(class_id)].name


def _plain(axes, grid: str) -> None:
  axes.grid(axis=grid, color=_GRID, linewidth=0.6)
  axes.set_axisbelow(True)
  for side in ('top', 'right'):
    axes.spines[side].set_visible(False)


def _save(path: Path, figure: Figure) -> None:
  """The file appears under its name only when it is whole."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'.{path.name}.partial')
  FigureCanvasAgg(figure).print_figure(partial, format='png', dpi=130, facecolor='white')
  os.replace(partial, path)
