"""Tables that compare runs or methods, as Markdown and as a picture.

A table has one row a method and one column a metric; a value that does not exist is a dash. The
best value of a column is bold; with a reference row, all other rows also show their difference to
it, and the picture tints what is better green and what is worse red.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DASH = '–'
_BETTER, _WORSE = (0.16, 0.55, 0.28), (0.80, 0.22, 0.18)
_FULL_TINT = 0.05  # relative difference at which the tint is strongest
_HEADING = '#eceff2'


@dataclasses.dataclass(frozen=True)
class Column:
  """One metric of a table.

  key: in metrics.json.   title: heading.   digits: after the point.   better: 'high' or 'low', or
  '' for what is neither (a time, a count, a word).
  """

  key: str
  title: str
  digits: int = 3
  better: str = 'high'


METRICS = (
  Column('semantic.miou', 'mIoU'),
  Column('fixed.miou', 'mIoU (fixed field)'),
  Column('semantic.accuracy', 'accuracy'),
  Column('panoptic.all.pq', 'PQ'),
  Column('panoptic.things.pq', 'PQ (things)'),
  Column('consistency.mc', 'MC'),
  Column('depth.delta1', 'δ < 1.25'),
  Column('depth.rmse', 'RMSE (m)', 2, 'low'),
  Column('image.psnr', 'PSNR (dB)', 1),
)


def write_table(
  path: Path,
  columns: Sequence[Column],
  rows: Sequence[tuple[str, Mapping[str, float | int | str | None]]],
  reference: str | None = None,
  corner: str = '',
) -> None:
  """Writes `path`.md and `path`.png; each appears under its name only when it is whole.

  Args:
    path: without suffix.
    columns: from left to right.
    rows: name and values by the columns' keys (such as the content of a metrics.json); a key that
      is absent counts as None.
    reference: name of the row to which the others show their difference.
    corner: heading of the column of names.

  Raises:
    ValueError: there is no row of that name.
  """
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  names = [name for name, _ in rows]
  if reference is not None and reference not in names:
    raise ValueError(f'no row {reference!r} among {names}.')
  base = dict(rows).get(reference)
  values = [[row.get(column.key) for column in columns] for _, row in rows]
  texts = [
    [
      _cell(column, value, base if name != reference else None)
      for column, value in zip(columns, line)
    ]
    for name, line in zip(names, values)
  ]
  best = [_best(column, [line[j] for line in values]) for j, column in enumerate(columns)]
  bold = [
    [value is not None and value == best[j] for j, value in enumerate(line)] for line in values
  ]
  _replace(
    path.with_name(f'{path.name}.md'),
    lambda partial: partial.write_text(
      _markdown(corner, columns, names, texts, bold), encoding='utf-8'
    ),
  )
  tints = [[_tint(column, value, base) for column, value in zip(columns, line)] for line in values]
  _replace(
    path.with_name(f'{path.name}.png'),
    lambda partial: _picture(partial, corner, columns, names, texts, bold, tints),
  )


def _is_number(value: object) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(column: Column, value: float | int | str | None, base: Mapping | None) -> str:
  """Printed value, with its difference to the base where there is one."""
  if value is None:
    return _DASH
  if not _is_number(value):
    return str(value)
  text = f'{value:.{column.digits}f}'
  other = None if base is None else base.get(column.key)
  if not _is_number(other):
    return text
  difference = f'{value - other:+.{column.digits}f}'
  if not difference.strip('+-0.'):
    difference = f'±{difference[1:]}'  # not -0.0
  return f'{text} ({difference})'.replace('-', '−')


def _best(column: Column, values: list) -> float | None:
  """The best number of a column; None where there is no choice."""
  numbers = [value for value in values if _is_number(value)]
  if len(numbers) < 2 or not column.better:
    return None
  return max(numbers) if column.better == 'high' else min(numbers)


def _tint(column: Column, value: float | int | str | None, base: Mapping | None) -> tuple:
  """RGBA behind a cell: how much better or worse than the base it is."""
  other = None if base is None else base.get(column.key)
  if not (_is_number(value) and _is_number(other) and other and column.better):
    return (1.0, 1.0, 1.0, 1.0)
  gain = (value - other) / abs(other) * (1 if column.better == 'high' else -1)
  strength = 0.45 * min(abs(gain) / _FULL_TINT, 1.0)
  return (*(_BETTER if gain > 0 else _WORSE), strength)


def _markdown(
  corner: str,
  columns: Sequence[Column],
  names: list[str],
  texts: list[list[str]],
  bold: list[list[bool]],
) -> str:
  escape = lambda text: text.replace('|', '\\|')
  lines = [[corner, *(column.title for column in columns)], ['---', *('---:' for _ in columns)]]
  lines += [
    [name, *(f'**{text}**' if strong else text for text, strong in zip(line, strongs))]
    for name, line, strongs in zip(names, texts, bold)
  ]
  return ''.join(f'| {" | ".join(escape(cell) for cell in line)} |\n' for line in lines)


def _picture(
  path: Path,
  corner: str,
  columns: Sequence[Column],
  names: list[str],
  texts: list[list[str]],
  bold: list[list[bool]],
  tints: list[list[tuple]],
) -> None:
  """Draws the table as PNG; a column is as wide as its longest text."""
  cells = [
    [corner, *(column.title for column in columns)],
    *([name, *line] for name, line in zip(names, texts)),
  ]
  widths = [0.35 + 0.085 * max(len(line[j]) for line in cells) for j in range(len(cells[0]))]
  figure = Figure(figsize=(sum(widths), 0.3 * len(cells)))
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set_axis_off()
  table = axes.table(cells, colWidths=[w / sum(widths) for w in widths], bbox=(0, 0, 1, 1))
  table.auto_set_font_size(False)
  table.set_fontsize(9)
  for (i, j), cell in table.get_celld().items():
    cell.set_linewidth(0.4)
    cell.set_edgecolor('#c3c9cf')
    cell.set_text_props(ha='left' if j == 0 else 'right')
    if i == 0:
      cell.set_facecolor(_HEADING)
    elif j > 0:
      cell.set_facecolor(tints[i - 1][j - 1])
      cell.set_text_props(weight='bold' if bold[i - 1][j - 1] else 'normal')
  FigureCanvasAgg(figure).print_figure(path, format='png', dpi=130, facecolor='white')


def _replace(path: Path, write) -> None:
  partial = path.with_name(f'.{path.name}.partial')
  write(partial)
  os.replace(partial, path)
