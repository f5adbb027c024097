"""A run's report: figures and one HTML page that holds them and the panels and needs no network.

Everything is written beside metrics.json, in RUN/eval; each file appears when it is whole.
"""

import base64
import dataclasses
import os
from pathlib import Path

import jinja2

from pnerf_jax.evaluation.metrics.calibration_error import Reliability
from pnerf_jax.evaluation.metrics.semantic import Confusion
from pnerf_jax.evaluation.report import plots

_MAX_PANELS = 8  # embedded ones, so that the page stays a few megabytes; all lie in eval/panels

# key, words, how to print. Sections as they appear on the page.
_ROWS = (
  (
    'Semantics',
    (
      ('semantic.miou', 'mean IoU over the classes of the truth', 'percent'),
      ('semantic.accuracy', 'right pixels', 'percent'),
      ('semantic.miou_published', 'mean IoU as the papers count it', 'percent'),
      ('semantic.miou_official', 'mean IoU of the official KITTI-360 script', 'percent'),
      ('fixed.miou', 'mean IoU of the fixed field (primitives alone)', 'percent'),
      ('fixed.accuracy', 'right pixels of the fixed field', 'percent'),
      ('pseudo.miou', 'mean IoU of the 2D pseudo labels', 'percent'),
      ('pseudo.accuracy', 'right pixels of the 2D pseudo labels', 'percent'),
    ),
  ),
  (
    'Panoptic quality',
    (
      ('panoptic.all.pq', 'PQ, all classes', 'percent'),
      ('panoptic.all.sq', 'SQ, all classes', 'percent'),
      ('panoptic.all.rq', 'RQ, all classes', 'percent'),
      ('panoptic.things.pq', 'PQ, things', 'percent'),
      ('panoptic.stuff.pq', 'PQ, stuff', 'percent'),
      ('panoptic.pq_published', 'PQ as the papers count it', 'percent'),
    ),
  ),
  (
    'Geometry and views',
    (
      ('consistency.mc', 'LiDAR points that two frames call alike', 'percent'),
      ('consistency.mc_visible', 'of them, those that both cameras see', 'percent'),
      ('consistency.mc_truth', 'LiDAR points that the truth calls alike', 'percent'),
      ('consistency.mc_visible_truth', 'of them, those that both cameras see', 'percent'),
      ('depth.rmse', 'RMSE of depth against LiDAR up to 100 m', 'metres'),
      ('depth.delta1', 'depth within a ratio of 1.25 of LiDAR', 'percent'),
      ('depth.stereo_rmse', 'RMSE of depth against stereo', 'metres'),
      ('depth.stereo_delta1', 'depth within a ratio of 1.25 of stereo', 'percent'),
    ),
  ),
  (
    'Confidence',
    (
      ('confidence.ece', 'calibration error (mean of |confidence - right|)', 'percent'),
      ('confidence.aurc', 'area under risk and coverage', 'percent'),
      ('confidence.aurc_oracle', 'least possible area', 'percent'),
      ('confidence.outside_mean', 'mean confidence where no primitive vouches', 'plain'),
    ),
  ),
  (
    'Colour and time',
    (
      ('image.psnr', 'PSNR', 'decibels'),
      ('image.ssim', 'SSIM', 'plain'),
      ('timing.seconds_per_frame', 'rendering of one frame', 'seconds'),
    ),
  ),
)
_FORMATS = {
  'percent': lambda x: f'{100 * x:.1f} %',
  'metres': lambda x: f'{x:.2f} m',
  'decibels': lambda x: f'{x:.2f} dB',
  'plain': lambda x: f'{x:.3f}',
  'seconds': lambda x: f'{x:.2f} s',
}


@dataclasses.dataclass(frozen=True)
class _Picture:
  """A picture of the page: title, caption and data URI."""

  title: str
  caption: str
  uri: str


def write_report(
  folder: Path,
  title: str,
  metrics: dict[str, int | float | None],
  confusion: Confusion,
  reliability: Reliability,
  panels: list[Path],
  scalars: Path,
) -> Path:
  """Writes report.html and its figures: classes, confusion, reliability, risk_coverage, curves.

  The figures of labels need ground truth, the curves `scalars`; what lacks its source is left out.

  Args:
    folder: RUN/eval.
    title: heading of the page, such as the sequence and its frames.
    metrics: of `Evaluator.compute`; further keys may be added.
    confusion: of `Evaluator.confusion`.
    reliability: of `Evaluator.reliability`.
    panels: pictures that `panels.write_panel` wrote, in order; evenly spread ones are embedded.
    scalars: RUN/scalars.jsonl; need not exist.

  Returns:
    Path of the page.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  figures = []
  if metrics['semantic.miou'] is not None:
    plots.write_class_bars(folder / 'classes.png', metrics)
    figures.append(
      _picture(
        folder / 'classes.png',
        'Scores per class',
        'Classes of the truth only. A dash: the class has no segment in the instance truth.',
      )
    )
    plots.write_confusion(folder / 'confusion.png', confusion)
    figures.append(
      _picture(
        folder / 'confusion.png',
        'Confusion',
        'Each row shows what the pixels of one true class were called. Shades follow the square '
        'root, so that small confusions show; shares under 0.5 % carry no number.',
      )
    )
  if metrics['confidence.ece'] is not None:
    plots.write_reliability(folder / 'reliability.png', reliability)
    figures.append(
      _picture(
        folder / 'reliability.png',
        'Reliability of the confidence',
        'Bars and line should follow the dots: of the pixels with confidence 0.8, 80 % are right.',
      )
    )
    plots.write_risk_coverage(folder / 'risk_coverage.png', reliability)
    figures.append(
      _picture(
        folder / 'risk_coverage.png',
        'Risk and coverage',
        'What the labels are worth when the least confident pixels are left out.',
      )
    )
  if plots.write_curves(folder / 'curves.png', plots.read_scalars(scalars)):
    figures.append(
      _picture(folder / 'curves.png', 'Training', 'Values of single steps as they were logged.')
    )
  shown = [_picture(path, Path(path).stem, '') for path in _spread(panels)]
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
    figures=figures,
    panels=shown,
  )
  path = folder / 'report.html'
  partial = folder / '.report.html.partial'
  partial.write_text(page, encoding='utf-8')
  os.replace(partial, path)
  return path


def _sections(metrics: dict[str, int | float | None]) -> list[tuple[str, list[tuple]]]:
  """Section title and rows (key, words, printed value or None) for the tables."""
  return [
    (
      name,
      [
        (key, words, None if metrics[key] is None else _FORMATS[kind](metrics[key]))
        for key, words, kind in rows
        if key in metrics
      ],
    )
    for name, rows in _ROWS
  ]


def _spread(paths: list[Path]) -> list[Path]:
  """At most `_MAX_PANELS` of the paths, evenly spread, first and last among them."""
  count = min(len(paths), _MAX_PANELS)
  if count < 2:
    return paths[:count]
  return [paths[round(i * (len(paths) - 1) / (count - 1))] for i in range(count)]


def _picture(path: Path, title: str, caption: str) -> _Picture:
  data = base64.b64encode(Path(path).read_bytes()).decode('ascii')
  return _Picture(title, caption, f'data:image/png;base64,{data}')
