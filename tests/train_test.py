"""Training end to end on a tiny street: the same calls that the binary makes."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs import transforms as own_configs
from pnerf_jax.config.schema import LOSS_TERMS
from pnerf_jax.contrib.preparation import export_transforms
from pnerf_jax.contrib.preparation.pack_window import pack_window
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import field_task
from pnerf_jax.training.ray_table import build_ray_table

pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def final_params(workdir):
  """Flat {path: array} of the newest checkpoint, read without knowing the field."""
  saved = checkpoints.Checkpoints(workdir)
  step = saved.require(None)
  saved.close()
  import orbax.checkpoint as ocp

  tree = ocp.PyTreeCheckpointer().restore(workdir / 'checkpoints' / str(step) / 'default')
  return {
    jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree_util.tree_leaves_with_path(tree)
  }


def steps_of(workdir):
  return [json.loads(line)['step'] for line in (workdir / 'scalars.jsonl').open()]


def assert_same_params(one, other):
  found, expected = final_params(one), final_params(other)
  assert found.keys() == expected.keys() and len(found) > 20
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_train_writes_the_documented_run_folder(trained):
  lines = [json.loads(line) for line in (trained / 'scalars.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [2, 4]
  for line in lines:
    assert {
      'seconds',
      'rays_per_second',
      'loss',
      'psnr',
      'learning_rate',
      *LOSS_TERMS,
    } <= set(line)
    assert all(np.isfinite(value) for value in line.values())
  assert json.loads((trained / 'config.json').read_text())['train']['steps'] == 4
  assert list((trained / 'tensorboard').iterdir())
  assert list((trained / 'previews' / '000004').glob('*.png'))
  assert (trained / 'checkpoints' / '4').is_dir()


def test_loss_falls(config_of, tmp_path):
  # Without refinement, in which a batch has a quarter of the pixels and labels weigh less.
  config = config_of(
    steps=300, log_every=50, checkpoint_every=300, preview_every=300, refine_fraction=0.0
  )
  field_task.train(config, tmp_path)
  lines = [json.loads(line) for line in (tmp_path / 'scalars.jsonl').read_text().splitlines()]
  assert lines[-1]['rgb'] < 0.7 * lines[0]['rgb']
  assert lines[-1]['semantic_2d'] < lines[0]['semantic_2d']


def test_a_packed_window_trains_bit_equal(config_of, trained, tmp_path):
  config = config_of()
  pack_window(config.data, str(tmp_path / 'packed'))
  config.data.root, config.data.source = str(tmp_path / 'packed'), 'tfds'
  field_task.train(config, tmp_path / 'run')
  assert_same_params(tmp_path / 'run', trained)
  scores = [evaluate(workdir) for workdir in (trained, tmp_path / 'run')]
  for each in scores:
    each.pop('timing.seconds_per_frame')
  assert scores[0] == scores[1]


def test_a_transforms_json_trains_bit_equal(config_of, trained, tmp_path):
  config = config_of()
  export_transforms.export_transforms(config.data, tmp_path / 'own')
  own = own_configs.get_config('tiny')
  own.data.root = str(tmp_path / 'own')
  tables = [build_ray_table(build_experiment(each)) for each in (config, own)]
  for ours, theirs in zip(*map(jax.tree.leaves, tables), strict=True):
    np.testing.assert_array_equal(ours, theirs)  # colours, labels, depth, intervals, cameras
  field_task.train(own, tmp_path / 'run')
  assert_same_params(tmp_path / 'run', trained)
  scores = [evaluate(workdir) for workdir in (trained, tmp_path / 'run')]
  of_lidar = ('consistency.', 'paper.mc', 'depth.rmse', 'depth.delta1', 'truth.lidar_points')
  for name, value in scores[0].items():
    if not name.startswith(('timing.', *of_lidar)):
      assert scores[1][name] == value, name
  assert 'depth.rmse' not in scores[1] and scores[1]['semantic.miou'] is not None


def test_resume_is_bit_exact(config_of, trained, tmp_path, interrupt_training):
  with interrupt_training(), pytest.raises(KeyboardInterrupt):
    field_task.train(config_of(), tmp_path)
  assert final_params(tmp_path)["['step']"] == 2
  field_task.train(config_of(), tmp_path)
  assert_same_params(tmp_path, trained)


def test_a_run_of_four_devices_is_used_and_resumed_on_three(
  config_of, trained, tmp_path, monkeypatch
):
  # The 64 rays of a step, 16 pixels in the refinement stage, are not a multiple of 3.
  workdir = shutil.copytree(trained, tmp_path / 'run')
  shutil.rmtree(workdir / 'checkpoints' / '4')
  assert jax.device_count() == 4
  three = sharding.make_mesh(3)
  monkeypatch.setattr(sharding, 'make_mesh', lambda: three)
  field_task.train(config_of(), workdir)
  four, found = final_params(trained), final_params(workdir)
  for name, value in four.items():
    if 'params' in name:
      np.testing.assert_allclose(value, found[name], atol=2e-4, err_msg=name)
  scores = [evaluate(each)['semantic.accuracy'] for each in (trained, workdir)]
  assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_a_finished_run_is_extended(config_of, trained, tmp_path, caplog):
  workdir = shutil.copytree(trained, tmp_path / 'run')
  with caplog.at_level('INFO', 'pnerf_jax'):
    field_task.train(config_of(steps=8), workdir)
  assert 'config.train.steps grows from 4 to 8' in caplog.text
  assert steps_of(workdir) == [2, 4, 6, 8] and final_params(workdir)["['step']"] == 8
  assert load_config(workdir).train.steps == 8
  with pytest.raises(InputError, match='config.train.steps is 8 there but 4 now .*only grow'):
    field_task.train(config_of(), workdir)


def test_free_fields_and_the_place_of_the_data_may_change_on_resume(
  config_of, trained, street, tmp_path, monkeypatch
):
  workdir = shutil.copytree(trained, tmp_path / 'run')
  shutil.rmtree(workdir / 'checkpoints' / '4')
  monkeypatch.chdir(street.parent)
  config = config_of(log_every=4, checkpoint_every=4)
  config.data.root, config.eval.num_panels = street.name, 1
  field_task.train(config, workdir)
  assert_same_params(workdir, trained)
  kept = load_config(workdir)
  assert (kept.data.root, kept.eval.num_panels, kept.train.log_every) == (str(street), 1, 4)


def test_other_data_are_refused_on_resume(config_of, trained, street, tmp_path):
  root = shutil.copytree(street, tmp_path / 'data')
  for path in (root / 'data_poses').rglob('*.txt'):
    poses = np.loadtxt(path)
    poses[:, 4] += 2  # metres
    np.savetxt(path, poses, fmt=['%d', *['%.9f'] * (poses.shape[1] - 1)])
  workdir = shutil.copytree(trained, tmp_path / 'run')
  shutil.rmtree(workdir / 'checkpoints' / '4')
  config, before = config_of(), (workdir / 'config.json').read_bytes()
  config.data.root = str(root)
  with pytest.raises(InputError, match='window.json: center of the window were .* in training'):
    field_task.train(config, workdir)
  assert (workdir / 'config.json').read_bytes() == before


def test_another_window_of_the_config_is_named_before_the_data_are_read(
  config_of, trained, tmp_path, monkeypatch
):
  workdir = shutil.copytree(trained, tmp_path / 'run')
  monkeypatch.setattr(field_task, 'build_experiment', None)
  config = config_of(steps=8)
  config.data.frames = 1
  with pytest.raises(InputError, match='config.data.frames is 64 there but 1 now'):
    field_task.train(config, workdir)


def test_a_run_without_checkpoints_takes_another_config(config_of, tmp_path):
  config = config_of()
  config.optim.learning_rate = 1e30
  with pytest.raises(InputError, match='step 2: .* is (nan|inf)'):
    field_task.train(config, tmp_path)
  assert not list(tmp_path.glob('checkpoints/*'))
  field_task.train(config_of(steps=2), tmp_path)
  assert load_config(tmp_path).optim.learning_rate == 0.01


def test_a_folder_that_cannot_keep_checkpoints_is_refused_first(config_of, tmp_path):
  config = config_of()
  config.data.root = '/nowhere'  # not even looked for
  with pytest.raises(InputError, match='^--workdir=.*checkpoints cannot be kept'):
    field_task.train(config, tmp_path / 'run[1]')
  assert not list(tmp_path.iterdir())


def test_too_little_memory_is_refused_in_one_line(config_of, tmp_path):
  config = config_of()
  config.model.update(log2_hashmap_size=30, grid_levels=64, grid_min_cell=1e-4)
  with pytest.raises(
    InputError, match=r'^training \([\d.]+ GB of parameters .* GB are free. Lower --config.data.fr'
  ):
    field_task.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_damaged_newest_checkpoint_falls_back(config_of, trained, tmp_path, caplog):
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  for file in (workdir / 'checkpoints' / '4').rglob('*'):
    if file.is_file():
      file.write_bytes(b'')
  with caplog.at_level('WARNING'):
    field_task.train(config_of(), workdir)
  assert 'is unreadable' in caplog.text
  assert len(list((workdir / 'damaged_checkpoints').iterdir())) == 1
  assert_same_params(workdir, trained)


def test_another_config_in_the_same_workdir_is_refused(config_of, trained):
  config = config_of()
  config.optim.learning_rate = 0.5
  with pytest.raises(InputError, match=r'config.json: config.optim.learning_rate is 0.01 .* 0.5'):
    field_task.train(config, trained)


@pytest.mark.parametrize(
  'group, field, value, word',
  [
    ('train', 'batch_rays', 0, 'an integer from 1'),
    ('train', 'batch_rays', 63, 'whole pixels'),
    ('data', 'eval_frames', (1311, 9999), '.9999. are not frames of the window .1311-1312.'),
    ('train', 'log_every', 3, 'multiple'),
    ('model', 'field', 'mlp', 'one of'),
    ('scene', 'unannotated_space', 'fog', 'one of'),
    ('loss', 'depth_loss', 'l2', 'one of'),
    ('eval', 'label_field', 'both', 'one of'),
    ('eval', 'confidence_coefficients', (1.0,), '6 numbers'),
  ],
)
def test_bad_config_values_name_the_field(config_of, tmp_path, group, field, value, word):
  config = config_of()
  config[group][field] = value
  with pytest.raises(InputError, match=rf'config\.{group}\.{field}.*{word}'):
    field_task.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_void_space_trains_with_partial_primitives(street, config_of, tmp_path):
  root = tmp_path / 'cars'
  shutil.copytree(street, root)
  path = next((root / 'data_3d_bboxes').rglob('*.xml'))
  import defusedxml.ElementTree as ElementTree

  tree = ElementTree.parse(path)
  for element in list(tree.getroot()):
    if element.find('transform') is not None and element.findtext('semanticId') != '13':
      tree.getroot().remove(element)
  tree.write(path)
  config = config_of()
  config.data.root = str(root)
  config.scene.unannotated_space = 'void'
  config.train.refine_fraction = 0.0  # one stage to compile
  field_task.train(config, tmp_path / 'run')
  metrics = evaluate(tmp_path / 'run')
  # The fixed field alone predicts cars and sky only.
  assert {'semantic.iou.road', 'semantic.iou.building'} <= set(metrics)
  run = build_experiment(load_config(tmp_path / 'run'))
  assert {7, 11, 26} <= set(run.scene.class_ids)


def test_paper_network_trains(config_of, tmp_path):
  config = config_of(
    'paper',
    steps=2,
    batch_rays=8,
    steps_per_call=1,
    log_every=1,
    checkpoint_every=2,
    preview_every=2,
  )
  config.data.image_scale = 0.0
  config.scene.max_intervals_per_ray = 2
  config.model.num_samples = config.model.num_render_samples = 6
  config.eval.chunk_rays = 512
  field_task.train(config, tmp_path)
  assert len((tmp_path / 'scalars.jsonl').read_text().splitlines()) == 2


def test_binary_exit_codes(config_of, street, tmp_path):
  def command(*args):
    return subprocess.run(
      [sys.executable, '-m', 'pnerf_jax.train', *args],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      timeout=300,
    )

  out = command(
    '--config=configs/kitti360.py:tiny',
    f'--workdir={tmp_path / "a"}',
    '--config.data.root=/nowhere',
  )
  assert out.returncode == 1
  assert out.stderr.strip().splitlines()[-1].startswith('error: ') and '/nowhere' in out.stderr
  assert 'Traceback' not in out.stderr and not (tmp_path / 'a').exists()
  args = [
    '--config=configs/kitti360.py:tiny',
    f'--workdir={tmp_path / "b"}',
    f'--config.data.root={street}',
    '--config.train.steps=100000',
  ]
  process = subprocess.Popen(
    [sys.executable, '-m', 'pnerf_jax.train', *args], cwd=_ROOT, stderr=subprocess.PIPE, text=True
  )
  scalars = tmp_path / 'b' / 'scalars.jsonl'
  deadline = time.time() + 240
  while time.time() < deadline and not (scalars.exists() and scalars.read_text()):
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.2)
  second = command(*args)  # while the first is training
  assert second.returncode == 1 and second.stderr.startswith('error: ')
  assert second.stderr.count('\n') == 1 and f'process {process.pid} on' in second.stderr
  process.send_signal(signal.SIGTERM)
  assert process.wait(timeout=120) == 130
  assert list((tmp_path / 'b' / 'checkpoints').iterdir())


def test_missing_devices_are_one_line(trained):
  environment = {**os.environ, 'JAX_PLATFORMS': 'nothing'}
  command = [sys.executable, '-m', 'pnerf_jax.eval', f'--workdir={trained}']
  done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert done.stderr.startswith('error: JAX_PLATFORMS=nothing: JAX finds no such device (')
