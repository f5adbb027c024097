"""Tables against hand-written Markdown, and the colours of the picture."""

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.baselines import tables
from pnerf_jax.contrib.baselines.tables import Column

_COLUMNS = (Column('a', 'score'), Column('b', 'error (m)', 2, 'low'), Column('c', 'steps', 0, ''))


def test_write_table_markdown_by_hand(tmp_path):
  tables.write_table(
    tmp_path / 'out' / 'table',
    _COLUMNS,
    [
      ('full', {'a': 0.5, 'b': 2.0, 'c': 100, 'unused': 1}),
      ('x|y', {'a': 0.25, 'b': 1.5, 'c': 50}),
      ('even', {'a': 0.4996, 'b': 2.0}),
      ('none', {'a': None, 'c': 'many'}),
    ],
    reference='full',
    corner='variant',
  )
  assert (
    (tmp_path / 'out' / 'table.md').read_text()
    == """\
| variant | score | error (m) | steps |
| --- | ---: | ---: | ---: |
| full | **0.500** | 2.00 | 100 |
| x\\|y | 0.250 (−0.250) | **1.50 (−0.50)** | 50 (−50) |
| even | 0.500 (±0.000) | 2.00 (±0.00) | – |
| none | – | – | many |
"""
  )
  assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['table.md', 'table.png']


def test_write_table_shades_improvements_green_and_regressions_red(tmp_path):
  tables.write_table(
    tmp_path / 'table',
    _COLUMNS[:2],
    [('full', {'a': 0.5, 'b': 2.0}), ('other', {'a': 0.4, 'b': 1.0})],
    reference='full',
  )
  picture = np.array(Image.open(tmp_path / 'table.png').convert('RGB')).astype(int)
  last = picture[int(picture.shape[0] * 0.7) :]  # its middle third of rows is heading, full, other
  red, green = last[..., 0] - last[..., 1], last[..., 1] - last[..., 0]
  columns = lambda mask: np.flatnonzero((mask > 40).mean(axis=0) > 0.3)
  assert columns(red).size and columns(green).size
  assert columns(red).max() < columns(green).min()  # the lower score is left of the lower error


def test_write_table_without_reference_has_no_differences(tmp_path):
  tables.write_table(tmp_path / 'table', _COLUMNS[:1], [('one', {'a': 0.5}), ('two', {'a': 1})])
  assert (tmp_path / 'table.md').read_text().splitlines()[2:] == [
    '| one | 0.500 |',
    '| two | **1.000** |',
  ]
  with pytest.raises(ValueError, match="no row 'three'"):
    tables.write_table(tmp_path / 'table', _COLUMNS[:1], [('one', {})], reference='three')
