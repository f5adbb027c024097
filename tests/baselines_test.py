"""The whole comparison on a tiny street, by the call of the binary."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pnerf_jax.contrib.baselines.compare import TITLES, compare
from pnerf_jax.contrib.baselines.inputs import Reader
from pnerf_jax.data import image_io, labels
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import ground_truth
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import field_task

_QUICK = ['pseudo_labels', 'nearest_primitive', 'crf']


@pytest.fixture(scope='module')
def config(config_of):
  return config_of(refine_fraction=0.0)  # one stage to compile


@pytest.fixture(scope='module')
def run(config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  field_task.train(config, workdir)
  return workdir


@pytest.fixture(scope='module')
def compared(config, run, tmp_path_factory):
  """DIR of all methods, and the table that was returned."""
  out = tmp_path_factory.mktemp('out')
  return out, compare(config, out, workdir=run)


def test_compare_has_a_row_per_method(compared):
  out, table = compared
  lines = table.splitlines()
  assert lines[0] == (
    '| method | mIoU | accuracy | MC | PQ | SQ | RQ | PQ (things) | RMSE (m) | δ < 1.25 |'
  )
  assert [line.split(' | ')[0] for line in lines[2:]] == [f'| {title}' for title in TITLES.values()]
  assert table == (out / 'table.md').read_text() and (out / 'table.png').exists()
  assert len(list((out / 'panels').glob('image_00_*.png'))) == 2
  has_depth = {line.split(' | ')[0][2:]: '–' not in line for line in lines[2:]}
  assert {title for title, known in has_depth.items() if known} == {
    TITLES[name] for name in ('nearest_primitive', 'semantic_nerf', 'ours')
  }


def test_our_scores_are_those_of_evaluate(compared, run):
  ours = json.loads((compared[0] / 'ours' / 'metrics.json').read_text())
  want = evaluate(run)
  for key, value in ours.items():
    if not key.startswith(('image.', 'timing.', 'fixed.', 'confidence.')):
      assert value == pytest.approx(want[key], abs=1e-3), key  # depth PNGs are rounded


def test_semantic_nerf_uses_pseudo_labels_only(compared, street):
  out, _ = compared
  trained = json.loads((out / 'semantic_nerf' / 'config.json').read_text())
  assert trained['data']['primitives'] == 'none'
  assert trained['scene']['unannotated_space'] == 'void'
  pseudo_labels = {
    *np.unique(
      [
        image_io.read_label(path, unknown_allowed=True)
        for path in sorted((street / 'data_2d_pseudo_semantics').rglob('*.png'))
      ]
    ).tolist(),
    labels.SKY,
  }
  for path in (out / 'semantic_nerf' / 'instance').glob('*.png'):
    instance = image_io.read_instance(path)
    assert (
      set(np.unique(instance // 1000).tolist()) <= pseudo_labels and not (instance % 1000).any()
    )


def test_compare_resumes(compared, config, run):
  out, table = compared
  missing = sorted((out / 'crf' / 'semantic').glob('*.png'))[1]
  pixels = missing.read_bytes()
  missing.unlink()
  (out / 'crf' / 'metrics.json').unlink()
  kept = [path for path in out.rglob('*.png') if path.parent.name in ('semantic', 'depth')]
  kept += list(out.rglob('metrics.json'))
  before = {path: path.stat().st_mtime_ns for path in kept}
  assert compare(config, out, workdir=run) == table
  assert missing.read_bytes() == pixels
  assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_compare_skips_methods_without_their_input(config, tmp_path, caplog):
  logger = logging.getLogger('pnerf_jax.contrib.baselines.compare')
  logger.addHandler(caplog.handler)  # where a binary ran before, its lines do not reach the root
  try:
    with caplog.at_level('INFO', logger.name):
      table = compare(config, tmp_path, methods=['ours', 'pseudo_labels'])
  finally:
    logger.removeHandler(caplog.handler)
  assert [line.split(' | ')[0] for line in table.splitlines()[2:]] == ['| 2D pseudo-labels']
  lines = {record.getMessage() for record in caplog.records if 'skipping' in record.getMessage()}
  assert len(lines) == 1 and '--workdir' in lines.pop()


def test_compare_takes_the_config_of_the_run(config, run, tmp_path):
  overrides = {'eval.camera': 'image_01', 'data.root': str(Path(config.data.root).resolve())}
  table = compare(
    None, tmp_path / 'out', workdir=run, methods=['pseudo_labels'], overrides=overrides
  )
  assert len(table.splitlines()) == 3
  kept = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert kept['eval']['camera'] == 'image_01' and kept['train']['steps'] == config.train.steps
  assert list((tmp_path / 'out' / 'panels').glob('image_01_*.png'))
  with pytest.raises(InputError, match='config.eval.camera is .image_01. there but .* now'):
    compare(config, tmp_path / 'out', workdir=run, methods=['pseudo_labels'])


def test_compare_rejects_bad_input_first(config, run, compared, tmp_path):
  def error(**changes):
    arguments = {'config': config, 'out': tmp_path / 'new', 'methods': _QUICK, **changes}
    with pytest.raises(InputError) as caught:
      compare(**arguments)
    assert not (tmp_path / 'new').exists()
    return str(caught.value)

  assert 'unknown method best' in error(methods=['best'])
  assert 'give one with --workdir' in error(methods=['ours'])
  assert '--config is missing' in error(config=None)
  locked = {'train.steps': 8}
  assert 'cannot be changed' in error(config=None, workdir=run, overrides=locked)
  other = config.copy_and_resolve_references()
  other.train.steps = 8
  assert 'config.train.steps is 4 there but 8 now' in error(config=other, workdir=run)
  other = config.copy_and_resolve_references()
  other.data.eval_frames = (9999,)
  assert '[9999] are not frames' in error(config=other)
  assert 'no such folder' in error(workdir=tmp_path / 'nothing')
  source = compared[0] / 'ours' / 'source.json'
  content = source.read_text()
  source.write_text(content.replace('"step": 4', '"step": 2'))
  try:
    assert 'are not those of' in error(out=compared[0], workdir=run, methods=['ours'])
  finally:
    source.write_text(content)


def test_lidar_points_are_in_primitives_of_the_true_class(config):
  run = build_experiment(config)
  dataset = open_dataset(config.data)
  frame = dataset.frames[0]
  inputs = Reader(run.scene, dataset, 'image_00', config.scene.max_intervals_per_ray).read(frame)
  height, width = inputs.pseudo_label.shape
  assert (
    len(np.unique(inputs.point_pixel @ [width, 1]))
    == len(inputs.point_pixel)
    > 0.2 * height * width
  )
  truth = ground_truth.read_ground_truth(
    dataset, 'image_00', frame, inputs.camera.world_from_cam, inputs.camera.intrinsics
  )
  true_class = truth.truth_semantic[tuple(inputs.point_pixel.T)]
  semantic = np.append(np.asarray(run.scene.primitives.semantic), -1)[inputs.point_primitives]
  in_primitive = (semantic >= 0).any(axis=1)
  assert in_primitive.mean() > 0.9
  # Exceptions: points at object edges, and points that are occluded from the camera.
  assert np.mean((semantic == true_class[:, None]).any(axis=1)[in_primitive]) > 0.9


def test_mesh_is_in_primitives_of_the_true_class(config):
  run = build_experiment(config)
  dataset = open_dataset(config.data)
  frame = dataset.frames[0]
  reader = Reader(run.scene, dataset, 'image_00', config.scene.max_intervals_per_ray)
  inputs = reader.read(frame, with_mesh=True)
  truth = ground_truth.read_ground_truth(
    dataset, 'image_00', frame, inputs.camera.world_from_cam, inputs.camera.intrinsics
  ).truth_semantic
  semantic = np.append(np.asarray(run.scene.primitives.semantic), -1)[inputs.surface_primitives]
  labelled = (semantic >= 0).any(axis=-1)
  assert not labelled[truth == labels.SKY].any()
  assert labelled[truth == labels.BY_NAME['road'].id].mean() > 0.8
  # Exceptions: pixels at object edges, and leaves and wheels, whose gaps the mesh closes.
  assert np.mean((semantic == truth[..., None]).any(axis=-1)[labelled]) > 0.8
