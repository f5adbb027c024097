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


def _write(run, metrics, start=0):
  (run / 'eval').mkdir(parents=True)
  (run / 'config.json').write_text(json.dumps({'data': {'start': start}}))
  (run / 'eval' / 'metrics.json').write_text(json.dumps(metrics))


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


def test_published_values_precede_runs_of_the_same_window(tmp_path, compare, capsys):
  for name, start in (('ours', 1908), ('elsewhere', 7)):
    _write(tmp_path / name, {'semantic.miou_published': 0.9}, start)
  assert compare(['ours', 'elsewhere'], '--published') == 0
  lines = capsys.readouterr().out.splitlines()
  assert [[cell.strip() for cell in line.split('|')[1:4]] for line in lines[2:]] == [
    ['1908 paper', '0.844', '0.943'],
    ['ours', '**0.900**', '–'],
    ['elsewhere', '**0.900**', '–'],
  ]
