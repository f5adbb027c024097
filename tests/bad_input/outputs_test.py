"""Outputs in the way, names that cannot be, pipes in the place of files, and broken streams."""

import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from pnerf_jax.contrib.report import panels
from pnerf_jax.data import files, transforms
from pnerf_jax.errors import InputError

_ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = '--config=configs/kitti360.py:tiny'
DATA = [TINY, '--config.data.root=STREET']
FOLDERS = {  # commands that write a folder, and its flag
  'train': ('train', [*DATA, '--workdir=OUT']),
  'render': ('render', ['--workdir=RUN', '--out=OUT']),
  'baselines': ('baselines', [*DATA, '--out=OUT']),
  'pack': ('prepare', ['pack', *DATA, '--out=OUT']),
  'transforms': ('prepare', ['transforms', *DATA, '--out=OUT']),
  'nuscenes': ('prepare', ['nuscenes', '--from=STREET', '--scene=s', '--out=OUT']),
  'import-dataset': ('prepare', ['import-dataset', '--from=STREET', '--out=OUT']),
  'run': ('windows', ['run', '--windows=MANIFEST', '--out=OUT']),
  'status': ('windows', ['status', '--windows=MANIFEST', '--out=OUT']),
  'merge': ('merge', ['--windows=MANIFEST', '--runs=RUN', '--out=OUT']),
  'street': ('street', ['--out=OUT', '--frames=1', '--scale=0.08', '--predictions=noise']),
}
_MANIFEST = """# Windows for python -m pnerf_jax.windows run
flag --config=configs/kitti360.py:tiny
window 0 2013_05_28_drive_1000_sync 1200 1202 2 9 0
"""


@pytest.fixture
def command(binary, street, untrained, tmp_path):
  """Runs a command with the places in its arguments; OUT is the output."""

  def call(module, arguments, out):
    (tmp_path / 'manifest.txt').write_text(_MANIFEST)
    places = {
      'STREET': street,
      'RUN': untrained,
      'OUT': out,
      'MANIFEST': tmp_path / 'manifest.txt',
    }
    words = []
    for word in arguments:
      flag, equals, place = word.partition('=')
      words.append(f'{flag}{equals}{places.get(place, place)}')
    return binary(module, *words)

  return call


def place(kind, path):
  """Put something at a path."""
  if kind == 'dangling':
    path.symlink_to('nowhere')
  elif kind == 'loop':
    path.symlink_to(path.name)
  elif kind == 'photo link':
    path.with_name('photo').write_text('photo')
    path.symlink_to('photo')
  elif kind == 'device':
    path.symlink_to('/dev/zero')
  elif kind == 'pipe':
    os.mkfifo(path)
  elif kind == 'folder':
    path.mkdir()
  else:
    path.write_text('photo')


@pytest.mark.parametrize('kind', ['file', 'dangling', 'loop', 'pipe', 'device'])
@pytest.mark.parametrize('name', FOLDERS)
def test_a_folder_that_cannot_be_made_is_named(command, check_line, tmp_path, name, kind):
  place(kind, tmp_path / 'out')
  for out in (tmp_path / 'out', tmp_path / 'out' / 'a' / 'b'):
    code, err = command(*FOLDERS[name], out)
    what = 'a file' if kind == 'file' else 'not a folder'
    check_line(code, err, f'={out}: {tmp_path / "out"} is {what}. Name a folder.')
  assert os.path.lexists(tmp_path / 'out')


@pytest.mark.parametrize('name', FOLDERS)
def test_a_name_that_is_too_long_is_named(command, check_line, tmp_path, name):
  out = tmp_path / ('n' * 300)
  check_line(*command(*FOLDERS[name], out), 'n' * 200, 'File name too long. Use a shorter name.')


@pytest.mark.parametrize('name', ['street', 'transforms', 'import-dataset'])
def test_a_folder_that_the_system_refuses_is_named(command, check_line, name):
  code, err = command(*FOLDERS[name], '/proc/nowhere')
  check_line(code, err, 'error: /proc/nowhere: No such file or directory. Correct it, or use')


CUT = ('windows', ['cut', *DATA, '--overlap=0', '--out=OUT'])
CHECK = ('prepare', ['check', *DATA, '--probe=false', '--out=OUT'])


@pytest.mark.parametrize('kind', ['photo', 'photo link', 'dangling', 'loop', 'pipe', 'folder'])
@pytest.mark.parametrize('command_line, suffix', [(CUT, 'txt'), (CHECK, 'png')])
def test_a_file_of_another_kind_is_never_replaced(
  command, check_line, tmp_path, command_line, suffix, kind
):
  out = tmp_path / f'out.{suffix}'
  place(kind, out)
  before = out.lstat()
  code, err = command(*command_line, out)
  check_line(code, err, str(out))
  assert os.path.samestat(out.lstat(), before)
  if kind.startswith('photo'):
    assert out.read_text() == 'photo'


def test_a_picture_of_check_replaces_an_earlier_one_but_no_photo(tmp_path):
  path = tmp_path / 'check.png'
  page = Image.new('RGB', (30, 20))
  panels.save(path, page)
  files.check_output(path, panels.MARK)
  page.save(path)
  with pytest.raises(InputError, match='check.png: is another file, which is not replaced'):
    files.check_output(path, panels.MARK)


@pytest.mark.parametrize('name', ['transforms', 'nuscenes'])
def test_an_export_never_replaces_the_users_transforms_json(command, check_line, tmp_path, name):
  path = tmp_path / 'out' / transforms.NAME
  path.parent.mkdir()
  path.write_text('{"frames": []}')
  check_line(*command(*FOLDERS[name], path.parent), f'{path}: is another file, which is not')
  assert path.read_text() == '{"frames": []}' and os.listdir(path.parent) == [path.name]


def test_an_export_replaces_its_own(command, tmp_path):
  for _ in range(2):
    assert command(*FOLDERS['transforms'], tmp_path / 'out')[0] == 0
  assert transforms.MARK in (tmp_path / 'out' / transforms.NAME).read_bytes()[:4096]


KINDS = [
  'calibration/perspective.txt',
  'calibration/calib_cam_to_pose.txt',
  'data_poses/*/poses.txt',
  'data_3d_bboxes/train_full/*.xml',
  'data_2d_raw/*/image_00/data_rect/*.png',
  'data_2d_pseudo_semantics/train/*/image_00/semantic/*.png',
  'data_2d_pseudo_depth/*/image_00/*.png',
]


@pytest.mark.parametrize('make', [os.mkfifo, lambda path: path.symlink_to(path.name)])
@pytest.mark.parametrize('pattern', KINDS)
def test_a_pipe_or_loop_in_the_place_of_an_input_is_named(
  binary, check_line, data, tmp_path, pattern, make
):
  path = sorted(data.glob(pattern))[0]
  path.unlink()
  make(path)
  code, err = binary('train', TINY, f'--config.data.root={data}', f'--workdir={tmp_path / "run"}')
  check_line(code, err, str(path))
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('name', ['config.json', 'lock'])
@pytest.mark.parametrize('kind', ['pipe', 'loop', 'photo link', 'device', 'folder'])
def test_a_file_of_a_run_of_another_kind_is_named(
  binary, check_line, run_folder, street, name, kind
):
  path = run_folder / name
  path.unlink(missing_ok=True)
  place(kind, path)
  code, err = binary('train', TINY, f'--config.data.root={street}', f'--workdir={run_folder}')
  check_line(code, err, str(path))
  if kind == 'photo link':  # the file behind it is intact
    assert path.is_symlink() and path.read_text() == 'photo'


@pytest.mark.parametrize('module', ['train', 'eval', 'render'])
def test_a_pipe_in_a_checkpoint_is_named(binary, check_line, run_folder, street, tmp_path, module):
  path = sorted(run_folder.glob('checkpoints/2/default/_METADATA'))[0]
  path.unlink()
  os.mkfifo(path)
  arguments = {'train': [TINY], 'eval': [], 'render': [f'--out={tmp_path / "out"}']}[module]
  data = f'--config.data.root={street}'
  code, err = binary(module, *arguments, data, f'--workdir={run_folder}')
  check_line(code, err, f'{path}: is not a regular file. Move it out of {run_folder}/checkpoints.')


@pytest.mark.parametrize('kind', ['pipe', 'loop', 'folder', 'device'])
def test_a_manifest_of_another_kind_is_named(binary, check_line, tmp_path, kind):
  path = tmp_path / 'windows.txt'
  place(kind, path)
  code, err = binary('windows', 'status', f'--windows={path}', f'--out={tmp_path / "out"}')
  check_line(code, err, str(path))


def test_names_that_are_not_utf_8(command, check_line, tmp_path):
  out = tmp_path / 'b\udcff'
  assert command(*CUT, out)[0] == 0 and out.is_file()
  check_line(*command(*FOLDERS['pack'], tmp_path / 'c\udcff'), r'c\udcff', 'is not UTF-8. Rename')


@pytest.mark.slow
@pytest.mark.parametrize(
  'streams, code, out, err',
  [
    ('>&-', 0, '', ''),
    ('2>&-', 0, '1 windows: 0 done, 0 running, 0 failed, 0 stopped, 1 pending\n', ''),
    ('<&- >&- 2>&-', 0, '', ''),
    ('| true', 0, '', ''),
    ('2>&1 | true', 0, '', ''),
    ('>/dev/full', 1, '', 'error: output: the disk is full. Free some space and start again.\n'),
  ],
)
def test_streams_that_nobody_reads(tmp_path, streams, code, out, err):
  (tmp_path / 'manifest.txt').write_text(_MANIFEST)
  script = (
    f'{sys.executable} -m pnerf_jax.windows status --windows=manifest.txt --out=out {streams}'
  )
  done = subprocess.run(
    ['bash', '-o', 'pipefail', '-c', script],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
