"""Fusion on planes before two or three cameras, whose votes can be counted by hand."""

import numpy as np

from pnerf_jax.contrib.baselines import fusion

_ROAD, _CAR, _SKY, _WALL = 7, 26, 23, 12
_INTRINSICS = np.array([10.0, 10.0, 3.5, 1.5])  # of 8 x 4 pixels


def pose(x):
  world_from_cam = np.eye(4)
  world_from_cam[0, 3] = x
  return world_from_cam


def view(x, depth, word, confidence=None):
  depth = np.broadcast_to(np.asarray(depth, np.float32), (4, 8))
  return fusion.LabelledView(
    _INTRINSICS, pose(x), depth, np.broadcast_to(np.uint8(word), (4, 8)), confidence
  )


def columns(*words):
  return np.tile(np.array(words, np.uint8), (4, 1))


def test_the_other_view_of_a_plane_votes_where_it_sees_the_same_point():
  # A plane 10 m ahead; a camera 2 m to the right sees every point 10 * 2 / 10 = 2 columns further
  # left, so that its column c is our column c + 2.
  other = view(2.0, 10.0, columns(_CAR, _CAR, _CAR, _ROAD, _ROAD, 255, 0, _WALL))
  found = fusion.fuse(np.full((4, 8), 10.0), pose(0.0), _INTRINSICS, [other], 0.05)
  np.testing.assert_array_equal(found, columns(0, 0, _CAR, _CAR, _CAR, _ROAD, _ROAD, 0))


def test_the_majority_wins():
  ours = view(0.0, 10.0, columns(*[_ROAD] * 8))
  others = [
    view(0.0, 10.0, columns(_CAR, _CAR, _CAR, _CAR, _ROAD, _ROAD, _ROAD, _ROAD)),
    view(0.0, 10.0, columns(_CAR, _CAR, *[_WALL] * 6)),
  ]
  found = fusion.fuse(np.full((4, 8), 10.0), pose(0.0), _INTRINSICS, [ours, *others], 0.05)
  np.testing.assert_array_equal(found[:, [0, 1, 4, 7]], columns(_CAR, _CAR, _ROAD, _ROAD))


def test_a_confident_view_outvotes_two():
  sure = view(0.0, 10.0, _CAR, np.full((4, 8), 0.9, np.float32))
  unsure = [view(0.0, 10.0, _ROAD, np.full((4, 8), 0.4, np.float32))] * 2
  assert (
    fusion.fuse(np.full((4, 8), 10.0), pose(0.0), _INTRINSICS, [sure, *unsure], 0.05) == _CAR
  ).all()


def test_hidden_points_and_sky_are_told_apart():
  # The other camera stands at the same place; a car 5 m away hides columns 0-1 from it, and it
  # takes columns 6-7 for sky. Our own columns 5 and 7 are sky.
  depth = np.array([5, 5, 10, 10, 10, 10, 0, 0.0])
  other = view(0.0, depth, columns(_CAR, _CAR, _WALL, _WALL, _WALL, _WALL, _SKY, _SKY))
  ours = np.tile(np.array([10, 10, 10, 10.4, 9.0, 0, 10, 0]), (4, 1))
  found = fusion.fuse(ours, pose(0.0), _INTRINSICS, [other], 0.05)
  np.testing.assert_array_equal(found, columns(0, 0, _WALL, _WALL, 0, 0, 0, _SKY))


def test_sky_is_carried_as_a_direction():
  # Turned by a right angle, the other camera sees another part of the sky; shifted, the same.
  turned = pose(0.0)
  turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
  sky = view(50.0, 0.0, _SKY)
  away = fusion.LabelledView(_INTRINSICS, turned, sky.depth, sky.word, None)
  nothing = np.zeros((4, 8))
  assert (fusion.fuse(nothing, pose(0.0), _INTRINSICS, [sky], 0.05) == _SKY).all()
  assert (fusion.fuse(nothing, pose(0.0), _INTRINSICS, [away], 0.05) == 0).all()


def test_views_of_half_the_size_vote_too():
  small = fusion.LabelledView(
    np.array([5.0, 5.0, 1.5, 0.5]),
    pose(0.0),
    np.full((2, 4), 10.0, np.float32),
    np.tile(np.uint8([_CAR, _ROAD, _WALL, _CAR]), (2, 1)),
    None,
  )
  intrinsics = np.array([10.0, 10.0, 3.5, 1.5])  # resized: (1.5 + 0.5) * 2 - 0.5
  found = fusion.fuse(np.full((4, 8), 10.0), pose(0.0), intrinsics, [small], 0.05)
  np.testing.assert_array_equal(found, columns(_CAR, _CAR, _ROAD, _ROAD, _WALL, _WALL, _CAR, _CAR))
