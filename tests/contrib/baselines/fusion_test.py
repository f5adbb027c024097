"""Fusion on planes in front of two or three cameras, with votes counted by hand."""

import dataclasses

import numpy as np

from pnerf_jax.contrib.baselines import fusion
from pnerf_jax.geometry.cameras import Camera

_ROAD, _CAR, _SKY, _WALL = 7, 26, 23, 12


def camera(x):
  """A camera of 8 x 4 pixels that looks along z."""
  world_from_cam = np.eye(4)
  world_from_cam[0, 3] = x
  intrinsics = np.array([10.0, 10.0, 3.5, 1.5])
  return Camera(intrinsics=intrinsics, world_from_cam=world_from_cam, width=8, height=4)


def view(x, depth, pseudo_label, confidence=None):
  return fusion.LabelledView(
    camera=camera(x),
    depth=np.broadcast_to(np.asarray(depth, np.float32), (4, 8)),
    pseudo_label=np.broadcast_to(np.uint8(pseudo_label), (4, 8)),
    confidence=confidence,
  )


def columns(*ids):
  return np.tile(np.array(ids, np.uint8), (4, 1))


def test_fuse_projects_a_plane_into_another_view():
  # A plane 10 m ahead; a camera 2 m to the right has every point 10 * 2 / 10 = 2 columns further
  # left, so its column c is column c + 2 of the image.
  other = view(2.0, 10.0, columns(_CAR, _CAR, _CAR, _ROAD, _ROAD, 255, 0, _WALL))
  fused = fusion.fuse(np.full((4, 8), 10.0), camera(0.0), [other], 0.05)
  np.testing.assert_array_equal(fused, columns(0, 0, _CAR, _CAR, _CAR, _ROAD, _ROAD, 0))


def test_fuse_takes_the_majority():
  ours = view(0.0, 10.0, columns(*[_ROAD] * 8))
  others = [
    view(0.0, 10.0, columns(_CAR, _CAR, _CAR, _CAR, _ROAD, _ROAD, _ROAD, _ROAD)),
    view(0.0, 10.0, columns(_CAR, _CAR, *[_WALL] * 6)),
  ]
  fused = fusion.fuse(np.full((4, 8), 10.0), camera(0.0), [ours, *others], 0.05)
  np.testing.assert_array_equal(fused[:, [0, 1, 4, 7]], columns(_CAR, _CAR, _ROAD, _ROAD))


def test_fuse_weights_votes_by_confidence():
  sure = view(0.0, 10.0, _CAR, np.full((4, 8), 0.9, np.float32))
  unsure = [view(0.0, 10.0, _ROAD, np.full((4, 8), 0.4, np.float32))] * 2
  assert (fusion.fuse(np.full((4, 8), 10.0), camera(0.0), [sure, *unsure], 0.05) == _CAR).all()


def test_fuse_ignores_occluded_points():
  # The other camera is at the same position; a car 5 m away occludes columns 0-1, and columns 6-7
  # are sky. Columns 5 and 7 of the image are sky.
  depth = np.array([5, 5, 10, 10, 10, 10, 0, 0.0])
  other = view(0.0, depth, columns(_CAR, _CAR, _WALL, _WALL, _WALL, _WALL, _SKY, _SKY))
  ours = np.tile(np.array([10, 10, 10, 10.4, 9.0, 0, 10, 0]), (4, 1))
  fused = fusion.fuse(ours, camera(0.0), [other], 0.05)
  np.testing.assert_array_equal(fused, columns(0, 0, _WALL, _WALL, 0, 0, 0, _SKY))


def test_fuse_projects_the_sky_as_a_direction():
  # Turned by a right angle, the other camera sees another part of the sky; shifted, the same.
  turned = np.eye(4)
  turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
  sky = view(50.0, 0.0, _SKY)
  turned_camera = dataclasses.replace(sky.camera, world_from_cam=turned)
  away = dataclasses.replace(sky, camera=turned_camera)
  nothing = np.zeros((4, 8))
  assert (fusion.fuse(nothing, camera(0.0), [sky], 0.05) == _SKY).all()
  assert (fusion.fuse(nothing, camera(0.0), [away], 0.05) == 0).all()


def test_fuse_accepts_views_of_another_size():
  small = fusion.LabelledView(
    camera=Camera(  # the camera at half the size: 1.5 = (3.5 + 0.5) / 2 - 0.5
      intrinsics=np.array([5.0, 5.0, 1.5, 0.5]), world_from_cam=np.eye(4), width=4, height=2
    ),
    depth=np.full((2, 4), 10.0, np.float32),
    pseudo_label=np.tile(np.uint8([_CAR, _ROAD, _WALL, _CAR]), (2, 1)),
    confidence=None,
  )
  fused = fusion.fuse(np.full((4, 8), 10.0), camera(0.0), [small], 0.05)
  np.testing.assert_array_equal(fused, columns(_CAR, _CAR, _ROAD, _ROAD, _WALL, _WALL, _CAR, _CAR))
