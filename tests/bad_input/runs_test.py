"""Tests of the error lines for run folders that are damaged, in use, or of another version."""

import json
import shutil

import jax
import jax.numpy as jnp
import pytest
from PIL import Image

from pnerf_jax.runs import lock

TINY = '--config=configs/kitti360.py:tiny'


def set_field(group, field, value):
  """Return a function that sets, or deletes, one field of config.json."""

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


INVALID_CONFIGS = [
  (b'', 'not JSON'),
  (b'{', 'not JSON'),
  (b'\xff\xff', 'not JSON'),
  (b'[' * 100_000, 'not JSON'),
  (b'[]', '[]'),
  (b'{}', 'config schema 1, expected 4'),
  (b'{"schema": 4, "data": 3}', 'data'),
  (b'{"schema": 4}', 'config.data'),
  (b' ' * 2_000_000, '2000000 bytes'),
  (lambda path: (path.unlink(), path.mkdir()), 'not a regular file'),
  (lambda path: path.unlink(), 'no such file'),
  (set_field('more', None, {}), 'config.more'),
  (set_field('model', 'depth', 3), 'config.model.depth'),
  (set_field('model', 'hidden_dim', None), 'config.model.hidden_dim: absent'),
  (set_field('model', 'hidden_dim', '64'), "'64'"),
  (set_field('loss', 'rgb', float('nan')), 'nan'),
  (set_field('train', 'steps', 4.0), '4.0'),
  (set_field('data', 'root', 7), 'config.data.root: 7'),
  (set_field('data', 'root', 'a\0b'), 'config.data.root'),
  (set_field('data', 'cameras', 'image_00'), 'config.data.cameras'),
  (set_field('data', 'cameras', [['image_00']]), 'config.data.cameras'),
  (set_field('scene', 'center', [1, 2, float('inf')]), 'config.scene.center'),
  (
    set_field('eval', 'confidence_coefficients', [1, 2, 3, 4, 5, '6']),
    'config.eval.confidence_coefficients',
  ),
]


@pytest.mark.parametrize('damage, expected', INVALID_CONFIGS)
@pytest.mark.parametrize('module', ['eval', 'render'])
def test_invalid_configs_are_reported(
  binary, check_line, run_folder, tmp_path, module, damage, expected
):
  path = run_folder / 'config.json'
  if callable(damage):
    damage(path)
  else:
    path.write_bytes(damage)
  out = [f'--out={tmp_path / "out"}'] if module == 'render' else []
  check_line(*binary(module, f'--workdir={run_folder}', *out), str(path), expected)
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'group, field, value, expected',
  [
    ('eval', 'camera', 'image_07', ['config.eval.camera', 'image_07']),
    ('eval', 'camera', '../image_00', ['config.eval.camera']),
    ('data', 'eval_frames', [999999], ['config.data.eval_frames', '999999']),
  ],
)
def test_eval_reports_invalid_fields(binary, check_line, run_folder, group, field, value, expected):
  set_field(group, field, value)(run_folder / 'config.json')
  check_line(*binary('eval', f'--workdir={run_folder}'), *expected)


def empty_files(folder):
  """Truncate all files of a folder."""
  for path in folder.rglob('*'):
    if path.is_file():
      path.write_bytes(b'')


def replace_by_file(folder):
  """Replace a folder by an empty file."""
  shutil.rmtree(folder)
  folder.write_text('')


@pytest.mark.parametrize(
  'damage, expected',
  [
    (lambda run: empty_files(run / 'checkpoints' / '2'), ['[2] can be read']),
    (lambda run: shutil.rmtree(run / 'checkpoints'), ['no checkpoint']),
    (lambda run: replace_by_file(run / 'checkpoints'), ['is a file']),
    (
      lambda run: set_field('model', 'hidden_dim', 32)(run / 'config.json'),
      ['checkpoints/2: is intact', 'params/color_0/bias is float32 [16] there and float32 [32]'],
    ),
  ],
)
def test_unreadable_checkpoints_are_reported(binary, check_line, run_folder, damage, expected):
  damage(run_folder)
  check_line(*binary('eval', f'--workdir={run_folder}'), str(run_folder / 'checkpoints'), *expected)


def test_checkpoints_that_are_not_finite_are_reported(
  binary, check_line, save_run, street, tmp_path
):
  save_run(
    street,
    tmp_path,
    lambda state: jax.tree.map(
      lambda x: jnp.full_like(x, jnp.nan) if x.dtype == jnp.float32 else x, state
    ),
  )
  code, err = binary('eval', f'--workdir={tmp_path}')
  check_line(code, err, str(tmp_path / 'checkpoints'), '[2] can be read')
  assert 'is not finite' in err  # the preceding warning


@pytest.mark.parametrize(
  'views, expected',
  [
    ('{', 'not JSON'),
    ('', 'not JSON'),
    ('[]', 'damaged'),
    ('{"views": 3}', 'damaged'),
    ('{"views": [{"camera": 1}]}', 'damaged'),
  ],
)
def test_a_damaged_views_file_is_reported(binary, check_line, untrained, tmp_path, views, expected):
  (tmp_path / 'views.json').write_text(views)
  check_line(
    *binary('render', f'--workdir={untrained}', f'--out={tmp_path}'),
    str(tmp_path / 'views.json'),
    expected,
    'Remove it',
  )


@pytest.mark.parametrize(
  'name, content, expected',
  [
    ('pseudo_labels/metrics.json', '{', 'not JSON'),
    ('pseudo_labels/metrics.json', '[]', '[]'),
    ('pseudo_labels/metrics.json', '\xff', 'not JSON'),
    ('config.json', '{', 'not JSON'),
    ('pseudo_labels/metrics.json', '{"semantic.miou": "much"}', 'much'),
  ],
)
def test_damaged_results_of_methods_are_reported(
  binary, check_line, street, tmp_path, name, content, expected
):
  arguments = [TINY, f'--config.data.root={street}', f'--out={tmp_path}', '--methods=pseudo_labels']
  for frame in sorted((street / 'data_2d_raw').rglob('image_00/data_rect/*.png')):
    for kind in ('semantic', 'instance'):  # of the right size, with any contents
      path = tmp_path / 'pseudo_labels' / kind / frame.name
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new('L' if kind == 'semantic' else 'I;16', Image.open(frame).size).save(path)
  (tmp_path / name).write_bytes(content.encode('latin-1'))
  check_line(*binary('baselines', *arguments), str(tmp_path / name), expected)


def test_a_locked_run_is_reported(binary, check_line, street, run_folder):
  with lock.acquire(run_folder):
    check_line(
      *binary('train', TINY, f'--config.data.root={street}', f'--workdir={run_folder}'),
      str(run_folder / 'lock'),
      'is writing to this folder',
      'another --workdir',
    )
