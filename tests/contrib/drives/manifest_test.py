"""Tests of the window manifest."""

import pytest

from pnerf_jax.contrib.drives import manifest
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.errors import InputError

_SEQUENCE = '2013_05_28_drive_0000_sync'
_WINDOW = WindowSpec(0, _SEQUENCE, 3353, 3417, 60, 512, 3)


def test_write_and_read_round_trip(tmp_path):
  expected = WindowManifest(
    ('--config=a.py', '--config.data.root=/a folder'),
    (_WINDOW, WindowSpec(11, _SEQUENCE, 3401, 3465, 64, 7, 0)),
  )
  path = tmp_path / 'windows.txt'
  path.write_text(manifest.to_text(expected, ['two windows']))
  assert manifest.read(path) == expected
  assert '# two windows\n' in path.read_text()


def test_read_accepts_a_file_written_by_hand(tmp_path):
  path = tmp_path / 'windows.txt'
  path.write_text(
    f'\n # mine\nwindow 7 {_SEQUENCE} 10 12 2 1 0\n'
    f'\twindow 0 {_SEQUENCE} 8 11 3 1 0\nflag --config=a.py\n'
  )
  found = manifest.read(path)
  assert [(w.index, w.start, w.end) for w in found.windows] == [(0, 8, 11), (7, 10, 12)]
  assert found.flags == ('--config=a.py',)


def test_name_and_flags_of_a_window():
  assert _WINDOW.name == f'{_SEQUENCE}/0000003353_0000003416'
  assert _WINDOW.flags() == [
    f'--config.data.sequence={_SEQUENCE}',
    '--config.data.start=3353',
    '--config.data.frames=60',  # of 64 numbers
  ]


@pytest.mark.parametrize(
  'line',
  [
    f'window 0 {_SEQUENCE} 10 12 2 1',
    f'window 0 {_SEQUENCE} 12 12 2 1 0',
    f'window 0 {_SEQUENCE} 10 12 3 1 0',
    'window 0 ../.. 10 12 2 1 0',
    f'window x {_SEQUENCE} 10 12 2 1 0',
    f'window 0 {_SEQUENCE} 10 99999999999 2 1 0',
    'flag config.py',
    'windows',
  ],
)
def test_read_names_an_invalid_line(tmp_path, line):
  path = tmp_path / 'windows.txt'
  path.write_text(f'# a comment\n{line}\n')
  with pytest.raises(InputError, match=r'windows\.txt: line 2: .*neither a window nor a flag'):
    manifest.read(path)


def test_read_refuses_other_invalid_files(tmp_path):
  path = tmp_path / 'windows.txt'
  for content, message in (
    (b'flag --a\n', 'contains no window'),
    (b'\xff\xfe', 'not a text file'),
    (f'window 1 {_SEQUENCE} 1 2 1 1 0\n'.encode() * 2, 'line 2: index 1 occurs twice'),
  ):
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
      manifest.read(path)


def test_config_flags_selects_the_flags_of_the_config():
  argv = [
    'windows',
    'cut',
    '--config',
    'a.py:cpu',
    '--out=w.txt',
    '-config.data.root=/a b',
    '--config.train.steps',
    '-1',
    '--noconfig.model.mask_semantics',
    '--overlap',
    '3',
    '--config.loss.mask_unsupported_labels',
    '--configure',
  ]
  assert manifest.config_flags(argv) == [
    '--config=a.py:cpu',
    '-config.data.root=/a b',
    '--config.train.steps=-1',
    '--noconfig.model.mask_semantics',
    '--config.loss.mask_unsupported_labels',
  ]
