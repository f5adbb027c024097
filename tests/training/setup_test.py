"""Moving objects: their rays are left out of training, their pixels labelled in their own frame; and
what the set-up makes of the window's labels."""

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
from pnerf_jax.geometry import cameras
from pnerf_jax.label_noise import transition
from pnerf_jax.labelling.images import Renderer, dataset_camera, label_options, render_options
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import setup, step
from pnerf_jax.training import train_state as states


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
  """[H, W] rays that meet a moving box of the view's own frame, by an independent library."""
  window = run.scene.window
  rays = cameras.pixel_rays(
    window.intrinsics[image],
    window.world_from_cam[image],
    cameras.pixel_grid(window.width, window.height),
    image,
  )
  found = np.zeros(window.height * window.width, bool)
  for box in window.boxes:
    if box.timestamp == window.view_frame[image]:
      mesh = trimesh.Trimesh(box.vertices, box.faces)
      found |= mesh.ray.intersects_any(
        np.asarray(rays.origins, float).reshape(-1, 3),
        np.asarray(rays.directions, float).reshape(-1, 3),
      )
  return found.reshape(window.height, window.width)


def test_no_coordinate_of_the_world_reaches_the_model(run):
  window = run.scene.window
  assert np.linalg.norm(window.center) > 1000  # where float32 keeps no more than 0.1 mm
  given = {
    'table': setup.make_ray_table(run),
    'primitives': run.scene.primitives,
    'bounds': window.bounds,
    'world_from_cam': window.world_from_cam,
  }
  for path, leaf in jax.tree_util.tree_leaves_with_path(given):
    name = jax.tree_util.keystr(path)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
      finite = np.asarray(leaf)[np.isfinite(leaf)]
      # Lengths are bounded by what is in view, though a large primitive may reach out of it.
      assert name.endswith('spheres') or np.abs(finite).max(initial=0) < 3 * window.far, name
      assert 'intervals' in name or finite.size == leaf.size, name


def test_rays_through_moving_objects_are_never_drawn(run, caplog):
  with caplog.at_level('INFO', logger='pnerf_jax'):
    table = setup.make_ray_table(run)
  expected = np.stack(
    [moving_pixels(run, image) for image in range(len(run.scene.window.view_frame))]
  )
  assert expected.any() and not expected.all()
  drawn = np.zeros(expected.size, bool)
  drawn[np.asarray(table.uniform)] = True
  # A ray along a box's silhouette may be either.
  assert np.mean(drawn != ~expected.ravel()) < 2e-3
  assert not set(np.asarray(table.focused)) - set(np.asarray(table.uniform))
  assert f'moving objects: {int((~drawn).sum())}' in caplog.text


def test_moving_objects_are_labelled_in_their_own_frame(run):
  config = run.config
  renderer = Renderer(
    run.scene,
    run.module,
    render_options(config.model),
    run.mesh,
    config.eval.chunk_rays,
    config.scene.max_intervals_per_ray,
    label_options(config.loss, config.eval),
  )
  params = run.init_params()
  window = run.scene.window
  car = BY_NAME['car'].id
  instances = {car * 1000 + box.instance for box in window.boxes if box.timestamp >= 0}
  for image in range(len(window.view_frame)):
    out = renderer(params, dataset_camera(run.scene, image, full=False))
    labelled = np.isin(out.instance, list(instances))
    inside = moving_pixels(run, image)
    # Nothing outside the box, and inside it only where the 2D network may have meant the car.
    assert not (labelled & ~inside).sum() > 2
    words = window.pseudo_label[image]
    assert not (labelled & ~np.isin(words, (0, car))).any()
    if (inside & (words == car)).sum() > 5:
      assert labelled[inside & (words == car)].any()
  # The last view's pseudo label speaks for its labels, but not for those of another view.
  np.testing.assert_array_equal(np.isnan(out.evidence[..., 2]), words == 0)
  assert (out.evidence[..., :2][labelled] == 0).all()  # even odds where a moving box lies
  view = dataset_camera(run.scene, image, full=False)
  pose = view.world_from_cam.copy()
  pose[:3, 3] += 0.1
  out = renderer(params, dataclasses.replace(view, world_from_cam=pose))
  assert np.isnan(out.evidence[..., 2]).all()


def test_the_2d_loss_weighs_as_much_as_its_labels_are_trusted(run):
  """The same step with less trust: its terms are equal, their sum lacks that share of L_2D."""
  table = setup.make_ray_table(run)
  words = setup.make_words(run, table)
  options = setup.loss_options(run.config.loss, run.scene.class_ids)
  optimizer = setup.make_optimizer(run.config)
  dispatch = step.make_train_steps(
    run.module,
    optimizer,
    setup.train_options(run.config.model),
    options,
    run.mesh,
    rays=64,
    side=1,
    focus=0.0,
    steps=1,
  )

  def made(trust):
    state = sharding.replicate(
      states.init_state(run.init_params(), optimizer, len(run.scene.class_ids)), run.mesh
    )
    other = dataclasses.replace(words, trust=jnp.asarray(trust, jnp.float32))
    return {
      name: float(value)
      for name, value in dispatch(
        state,
        table,
        sharding.replicate(run.scene.table, run.mesh),
        sharding.replicate(other, run.mesh),
        sharding.replicate(jax.random.key(0), run.mesh),
      )[1].items()
    }

  full, half = made(1.0), made(0.25)
  weights = dict(options.weights)
  assert full['semantic_2d'] == pytest.approx(half['semantic_2d']) and full['semantic_2d'] > 0.1
  assert full['loss'] == pytest.approx(sum(w * full[name] for name, w in weights.items()), rel=1e-5)
  assert full['loss'] - half['loss'] == pytest.approx(
    0.75 * weights['semantic_2d'] * full['semantic_2d'], rel=1e-2
  )


def test_words_are_counted_where_planar_stereo_depth_lies(run):
  """Stereo depth put in the middle of each ray's last interval, by the pinhole's own formula."""
  table, window = setup.make_ray_table(run), run.scene.window
  size = (len(window.view_frame), window.height, window.width)
  intervals = jax.tree.map(lambda x: np.asarray(x).reshape(*size, *x.shape[1:]), table.intervals)
  used = intervals.primitive >= 0
  last = np.maximum(used.sum(axis=-1, keepdims=True) - 1, 0)
  take = lambda x: np.take_along_axis(x, last, axis=-1)[..., 0]
  surface = np.where(used.any(axis=-1), 0.5 * (take(intervals.enter) + take(intervals.exit)), 0.0)
  v, u = np.mgrid[: window.height, : window.width]
  fx, fy, cx, cy = np.asarray(window.intrinsics).T[..., None, None]
  planar = surface / np.sqrt(1 + ((u - cx) / fx) ** 2 + ((v - cy) / fy) ** 2)
  table = dataclasses.replace(table, depth=jnp.asarray(planar.ravel(), jnp.float32))

  def first(depth_weight):
    config = run.config.copy_and_resolve_references()
    config.loss.depth, config.loss.depth_max, config.loss.depth_sigma = depth_weight, 1e4, 0.01
    return np.asarray(setup.make_words(dataclasses.replace(run, config=config), table).first)

  def expected(depth):
    usable = np.zeros(planar.size, bool)
    usable[np.asarray(table.uniform)] = True
    label = np.where(usable, np.asarray(table.label), 0).reshape(size)
    counts = sum(
      transition.count_anchor_labels(
        intervals.primitive[i],
        intervals.enter[i],
        intervals.exit[i],
        depth[i],
        0.01 * (0.3 + (depth[i] / 10) ** 2),
        label[i],
        np.asarray(run.scene.primitives.semantic),
        run.scene.class_ids,
      )
      for i in range(size[0])
    )
    loss = run.config.loss
    return transition.estimate_transition(
      counts,
      run.scene.class_ids,
      loss.transition_prior_mass * counts.sum(),
      loss.uniform_label_noise,
    )

  np.testing.assert_allclose(first(1e-3), expected(surface), atol=1e-3)
  np.testing.assert_allclose(first(0.0), expected(np.zeros_like(surface)), atol=1e-6)
  assert abs(first(1e-3) - first(0.0)).max() > 0.02
  assert abs(first(1e-3) - expected(planar)).max() > 0.02  # what a confusion of the two would give
