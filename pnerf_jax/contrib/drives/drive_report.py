"""The report of the merged labels of whole drives: LABELS/report.html, one self-contained page."""

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pnerf_jax.contrib.report import panels, plots
from pnerf_jax.contrib.report.page import Cell, Section, link, picture, url_of, write_page
from pnerf_jax.data import image_io, kitti360, palettes
from pnerf_jax.data.dataset_index import format_ranges
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
FIELDS = {  # of a record
  'cameras',
  'class_shares',
  'confidence',
  'data',
  'flags',
  'frames',
  'least_agreeing',
  'least_confident',
  'made',
  'manifest',
  'skipped_windows',
  'windows',
}
_COLORS = ('#3b6ea8', '#d1793b', '#4b9560', '#a04b8c', '#8a7a2f', '#c24b4b')
_HEADER = (
  'window',
  'frames',
  'confidence',
  'mean IoU',
  'PQ',
  'pseudo-labels',
  'PSNR',
  'minutes',
  'trained',
)


def write(out: Path, records: Mapping[str, dict[str, Any]], agreement: dict[str, Any]) -> None:
  """Write OUT/report.html and its pictures in OUT/report.

  Args:
    out: root of the merged labels.
    records: of drive_record.record and the origin, by sequence.
    agreement: contents of overlap_agreement.json.
  """
  path = out / 'report.html'
  sections: list[Section] = []
  for number, (sequence, record) in enumerate(sorted(records.items())):
    prefix = f'{sequence}: ' if len(records) > 1 else ''
    overlaps = [o for o in agreement['overlaps'] if o['sequence'] == sequence]
    sections += _sections(path, out / 'report' / str(number), record, overlaps, prefix)
  found = (out / name for name in ('data_2d_semantics', 'overlap_agreement.json', 'merged.json'))
  sections.append(Section(title='Files', links=[link(file, path) for file in found], wide=True))
  num_frames = sum(record['frames'] for record in records.values())
  num_windows = sum(len(record['windows']) for record in records.values())
  means = [value for record in records.values() for value in record['confidence'].values()]
  note = f'{num_frames} frames of {num_windows} windows, mean confidence {np.mean(means):.3f}.'
  if agreement['all']['images']:
    note += (
      f' Overlapping windows give {_percent(agreement["all"]["semantic"])} of the pixels one class'
      f' and {_percent(agreement["all"]["instance"])} of the thing pixels one instance.'
    )
  if skipped := sum(len(record['skipped_windows']) for record in records.values()):
    note += f' {skipped} windows are not merged, because they are not done.'
  write_page(path, f'Labels of {", ".join(sorted(records))}', sections, note)
  _LOG.info('report: %s', path)


def _sections(
  page: Path, folder: Path, record: dict[str, Any], overlaps: list[dict[str, Any]], prefix: str
) -> Iterator[Section]:
  """Yield the sections of one sequence; its pictures are written into a folder."""

  least = [(_draw_image, entry) for entry in record['least_confident']]
  least += [(_draw_disagreement, entry) for entry in record['least_agreeing']]
  shown = []
  for number, (draw, entry) in enumerate(least):
    path = folder / f'worst_{number}.png'
    if title := draw(path, entry):
      shown.append(picture(path, page, title))
  yield Section(
    title=f'{prefix}Worst images',
    note='Those of the lowest mean confidence, and those in which two windows differ most.',
    pictures=shown,
  )
  _plot_map(folder / 'map.png', record['windows'])
  _plot_confidence(folder / 'confidence.png', record, overlaps)
  shares = record['class_shares']
  plots.write_bars(
    folder / 'classes.png', list(shares), {'share of the merged pixels': (shares, None)}
  )
  yield Section(
    title=f'{prefix}Drive',
    in_pairs=True,
    pictures=[
      picture(
        folder / 'map.png', page, 'Windows from above', 'a dot is the first frame of a window'
      ),
      picture(folder / 'confidence.png', page, 'Confidence and agreement by frame'),
      picture(folder / 'classes.png', page, 'Classes'),
    ],
  )
  yield from _tables(page, record, overlaps, prefix)


def _tables(
  page: Path, record: dict[str, Any], overlaps: list[dict[str, Any]], prefix: str
) -> Iterator[Section]:
  """Yield the agreement of overlapping windows, the windows, and the origin of one sequence."""
  yield Section(
    title=f'{prefix}Agreement of overlapping windows',
    note='Pixels with the same class, and thing pixels with the same class and instance.',
    header=('windows', 'frames', 'images', 'class', 'instance'),
    numbers=True,
    wide=True,
    rows=[
      (
        '{} and {}'.format(*overlap['windows']),
        format_ranges(overlap['frames']),
        str(overlap['images']),
        _percent(overlap['semantic']),
        _percent(overlap['instance']),
      )
      for overlap in overlaps
    ],
  )
  rows = [_row(window, page) for window in record['windows']]
  filled = [i for i, cells in enumerate(zip(*rows)) if any(cells)]  # e.g. no ground truth: no IoU
  yield Section(
    title=f'{prefix}Windows',
    note='Each links to its report. Mean IoU and PQ need ground truth; pseudo-labels: share of the'
    ' pixels rendered with their class; PSNR is of training views.',
    header=[_HEADER[i] for i in filled],
    numbers=True,
    wide=True,
    rows=[[row[i] for i in filled] for row in rows]
    + [(str(index), 'not done, not merged') for index in record['skipped_windows']],
  )
  made = record['made']
  yield Section(
    title=f'{prefix}Origin',
    wide=True,
    rows=[
      ('data', record['data']),
      ('cameras', ', '.join(record['cameras'])),
      ('window manifest', record['manifest']),
      ('merged', f'{made["date"]}, pnerf_jax {made["version"]}, {made["machine"]}'),
      ('command', made['command']),
      *(('config', flag) for flag in record['flags']),
    ],
  )


def _row(window: dict[str, Any], page: Path) -> list[str | Cell]:
  """Return the cells of a window."""
  report = Path(window['folder'], 'run', 'eval', 'report.html')
  url = url_of(report, page) if report.is_file() else ''
  metrics = window['metrics']
  number = lambda key, text: text.format(metrics[key]) if key in metrics else ''
  return [
    Cell(f'{window["index"]}', url=url),
    window['frames'],
    number('confidence.mean', '{:.3f}'),
    number('semantic.miou', '{:.1%}'),
    number('panoptic.all.pq', '{:.1%}'),
    number('agreement.pixels', '{:.1%}'),
    number('image.psnr', '{:.1f} dB'),
    f'{window["seconds"] / 60:.1f}',
    Cell(window['date'] or window['done'], detail=window['machine']),
  ]


def _draw_image(path: Path, entry: dict[str, Any]) -> str:
  """Draw a merged image; return its title, '' if its window's folder is gone."""
  (folder,), name = entry['folders'], kitti360.frame_name(entry['frame'])
  read = lambda reader, kind: reader(Path(folder, kind, f'{name}.png'))
  try:
    semantic = read(image_io.read_label, 'semantic')
    confidence = read(image_io.read_confidence, 'confidence')
    pictures = [
      _photo(entry),
      ('semantics', palettes.semantic_rgb(semantic)),
      ('confidence (white = 1)', palettes.fraction_rgb(confidence)),
      ('instances', palettes.instance_rgb(read(image_io.read_instance, 'instance'))),
    ]
  except InputError:
    return ''
  panels.save(path, panels.sheet(pictures, semantic.shape, np.unique(semantic), num_photos=1))
  return (
    f'{entry["camera"]}, frame {entry["frame"]}, window {entry["windows"][0]}:'
    f' mean confidence {entry["confidence"]:.3f}'
  )


def _draw_disagreement(path: Path, entry: dict[str, Any]) -> str:
  """Draw the labels of two windows; return their title, '' if a window's folder is gone."""
  name = f'{kitti360.frame_name(entry["frame"])}.png'
  try:
    photo = _photo(entry)
    first, second = (
      image_io.read_label(Path(folder, 'semantic', name)) for folder in entry['folders']
    )
  except InputError:
    return ''
  titles = [f'semantics of window {index}' for index in entry['windows']]
  pictures = [
    photo,
    ('pixels of different classes (red)', panels.error_rgb(first, second, photo[1])),
    (titles[0], palettes.semantic_rgb(first)),
    (titles[1], palettes.semantic_rgb(second)),
  ]
  class_ids = np.union1d(first, second)
  panels.save(path, panels.sheet(pictures, first.shape, class_ids, num_photos=2))
  return (
    f'{entry["camera"]}, frame {entry["frame"]}, windows {entry["windows"][0]} and'
    f' {entry["windows"][1]}: {_percent(entry["semantic"])} of the pixels have one class'
  )


def _photo(entry: dict[str, Any]) -> tuple[str, np.ndarray]:
  """Return caption and pixels of an image, or of its rendering if the dataset is gone."""
  rendered = Path(entry['folders'][0], 'rgb', f'{kitti360.frame_name(entry["frame"])}.png')
  size = image_io.read_size(rendered)
  try:
    return 'photo', image_io.read_rgb(Path(entry['photo']), size)
  except InputError:
    return 'rendered colour', image_io.read_rgb(rendered, size)


def _plot_map(path: Path, windows: list[dict[str, Any]]) -> None:
  """Plot the camera paths of the windows from above, relative to the first camera."""
  figure = Figure(figsize=(6, 5), layout='tight')
  axes = figure.add_subplot()
  origin = np.array(windows[0]['positions'][0])
  # Alternating widths keep both of two overlapping windows visible.
  for window, color, width in zip(windows, itertools.cycle(_COLORS), itertools.cycle((5, 2))):
    x, y = (np.array(window['positions']) - origin).T
    axes.plot(x, y, color=color, linewidth=width, solid_capstyle='round', alpha=0.8)
    axes.plot(x[0], y[0], 'o', color=color, markersize=width + 3)
    middle = len(x) // 2
    axes.annotate(
      str(window['index']), (x[middle], y[middle]), (6, 6), textcoords='offset points', fontsize=9
    )
  axes.set_aspect('equal', 'datalim')
  axes.margins(0.1)
  plots.finish(axes, 'Camera paths of the windows', 'x (m)', 'y (m)', grid='both')
  plots.save_figure(path, figure)


def _plot_confidence(path: Path, record: dict[str, Any], overlaps: list[dict[str, Any]]) -> None:
  """Plot the mean confidence of the frames and the agreement of the overlaps."""
  figure = Figure(figsize=(6, 5), layout='tight')
  axes = figure.add_subplot()
  frames, values = zip(*sorted((int(f), value) for f, value in record['confidence'].items()))
  axes.plot(frames, values, '.', color=_COLORS[0], markersize=5, label='mean confidence')
  for i, overlap in enumerate(o for o in overlaps if o['semantic'] is not None):
    first, last = overlap['frames'][0] - 0.4, overlap['frames'][-1] + 0.4
    label = 'agreement of two windows' if i == 0 else None
    axes.plot([first, last], [overlap['semantic']] * 2, color=_COLORS[1], linewidth=4, label=label)
  axes.set_ylim(0, 1.02)
  axes.ticklabel_format(axis='x', useOffset=False)
  axes.legend(fontsize=8, frameon=False, loc='lower right')
  plots.finish(axes, 'Confidence and agreement', 'frame', grid='both')
  plots.save_figure(path, figure)


def _percent(value: float | None) -> str:
  return 'none' if value is None else f'{100 * value:.1f} %'
