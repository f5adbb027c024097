"""Invalid config fields, and invalid flags of every binary."""

import pathlib
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = '--config=configs/kitti360.py:tiny'
PUBLISHED = '--config=configs/kitti360.py:paper'
CENTER = '--config.scene.center=1360.034,3845.649,116.8115'
PLACE = [CENTER, '--config.scene.far=250']

CONFIG_FIELDS = [
  'data.root=/nowhere',
  'data.root=',
  'data.sequence=../data',
  'data.sequence=/etc',
  'data.start=-9',
  'data.start=x',
  'data.frames=0',
  'data.frames=-3',
  'data.frames=1.5',
  'data.cameras=image_02',
  'data.cameras=../image_00',
  'data.cameras=image_00,image_00',
  'data.primitives=all',
  'data.image_scale=2',
  'data.image_scale=nan',
  'data.image_scale=0.01',
  'data.max_width=0',
  'data.eval_frames=-1',
  'data.nothing=1',
  'scene.unannotated_space=fog',
  'scene.center=1.0,2.0',
  'scene.center=1.0,2.0,nan',
  'scene.center=1.0,2.0,1e300',
  'scene.bounds=1.0,2.0,3.0',
  'scene.bounds=1.0,1.0,1.0,0.0,2.0,2.0',
  'scene.bounds=0.0,0.0,0.0,1.0,1.0,inf',
  'scene.near=0',
  'scene.near=nan',
  'scene.near=-1',
  'scene.far=inf',
  'scene.far=0.1',
  'scene.far=-5',
  'scene.annotation_margin_frames=-1',
  'scene.max_intervals_per_ray=0',
  'model.field=mlp',
  'model.num_samples=0',
  'model.num_render_samples=-1',
  'model.per_interval_fraction=1.5',
  'model.mask_semantics=maybe',
  'model.grid_levels=0',
  'model.grid_features=0',
  'model.log2_hashmap_size=60',
  'model.grid_max_cell=0',
  'model.grid_min_cell=nan',
  'model.grid_min_cell=9',
  'model.hidden_dim=0',
  'model.density_bias=inf',
  'model.compute_dtype=int8',
  'loss.rgb=nan',
  'loss.depth=-1',
  'loss.semantic_2d_fixed=inf',
  'loss.semantic_2d=x',
  'loss.depth_loss=l2',
  'loss.depth_max=0',
  'loss.depth_sigma=0',
  'loss.depth_outlier_prob=2',
  'loss.label_noise=none',
  'loss.uniform_label_noise=-0.1',
  'loss.transition_warmup_steps=-1',
  'optim.learning_rate=nan',
  'optim.learning_rate=inf',
  'optim.learning_rate=0',
  'optim.final_lr_fraction=0',
  'optim.warmup_steps=-1',
  'optim.adam_eps=0',
  'optim.momentum=0.9',
  'train.steps=0',
  'train.steps=3',
  'train.batch_rays=63',
  'train.batch_rays=-64',
  'train.importance_fraction=1.1',
  'train.seed=-1',
  'train.steps_per_call=0',
  'train.log_every=3',
  'train.checkpoint_every=1',
  'eval.chunk_rays=0',
  'eval.num_panels=-1',
  'eval.label_field=both',
  'eval.confidence_coefficients=1.0,2.0',
  'eval.confidence_coefficients=1.0,1.0,1.0,1.0,1.0,nan',
]


@pytest.mark.parametrize('setting', CONFIG_FIELDS)
def test_invalid_config_fields(binary, check_line, street, tmp_path, setting):
  field, _, value = setting.partition('=')
  root = () if field == 'data.root' else (f'--config.data.root={street}',)
  code, err = binary('train', TINY, *root, f'--config.{setting}', f'--workdir={tmp_path / "run"}')
  name = 'data_2d_raw' if field == 'data.root' else f'config.{field}'
  check_line(code, err, name if setting != 'train.checkpoint_every=1' else 'checkpoint_every')
  assert re.search(r'^error: (--config|config|data_2d|/)', err, re.MULTILINE), err
  assert not (tmp_path / 'run').exists()


OPTIONS = [
  ('train', [], '--config'),
  ('train', [TINY], '--workdir'),
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
  ('eval', [], '--workdir'),
  ('eval', ['--workdir='], '--workdir'),
  ('eval', ['--workdir=/nowhere'], '/nowhere'),
  ('eval', ['--workdir=README.md'], 'README.md'),
  ('eval', ['--workdir=RUN', '--step=x'], '--step=x'),
  ('eval', ['--workdir=RUN', '--step=77'], '77'),
  ('eval', ['--workdir=RUN', '--step=-1'], '-1'),
  ('render', ['--workdir=RUN'], '--out'),
  ('render', ['--workdir=RUN', '--out='], '--out'),
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
  (
    'train',
    [TINY, '--workdir=OUT', '--coordinator=here', '--processes=2', '--process=0'],
    "--coordinator: 'here'",
  ),
  (
    'train',
    [TINY, '--workdir=OUT', '--coordinator=a:99999', '--processes=2', '--process=0'],
    "--coordinator: 'a:99999'",
  ),
  (
    'train',
    [TINY, '--workdir=OUT', '--coordinator=a:1', '--processes=2', '--process=2'],
    '--process: 2',
  ),
  ('train', [TINY, '--workdir=OUT', '--processes=2'], '--coordinator'),
  ('train', [TINY, '--workdir=OUT', '--distributed=auto', '--process=0'], '--distributed=auto'),
  ('train', [TINY, '--workdir=OUT', '--distributed=mpi'], '--distributed=mpi'),
  ('prepare', ['pack', TINY], '--out'),
  ('prepare', ['pack', TINY, '--out=OUT', '--config.data.root=/nowhere'], '/nowhere'),
  ('prepare', ['depth', TINY, '--config.data.source=tfds'], 'config.data.source'),
  (
    'train',
    [TINY, '--workdir=OUT', '--config.data.source=tfds', '--config.data.root=STREET'],
    'has data_2d_raw but no kitti360_window',
  ),
  ('prepare', [TINY], 'prepare: expected one command, got: none. Use one of: check, depth'),
  ('prepare', ['height', TINY], 'height'),
  ('prepare', ['depth'], '--config'),
  ('prepare', ['depth', TINY, '--config.data.root=/nowhere'], '/nowhere'),
  (
    'prepare',
    [
      'depth',
      TINY,
      '--config.data.root=STREET',
      '--config.data.derived_root=OUT',
      '--min_depth=nan',
    ],
    '--min_depth',
  ),
  (
    'prepare',
    [
      'depth',
      TINY,
      '--config.data.root=STREET',
      '--config.data.derived_root=OUT',
      '--min_depth=inf',
    ],
    '--min_depth',
  ),
  ('prepare', ['depth', TINY, '--min_depth=-1'], '--min_depth'),
  ('prepare', ['depth', TINY, '--config.data.frames=0', '--config.data.root=STREET'], 'frames'),
  (
    'prepare',
    ['depth', TINY, '--config.data.root=STREET', '--config.data.derived_root=README.md'],
    'README.md',
  ),
  ('prepare', ['depth', TINY, '--overwrite=maybe'], '--overwrite=maybe'),
  ('prepare', ['import-weights'], '--config'),
  ('prepare', ['import-weights', PUBLISHED], '--from'),
  ('prepare', ['import-weights', PUBLISHED, '--from='], '--from'),
  ('prepare', ['import-weights', PUBLISHED, '--from=README.md'], '--workdir'),
  ('prepare', ['import-weights', PUBLISHED, '--from=README.md', '--workdir='], '--workdir'),
  ('prepare', ['import-weights', TINY, '--from=README.md', '--workdir=OUT'], "'hash_grid'"),
  (
    'prepare',
    ['import-weights', PUBLISHED, '--from=README.md', '--workdir=OUT'],
    'config.scene.center',
  ),
  (
    'prepare',
    ['import-weights', PUBLISHED, '--from=README.md', '--workdir=OUT', CENTER],
    'config.scene.far',
  ),
  (
    'prepare',
    ['import-weights', PUBLISHED, *PLACE, '--from=/nowhere', '--workdir=OUT'],
    '/nowhere',
  ),
  ('prepare', ['import-weights', PUBLISHED, *PLACE, '--from=configs', '--workdir=OUT'], 'configs'),
  (
    'prepare',
    ['import-weights', PUBLISHED, *PLACE, '--from=README.md', '--workdir=OUT'],
    'README.md',
  ),
  (
    'prepare',
    ['import-weights', PUBLISHED, *PLACE, '--from=/nowhere', '--workdir=README.md/a'],
    '--workdir=README.md/a',
  ),
  (
    'prepare',
    ['import-weights', PUBLISHED, *PLACE, '--from=/nowhere', '--workdir=RUN'],
    'exists already',
  ),
  ('baselines', [], '--out is missing. Name a folder.'),
  ('baselines', [TINY], '--out'),
  ('baselines', [TINY, '--out='], '--out'),
  ('baselines', [TINY, '--out=README.md', '--config.data.root=STREET'], '--out=README.md'),
  ('baselines', [TINY, '--out=OUT', '--config.data.root=/nowhere'], '/nowhere'),
  ('baselines', [TINY, '--out=OUT', '--config.data.root=STREET', '--methods=guess'], 'guess'),
  ('baselines', [TINY, '--out=OUT', '--config.data.root=STREET', '--methods=ours'], '--workdir'),
  ('baselines', [TINY, '--out=OUT', '--config.data.root=STREET', '--workdir=/nowhere'], '/nowhere'),
  (
    'baselines',
    [TINY, '--out=OUT', '--config.data.root=STREET', '--workdir=RUN', '--step=77'],
    '77',
  ),
  (
    'baselines',
    [TINY, '--out=OUT', '--config.data.root=STREET', '--workdir=RUN', '--step=x'],
    '--step=x',
  ),
  (
    'baselines',
    [
      TINY,
      '--out=OUT',
      '--config.data.root=STREET',
      '--workdir=RUN',
      '--config.model.hidden_dim=32',
    ],
    'config.model.hidden_dim',
  ),
  (
    'baselines',
    [TINY, '--out=OUT', '--config.data.root=STREET', '--config.eval.camera=image_07'],
    'config.eval.camera',
  ),
  ('prepare', ['check'], '--config'),
  ('prepare', ['check', TINY], '--out'),
  ('prepare', ['check', TINY, '--out=OUT', '--config.data.root=STREET'], 'PNG'),
  ('prepare', ['check', TINY, '--out=a.png', '--config.data.root=/nowhere'], '/nowhere'),
  ('prepare', ['check', TINY, '--out=a.png', '--probe=maybe'], '--probe=maybe'),
  ('prepare', ['nuscenes'], '--from'),
  ('prepare', ['nuscenes', '--from=STREET'], '--out'),
  ('prepare', ['nuscenes', '--from=STREET', '--out=OUT'], '--scene'),
  ('prepare', ['nuscenes', '--from=STREET', '--out=OUT', '--scene=s'], '/scene.json'),
  ('prepare', ['nuscenes', '--from=STREET', '--out=README.md', '--scene=s'], 'README.md'),
  ('prepare', ['transforms', TINY], '--out'),
  ('prepare', ['transforms', TINY, '--out=OUT', '--config.data.root=/nowhere'], '/nowhere'),
  (
    'train',
    [TINY, '--workdir=OUT', '--config.data.source=transforms', '--config.data.root=STREET'],
    'has data_2d_raw but no transforms.json',
  ),
  ('prepare', ['import-dataset'], '--from'),
  ('prepare', ['import-dataset', '--from=STREET'], '--out'),
  ('prepare', ['import-dataset', '--from=/nowhere', '--out=OUT'], '/nowhere'),
  ('prepare', ['import-dataset', '--from=README.md', '--out=OUT'], 'zip or tar'),
  ('prepare', ['import-dataset', '--from=configs', '--out=OUT'], 'perspective.txt'),
  ('prepare', ['import-dataset', '--from=STREET', '--out=OUT'], 'data_rect'),
  ('prepare', ['import-dataset', '--from=STREET', '--out=README.md'], 'README.md'),
  ('street', [], '--out'),
  ('street', ['--out='], '--out'),
  ('street', ['--out=README.md'], 'README.md'),
  ('street', ['--out=configs'], 'configs'),
  ('street', ['--out=OUT', '--preset=desert'], '--preset'),
  ('street', ['--out=OUT', '--preset=../x'], '--preset'),
  ('street', ['--out=OUT', '--frames=0'], '--frames'),
  ('street', ['--out=OUT', '--frames=x'], '--frames=x'),
  ('street', ['--out=OUT', '--scale=nan'], '--scale'),
  ('street', ['--out=OUT', '--scale=9'], '--scale'),
  ('street', ['--out=OUT', '--seed=-1'], '--seed'),
  ('street', ['--out=OUT', '--moving=perhaps'], '--moving=perhaps'),
]


@pytest.mark.parametrize('module, arguments, expected', OPTIONS)
def test_invalid_flags(
  binary, check_line, street, untrained, tmp_path, module, arguments, expected
):
  places = {'STREET': street, 'RUN': untrained, 'OUT': tmp_path / 'out'}
  for name, path in places.items():
    arguments = [re.sub(rf'={name}$', f'={path}', argument) for argument in arguments]
  check_line(*binary(module, *arguments), expected)
  assert not list(tmp_path.rglob('*.png'))


@pytest.mark.parametrize(
  'module, arguments, expected',
  [
    ('train', [TINY, '--config.optim.learning_rate=nan'], 'config.optim.learning_rate: nan'),
    ('eval', [], 'no such folder. Name one that train wrote'),
  ],
)
def test_errors_of_a_subprocess(check_line, tmp_path, module, arguments, expected):
  out = subprocess.run(
    [sys.executable, '-m', f'pnerf_jax.{module}', *arguments, f'--workdir={tmp_path / "run"}'],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  check_line(out.returncode, out.stderr, expected)
