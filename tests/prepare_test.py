"""Tests of the command line of the prepare binary."""

import pytest


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (
      ['dpeth'],
      'prepare dpeth: no such command. Use one of: check, depth, import-dataset, import-weights, '
      'labels, nuscenes, pack, transforms',
    ),
    ([], 'prepare: expected one command, got: none. Use one of: check, '),
    (['depth'], '--config is missing'),
    (['depth', '--min_depth=0'], 'min_depth'),
  ],
)
def test_invalid_arguments_are_one_clear_error(binary, arguments, expected):
  code, err = binary('prepare', *arguments)
  assert code == 1
  assert err.startswith('error: ') and err.count('\n') == 1
  assert expected in err


def test_depth_of_the_street(binary, street, tmp_path):
  code, err = binary(
    'prepare',
    'depth',
    '--config=configs/kitti360.py:tiny',
    f'--config.data.root={street}',
    f'--config.data.derived_root={tmp_path}',
    '--config.data.frames=1',
  )
  assert code == 0, err
  assert '2 files written, 0 kept' in err and len(list(tmp_path.rglob('*.png'))) == 2
