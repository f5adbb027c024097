"""Slow float64 references of the geometry tests, by other methods than the code under test."""

import numpy as np
import pytest

MIN_LENGTH = 1e-4  # metres; shorter intervals are left out


def _crossings(vertices, faces, origins, directions):
  """Return whether and where lines cross faces, [R, F] each, by the volumes spanned by edges."""
  corners = vertices[faces] - origins[:, None, None]  # [R, F, 3, 3]
  a, b, c = np.moveaxis(corners, 2, 0)
  sides = np.stack(
    [np.einsum('rfi,ri->rf', np.cross(*edge), directions) for edge in ((a, b), (b, c), (c, a))]
  )
  normals = np.cross(b - a, c - a)
  slope = np.einsum('rfi,ri->rf', normals, directions)
  hit = ((sides > 0).all(0) | (sides < 0).all(0)) & (slope != 0)
  t = np.einsum('rfi,rfi->rf', normals, a) / np.where(hit, slope, 1)
  return hit, t


def _slow_intervals(meshes, origins, directions, near, far):
  """Return per ray a sorted list of (primitive, enter, exit) of closed meshes (vertices, faces)."""
  origins, directions = np.asarray(origins, np.float64), np.asarray(directions, np.float64)
  found = [[] for _ in origins]
  for m, (vertices, faces) in enumerate(meshes):
    centre = vertices.mean(0)
    radius = np.linalg.norm(vertices - centre, axis=-1).max() + 0.01
    close = np.linalg.norm(np.cross(centre - origins, directions), axis=-1) < radius
    rays = np.flatnonzero(close)
    hit, t = _crossings(np.asarray(vertices, np.float64), faces, origins[rays], directions[rays])
    for ray in np.flatnonzero(hit.any(1)):
      depths = np.sort(t[ray][hit[ray]])
      assert len(depths) % 2 == 0, f'primitive {m}, ray {rays[ray]}: crosses a corner or is open'
      for enter, leave in depths.reshape(-1, 2):
        enter, leave = max(enter, near), min(leave, far)
        if leave - enter > MIN_LENGTH:
          found[rays[ray]].append((m, enter, leave))
  return [sorted(intervals) for intervals in found]


@pytest.fixture(scope='session')
def slow_intervals():
  """(meshes, origins, directions [R, 3], near, far) -> per ray [(primitive, enter, exit)]."""
  return _slow_intervals


def _as_lists(intervals):
  """Convert Intervals [..., K] to a sorted list of (primitive, enter, exit) per ray."""
  enter, leave, primitive = (
    np.asarray(x).reshape(-1, x.shape[-1])
    for x in (intervals.enter, intervals.exit, intervals.primitive)
  )
  assert np.all(enter[:, :-1] <= enter[:, 1:]), 'not sorted by entry'
  there = primitive >= 0
  assert np.all(np.isinf(enter[~there])) and np.all(np.isinf(leave[~there]))
  assert np.all(np.isfinite(enter[there])) and np.all(enter[there] < leave[there])
  return [
    sorted(zip(p[k].tolist(), e[k].tolist(), x[k].tolist()))
    for p, e, x, k in zip(primitive, enter, leave, there)
  ]


@pytest.fixture(scope='session')
def as_lists():
  """Intervals -> per ray [(primitive, enter, exit)], after checks of order and unused entries."""
  return _as_lists


def _differing(found, expected, tolerance):
  """Return the indices of the rays whose lists differ by more than tolerance (metres) in a bound.

  Intervals about as short as MIN_LENGTH may be in one list only.
  """
  rays = []
  for ray, (mine, truth) in enumerate(zip(found, expected, strict=True)):
    mine = [x for x in mine if x[2] - x[1] > MIN_LENGTH + tolerance or x in truth]
    truth_long = [x for x in truth if x[2] - x[1] > MIN_LENGTH + tolerance]
    if len(mine) != len(truth_long):
      mine, truth_long = found[ray], truth
    if [x[0] for x in mine] != [x[0] for x in truth_long] or not np.allclose(
      [x[1:] for x in mine], [x[1:] for x in truth_long], rtol=0, atol=tolerance
    ):
      rays.append(ray)
  return rays


@pytest.fixture(scope='session')
def differing():
  """(found, expected, tolerance) -> the rays whose lists of intervals differ."""
  return _differing


def box_mesh(low, high):
  """Return vertices [8, 3] and faces [12, 3] of an axis-aligned cuboid."""
  low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
  unit = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
  faces = np.array(
    [
      [0, 1, 3],
      [0, 3, 2],
      [4, 5, 7],
      [4, 7, 6],
      [0, 1, 5],
      [0, 5, 4],
      [2, 3, 7],
      [2, 7, 6],
      [0, 2, 6],
      [0, 6, 4],
      [1, 3, 7],
      [1, 7, 5],
    ]
  )
  return low + unit * (high - low), faces


@pytest.fixture(scope='session')
def box():
  """(low [3], high [3]) -> vertices [8, 3] and faces [12, 3] of an axis-aligned cuboid."""
  return box_mesh


@pytest.fixture(scope='session')
def comb():
  """teeth -> a comb along x: tooth i is x in [2 i, 2 i + 1], y in [0, 2], on a back y in [-1, 0].

  It consists of boxes; the walls between them are duplicate faces, which cancel.
  """

  def make(teeth):
    boxes = [box_mesh((i, -1, 0), (i + 1, 0, 1)) for i in range(2 * teeth - 1)]
    boxes += [box_mesh((2 * i, 0, 0), (2 * i + 1, 2, 1)) for i in range(teeth)]
    return (
      np.concatenate([v for v, _ in boxes]),
      np.concatenate([f + 8 * i for i, (_, f) in enumerate(boxes)]),
    )

  return make


@pytest.fixture(scope='session')
def pack():
  """meshes -> Primitives of class 7; annotations 1, 2, ... and no timestamp unless given."""
  from pnerf_jax.geometry import primitives

  def make(meshes, timestamp=None, annotation=None, **options):
    count = len(meshes)
    return primitives.make_primitives(
      [v for v, _ in meshes],
      [f for _, f in meshes],
      semantic=[7] * count,
      instance=[0] * count,
      annotation=annotation or list(range(1, count + 1)),
      timestamp=timestamp or [-1] * count,
      **options,
    )

  return make
