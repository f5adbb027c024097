"""Evaluation at half size, as in the paper: one run of a street with images of even sizes."""

import json

import numpy as np
import pytest

from configs import kitti360
from pnerf_jax.config.schema import parse_config
from pnerf_jax.contrib.street import generate, scenery
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.labelling.half_size import half_size_camera
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.config_file import save_config
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.runs.trained_run import load_trained_run
from pnerf_jax.training.field_task import FieldTask


class _Results:
  """A reporter that keeps the frames it is given."""

  def __init__(self):
    self.results, self.evaluation = [], None

  def add(self, result):
    self.results.append(result)

  def finish(self, evaluation):
    self.evaluation = evaluation


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Return the folder of an untrained run on images of 112 x 30 pixels, at half of it."""
  root = tmp_path_factory.mktemp('even') / 'data'
  generate.generate(
    root, scenery.Parameters('boulevard', seed=3, frames=2, scale=0.0795, predictions='noise')
  )
  config = kitti360.get_config('tiny')
  config.data.root = str(root)
  config.data.image_scale = 0.5
  config.data.pixel_origin = 'corner'
  workdir = tmp_path_factory.mktemp('run')
  experiment = build_experiment(config)
  save_config(experiment.config, workdir)
  with checkpoints.Checkpoints(workdir) as saved:
    saved.save(0, sharding.replicate(FieldTask(experiment).init_state(), experiment.mesh))
    saved.wait()
  return workdir


@pytest.mark.slow
def test_paper_protocol_scores_enlarged_images_of_half_the_size(run, binary):
  code, _ = binary('eval', f'--workdir={run}', '--protocol=paper')
  assert code == 0 and not (run / 'eval').exists()
  of_binary = json.loads((run / 'eval_paper' / 'metrics.json').read_text())
  assert 'enlarged' in (run / 'eval_paper' / 'report.html').read_text()
  reporter = _Results()
  metrics = evaluate(run, protocol='paper', reporter=reporter)
  for each in (of_binary, metrics):
    each.pop('timing.seconds_per_frame', None)
  assert metrics == of_binary
  assert metrics['labels.scale'] == 0.5 and metrics['truth.pixels'] == 2 * 112 * 30
  trained = load_trained_run(run)
  for index, result in zip((0, 2), reporter.results, strict=True):
    # Training images have half the size too, and rays through the same points.
    image = trained.renderer(trained.params, dataset_camera(trained.run.scene, index, full=False))
    assert image.semantic.shape == (15, 56) and result.photo.shape == (30, 112, 3)
    for name in ('semantic', 'instance', 'rgb', 'depth', 'confidence', 'fixed', 'unsupported'):
      enlarged = getattr(result, name)
      for rows, columns in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.testing.assert_array_equal(enlarged[rows::2, columns::2], getattr(image, name), name)


def test_paper_protocol_needs_even_sizes(config_of, tmp_path, binary):
  save_config(parse_config(config_of()), tmp_path)
  with pytest.raises(InputError, match='has 113x30 pixels.*--protocol=full'):
    evaluate(tmp_path, protocol='paper')
  code, err = binary('eval', f'--workdir={tmp_path}', '--protocol=half')
  assert code == 1 and '--protocol=half' in err


@pytest.mark.parametrize(
  'origin, principal', [('center', (340.75, 119.25)), ('corner', (341, 119.5))]
)
def test_half_size_camera_by_hand(origin, principal):
  full = np.array([552.5, 552.5, 682, 239])
  camera = Camera(intrinsics=full, world_from_cam=np.eye(4), width=1408, height=376, frame=3)
  half = half_size_camera(camera, full, origin)
  np.testing.assert_array_equal(half.intrinsics, [276.25, 276.25, *principal])
  assert (half.width, half.height, half.frame) == (704, 188, 3)


def test_half_size_camera_rejects_odd_sizes():
  camera = Camera(intrinsics=np.ones(4), world_from_cam=np.eye(4), width=8, height=5)
  with pytest.raises(ValueError, match='8x5'):
    half_size_camera(camera, np.ones(4), 'center')
