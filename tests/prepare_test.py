"""Tests of the command line of the prepare binary."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_prepare(*arguments):
  """Run `python -m pnerf_jax.prepare ARGUMENTS`."""
  return subprocess.run(
    [sys.executable, '-m', 'pnerf_jax.prepare', *arguments],
    cwd=ROOT,
    text=True,
    capture_output=True,
    timeout=300,
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  'arguments, expected',
  [
    (
      ['dpeth'],
      'prepare dpeth: no such command. Use one of: check, depth, import-dataset, import-weights, '
      'labels, nuscenes, pack, transforms',
    ),
    ([], 'expected 1 '),
    (['depth'], '--config is missing'),
    (['depth', '--min_depth=0'], 'min_depth'),
  ],
)
def test_invalid_arguments_are_one_clear_error(arguments, expected):
  done = run_prepare(*arguments)
  assert done.returncode == 1
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert expected in done.stderr


@pytest.mark.slow
def test_depth_of_the_street(street, tmp_path):
  done = run_prepare(
    'depth',
    '--config=configs/kitti360.py:tiny',
    f'--config.data.root={street}',
    f'--config.data.derived_root={tmp_path}',
    '--config.data.frames=1',
  )
  assert done.returncode == 0, done.stderr
  assert '2 files written, 0 kept' in done.stderr and len(list(tmp_path.rglob('*.png'))) == 2
