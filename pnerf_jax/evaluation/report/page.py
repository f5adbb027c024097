"""The report of a run: plots, and one self-contained HTML page with metrics, plots and panels."""

import base64
import dataclasses
from pathlib import Path

import jinja2

from pnerf_jax.data.files import write_bytes
from pnerf_jax.evaluation.metrics.calibration_error import Reliability
from pnerf_jax.evaluation.metrics.semantic import Confusion
from pnerf_jax.evaluation.report import plots

_MAX_PANELS = 8  # embedded in the page, to limit its size; all are in eval/panels

# Sections of the page: rows of key, description, format.
_SECTIONS = {
  'Semantics': (
    ('semantic.miou', 'mean IoU over the classes of the ground truth', 'percent'),
    ('semantic.accuracy', 'pixel accuracy', 'percent'),
    ('semantic.miou_published', "mean IoU, paper's protocol", 'percent'),
    ('semantic.miou_official', 'mean IoU of the official KITTI-360 script', 'percent'),
    ('fixed.miou', 'mean IoU of the fixed field (primitives only)', 'percent'),
    ('fixed.accuracy', 'pixel accuracy of the fixed field', 'percent'),
    ('pseudo.miou', 'mean IoU of the 2D pseudo-labels', 'percent'),
    ('pseudo.accuracy', 'pixel accuracy of the 2D pseudo-labels', 'percent'),
  ),
  'Panoptic quality': (
    ('panoptic.all.pq', 'PQ, all classes', 'percent'),
    ('panoptic.all.sq', 'SQ, all classes', 'percent'),
    ('panoptic.all.rq', 'RQ, all classes', 'percent'),
    ('panoptic.things.pq', 'PQ, things', 'percent'),
    ('panoptic.stuff.pq', 'PQ, stuff', 'percent'),
    ('panoptic.pq_published', "PQ, paper's protocol", 'percent'),
  ),
  'Consistency and depth': (
    ('consistency.mc', 'multi-view consistency at LiDAR points', 'percent'),
    ('consistency.mc_visible', 'same, visible points only', 'percent'),
    ('consistency.mc_truth', 'multi-view consistency of the true labels', 'percent'),
    ('consistency.mc_visible_truth', 'same, visible points only', 'percent'),
    ('depth.rmse', 'depth RMSE against LiDAR up to 100 m', 'metres'),
    ('depth.delta1', 'depth within a ratio of 1.25 of LiDAR', 'percent'),
    ('depth.stereo_rmse', 'depth RMSE against stereo', 'metres'),
    ('depth.stereo_delta1', 'depth within a ratio of 1.25 of stereo', 'percent'),
  ),
  'Confidence': (
    ('confidence.ece', 'expected calibration error', 'percent'),
    ('confidence.aurc', 'area under the risk-coverage curve', 'percent'),
    ('confidence.aurc_oracle', 'least possible area', 'percent'),
    ('confidence.unsupported_mean', 'mean confidence without a supporting primitive', 'plain'),
  ),
  'Colour and time': (
    ('image.psnr', 'PSNR', 'decibels'),
    ('image.ssim', 'SSIM', 'plain'),
    ('timing.seconds_per_frame', 'rendering time per frame', 'seconds'),
  ),
}
_FORMATS = {
  'percent': lambda x: f'{100 * x:.1f} %',
  'metres': lambda x: f'{x:.2f} m',
  'decibels': lambda x: f'{x:.2f} dB',
  'plain': lambda x: f'{x:.3f}',
  'seconds': lambda x: f'{x:.2f} s',
}


@dataclasses.dataclass(frozen=True)
class _Picture:
  """A picture of the page; uri: data URI."""

  title: str
  caption: str
  uri: str


def write_report(
  folder: Path,
  title: str,
  metrics: dict[str, int | float | None],
  *,
  confusion: Confusion,
  reliability: Reliability,
  panels: list[Path],
  scalars: Path,
) -> Path:
  """Write report.html and its plots: classes, confusion, reliability, risk_coverage, curves.

  Plots without their input (ground truth, or `scalars` for the curves) are skipped.

  Args:
    folder: RUN/eval.
    title: heading of the page, such as the sequence and its frames.
    metrics: of `Evaluator.compute`.
    confusion: of `Evaluator.confusion`.
    reliability: of `Evaluator.reliability`.
    panels: files of `panels.panel`, in order; a subset is embedded.
    scalars: RUN/scalars.jsonl; may be missing.

  Returns:
    Path of the page.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  page = environment.get_template('page.html').render(
    title=title,
    step=metrics['step'],
    frames=metrics['frames'],
    sections=_sections(metrics),
    plots=_plots(folder, metrics, confusion, reliability, scalars),
    panels=[_picture(path, path.stem) for path in _evenly_spaced(panels)],
  )
  write_bytes(folder / 'report.html', page.encode())
  return folder / 'report.html'


def _plots(
  folder: Path,
  metrics: dict[str, int | float | None],
  confusion: Confusion,
  reliability: Reliability,
  scalars: Path,
) -> list[_Picture]:
  """Write the plots that have input, and return them for the page."""
  pictures = []

  def add(name: str, title: str, caption: str) -> None:
    pictures.append(_picture(folder / name, title, caption))

  if metrics['semantic.miou'] is not None:
    plots.write_class_bars(folder / 'classes.png', metrics)
    add(
      'classes.png',
      'Scores per class',
      'Classes of the ground truth. A dash: no instance ground truth for this class.',
    )
    plots.write_confusion(folder / 'confusion.png', confusion)
    add(
      'confusion.png',
      'Confusion matrix',
      'Rows are true classes, columns predicted ones. The colour scale is a square root; '
      'percentages below 0.5 are not printed.',
    )
  if metrics['confidence.ece'] is not None:
    plots.write_reliability(folder / 'reliability.png', reliability)
    add(
      'reliability.png',
      'Reliability diagram',
      'A calibrated confidence follows the dotted line: of the pixels with confidence 0.8, 80 % '
      'are correct.',
    )
    plots.write_risk_coverage(folder / 'risk_coverage.png', reliability)
    add(
      'risk_coverage.png',
      'Risk-coverage curve',
      'Error rate of the remaining pixels when the least confident ones are dropped.',
    )
  if plots.write_curves(folder / 'curves.png', plots.read_scalars(scalars)):
    add('curves.png', 'Training', 'Logged values of single steps.')
  return pictures


def _sections(
  metrics: dict[str, int | float | None],
) -> list[tuple[str, list[tuple[str, str, str | None]]]]:
  """Return section titles and rows (key, description, printed value or None)."""
  sections = []
  for title, rows in _SECTIONS.items():
    printed = []
    for key, description, kind in rows:
      value = metrics[key]
      printed.append((key, description, None if value is None else _FORMATS[kind](value)))
    sections.append((title, printed))
  return sections


def _evenly_spaced(paths: list[Path]) -> list[Path]:
  """Return at most `_MAX_PANELS` of the paths, including the first and the last."""
  count = min(len(paths), _MAX_PANELS)
  if count < 2:
    return paths[:count]
  return [paths[round(i * (len(paths) - 1) / (count - 1))] for i in range(count)]


def _picture(path: Path, title: str, caption: str = '') -> _Picture:
  data = base64.b64encode(path.read_bytes()).decode('ascii')
  return _Picture(title, caption, f'data:image/png;base64,{data}')
