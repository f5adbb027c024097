"""The table of windows."""

import pytest

from pnerf_jax.contrib.drives import manifest
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.errors import InputError

_SEQUENCE = '2013_05_28_drive_0000_sync'
_ENTRY = WindowSpec(0, _SEQUENCE, 3353, 3417, 60, 512, 3)


def test_round_trip(tmp_path):
  made = WindowManifest(
    ('--config=a.py', '--config.data.root=/a folder'),
    (_ENTRY, WindowSpec(11, _SEQUENCE, 3401, 3465, 64, 7, 0)),
  )
  path = tmp_path / 'windows.txt'
  path.write_text(manifest.to_text(made, ['two windows']))
  assert manifest.read(path) == made
  assert '# two windows\n' in path.read_text()


def test_a_person_may_write_it(tmp_path):
  path = tmp_path / 'windows.txt'
  path.write_text(
    f'\n # mine\nwindow 7 {_SEQUENCE} 10 12 2 1 0\n'
    f'\twindow 0 {_SEQUENCE} 8 11 3 1 0\nflag --config=a.py\n'
  )
  found = manifest.read(path)
  assert [(e.index, e.start, e.end) for e in found.entries] == [(0, 8, 11), (7, 10, 12)]
  assert found.flags == ('--config=a.py',)


def test_name_and_flags_say_where_a_window_lies():
  assert _ENTRY.name == f'{_SEQUENCE}/0000003353_0000003416'
  assert _ENTRY.flags() == [
    f'--config.data.sequence={_SEQUENCE}',
    '--config.data.start=3353',
    '--config.data.frames=64',
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
def test_a_wrong_line_is_named(tmp_path, line):
  path = tmp_path / 'windows.txt'
  path.write_text(f'# a comment\n{line}\n')
  with pytest.raises(InputError, match=r'windows\.txt: line 2: .*no window and no flag'):
    manifest.read(path)


def test_other_wrong_files(tmp_path):
  path = tmp_path / 'windows.txt'
  for content, message in (
    (b'flag --a\n', 'holds no window'),
    (b'\xff\xfe', 'not a text file'),
    (f'window 1 {_SEQUENCE} 1 2 1 1 0\n'.encode() * 2, 'line 2: index 1 is there twice'),
  ):
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
      manifest.read(path)
