"""What a user may get wrong: every case ends with code 1 and one line of file, value and remedy.

The binaries are run in this process, from their command line to their exit code; a few also as
users run them. Each case writes into a street of its own and expects some words in the line.
"""
import json
import logging
import pathlib
import re
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import zlib

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from configs import kitti360 as configs
from pnerf_jax import cli
from pnerf_jax.data.window import find_footage
from pnerf_jax.evaluation import truth
from pnerf_jax.street import generate, scenery
from pnerf_jax.training import checkpoints, lock, setup, state as states

ROOT = pathlib.Path(__file__).resolve().parents[1]
PARAMETERS = scenery.Parameters('boulevard', seed=3, frames=2, scale=0.08)
SEQ = PARAMETERS.sequence
TINY = '--config=configs/kitti360.py:tiny'


@pytest.fixture(scope='module')
def street(tmp_path_factory):
  root = tmp_path_factory.mktemp('street') / 'data'
  generate.generate(root, PARAMETERS)
  return root


@pytest.fixture
def data(street, tmp_path):
  return shutil.copytree(street, tmp_path / 'data')


@pytest.fixture(scope='module')
def untrained(street, tmp_path_factory):
  """A run folder with the checkpoint of step 2, made without training."""
  workdir = tmp_path_factory.mktemp('run')
  save_run(street, workdir)
  return workdir


def save_run(street, workdir, spoil=lambda state: state):
  config = configs.get_config('tiny')
  config.data.root = str(street)
  run = setup.set_up(config)
  setup.save_config(config, workdir)
  optimizer = states.make_optimizer(1e-2, 0.1, 4, 0, 1e-8)
  shapes = jax.eval_shape(lambda: states.init_state(
      setup.fresh_params(run), optimizer, len(run.scene.class_ids)))
  state = spoil(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))
  saved = checkpoints.Checkpoints(workdir)
  saved.save(2, state)
  saved.close()


@pytest.fixture
def run_folder(untrained, tmp_path):
  return shutil.copytree(untrained, tmp_path / 'run')


@pytest.fixture
def binary(monkeypatch, capsys):
  """Runs `python -m pnerf_jax.MODULE WORDS` in this process; returns (exit code, stderr)."""
  def call(module, *words):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', [f'pnerf_jax/{module}.py', *map(str, words)])
    # By name: a flag that was put back belongs to no module any more.
    mine = {name: flags.FLAGS[name] for name in flags.FLAGS if name not in _ABSL}
    handler, loggers = signal.getsignal(signal.SIGTERM), _loggers()
    for name in mine:
      delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    capsys.readouterr()
    try:
      with pytest.raises(SystemExit) as end:
        runpy.run_module(f'pnerf_jax.{module}', run_name='__main__')
    finally:
      for name in [n for n in flags.FLAGS if n not in _ABSL]:
        delattr(flags.FLAGS, name)
      for name, flag in mine.items():
        flags.FLAGS[name] = flag
      signal.signal(signal.SIGTERM, handler)
      for name, (handlers, level, propagate) in loggers.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    return end.value.code, capsys.readouterr().err
  return call


_ABSL = {flag.name for name, found in flags.FLAGS.flags_by_module_dict().items()
         if name.startswith('absl') for flag in found}


def _loggers():
  return {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level,
                 logging.getLogger(name).propagate) for name in ('pnerf_jax', '__main__')}


def check_line(code, err, *words):
  """One error line, last, that names the words and says what to do."""
  errors = [line for line in err.splitlines() if line and not re.match(r'\d\d:\d\d:\d\d |depth: ', line)]
  assert code == 1 and len(errors) == 1 and errors[0].startswith('error: '), err
  assert 'Traceback' not in err and errors[0][-1] in '.?' and len(errors[0]) < 900
  assert err.rstrip().endswith(errors[0])
  for word in words:
    assert word in errors[0], errors[0]


# Files. Every damage is a function of the file's path.


def text(old, new, count=1):
  def damage(path):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, count))
  return damage


def content(value):
  return lambda path: path.write_bytes(value if isinstance(value, bytes) else value.encode())


def line(key, change):
  """Changes the words of the first line that starts with `key`."""
  def damage(path):
    lines = path.read_text().splitlines()
    index = next(i for i, each in enumerate(lines) if each.startswith(key))
    words = lines[index].split()
    change(words)
    lines[index] = ' '.join(words)
    path.write_text('\n'.join(lines) + '\n')
  return damage


def put(index, word):
  return lambda words: words.__setitem__(index, word)


def pixels(array):
  return lambda path: Image.fromarray(array).save(path, format='PNG')


def cut(path):
  path.write_bytes(path.read_bytes()[:-40])


def a_folder(path):
  path.unlink()
  path.mkdir()


def header(width, height):
  """Claims another size in IHDR, whose check sum is made to fit."""
  def damage(path):
    old = path.read_bytes()
    chunk = b'IHDR' + struct.pack('>II', width, height) + old[24:29]
    path.write_bytes(old[:12] + chunk + struct.pack('>I', zlib.crc32(chunk)) + old[33:])
  return damage


XML = f'data_3d_bboxes/train/{SEQ}.xml'
FULL = f'data_3d_bboxes/train_full/{SEQ}.xml'
POSES = f'data_poses/{SEQ}/poses.txt'
PERSPECTIVE = 'calibration/perspective.txt'
CAM = 'calibration/calib_cam_to_pose.txt'
VELO = 'calibration/calib_cam_to_velo.txt'
PHOTO = f'data_2d_raw/{SEQ}/image_00/data_rect/*.png'
WORDS = f'data_2d_pseudo_semantics/train/{SEQ}/image_00/semantic/*.png'
DEPTH = f'data_2d_pseudo_depth/{SEQ}/image_00/*.png'
TRUTH = f'data_2d_semantics/train/{SEQ}/image_00/'
SCAN = f'data_3d_raw/{SEQ}/velodyne_points/data/*.bin'

READ_BY_TRAIN = [
    (FULL, content(''), 'well-formed'),
    (FULL, cut, 'well-formed'),
    (FULL, content(b'\xff\xfe\x00'), 'well-formed'),
    (FULL, content('<?xml version="1.0" encoding="no-such"?><a/>'), 'well-formed'),
    (FULL, content('<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'), 'refused'),
    (FULL, content('<opencv_storage></opencv_storage>'), 'no primitive'),
    (FULL, a_folder, 'not a regular file'),
    (FULL, text('<rows>4</rows>', '<rows>four</rows>'), "'four'"),
    (FULL, text('<rows>4</rows>', '<rows>99999999999999</rows>'), '99999999999999'),
    (FULL, text('<cols>4</cols>', '<cols>5</cols>'), '4x5'),
    (FULL, text('<transform', '<transfer'), 'well-formed'),
    (POSES, content(''), 'no pose'),
    (POSES, content(b'\x80'), 'not a text file'),
    (POSES, line('', put(3, 'nan')), 'nan is not finite'),
    (POSES, line('', put(4, '-inf')), '-inf is not finite'),
    (POSES, line('', put(1, '1e300')), 'no rotation'),
    (POSES, line('', put(4, '1e30')), 'farther than'),
    (POSES, line('', put(0, '7.5')), '7.5 is no frame'),
    (POSES, line('', put(0, '-3')), '-3 is no frame'),
    (POSES, line('', put(2, 'x')), "'x'"),
    (POSES, line('', lambda words: words.pop()), '12 numbers, expected 13'),
    (POSES, a_folder, 'not a regular file'),
    (PERSPECTIVE, line('P_rect_00', put(1, 'nan')), 'nan is not finite'),
    (PERSPECTIVE, line('P_rect_00', put(1, '-5')), '-5'),
    (PERSPECTIVE, line('P_rect_01', put(1, '1e200')), '1e+200'),
    (PERSPECTIVE, line('S_rect_00', put(1, '1e200')), '1e+200'),
    (PERSPECTIVE, line('S_rect_00', put(1, '0')), '0 x'),
    (PERSPECTIVE, line('R_rect_00', put(1, '0')), 'no rotation'),
    (PERSPECTIVE, line('R_rect_01', put(0, 'R_rectangle:')), 'no line R_rect_01'),
    (CAM, line('image_00', put(1, 'inf')), 'inf is not finite'),
    (CAM, line('image_00', put(1, '9')), 'no rotation'),
    (CAM, lambda path: path.unlink(), 'no such file'),
    (VELO, line('', put(0, 'nan')), 'nan is not finite'),
    (VELO, content('\n'), 'empty'),
    (PHOTO, content(b''), 'PNG'),
    (PHOTO, content('a page that says 404'), 'PNG'),
    (PHOTO, cut, 'damaged'),
    (PHOTO, header(60000, 60000), 'PNG'),
    (PHOTO, header(0, 5), ''),
    (PHOTO, pixels(np.zeros((20, 30, 3), np.uint8)), 'expected 30x20'),
    (PHOTO, pixels(np.zeros((30, 113), np.uint8)), 'pixel type L'),
    (WORDS, pixels(np.zeros((5, 5), np.uint8)), '5x5'),
    (WORDS, header(113, 500000), '113x500000'),
    (WORDS, cut, 'damaged'),
    (DEPTH, pixels(np.zeros((5, 5), np.uint16)), '5x5'),
    (DEPTH, content(b'\x89PNG\r\n\x1a\n'), 'PNG'),
    (DEPTH, a_folder, 'PNG'),
]


def spoil(root, pattern, damage):
  path = sorted(root.glob(pattern))[0]
  damage(path)
  return str(path)


@pytest.mark.parametrize('pattern, damage, word', READ_BY_TRAIN)
def test_files_that_train_reads(binary, data, tmp_path, pattern, damage, word):
  path = spoil(data, pattern, damage)
  if word == 'expected 30x20':  # the first photo fixes the size of all: another is named
    path = str(data)
  code, err = binary('train', TINY, f'--config.data.root={data}', f'--workdir={tmp_path / "run"}')
  check_line(code, err, path, word)
  assert not (tmp_path / 'run').exists()


READ_BY_EVAL = [
    (TRUTH + 'semantic/*.png', pixels(np.full((30, 113), 45, np.uint8)), ''),
    (TRUTH + 'semantic/*.png', cut, 'damaged'),
    (TRUTH + 'instance/*.png', content(b''), 'PNG'),
    (TRUTH + 'instance/*.png', pixels(np.zeros((5, 5), np.uint8)), '5x5'),
    (TRUTH + 'confidence/*.png', pixels(np.zeros((5, 5), np.uint16)), '5x5'),
    (SCAN, content(b'\0' * 17), '17 bytes'),
    (SCAN, content(struct.pack('<4f', 0, float('nan'), 0, 0)), 'nan'),
    (SCAN, content(struct.pack('<4f', 0, 0, float('-inf'), 0)), '-inf'),
    (SCAN, content(struct.pack('<4f', 1e30, 0, 0, 0)), 'farther than'),
    (SCAN, a_folder, 'not a regular file'),
]


@pytest.mark.parametrize('pattern, damage, word', READ_BY_EVAL)
def test_files_that_only_eval_reads(data, pattern, damage, word):
  path = spoil(data, pattern, damage)
  config = configs.get_config('tiny')
  config.data.root = str(data)
  footage = find_footage(config.data)
  with pytest.raises(Exception) as error:
    truth.read_truth(footage, 'image_00', footage.frames[0], np.eye(4), np.ones(4))
  check_line(1, cli.error_line(error.value) or '', path, word)


# Configs, on the command line and in RUN/config.json.

ON_THE_COMMAND_LINE = [
    'data.root=/nowhere', 'data.root=', 'data.sequence=../data', 'data.sequence=/etc',
    'data.start=-9', 'data.start=x', 'data.frames=0', 'data.frames=-3', 'data.frames=1.5',
    'data.cameras=image_02', 'data.cameras=../image_00', 'data.cameras=image_00,image_00',
    'data.boxes=all', 'data.scale=2', 'data.scale=nan', 'data.scale=0.01', 'data.max_width=0',
    'data.eval_frames=-1', 'data.nothing=1',
    'scene.outside=fog', 'scene.center=1.0,2.0', 'scene.center=1.0,2.0,nan',
    'scene.center=1.0,2.0,1e300', 'scene.bounds=1.0,2.0,3.0', 'scene.bounds=1.0,1.0,1.0,0.0,2.0,2.0',
    'scene.bounds=0.0,0.0,0.0,1.0,1.0,inf', 'scene.near=0', 'scene.near=nan', 'scene.near=-1',
    'scene.far=inf', 'scene.far=0.1', 'scene.far=-5', 'scene.frame_margin=-1', 'scene.intervals=0',
    'model.network=mlp', 'model.samples=0', 'model.render_samples=-1', 'model.share=1.5',
    'model.restrict=maybe', 'model.levels=0', 'model.features=0', 'model.log2_rows=60',
    'model.coarse_cell=0', 'model.fine_cell=nan', 'model.fine_cell=9', 'model.width=0',
    'model.density_bias=inf', 'model.compute_dtype=int8',
    'loss.rgb=nan', 'loss.depth=-1', 'loss.fixed=inf', 'loss.semantic_2d=x', 'loss.depth_form=l2',
    'loss.depth_max=0', 'loss.depth_spread=0', 'loss.depth_outliers=2', 'loss.words=none',
    'loss.label_floor=-0.1', 'loss.words_after=-1',
    'optim.learning_rate=nan', 'optim.learning_rate=inf', 'optim.learning_rate=0',
    'optim.final=0', 'optim.warmup=-1', 'optim.epsilon=0', 'optim.momentum=0.9',
    'train.steps=0', 'train.steps=3', 'train.rays=63', 'train.rays=-64', 'train.focus=1.1',
    'train.seed=-1', 'train.steps_per_dispatch=0', 'train.log_every=3', 'train.checkpoint_every=1',
    'eval.chunk=0', 'eval.panels=-1', 'eval.labels=both', 'eval.confidence=1.0,2.0',
    'eval.confidence=1.0,1.0,1.0,1.0,1.0,nan']


@pytest.mark.parametrize('setting', ON_THE_COMMAND_LINE)
def test_config_on_the_command_line(binary, street, tmp_path, setting):
  field, _, value = setting.partition('=')
  root = () if field == 'data.root' else (f'--config.data.root={street}',)
  code, err = binary('train', TINY, *root, f'--config.{setting}', f'--workdir={tmp_path / "run"}')
  name = 'data_2d_raw' if field in ('data.root', 'data.sequence') else f'config.{field}'
  check_line(code, err, name if setting != 'train.checkpoint_every=1' else 'checkpoint_every')
  assert not (tmp_path / 'run').exists()


def edited(group, field, value):
  def damage(path):
    config = json.loads(path.read_text())
    if field is None:
      config[group] = value
    elif value is None:
      del config[group][field]
    else:
      config[group][field] = value
    path.write_text(json.dumps(config))
  return damage


IN_THE_FILE = [
    (content(''), 'not JSON'), (content('{'), 'not JSON'), (content(b'\xff\xff'), 'not JSON'),
    (content('[' * 100_000), 'not JSON'), (content('[]'), '[]'), (content('{"data": 3}'), 'data'),
    (content('{}'), 'config.data'), (content(' ' * 2_000_000), '2000000 bytes'),
    (a_folder, 'not a regular file'), (lambda path: path.unlink(), 'no such file'),
    (edited('more', None, {}), 'config.more'), (edited('model', 'depth', 3), 'config.model.depth'),
    (edited('model', 'width', None), 'config.model.width: absent'),
    (edited('model', 'width', '64'), "'64'"), (edited('loss', 'rgb', float('nan')), 'nan'),
    (edited('train', 'steps', 4.0), '4.0'), (edited('data', 'root', 7), 'config.data.root: 7'),
    (edited('data', 'root', 'a\0b'), 'config.data.root'),
    (edited('data', 'cameras', 'image_00'), 'config.data.cameras'),
    (edited('data', 'cameras', [['image_00']]), 'config.data.cameras'),
    (edited('scene', 'center', [1, 2, float('inf')]), 'config.scene.center'),
    (edited('eval', 'confidence', [1, 2, 3, 4, 5, '6']), 'config.eval.confidence')]


@pytest.mark.parametrize('damage, word', IN_THE_FILE)
@pytest.mark.parametrize('module', ['eval', 'render'])
def test_config_of_a_run(binary, run_folder, tmp_path, module, damage, word):
  damage(run_folder / 'config.json')
  out = [f'--out={tmp_path / "out"}'] if module == 'render' else []
  check_line(*binary(module, f'--workdir={run_folder}', *out), str(run_folder / 'config.json'),
             word)
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('group, field, value, words', [
    ('eval', 'camera', 'image_07', ['config.eval.camera', 'image_07']),
    ('eval', 'camera', '../image_00', ['config.eval.camera']),
    ('data', 'eval_frames', [999999], ['config.data.eval_frames', '999999'])])
def test_eval_tells_before_it_loads(binary, run_folder, group, field, value, words):
  edited(group, field, value)(run_folder / 'config.json')
  check_line(*binary('eval', f'--workdir={run_folder}'), *words)


# Checkpoints.


def emptied(folder):
  for path in folder.rglob('*'):
    if path.is_file():
      path.write_bytes(b'')


def a_file(folder):
  shutil.rmtree(folder)
  folder.write_text('')


@pytest.mark.parametrize('damage, words', [
    (lambda run: emptied(run / 'checkpoints' / '2'), ['[2] can be read']),
    (lambda run: shutil.rmtree(run / 'checkpoints'), ['no checkpoint']),
    (lambda run: a_file(run / 'checkpoints'), ['is a file']),
    (lambda run: edited('model', 'width', 32)(run / 'config.json'), ['[2] can be read'])])
def test_checkpoints(binary, run_folder, damage, words):
  damage(run_folder)
  check_line(*binary('eval', f'--workdir={run_folder}'), str(run_folder / 'checkpoints'), *words)


def test_a_checkpoint_that_is_not_finite(binary, street, tmp_path):
  save_run(street, tmp_path, lambda state: jax.tree.map(
      lambda x: jnp.full_like(x, jnp.nan) if x.dtype == jnp.float32 else x, state))
  code, err = binary('eval', f'--workdir={tmp_path}')
  check_line(code, err, str(tmp_path / 'checkpoints'), '[2] can be read')
  assert 'is not finite' in err  # the warning that goes before


# Options of the binaries.

OPTIONS = [
    ('train', [], '--config'), ('train', [TINY], '--workdir'),
    ('train', [TINY, '--workdir='], '--workdir'),
    ('train', [TINY, '--workdir=README.md', '--config.data.root=STREET'], 'README.md'),
    ('train', [TINY, '--workdir=README.md/a', '--config.data.root=STREET'], 'README.md'),
    ('train', ['--config=nowhere.py', '--workdir=OUT'], 'nowhere.py'),
    ('train', ['--config=README.md', '--workdir=OUT'], 'README.md'),
    ('train', ['--config=configs', '--workdir=OUT'], 'configs'),
    ('train', ['--config=configs/kitti360.py:gpu', '--workdir=OUT'], 'gpu'),
    ('train', [TINY, '--workdir=OUT', 'word'], 'word'),
    ('train', [TINY, '--workdir=OUT', '--step=3'], 'step'),
    ('train', ['--config=configs/street.py:gpu', '--workdir=OUT'], 'gpu'),
    ('eval', [], '--workdir'), ('eval', ['--workdir='], '--workdir'),
    ('eval', ['--workdir=/nowhere'], '/nowhere'), ('eval', ['--workdir=README.md'], 'README.md'),
    ('eval', ['--workdir=RUN', '--step=x'], '--step=x'),
    ('eval', ['--workdir=RUN', '--step=77'], '77'), ('eval', ['--workdir=RUN', '--step=-1'], '-1'),
    ('render', ['--workdir=RUN'], '--out'), ('render', ['--workdir=RUN', '--out='], '--out'),
    ('render', ['--workdir=RUN', '--out=OUT', '--size=huge'], '--size=huge'),
    ('render', ['--workdir=RUN', '--out=OUT', '--trajectory=circle'], '--trajectory=circle'),
    ('render', ['--workdir=RUN', '--out=OUT', '--overwrite=maybe'], '--overwrite=maybe'),
    ('render', ['--workdir=RUN', '--out=OUT', '--step=5'], ' 5'),
    ('render', ['--workdir=RUN', '--out=OUT', '--cameras=../../etc'], '--cameras'),
    ('render', ['--workdir=RUN', '--out=OUT', '--frames=5'], '--frames=5'),
    ('render', ['--workdir=RUN', '--out=OUT', '--frames=9:3'], '--frames=9:3'),
    ('render', ['--workdir=RUN', '--out=OUT', '--frames=²:³'], '--frames=²:³'),
    ('render', ['--workdir=RUN', '--out=OUT', '--frames=1:2'], '--frames=1:2'),
    ('render', ['--workdir=RUN', '--out=README.md'], '--out=README.md'),
    ('prepare', [TINY], 'expected 1 words'), ('prepare', ['height', TINY], 'height'),
    ('prepare', ['depth'], '--config'),
    ('prepare', ['depth', TINY, '--config.data.root=/nowhere'], '/nowhere'),
    ('prepare', ['depth', TINY, '--config.data.root=STREET', '--config.data.derived=OUT',
                 '--min_depth=nan'], '--min_depth'),
    ('prepare', ['depth', TINY, '--config.data.root=STREET', '--config.data.derived=OUT',
                 '--min_depth=inf'], '--min_depth'),
    ('prepare', ['depth', TINY, '--min_depth=-1'], '--min_depth'),
    ('prepare', ['depth', TINY, '--config.data.frames=0', '--config.data.root=STREET'], 'frames'),
    ('street', [], '--out'), ('street', ['--out='], '--out'),
    ('street', ['--out=README.md'], 'README.md'), ('street', ['--out=configs'], 'configs'),
    ('street', ['--out=OUT', '--preset=desert'], '--preset'),
    ('street', ['--out=OUT', '--preset=../x'], '--preset'),
    ('street', ['--out=OUT', '--frames=0'], '--frames'),
    ('street', ['--out=OUT', '--frames=x'], '--frames=x'),
    ('street', ['--out=OUT', '--scale=nan'], '--scale'),
    ('street', ['--out=OUT', '--scale=9'], '--scale'),
    ('street', ['--out=OUT', '--seed=-1'], '--seed'),
    ('street', ['--out=OUT', '--moving=perhaps'], '--moving=perhaps')]


@pytest.mark.parametrize('module, words, expected', OPTIONS)
def test_options(binary, street, untrained, tmp_path, module, words, expected):
  places = {'STREET': street, 'RUN': untrained, 'OUT': tmp_path / 'out'}
  for name, path in places.items():
    words = [re.sub(rf'={name}$', f'={path}', word) for word in words]
  module = 'street.__main__' if module == 'street' else module
  check_line(*binary(module, *words), expected)
  assert not list(tmp_path.rglob('*.png'))


@pytest.mark.parametrize('views', ['{', '[]', '{"views": 3}', '{"views": [{"camera": 1}]}', ''])
def test_a_damaged_table_of_views(binary, untrained, tmp_path, views):
  (tmp_path / 'transforms.json').write_text(views)
  check_line(*binary('render', f'--workdir={untrained}', f'--out={tmp_path}'),
             str(tmp_path / 'transforms.json'), 'damaged', 'Remove it')


def test_a_run_that_is_being_trained(binary, street, run_folder):
  with lock.hold(run_folder):
    check_line(*binary('train', TINY, f'--config.data.root={street}', f'--workdir={run_folder}'),
               str(run_folder / 'lock'), 'is training in this folder', 'another --workdir')


@pytest.mark.parametrize('module, words, expected', [
    ('train', [TINY, '--config.optim.learning_rate=nan'], 'config.optim.learning_rate: nan'),
    ('eval', [], 'config.json: no such file'),
    ('eval', ['--step=x'], '--step=x')])
def test_as_users_run_them(tmp_path, module, words, expected):
  out = subprocess.run(
      [sys.executable, '-m', f'pnerf_jax.{module}', *words, f'--workdir={tmp_path / "run"}'],
      cwd=ROOT, capture_output=True, text=True, check=False)
  check_line(out.returncode, out.stderr, expected)
