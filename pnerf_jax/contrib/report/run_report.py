"""The report of a run: its pictures, metrics, plots, origin and files on one page."""

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pnerf_jax.config import spec
from pnerf_jax.config.schema import Config
from pnerf_jax.contrib.report import panels, plots
from pnerf_jax.contrib.report.page import Cell, Section, link, picture, write_page
from pnerf_jax.data import kitti360, labels
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.evaluation.evaluator import CONFIDENCE_BINS, Metrics, not_scored
from pnerf_jax.evaluation.frame_result import FrameResult
from pnerf_jax.runs.evaluate import Evaluation
from pnerf_jax.runs.provenance import provenance, read_sessions

_LOG = logging.getLogger(__name__)

_PERCENT, _METRES, _DECIBELS = (100, '{:.1f} %'), (1, '{:.2f} m'), (1, '{:.2f} dB')
_PLAIN, _SECONDS, _COUNT = (1, '{:.3f}'), (1, '{:.2f} s'), (1, '{:,.0f}')
_AS_PAPER = "As the paper's program counts"
# Sections of metrics: rows of key, description, and factor and format of the value.
METRICS = {
  'Semantics': (
    ('semantic.miou', 'mean IoU over the classes of the ground truth', _PERCENT),
    ('semantic.accuracy', 'pixel accuracy', _PERCENT),
    ('semantic.miou_official', 'mean IoU of the official KITTI-360 script', _PERCENT),
    ('fixed.miou', 'mean IoU of the fixed field (primitives only)', _PERCENT),
    ('fixed.accuracy', 'pixel accuracy of the fixed field', _PERCENT),
    ('pseudo.miou', 'mean IoU of the 2D pseudo-labels', _PERCENT),
    ('pseudo.accuracy', 'pixel accuracy of the 2D pseudo-labels', _PERCENT),
    ('agreement.pixels', 'pseudo-labelled pixels rendered with the same class', _PERCENT),
  ),
  'Panoptic quality': (
    ('panoptic.all.pq', 'PQ, all classes', _PERCENT),
    ('panoptic.all.sq', 'SQ, all classes', _PERCENT),
    ('panoptic.all.rq', 'RQ, all classes', _PERCENT),
    ('panoptic.things.pq', 'PQ, things', _PERCENT),
    ('panoptic.stuff.pq', 'PQ, stuff', _PERCENT),
  ),
  'Consistency': (
    ('consistency.mc', 'multi-view consistency at LiDAR points', _PERCENT),
    ('consistency.mc_visible', 'same, visible points only', _PERCENT),
    ('consistency.mc_truth', 'multi-view consistency of the true labels', _PERCENT),
    ('consistency.mc_visible_truth', 'same, visible points only', _PERCENT),
  ),
  _AS_PAPER: (
    ('paper.miou', 'mean IoU over the classes above 0.1', _PERCENT),
    ('paper.accuracy', 'accuracy over the pixels with a predicted class', _PERCENT),
    ('paper.pq', 'PQ over the classes with a match', _PERCENT),
    ('paper.sq', 'SQ, likewise', _PERCENT),
    ('paper.rq', 'RQ, likewise', _PERCENT),
    ('paper.things.pq', 'PQ, likewise, of its things: 11, 26, 29, 30, 41', _PERCENT),
    ('paper.stuff.pq', 'PQ, likewise, of all others', _PERCENT),
    ('paper.pq_before_2022_12', 'PQ over all classes, as before December 2022', _PERCENT),
    ('paper.mc', 'multi-view consistency, points at pixel centres', _PERCENT),
  ),
  'Depth': (
    ('depth.rmse', 'RMSE against LiDAR up to 100 m', _METRES),
    ('depth.delta1', 'within a ratio of 1.25 of LiDAR', _PERCENT),
    ('depth.rmse_visible', 'RMSE, visible points only', _METRES),
    ('depth.delta1_visible', 'within a ratio of 1.25, visible points only', _PERCENT),
    ('depth.stereo_rmse', 'RMSE against stereo', _METRES),
    ('depth.stereo_delta1', 'within a ratio of 1.25 of stereo', _PERCENT),
  ),
  'Confidence': (
    ('confidence.mean', 'mean over all pixels', _PLAIN),
    ('confidence.unsupported_mean', 'mean without a supporting primitive', _PLAIN),
    ('confidence.ece', 'expected calibration error', _PERCENT),
    ('confidence.aurc', 'area under the risk-coverage curve', _PERCENT),
    ('confidence.aurc_oracle', 'least possible area', _PERCENT),
  ),
  'Colour of training views': (
    ('image.psnr', 'PSNR: fit to the images of training, not to new views', _DECIBELS),
    ('image.ssim', 'SSIM: likewise', _PLAIN),
  ),
  'Usable ground truth': (
    ('truth.semantic_pixels', 'pixels with a true class', _COUNT),
    ('truth.instance_pixels', 'pixels with a true instance', _COUNT),
    ('truth.lidar_points', 'LiDAR points', _COUNT),
  ),
  'Time': (('timing.seconds_per_frame', 'rendering of one frame', _SECONDS),),
}


# Columns of the table at the top: keys of METRICS with short names.
_KEY_FIGURES = {
  'semantic.miou': 'mean IoU',
  'semantic.accuracy': 'pixel accuracy',
  'panoptic.all.pq': 'PQ',
  'pseudo.miou': 'pseudo-labels: mean IoU',
  'pseudo.accuracy': 'pseudo-labels: accuracy',
  'agreement.pixels': 'agreement with the pseudo-labels',
  'confidence.mean': 'mean confidence',
  'image.psnr': 'PSNR',
}


class RunReport:
  """Writes report.html with its panels and plots; a runs.evaluate.Reporter."""

  def __init__(self, folder: Path):
    """Name the folder of the page, such as RUN/eval; nothing is written yet."""
    self._folder = Path(folder)
    self._panels: list[Path] = []

  def add(self, result: FrameResult) -> None:
    """Write the panel of one frame."""
    name = f'{result.camera}_{kitti360.frame_name(result.frame)}.png'
    self._panels.append(self._folder / 'panels' / name)
    panels.save(self._panels[-1], panels.panel(result))

  def finish(self, evaluation: Evaluation) -> None:
    """Write the plots and the page."""
    path, metrics = self._folder / 'report.html', evaluation.metrics
    frames, camera = evaluation.frames, evaluation.camera
    missing = not_scored(metrics)
    images = Section(
      title='Images',
      note='Instances have the same colour in all images; stuff is dimmed. In the errors, red'
      ' pixels are wrong (without ground truth: differ from the pseudo-labels), blue ones unknown.',
      pictures=[picture(panel, path, panel.stem) for panel in self._panels],
    )
    sections = [_key_figures(metrics), images, *_metric_sections(metrics), *self._plots(evaluation)]
    sections += _origin(evaluation, path)
    title = f'{evaluation.dataset.sequence}, frames {format_ranges(evaluation.dataset.frames)}'
    images_of = 'image of' if len(frames) == 1 else 'images of'
    note = f'{len(frames)} {images_of} {camera} after step {metrics["step"]}. {_rendered(metrics)}'
    write_page(path, title, sections, f'{note} Not scored: {missing}.' if missing else note)
    _LOG.info('report: %s', path)

  def _plots(self, evaluation: Evaluation) -> Iterator[Section]:
    """Write the plots that have input, and yield them for the page."""
    metrics, scores, folder = evaluation.metrics, evaluation.scores, self._folder
    plot = lambda name, *texts: picture(folder / name, folder / 'report.html', *texts)
    names, groups = _class_groups(metrics)
    plots.write_bars(folder / 'classes.png', names, groups)
    note = 'dotted lines are means; a dash: the class is absent'
    by_class, confidence, training = [plot('classes.png', 'Values per class', note)], [], []
    if 'semantic.miou' in metrics:
      plots.write_confusion(folder / 'confusion.png', scores.confusion)
      note = 'square-root colours; percentages below 0.5 are not printed'
      by_class.append(plot('confusion.png', 'Confusion', note))
    if (histogram := scores.confidence_histogram).any():
      bins = [f'{i / 10:.1f} to {(i + 1) / 10:.1f}' for i in range(CONFIDENCE_BINS)]
      shares = dict(zip(bins, histogram / histogram.sum()))
      plots.write_bars(folder / 'confidence.png', bins, {'share of the pixels': (shares, None)})
      confidence.append(plot('confidence.png', 'Histogram over all pixels'))
    if 'confidence.ece' in metrics:
      plots.write_reliability(folder / 'reliability.png', scores.reliability)
      note = 'on the dotted line, 80 % of the pixels with confidence 0.8 are correct'
      confidence.append(plot('reliability.png', 'Reliability', note))
      plots.write_risk_coverage(folder / 'risk_coverage.png', scores.reliability)
      note = 'error rate of the remaining pixels when the least confident ones are dropped'
      confidence.append(plot('risk_coverage.png', 'Risk and coverage', note))
    if plots.write_curves(
      folder / 'curves.png', plots.read_scalars(evaluation.workdir / 'scalars.jsonl')
    ):
      training.append(plot('curves.png', 'Logged values of single steps'))
    yield Section(title='Classes', pictures=by_class)
    yield Section(title='Confidence of the labels', pictures=confidence, in_pairs=True)
    yield Section(title='Training', pictures=training)


def _rendered(metrics: Metrics) -> str:
  """Return at which size the labels were rendered, as a sentence."""
  if metrics['labels.scale'] == 1:
    return 'Labels are rendered at the size of the source images.'
  return (
    f'Labels are rendered at {metrics["labels.scale"]:g} of the size of the source images and'
    ' enlarged.'
  )


def _key_figures(metrics: Metrics) -> Section:
  """Return the table of the most important metrics that exist, in one row."""
  forms = {key: form for rows in METRICS.values() for key, _, form in rows}
  keys = [key for key in _KEY_FIGURES if key in metrics]
  return Section(
    title='Key figures',
    header=[_KEY_FIGURES[key] for key in keys],
    rows=[[_format(metrics[key], forms[key]) for key in keys]],
    wide=True,
  )


def _format(value: float, form: tuple[float, str]) -> str:
  factor, text = form
  return text.format(factor * value)


def _metric_sections(metrics: Metrics) -> Iterator[Section]:
  """Yield the tables of the metrics that exist."""
  paper_note = f'Not comparable with the other tables. {_rendered(metrics)}'
  for title, rows in METRICS.items():
    yield Section(
      title=title,
      note=paper_note if title == _AS_PAPER else '',
      numbers=True,
      rows=[
        (Cell(text, key), _format(metrics[key], form)) for key, text, form in rows if key in metrics
      ],
    )


def _class_groups(metrics: Metrics) -> tuple[list[str], dict[str, plots.Bars]]:
  """Return the class names, and values and mean of every metric that exists per class."""
  groups: dict[str, plots.Bars] = {}
  for title, prefix, mean in (
    ('share of the pixels', 'semantic.share.', ''),
    ('IoU with the ground truth', 'semantic.iou.', 'semantic.miou'),
    ('PQ', 'panoptic.pq.', 'panoptic.all.pq'),
    ('IoU with the pseudo-labels', 'agreement.iou.', ''),
  ):
    names = [label.name for label in labels.LABELS if prefix + label.name in metrics]
    if names:
      groups[title] = {name: metrics[prefix + name] for name in names}, metrics.get(mean)
  used = {name for values, _ in groups.values() for name in values}
  return [label.name for label in labels.LABELS if label.name in used], groups


def _origin(evaluation: Evaluation, path: Path) -> Iterator[Section]:
  """Yield what made the result: data, training, evaluation, config and files."""
  run, dataset, workdir = evaluation.trained.run, evaluation.dataset, evaluation.workdir
  here, sessions = provenance(run.mesh.devices.ravel()), read_sessions(workdir)
  rows = [
    ('data', str(Path(dataset.root).absolute())),
    ('window', f'{dataset.sequence}, {len(dataset.frames)} frames {format_ranges(dataset.frames)}'),
    ('cameras', ', '.join(dataset.cameras)),
    ('training step', f'{evaluation.trained.step} of {run.config.train.steps}'),
  ]
  scalars = plots.read_scalars(workdir / 'scalars.jsonl')
  seconds = [r.get('seconds') for r in scalars if r['step'] <= evaluation.trained.step]
  if seconds and isinstance(seconds[-1], (int, float)):
    rows.append(('training time', f'{seconds[-1] / 60:.1f} minutes'))
  for session in sessions:
    rows.append((f'trained from step {session.get("step")}', _process(session)))
  rows += [('evaluated', _process(here)), ('run', str(workdir.absolute()))]
  yield Section(title='Origin', rows=rows, wide=True)
  default = dataclasses.asdict(spec.parse(Config, spec.defaults(Config)))
  yield Section(
    title='Config fields that differ from the defaults',
    header=('field', 'value', 'default'),
    wide=True,
    rows=[
      (f'config.{group}.{field}', str(value), str(default[group][field]))
      for group, fields in dataclasses.asdict(run.config).items()
      for field, value in fields.items()
      if value != default[group][field]
    ],
  )
  files = [workdir / name for name in ('config.json', 'scalars.jsonl', 'sessions.jsonl')]
  found = [path.with_name('metrics.json')]  # written after the page
  found += [file for file in (*files, path.with_name('panels')) if file.exists()]
  yield Section(title='Files', links=[link(file, path) for file in found], wide=True)


def _process(record: Mapping[str, str]) -> str:
  """Describe a process of `provenance` in one line, with the config file that it was given."""
  match = re.search(r"'--?config=([^']*)'|--?config[= ](\S+)", record['command'])
  config = [match[1] or match[2]] if match else []
  return ', '.join([record['date'], f'pnerf_jax {record["version"]}', *config, record['machine']])
