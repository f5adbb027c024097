"""The three commands end to end on a tiny street: the same calls that the binaries make."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from configs import transforms as own_configs
from pnerf_jax.contrib.preparation import export_transforms
from pnerf_jax.contrib.preparation.pack_window import pack_window
from pnerf_jax.contrib.report.run_report import RunReport
from pnerf_jax.data import labels
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import load_config
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.runs.render import render
from pnerf_jax.training import field_task, stages
from pnerf_jax.training.ray_table import build_ray_table

pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def config_of(street):
  def make(variant='tiny', **train):
    config = configs.get_config(variant)
    config.data.root = str(street)
    config.train.update(train)
    return config

  return make


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


@pytest.fixture(scope='module')
def trained(config_of, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  field_task.train(config_of(), workdir)
  return workdir


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
      *stages.LOSS_TERMS,
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
  folder, packed = final_params(trained), final_params(tmp_path / 'run')
  assert folder.keys() == packed.keys() and len(folder) > 20
  for name, value in folder.items():
    np.testing.assert_array_equal(value, packed[name], err_msg=name)
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
  folder, described = final_params(trained), final_params(tmp_path / 'run')
  assert folder.keys() == described.keys() and len(folder) > 20
  for name, value in folder.items():
    np.testing.assert_array_equal(value, described[name], err_msg=name)
  scores = [evaluate(workdir) for workdir in (trained, tmp_path / 'run')]
  for name, value in scores[0].items():
    if not name.startswith(('timing.', 'consistency.', 'depth.rmse', 'depth.delta1')):  # of LiDAR
      assert scores[1][name] == value, name
  assert scores[1]['depth.rmse'] is None and scores[1]['semantic.miou'] is not None


def test_resume_is_bit_exact(config_of, trained, tmp_path, monkeypatch):
  config = config_of()
  original = field_task.make_train_steps

  def stopping(*args, **kwargs):
    train_steps = original(*args, **kwargs)

    def wrapped(*inner):
      out = train_steps(*inner)
      os.kill(os.getpid(), signal.SIGTERM)
      return out

    return wrapped

  monkeypatch.setattr(field_task, 'make_train_steps', stopping)
  with pytest.raises(KeyboardInterrupt):
    field_task.train(config, tmp_path)
  monkeypatch.setattr(field_task, 'make_train_steps', original)
  assert final_params(tmp_path)["['step']"] == 2
  field_task.train(config, tmp_path)
  whole, resumed = final_params(trained), final_params(tmp_path)
  assert whole.keys() == resumed.keys() and len(whole) > 20
  for name, value in whole.items():
    np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def test_one_device_and_four_give_the_same_training(config_of, trained, tmp_path, monkeypatch):
  assert jax.device_count() >= 4
  one = sharding.make_mesh(1)
  monkeypatch.setattr(sharding, 'make_mesh', lambda: one)
  field_task.train(config_of(), tmp_path)
  four, single = final_params(trained), final_params(tmp_path)
  for name, value in four.items():
    if 'params' in name:
      np.testing.assert_allclose(value, single[name], atol=2e-4, err_msg=name)


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
  whole, resumed = final_params(trained), final_params(workdir)
  for name, value in whole.items():
    np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def test_another_config_in_the_same_workdir_is_refused(config_of, trained):
  config = config_of()
  config.optim.learning_rate = 0.5
  with pytest.raises(InputError, match=r'config.json: config.optim.learning_rate is 0.01 .* 0.5'):
    field_task.train(config, trained)


def test_loss_that_is_not_finite_stops_with_its_name(config_of, tmp_path):
  config = config_of()
  config.optim.learning_rate = 1e30
  with pytest.raises(InputError, match='is nan|is inf'):
    field_task.train(config, tmp_path)


@pytest.mark.parametrize(
  'group, field, value, word',
  [
    ('train', 'batch_rays', 0, 'an integer from 1'),
    ('train', 'batch_rays', 63, 'devices'),
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


def test_eval_scores_all_frames_with_truth(trained):
  metrics = evaluate(trained, reporter=RunReport(trained))
  assert metrics['step'] == 4 and metrics['frames'] == 2
  for name in (
    'semantic.miou',
    'semantic.accuracy',
    'fixed.miou',
    'pseudo.miou',
    'panoptic.all.pq',
    'consistency.mc',
    'depth.delta1',
    'image.ssim',
  ):
    assert 0.0 <= metrics[name] <= 1.0, name
  assert json.loads((trained / 'eval' / 'metrics.json').read_text()) == metrics
  assert 'data:image/png;base64' in (trained / 'eval' / 'report.html').read_text()
  assert len(list((trained / 'eval' / 'panels').glob('*.png'))) == 2


def test_eval_without_ground_truth_scores_and_shows_all_frames(trained, street, tmp_path, caplog):
  run, data = shutil.copytree(trained, tmp_path / 'run'), shutil.copytree(street, tmp_path / 'data')
  shutil.rmtree(data / 'data_2d_semantics')
  shutil.rmtree(run / 'eval', ignore_errors=True)
  with caplog.at_level('INFO', 'pnerf_jax'):
    overrides = {'data.root': str(data), 'eval.num_panels': 1}
    metrics = evaluate(run, overrides=overrides, reporter=RunReport(run))
  assert metrics['step'] == 4 and metrics['frames'] == 2
  known = {'agreement.pixels', 'confidence.mean', 'consistency.mc', 'depth.delta1', 'image.ssim'}
  assert all(0 <= metrics[name] <= 1 for name in known)
  assert not [name for name in metrics if name.startswith(('semantic.miou', 'panoptic', 'pseudo'))]
  assert json.loads((run / 'eval' / 'metrics.json').read_text()) == metrics
  assert caplog.messages[-1] == (
    'not scored: labels (no usable ground truth); panoptic quality (no usable instance ground'
    ' truth)'
  )
  assert (
    f'image.psnr                 {metrics["image.psnr"]:.4f} (training views)' in caplog.messages
  )
  report = (run / 'eval' / 'report.html').read_text()
  assert 'Images' in report and 'Panoptic quality' not in report
  assert len(list((run / 'eval' / 'panels').glob('*.png'))) == 1


def test_confidence_coefficients_are_fitted_on_runs(trained, capsys, monkeypatch):
  spec = importlib.util.spec_from_file_location('calibrate', _ROOT / 'launch' / 'calibrate.py')
  script = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(script)
  monkeypatch.setattr(sys, 'argv', ['calibrate.py', str(trained), str(trained), '--every=2'])
  script.main()
  lines = capsys.readouterr().out.splitlines()
  numbers = [float(x) for x in re.findall(r'-?[\d.]+', lines[0].partition('=')[2])]
  assert lines[0].startswith('config.eval.confidence_coefficients = (') and len(numbers) == 6
  # The same run twice: fitted on the other is fitted on all, and no worse than its own numbers.
  scores = [[float(x) for x in line.split()[1:]] for line in lines[2:]]
  assert len(scores) == 2 and scores[0] == scores[1]
  own, others, whole = scores[0][0], scores[0][2], scores[0][4]
  assert others == whole < own


def test_render_exports_the_documented_files_and_skips_finished_ones(trained, street, tmp_path):
  assert render(trained, tmp_path, cameras=['image_01']) == 2
  sizes = {}
  for kind, mode in (
    ('semantic', 'L'),
    ('semantic_rgb', 'RGB'),
    ('instance', 'I;16'),
    ('confidence', 'I;16'),
    ('depth', 'I;16'),
    ('rgb', 'RGB'),
  ):
    files = sorted((tmp_path / 'image_01' / kind).iterdir())
    assert len(files) == 2 and all(len(file.stem) == 10 for file in files)
    with Image.open(files[0]) as image:
      assert image.mode == mode
      sizes[kind] = image.size
      if kind == 'semantic':
        semantic = np.asarray(image)
      if kind == 'instance':
        instance = np.asarray(image).astype(int)
  photo = next((street / 'data_2d_raw').rglob('*.png'))
  assert set(sizes.values()) == {Image.open(photo).size}
  np.testing.assert_array_equal(instance // 1000, semantic)
  assert (instance[~labels.IS_THING[semantic]] % 1000 == 0).all()
  views = json.loads((tmp_path / 'views.json').read_text())['views']
  assert len(views) == 2 and views[0]['camera'] == 'image_01'
  # A finished file is kept as it is; a missing one is made again.
  kept = files[0].read_bytes()
  files[1].unlink()
  assert render(trained, tmp_path, cameras=['image_01']) == 1
  assert files[0].read_bytes() == kept and files[1].exists()
  assert render(trained, tmp_path) == 2
  assert len(json.loads((tmp_path / 'views.json').read_text())['views']) == 4


def test_views_of_other_weights_or_sizes_do_not_mix(trained, tmp_path):
  run = shutil.copytree(trained, tmp_path / 'run')
  out, some = tmp_path / 'out', {'cameras': ['image_00'], 'size': 'train'}
  assert render(run, out, step=4, **some) == 2
  older = {path: path.read_bytes() for path in out.rglob('*.png')}
  assert render(run, out, size='train') == 2  # step 4 is the newest: the other camera
  files = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
  for words, options in (
    (r'step 4, size train, .*step 2, size train', {**some, 'step': 2}),
    ('size train.*size full', {**some, 'size': 'full'}),
    ('step 4.*step 2', {**some, 'step': 2, 'overwrite': True}),
  ):
    with pytest.raises(InputError, match=f'--out=.*holds .*{words}.*another --out'):
      render(run, out, **options)
  assert files == {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
  # All that are there at once may be replaced. A kill midway leaves none of the old ones.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(export, 'write_image', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      render(run, out, step=2, size='train', overwrite=True)
  assert not list(out.rglob('*.png'))
  assert render(run, out, step=2, size='train') == 4
  table = json.loads((out / 'views.json').read_text())
  assert table['step'] == 2 and len(table['views']) == 4
  new = {path: path.read_bytes() for path in out.glob('image_00/*/*.png')}
  assert new.keys() == older.keys() and new != older
  # Without a table nothing is known of what is there.
  (out / 'views.json').unlink()
  with pytest.raises(InputError, match='step unknown'):
    render(run, out, step=2, size='train')


@pytest.mark.parametrize(
  'options, word',
  [
    ({'cameras': ['image_07']}, '--cameras'),
    ({'frames': '5'}, '--frames'),
    ({'frames': '1:2'}, '--frames'),
    ({'step': 77}, 'no checkpoint 77'),
  ],
)
def test_bad_render_options_are_named(trained, tmp_path, options, word):
  with pytest.raises(InputError, match=word):
    render(trained, tmp_path / 'out', **options)
  assert not (tmp_path / 'out').exists()


def test_eval_of_a_folder_without_a_run(tmp_path):
  with pytest.raises(InputError, match='config.json: no such file'):
    evaluate(tmp_path)


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
  config.model.num_samples = 4
  config.model.num_render_samples = 2
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
