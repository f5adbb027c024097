"""Tables that compare runs or methods, as Markdown and as a picture.

Each row is a method, each column a metric; a missing value is a dash, and the best value of a
column is bold. With a reference row, all other rows also show their difference to it, and the
picture shades improvements green and regressions red.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pnerf_jax.contrib.report.plots import save_figure
from pnerf_jax.data.files import write_bytes

_DASH = '–'
_WHITE, _BETTER, _WORSE = (1.0, 1.0, 1.0), (0.16, 0.55, 0.28), (0.80, 0.22, 0.18)
_FULL_SHADE = 0.05  # relative difference with the strongest shade

Value = float | int | str | None
Values = Mapping[str, Value]  # by the key of the metric
_Rgba = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Column:
  """One metric of a table.

  Attributes:
    key: in metrics.json.
    title: heading.
    digits: after the decimal point.
    better: 'high', 'low', or '' where values are not ranked.
  """

  key: str
  title: str
  digits: int = 3
  better: str = 'high'


@dataclasses.dataclass(frozen=True)
class _Cell:
  """A printed value; color: of its background."""

  text: str
  bold: bool
  color: _Rgba


def write_table(
  path: Path,
  columns: Sequence[Column],
  rows: Sequence[tuple[str, Values]],
  reference: str | None = None,
  corner: str = '',
) -> None:
  """Write `path`.md and `path`.png.

  Args:
    path: without suffix.
    columns: from left to right.
    rows: name and values by the columns' keys, such as the content of a metrics.json; a missing key
      counts as None.
    reference: name of the row to compare the others with.
    corner: heading of the column of names.

  Raises:
    ValueError: no row is named `reference`.
  """
  path, names = Path(path), [name for name, _ in rows]
  if reference is not None and reference not in names:
    raise ValueError(f'no row {reference!r} among {names}.')
  base: Values = {} if reference is None else dict(rows)[reference]
  best = {column.key: _best(column, [row.get(column.key) for _, row in rows]) for column in columns}
  body = []
  for name, row in rows:
    cells = []
    for column in columns:
      value, other = row.get(column.key), base.get(column.key)
      text = _text(column, value, other if name != reference else None)
      is_best = value is not None and value == best[column.key]
      cells.append(_Cell(text, is_best, _color(column, value, other)))
    body.append((name, cells))
  header = [corner, *(column.title for column in columns)]
  markdown = _markdown(header, body)
  write_bytes(path.with_name(f'{path.name}.md'), markdown.encode())
  save_figure(path.with_name(f'{path.name}.png'), _figure(header, body))


def _is_number(value: Value) -> TypeGuard[float]:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(column: Column, value: Value, other: Value) -> str:
  """Format a value, with its difference to the reference where there is one."""
  if value is None:
    return _DASH
  if not _is_number(value):
    return str(value)
  text = f'{value:.{column.digits}f}'
  if not _is_number(other):
    return text
  difference = f'{value - other:+.{column.digits}f}'
  if not difference.strip('+-0.'):
    difference = f'±{difference[1:]}'  # not -0.0
  return f'{text} ({difference})'.replace('-', '−')


def _best(column: Column, values: Sequence[Value]) -> float | None:
  """Return the best number of a column, or None with fewer than two."""
  numbers = [value for value in values if _is_number(value)]
  if len(numbers) < 2 or not column.better:
    return None
  return max(numbers) if column.better == 'high' else min(numbers)


def _color(column: Column, value: Value, other: Value) -> _Rgba:
  """Return the background of a cell by its relative difference to the reference."""
  if not (_is_number(value) and _is_number(other) and other and column.better):
    return (*_WHITE, 1.0)
  gain = (value - other) / abs(other) * (1 if column.better == 'high' else -1)
  return (*(_BETTER if gain > 0 else _WORSE), 0.45 * min(abs(gain) / _FULL_SHADE, 1.0))


def _markdown(header: list[str], body: list[tuple[str, list[_Cell]]]) -> str:
  lines = [header, ['---', *('---:' for _ in header[1:])]]
  for name, cells in body:
    lines.append([name, *(f'**{cell.text}**' if cell.bold else cell.text for cell in cells)])
  escape = lambda text: text.replace('|', '\\|')
  return ''.join(f'| {" | ".join(map(escape, line))} |\n' for line in lines)


def _figure(header: list[str], body: list[tuple[str, list[_Cell]]]) -> Figure:
  """Draw a table whose columns are as wide as their longest text."""
  texts = [header, *([name, *(cell.text for cell in cells)] for name, cells in body)]
  widths = [0.35 + 0.085 * max(map(len, column)) for column in zip(*texts)]
  figure = Figure(figsize=(sum(widths), 0.3 * len(texts)))
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set_axis_off()
  table = axes.table(texts, colWidths=[w / sum(widths) for w in widths], bbox=Bbox.unit())
  table.auto_set_font_size(False)
  table.set_fontsize(9)
  for (i, j), drawn in table.get_celld().items():
    drawn.set_linewidth(0.4)
    drawn.set_edgecolor('#c3c9cf')
    drawn.set_text_props(ha='left' if j == 0 else 'right')
    if i == 0:
      drawn.set_facecolor('#eceff2')
    elif j > 0:
      cell = body[i - 1][1][j - 1]
      drawn.set_facecolor(cell.color)
      drawn.set_text_props(weight='bold' if cell.bold else 'normal')
  return figure
