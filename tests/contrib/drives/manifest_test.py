"""Tests of the window manifest."""

import pathlib

import pytest

from configs import kitti360 as configs
from pnerf_jax.contrib.drives import manifest
from pnerf_jax.contrib.drives.manifest import WindowManifest, WindowSpec
from pnerf_jax.errors import InputError

_CONFIG = f'--config={pathlib.Path(configs.__file__).absolute()}:tiny'
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


@pytest.mark.parametrize(
  'name',
  [
    'a b',
    ' lead',
    'trail ',
    '\ttab\t',
    'a\nflag --config.train.steps=1',
    'a\r\nwindow 1 b 1 2 1 0 0',
    'line\u2028separator',
    'next\x85line',
    'form\x0cfeed',
    '\xa0nbsp\xa0',
    '"',
    '"quoted"',
    "'quoted'",
    '#hash',
    '# hash',
    '--config.train.steps=1',
    '-x',
    'back\\slash',
    '\\n',
    '\\',
    'a=b',
    'Straße 東京',
    'not utf-8 \udcff',
    '\ufeffbom',
    '..x',
    '.hidden',
    'None',
    '(1, 2)',
    '$(touch x) `y` ; & | * ?',
  ],
)
def test_hostile_names_survive_writing_reading_and_parsing(tmp_path, name):
  common = (_CONFIG, f'--config.data.root=/data/{name}', f'--config.data.derived_root={name}')
  windows = (WindowSpec(0, name, 3, 5, 2, 1, 0), WindowSpec(1, f'x{name}', 3, 2**31, 2, 1, 0))
  expected = WindowManifest(common, windows)
  path = tmp_path / 'windows.txt'
  path.write_bytes(manifest.to_text(expected, [f'skipping {name}: no poses']).encode())
  found = manifest.read(path)
  assert found == expected
  config = WindowManifest((*found.flags, *found.windows[0].flags()), windows).config()
  assert (config.data.sequence, config.data.root) == (name, f'/data/{name}')
  assert config.data.derived_root == name and config.train.steps == 4
  assert found.windows[0].config(found.config()) == config


def test_absolute_flags_mean_the_same_in_every_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.py').write_text(
    'from configs import kitti360\n'
    'def get_config(variant=""):\n'
    '  config = kitti360.get_config("tiny")\n'
    '  config.data.derived_root = "derived"\n'
    '  return config\n'
  )
  argv = ['x', 'cut', '--config', 'mine.py:a', '-config.data.root', 'my data', '--out', 'w.txt']
  flags = manifest.config_flags([*argv, '--config.train.steps=6'])
  assert flags == ['--config=mine.py:a', '-config.data.root=my data', '--config.train.steps=6']
  config = WindowManifest(tuple(flags), ()).config()
  found = manifest.absolute_flags(flags, config)
  assert found == [
    f'--config={tmp_path}/mine.py:a',
    '--config.train.steps=6',
    f'--config.data.root={tmp_path}/my data',
    f'--config.data.derived_root={tmp_path}/derived',  # of the config file
  ]
  monkeypatch.chdir('/')
  elsewhere = WindowManifest(tuple(found), ()).config()
  assert elsewhere.train.steps == 6 and elsewhere.data.root == f'{tmp_path}/my data'


@pytest.mark.parametrize(
  'flags, line',
  [
    ((), '--config is missing. Correct the flag there.'),
    (('--config=no.py',), "--config: no such file: 'no.py'."),
    (
      ('CONFIG', '--config.scene.outside=void'),
      '--config.scene.outside=void: unknown config field',
    ),
    (('CONFIG', '--config.train.steps=x'), 'flag --config.train.steps=x: invalid literal'),
    (('CONFIG', '--config.train.steps=-4'), 'config.train.steps: -4 is not an integer from 1'),
    (('CONFIG', '--workdir=x'), "Unknown command line flag 'workdir'"),
  ],
)
def test_wrong_flags_are_one_line_that_names_the_manifest(tmp_path, flags, line):
  path = tmp_path / 'windows.txt'
  flags = tuple(_CONFIG if flag == 'CONFIG' else flag for flag in flags)
  path.write_text(manifest.to_text(WindowManifest(flags, (_WINDOW,))))
  with pytest.raises(InputError) as error:
    manifest.read(path).config()
  assert str(error.value).startswith(f'{path}: {line}') and '\n' not in str(error.value)


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
    f'window 0 "{_SEQUENCE} 10 12 2 1 0',
    r'window 0 "a\q" 10 12 2 1 0',
    'window 0 "a/b" 10 12 2 1 0',
    'window 0 ".." 10 12 2 1 0',
    'flag config.py',
    'flag "--config.x',
    'flag "config.py"',
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
    '--config.data.root',
    '--odd',
    '--',
    '--config.train.steps=9',
  ]
  assert manifest.config_flags(argv) == [
    '--config=a.py:cpu',
    '-config.data.root=/a b',
    '--config.train.steps=-1',
    '--noconfig.model.mask_semantics',
    '--config.loss.mask_unsupported_labels',
    '--config.data.root=--odd',
  ]
