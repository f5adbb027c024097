"""A window with cameras of different sizes: ray table, training, evaluation, export."""

import copy
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import transforms as configs
from pnerf_jax.contrib.preparation import check
from pnerf_jax.data import image_io, transforms
from pnerf_jax.errors import InputError
from pnerf_jax.labelling import export
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.runs.render import render
from pnerf_jax.training import field_task, ray_table

SIZES = {'left': (40, 24), 'rear': (24, 32)}


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  """Return the config of two cameras, two frames, a road and cars; pixel colours are unique."""
  root = tmp_path_factory.mktemp('own')
  frames = []
  for frame in (0, 1):
    for number, (camera, (width, height)) in enumerate(SIZES.items()):
      name = f'{camera}/{frame}.png'
      column, row = np.meshgrid(np.arange(width), np.arange(height))
      image_io.write_rgb(
        root / name,
        np.stack([column * 5, row * 7, np.full_like(row, 60 * frame + 100 * number)], -1),
      )
      image_io.write_label(root / 'labels' / name, np.where(row > height // 2, 7, 26))
      image_io.write_label(root / 'truth' / name, np.where(row > height // 2, 7, 26))
      turn = (
        [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]
        if camera == 'left'
        else [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
      )
      matrix = np.vstack([np.column_stack([turn, [100 + frame, 50, 2]]), [0, 0, 0, 1]])
      frames.append(
        {
          'file_path': name,
          'semantics_path': f'labels/{name}',
          'gt_semantics_path': f'truth/{name}',
          'w': width,
          'h': height,
          'fl_x': 30,
          'fl_y': 30,
          'cx': width / 2,
          'cy': height / 2,
          'transform_matrix': matrix.tolist(),
        }
      )
  (root / 'boxes.json').write_text(
    json.dumps(
      {
        'boxes': [
          {'class': 'road', 'center': [100, 50, -0.5], 'size': [60, 20, 1], 'yaw': 0},
          {'class': 'car', 'instance': 1, 'center': [112, 50, 1], 'size': [4, 2, 2], 'yaw': 0.1},
          {'class': 'car', 'instance': 2, 'center': [90, 49, 1], 'size': [4, 2, 2], 'yaw': 0.1},
        ]
      }
    )
  )
  (root / transforms.NAME).write_text(json.dumps({'boxes_path': 'boxes.json', 'frames': frames}))
  made = configs.get_config('tiny')
  made.train.refine_fraction = 0.0  # one stage to compile
  made.data.root = str(root)
  return made


def test_ray_table_holds_the_pixels_of_each_image(config):
  run = build_experiment(config)
  table = ray_table.build_ray_table(run)
  drawn = np.sort(np.asarray(table.uniform))
  assert len(drawn) == 2 * sum(width * height for width, height in SIZES.values())
  assert set(np.asarray(table.importance).tolist()) <= set(drawn.tolist())
  batch = jax.device_get(ray_table.gather_batch(table, jnp.asarray(drawn), 1))
  seen = set()
  window = run.scene.window
  for ray in range(len(drawn)):
    view = int(batch.rays.image[ray])
    column, row, blue = np.rint(batch.rgb[ray] * 255).astype(int) // [5, 7, 1]
    assert blue == 60 * (view // 2) + 100 * (view % 2)
    fx, fy, cx, cy = window.intrinsics[view]
    local = window.world_from_cam[view, :3, :3].T @ batch.rays.directions[ray]
    np.testing.assert_allclose(
      local[:2] / local[2], [(column - cx) / fx, (row - cy) / fy], atol=1e-5
    )
    assert batch.label[ray] == (
      7 if row > SIZES['left' if view % 2 == 0 else 'rear'][1] // 2 else 26
    )
    seen.add((view, column, row))
  assert len(seen) == len(drawn)
  # The rays of both cameras intersect the road below the horizon.
  assert (np.asarray(batch.intervals.primitive)[batch.label == 7] >= 0).any()


def test_check_reports_unused_images_and_cameras_upside_down(config, tmp_path):
  root = tmp_path / 'own'
  shutil.copytree(config.data.root, root)
  content = json.loads((root / transforms.NAME).read_text())
  (root / transforms.NAME).write_text(json.dumps({**content, 'camera_axes': 'OPENCV'}))
  changed = copy.deepcopy(config)
  changed.data.root, changed.data.frames = str(root), 1
  lines = check.check(changed, tmp_path / 'check.png', estimates_cost=False)
  reason = '2 follow the 1 frames of config.data.frames (frames 1)'
  assert f'2 of 4 images used, because {reason}' in lines
  (warning,) = [line for line in lines if 'in view' in line]
  assert warning.startswith(
    'warning: 100% of the primitives within 100 m are in view. 2 of 2 images'
  )
  assert 'are upside down: set the key "camera_axes" (OPENGL or OPENCV).' in warning
  assert lines[-1].startswith('not ready: correct the errors above (1 error')


def test_check_train_eval_and_render(config, tmp_path):
  lines = '\n'.join(check.check(config, tmp_path / 'check.png', estimates_cost=False))
  assert 'images 40 x 24 and 24 x 32, trained at 40 x 24 and 24 x 32' in lines
  assert 'pseudo-labels, rear: 2 of 2 frames' in lines and 'car 2' in lines
  field_task.train(config, tmp_path / 'run')
  metrics = evaluate(tmp_path / 'run')
  assert metrics['frames'] == 2 and 'semantic.miou' in metrics
  assert metrics['truth.semantic_pixels'] == metrics['truth.pixels'] == 2 * 40 * 24
  root = shutil.copytree(config.data.root, tmp_path / 'train_ids')
  for path in (root / 'truth').rglob('*.png'):
    image_io.write_label(path, np.where(np.asarray(Image.open(path)) == 26, 1, 10))
  with pytest.raises(InputError, match='left/1.png: the true labels are train ids .values 1, 10.'):
    evaluate(tmp_path / 'run', overrides={'data.root': str(root)})
  assert render(tmp_path / 'run', tmp_path / 'out') == 4
  for camera, size in SIZES.items():
    for kind in export.KINDS:
      assert Image.open(tmp_path / 'out' / camera / kind / '0000000001.png').size == size
  views = json.loads((tmp_path / 'out' / 'views.json').read_text())['views']
  assert {(view['camera'], view['width'], view['height']) for view in views} == {
    (camera, *size) for camera, size in SIZES.items()
  }
