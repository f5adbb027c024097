"""All real primitives seen from real cameras: against float64 loops and against embree."""

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from pnerf_jax.data import kitti360, primitives
from pnerf_jax.geometry import cameras, intersection

NEAR, FAR = 0.3, 250.0
WIDTH, HEIGHT = 176, 47  # an eighth of the images
INTRINSICS = np.array([552.554261, 552.554261, 682.549453, 239.269549]) / 8 - [0, 0, 0.5, 0.5]
RAYS = 600
PLENTY = 64  # no ray here meets more
MILLIMETRE = 1e-3
SCENES = [  # the primitives' file and a frame whose camera stands among them
  ('train', '2013_05_28_drive_0000_sync', 2036),
  ('train_full', '2013_05_28_drive_0000_sync', 702),
  ('train_full', '2013_05_28_drive_0002_sync', 6372),
  ('train_full', '2013_05_28_drive_0009_sync', 9730),
]


@pytest.fixture(scope='module', params=SCENES, ids=lambda scene: f'{scene[0]} {scene[1][18:22]}')
def scene(request, shared, pack):
  """meshes (float64, recentred), Primitives, world_from_cam of the scene."""
  split, sequence, frame = request.param
  root = shared / 'kitti360_real'
  if not root.is_dir():
    pytest.skip(f'{root} is absent')
  found = primitives.read_primitives_xml(kitti360.boxes_path(root, sequence, split))
  poses = kitti360.read_pose_file(root / 'data_poses' / sequence / 'cam0_to_world.txt', 16)
  centre = poses[frame][:3, 3] + [20.0, -30.0, 5.0]  # as far off as in a window
  meshes = [(box.vertices - centre, box.faces) for box in found]
  pose = poses[frame].copy()
  pose[:3, 3] -= centre
  return meshes, pack(meshes), pose.astype(np.float32)


@pytest.fixture(scope='module')
def seen(scene):
  """The view's intervals at some pixels, and those pixels' origins and directions."""
  _, primitives, pose = scene
  found, _, _ = intersection.view_intervals(
    primitives, INTRINSICS, pose, WIDTH, HEIGHT, NEAR, FAR, PLENTY
  )
  assert np.all(found.num_truncated == 0)
  rays = cameras.pixel_rays(INTRINSICS, pose, cameras.pixel_grid(WIDTH, HEIGHT), 0)
  some = np.random.default_rng(0).choice(WIDTH * HEIGHT, RAYS, replace=False)
  pick = lambda x: np.asarray(x).reshape(WIDTH * HEIGHT, *x.shape[2:])[some]
  found = intersection.Intervals(
    *(pick(x) for x in (found.enter, found.exit, found.primitive, found.num_truncated))
  )
  return found, pick(rays.origins), pick(rays.directions)


def test_a_real_view_against_float64(scene, seen, slow_intervals, as_lists, differing):
  meshes, _, _ = scene
  found, origins, directions = seen
  truth = slow_intervals(meshes, origins, directions, NEAR, FAR)
  assert sum(map(len, truth)) > 30
  assert differing(as_lists(found), truth, MILLIMETRE) == []


def test_rays_that_start_inside_real_primitives(scene, slow_intervals, as_lists, differing):
  meshes, primitives, _ = scene
  rng = np.random.default_rng(1)
  chosen = rng.integers(len(meshes), size=RAYS)
  # Around the mean of the corners: mostly inside, whatever the form.
  origins = np.array(
    [meshes[m][0].mean(0) + rng.normal(size=3) * 0.2 * meshes[m][0].std(0) for m in chosen]
  )
  directions = rng.normal(size=(RAYS, 3)) * [1, 1, 0.2]
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  origins, directions = origins.astype(np.float32), directions.astype(np.float32)
  found = intersection.intersect(
    primitives, jnp.asarray(origins), jnp.asarray(directions), NEAR, FAR, PLENTY
  )
  assert np.all(found.num_truncated == 0)
  truth = slow_intervals(meshes, origins, directions, NEAR, FAR)
  inside = sum(
    any(m == n and enter == NEAR for n, enter, _ in ray) for m, ray in zip(chosen, truth)
  )
  assert inside > 0.6 * RAYS
  assert differing(as_lists(found), truth, MILLIMETRE) == []


def test_a_real_view_against_embree(scene, seen, as_lists, differing):
  meshes, _, _ = scene
  found, origins, directions = seen
  truth = [[] for _ in origins]
  for m in range(len(meshes)):
    mesh = trimesh.Trimesh(*meshes[m], merge_norm=True, merge_tex=True)
    hits, rays, _ = RayMeshIntersector(mesh).intersects_location(origins, directions)
    t = np.linalg.norm(hits - origins[rays], axis=-1)
    for ray in np.unique(rays):
      depths = np.sort(t[rays == ray])
      depths = depths[depths > NEAR]
      depths = np.concatenate([[NEAR], depths]) if len(depths) % 2 else depths
      truth[ray] += [
        (m, enter, min(leave, FAR))
        for enter, leave in depths.reshape(-1, 2)
        if min(leave, FAR) - enter > 1e-4
      ]
  # Embree itself loses or doubles hits at edges and on grazing faces: all but 1 % agree.
  wrong = differing(as_lists(found), [sorted(x) for x in truth], MILLIMETRE)
  assert len(wrong) <= 0.01 * RAYS, [(as_lists(found)[i], sorted(truth[i])) for i in wrong[:3]]
