"""Tests of the table of runs, from metrics.json files with known values."""

import json
import sys

import pytest

from launch import compare_runs


@pytest.fixture
def compare(tmp_path, monkeypatch):
  """Return a function that compares runs by name, with further flags."""

  def run(names, *flags):
    runs = [str(tmp_path / name) for name in names]
    out = f'--out={tmp_path}/table'
    monkeypatch.setattr(sys, 'argv', ['compare_runs.py', *runs, out, *flags])
    return compare_runs.main()

  return run


def _write(run, metrics, start=0, folder='eval'):
  (run / folder).mkdir(parents=True)
  (run / 'config.json').write_text(json.dumps({'data': {'start': start}}))
  (run / folder / 'metrics.json').write_text(json.dumps(metrics))


def _cells(line):
  return [cell.strip().strip('*') for cell in line.split('|')[1:-1]]


def test_table_has_differences_to_the_reference(tmp_path, compare, capsys):
  for name, miou in (('full', 0.5), ('no_2d', 0.25)):
    _write(tmp_path / name, {'semantic.miou': miou})
  assert compare(['full', 'no_2d'], '--reference=full') == 0
  lines = (tmp_path / 'table.md').read_text().splitlines()
  assert lines[0].startswith('| run | mIoU |')
  assert lines[2].startswith('| full | **0.500** |')
  assert lines[3].startswith('| no_2d | 0.250 (−0.250) |')
  assert (tmp_path / 'table.png').exists()
  capsys.readouterr()
  assert compare(['full', 'absent']) == 1
  error = capsys.readouterr().err
  assert error.startswith('error: ') and 'absent' in error


def test_paper_columns_are_apart_from_the_plain_ones_and_name_the_size(tmp_path, compare, capsys):
  _write(tmp_path / 'half', {'semantic.miou': 0.5, 'paper.miou': 0.6, 'labels.scale': 1.0}, 1908)
  _write(tmp_path / 'half', {'paper.miou': 0.9, 'labels.scale': 0.5}, 1908, 'eval_paper')
  _write(tmp_path / 'full', {'semantic.accuracy': 0.7, 'paper.pq': 0.8, 'labels.scale': 1.0}, 7)
  _write(tmp_path / 'old', {'semantic.miou_published': 0.9, 'panoptic.pq_published': 0.8}, 7)
  assert compare(['half', 'full', 'old'], '--paper') == 0
  header, _, *rows = map(_cells, capsys.readouterr().out.splitlines())
  of_paper = [i for i, title in enumerate(header) if title.startswith('paper: ')]
  assert of_paper == list(range(10, 16)) and header[1] == 'mIoU' and header[10] == 'paper: mIoU'
  assert [[row[0], row[1], row[3], *row[10:13], row[15]] for row in rows] == [
    ['1908 paper', '–', '–', '0.844', '0.943', '0.752', 'half size'],
    ['half', '0.500', '–', '0.900', '–', '–', 'half size'],
    ['full', '–', '0.700', '–', '–', '0.800', 'full size'],
    ['old', '–', '–', '–', '–', '–', '–'],
  ]
  assert compare(['half']) == 0 and 'paper' not in capsys.readouterr().out
