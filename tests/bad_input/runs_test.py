"""Run folders that are damaged, in use, or of another version."""

import json
import shutil

import jax
import jax.numpy as jnp
import pytest
from PIL import Image

from pnerf_jax.runs import lock

TINY = '--config=configs/kitti360.py:tiny'


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
  (b'', 'not JSON'),
  (b'{', 'not JSON'),
  (b'\xff\xff', 'not JSON'),
  (b'[' * 100_000, 'not JSON'),
  (b'[]', '[]'),
  (b'{"data": 3}', 'data'),
  (b'{}', 'config.data'),
  (b' ' * 2_000_000, '2000000 bytes'),
  (lambda path: (path.unlink(), path.mkdir()), 'not a regular file'),
  (lambda path: path.unlink(), 'no such file'),
  (edited('more', None, {}), 'config.more'),
  (edited('model', 'depth', 3), 'config.model.depth'),
  (edited('model', 'width', None), 'config.model.hidden_dim: absent'),
  (edited('model', 'width', '64'), "'64'"),
  (edited('loss', 'rgb', float('nan')), 'nan'),
  (edited('train', 'steps', 4.0), '4.0'),
  (edited('data', 'root', 7), 'config.data.root: 7'),
  (edited('data', 'root', 'a\0b'), 'config.data.root'),
  (edited('data', 'cameras', 'image_00'), 'config.data.cameras'),
  (edited('data', 'cameras', [['image_00']]), 'config.data.cameras'),
  (edited('scene', 'center', [1, 2, float('inf')]), 'config.scene.center'),
  (edited('eval', 'confidence', [1, 2, 3, 4, 5, '6']), 'config.eval.confidence_coefficients'),
]


@pytest.mark.parametrize('damage, word', IN_THE_FILE)
@pytest.mark.parametrize('module', ['eval', 'render'])
def test_config_of_a_run(binary, check_line, run_folder, tmp_path, module, damage, word):
  path = run_folder / 'config.json'
  if callable(damage):
    damage(path)
  else:
    path.write_bytes(damage)
  out = [f'--out={tmp_path / "out"}'] if module == 'render' else []
  check_line(*binary(module, f'--workdir={run_folder}', *out), str(path), word)
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'group, field, value, words',
  [
    ('eval', 'camera', 'image_07', ['config.eval.camera', 'image_07']),
    ('eval', 'camera', '../image_00', ['config.eval.camera']),
    ('data', 'eval_frames', [999999], ['config.data.eval_frames', '999999']),
  ],
)
def test_eval_tells_before_it_loads(binary, check_line, run_folder, group, field, value, words):
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


@pytest.mark.parametrize(
  'damage, words',
  [
    (lambda run: emptied(run / 'checkpoints' / '2'), ['[2] can be read']),
    (lambda run: shutil.rmtree(run / 'checkpoints'), ['no checkpoint']),
    (lambda run: a_file(run / 'checkpoints'), ['is a file']),
    (lambda run: edited('model', 'width', 32)(run / 'config.json'), ['[2] can be read']),
  ],
)
def test_checkpoints(binary, check_line, run_folder, damage, words):
  damage(run_folder)
  check_line(*binary('eval', f'--workdir={run_folder}'), str(run_folder / 'checkpoints'), *words)


def test_a_checkpoint_that_is_not_finite(binary, check_line, save_run, street, tmp_path):
  save_run(
    street,
    tmp_path,
    lambda state: jax.tree.map(
      lambda x: jnp.full_like(x, jnp.nan) if x.dtype == jnp.float32 else x, state
    ),
  )
  code, err = binary('eval', f'--workdir={tmp_path}')
  check_line(code, err, str(tmp_path / 'checkpoints'), '[2] can be read')
  assert 'is not finite' in err  # the warning that goes before


@pytest.mark.parametrize('views', ['{', '[]', '{"views": 3}', '{"views": [{"camera": 1}]}', ''])
def test_a_damaged_table_of_views(binary, check_line, untrained, tmp_path, views):
  (tmp_path / 'transforms.json').write_text(views)
  check_line(
    *binary('render', f'--workdir={untrained}', f'--out={tmp_path}'),
    str(tmp_path / 'transforms.json'),
    'damaged',
    'Remove it',
  )


@pytest.mark.parametrize(
  'name, content, word',
  [
    ('pseudo_labels/metrics.json', '{', 'not JSON'),
    ('pseudo_labels/metrics.json', '[]', '[]'),
    ('pseudo_labels/metrics.json', '\xff', 'not JSON'),
    ('config.json', '{', 'not JSON'),
    ('pseudo_labels/metrics.json', '{"semantic.miou": "much"}', 'much'),
  ],
)
def test_damaged_results_of_methods(binary, check_line, street, tmp_path, name, content, word):
  words = [TINY, f'--config.data.root={street}', f'--out={tmp_path}', '--methods=pseudo_labels']
  for frame in sorted((street / 'data_2d_raw').rglob('image_00/data_rect/*.png')):
    for kind in ('semantic', 'instance'):  # of the right size; what they hold does not matter here
      path = tmp_path / 'pseudo_labels' / kind / frame.name
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new('L' if kind == 'semantic' else 'I;16', Image.open(frame).size).save(path)
  (tmp_path / name).write_bytes(content.encode('latin-1'))
  check_line(*binary('baselines', *words), str(tmp_path / name), word)


def test_a_run_that_is_being_trained(binary, check_line, street, run_folder):
  with lock.acquire(run_folder):
    check_line(
      *binary('train', TINY, f'--config.data.root={street}', f'--workdir={run_folder}'),
      str(run_folder / 'lock'),
      'is training in this folder',
      'another --workdir',
    )
