"""Primitives of simple shapes, and a camera in front of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from pnerf_jax.geometry.primitives import make_primitives

BUILDING, CAR, POLE, SKY = 11, 26, 17, 23


@pytest.fixture(scope='session')
def shapes():
  """Six meshes 6 to 20 m ahead of a camera at the origin; two of them are one car."""
  rng = np.random.default_rng(2)
  meshes = []
  for i in range(6):
    mesh = trimesh.creation.icosphere(2) if i % 2 else trimesh.creation.box()
    place = trimesh.transformations.random_rotation_matrix(rng.uniform(size=3))
    place[:3, 3] = rng.uniform((-4, -2, 6), (4, 2, 20))
    mesh.apply_transform(np.diag([*rng.uniform(2.0, 5.0, 3), 1]))
    meshes.append(mesh.apply_transform(place))
  semantic, instance = [BUILDING, CAR, CAR, POLE, CAR, 7], [3, 5, 5, 1, 6, 0]
  primitives = make_primitives(
    [m.vertices for m in meshes],
    [m.faces for m in meshes],
    semantic=semantic,
    instance=instance,
    annotation=range(6),
    timestamp=[-1] * 6,
  )
  return SimpleNamespace(
    meshes=meshes,
    primitives=primitives,
    semantic=np.array(semantic),
    instance=np.array(instance),
    intrinsics=np.array([40.0, 40.0, 31.5, 15.5], np.float32),
    width=64,
    height=32,
  )
