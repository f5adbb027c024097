"""The task of a field: moving objects, label noise and reliability, on a synthetic street."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from configs import kitti360 as configs
from pnerf_jax.contrib.street import generate, scenery
from pnerf_jax.data.labels import BY_NAME
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.geometry import cameras
from pnerf_jax.label_noise import estimation, transition
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.runs.trained_run import make_renderer
from pnerf_jax.training import field_task, stages, step, train_state
from pnerf_jax.training.ray_table import build_ray_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  root = tmp_path_factory.mktemp('street') / 'data'
  generate.generate(
    root, scenery.Parameters('boulevard', seed=0, frames=2, scale=0.08, predictions='noise')
  )
  config = configs.get_config('tiny')
  config.data.root = str(root)
  return build_experiment(config)


def moving_pixels(run, image):
  """Return rays that intersect a moving primitive of the view's frame, by trimesh, [H, W]."""
  window = run.scene.window
  rays = cameras.pixel_rays(
    window.intrinsics[image],
    window.world_from_cam[image],
    cameras.pixel_grid(window.width, window.height),
    image,
  )
  found = np.zeros(window.height * window.width, bool)
  for box in window.primitives:
    if box.timestamp == window.view_frame[image]:
      mesh = trimesh.Trimesh(box.vertices, box.faces)
      found |= mesh.ray.intersects_any(
        np.asarray(rays.origins, float).reshape(-1, 3),
        np.asarray(rays.directions, float).reshape(-1, 3),
      )
  return found.reshape(window.height, window.width)


def _changed(run, **groups):
  """Return the run with fields of its config changed."""
  parts = {name: dataclasses.replace(getattr(run.config, name), **v) for name, v in groups.items()}
  return dataclasses.replace(run, config=dataclasses.replace(run.config, **parts))


def test_labels_and_depth_are_those_of_the_label_cameras(run):
  window = run.scene.window
  left = window.view_camera == window.cameras.index('image_00')
  table = build_ray_table(_changed(run, loss={'label_cameras': ('image_00',)}))
  np.testing.assert_array_equal(table.supervised, left)
  for found, source in ((table.label, window.pseudo_label), (table.depth, window.pseudo_depth)):
    found = np.asarray(found).reshape(source.shape)
    np.testing.assert_array_equal(found[left], source[left])
    assert source[~left].any() and not found[~left].any()
  assert np.asarray(build_ray_table(run).supervised).all()
  with pytest.raises(InputError, match='config.loss.label_cameras: cam not among .*image_00'):
    build_ray_table(_changed(run, loss={'label_cameras': ('cam',)}))


def test_a_step_of_one_image_has_at_most_its_pixels(run):
  window = run.scene.window
  train = {'rays_from': 'image', 'importance_fraction': 0.0}
  pixels = window.width * window.height
  build_ray_table(_changed(run, train={**train, 'batch_rays': pixels}))
  with pytest.raises(InputError, match=f'config.train.batch_rays: {pixels + 4}, but .*Lower it'):
    build_ray_table(_changed(run, train={**train, 'batch_rays': pixels + 4}))


def test_no_world_coordinate_reaches_the_model(run):
  window = run.scene.window
  assert np.linalg.norm(window.center) > 1000  # where float32 keeps no more than 0.1 mm
  arrays = {
    'table': build_ray_table(run),
    'primitives': run.scene.primitives,
    'bounds': window.bounds,
    'world_from_cam': window.world_from_cam,
  }
  for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
    name = jax.tree_util.keystr(path)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
      finite = np.asarray(leaf)[np.isfinite(leaf)]
      # Lengths are bounded by what is in view, though a large primitive may reach out of it.
      assert name.endswith('spheres') or np.abs(finite).max(initial=0) < 3 * window.far, name
      assert 'intervals' in name or finite.size == leaf.size, name


def test_rays_that_intersect_moving_objects_are_never_drawn(run, caplog):
  with caplog.at_level('INFO', logger='pnerf_jax'):
    table = build_ray_table(run)
  expected = np.stack(
    [moving_pixels(run, image) for image in range(len(run.scene.window.view_frame))]
  )
  assert expected.any() and not expected.all()
  drawn = np.zeros(expected.size, bool)
  drawn[np.asarray(table.uniform)] = True
  # A ray along a box's silhouette may be either.
  assert np.mean(drawn != ~expected.ravel()) < 2e-3
  assert not set(np.asarray(table.importance)) - set(np.asarray(table.uniform))
  assert f'moving objects: {int((~drawn).sum())}' in caplog.text


def test_moving_objects_are_labelled_in_their_own_frame(run, caplog):
  renderer = make_renderer(run)
  params = run.init_params()
  window = run.scene.window
  car = BY_NAME['car'].id
  instances = {car * 1000 + box.instance for box in window.primitives if box.timestamp >= 0}
  for image in range(len(window.view_frame)):
    out = renderer(params, dataset_camera(run.scene, image, full=False))
    labelled = np.isin(out.instance, list(instances))
    inside = moving_pixels(run, image)
    # Nothing outside the box, and inside it only where the pseudo-label is compatible with the car.
    assert not (labelled & ~inside).sum() > 2
    pseudo_label = window.pseudo_label[image]
    assert not (labelled & ~np.isin(pseudo_label, (0, car))).any()
    if (inside & (pseudo_label == car)).sum() > 5:
      assert labelled[inside & (pseudo_label == car)].any()
  # The pseudo-label of a view is a feature of its labels, but not of another view's.
  np.testing.assert_array_equal(np.isnan(out.features[..., 2]), pseudo_label == 0)
  assert (out.features[..., :2][labelled] == 0).all()  # even odds on moving objects
  view = dataset_camera(run.scene, image, full=False)
  pose = view.world_from_cam.copy()
  pose[:3, 3] += 0.1
  out = renderer(params, dataclasses.replace(view, world_from_cam=pose))
  assert np.isnan(out.features[..., 2]).all()
  # An image of another size that is divided into the same chunks compiles nothing again.
  narrow = dataclasses.replace(view, width=view.width - 1)
  assert renderer.is_compiled(view) and not renderer.is_compiled(narrow)
  with caplog.at_level('INFO', 'pnerf_jax'):
    assert renderer(params, narrow).depth.shape == (view.height, view.width - 1)
  assert 'compiling' not in caplog.text


def test_reliability_scales_the_weight_of_the_2d_loss(run):
  """One step with reliability 1 and with 0.25: equal terms, and a sum that differs by L_2D."""
  table = build_ray_table(run)
  noise = field_task.window_label_noise(run, table)
  options = dataclasses.replace(
    stages.stage_options(run.config, run.scene.class_ids, far=200.0, refinement=False),
    batch_rays=64,
    importance_fraction=0.0,
  )
  optimizer = train_state.make_optimizer(run.config.optim, run.config.train.steps)
  train_steps = step.make_train_steps(run.module, optimizer, options, run.mesh, 1)
  replicate = lambda x: sharding.replicate(x, run.mesh)
  classes, key = replicate(run.scene.table), replicate(jax.random.key(0))

  def metrics(reliability):
    counts = jnp.zeros((len(run.scene.class_ids) + 1, 45))
    state = replicate(train_state.init_state(run.init_params(), optimizer, counts))
    changed = dataclasses.replace(noise, reliability=jnp.asarray(reliability, jnp.float32))
    _, means = train_steps(state, table, classes, replicate(changed), key)
    return {name: float(value) for name, value in means.items()}

  full, quarter = metrics(1.0), metrics(0.25)
  weights = dict(options.weights)
  assert full['semantic_2d'] == pytest.approx(quarter['semantic_2d']) and full['semantic_2d'] > 0.1
  assert full['loss'] == pytest.approx(sum(w * full[name] for name, w in weights.items()), rel=1e-5)
  assert full['loss'] - quarter['loss'] == pytest.approx(
    0.75 * weights['semantic_2d'] * full['semantic_2d'], rel=1e-2
  )


def test_anchor_labels_are_counted_where_planar_stereo_depth_lies(run):
  """Stereo depth at the centre of each ray's last interval, by the pinhole's own formula."""
  table, window = build_ray_table(run), run.scene.window
  size = (len(window.view_frame), window.height, window.width)
  intervals = jax.tree.map(lambda x: np.asarray(x).reshape(*size, *x.shape[1:]), table.intervals)
  used = intervals.primitive >= 0
  last = np.maximum(used.sum(axis=-1, keepdims=True) - 1, 0)
  take = lambda x: np.take_along_axis(x, last, axis=-1)[..., 0]
  surface = np.where(used.any(axis=-1), 0.5 * (take(intervals.enter) + take(intervals.exit)), 0.0)
  v, u = np.mgrid[: window.height, : window.width]
  fx, fy, cx, cy = np.asarray(window.intrinsics).T[..., None, None]
  planar = np.float32(surface / np.sqrt(1 + ((u - cx) / fx) ** 2 + ((v - cy) / fy) ** 2))
  usable = np.zeros(planar.size, bool)
  usable[np.asarray(table.uniform)] = True
  label = np.where(usable, np.asarray(table.label), 0)
  loss = dataclasses.replace(run.config.loss, depth=1e-3, depth_max=1e4, depth_sigma=0.01)

  def transition_of(depth_weight):
    noise = estimation.build_label_noise(
      dataclasses.replace(window, pseudo_depth=planar),
      dataclasses.replace(loss, depth=depth_weight),
      run.scene.class_ids,
      semantic=np.asarray(run.scene.primitives.semantic),
      intervals=jax.device_get(table.intervals),
      label=label,
    )
    return np.asarray(noise.transition)

  def expected(depth):
    counts = sum(
      transition.count_anchor_labels(
        jax.tree.map(lambda x: x[i], intervals),
        depth[i],
        0.01 * (0.3 + (depth[i] / 10) ** 2),
        label.reshape(size)[i],
        semantic=np.asarray(run.scene.primitives.semantic),
        class_ids=run.scene.class_ids,
      )
      for i in range(size[0])
    )
    return transition.estimate_transition(
      counts,
      run.scene.class_ids,
      prior_count=loss.transition_prior_mass * counts.sum(),
      uniform_noise=loss.uniform_label_noise,
    )

  np.testing.assert_allclose(transition_of(1e-3), expected(surface), atol=1e-3)
  np.testing.assert_allclose(transition_of(0.0), expected(np.zeros_like(surface)), atol=1e-6)
  assert abs(transition_of(1e-3) - transition_of(0.0)).max() > 0.02
  assert abs(transition_of(1e-3) - expected(planar)).max() > 0.02  # of planar depth as distance
