"""Triangle mesh of a point cloud with known sensor positions.

A signed distance is estimated at the nodes of a grid near the points: the weighted mean of the
distances to the tangent planes of the nearest points (implicit moving least squares). Marching
cubes extract its zero level. Triangles beyond the border of the points are left out, so that
neither the gap between an object and its background nor unseen space is closed.

Letters: N points, V vertices, F triangles. Metres.

References:
  Hoppe, DeRose, Duchamp, McDonald, Stuetzle, Surface Reconstruction from Unorganized Points,
    SIGGRAPH 1992 (tangent planes).
  Kolluri, Provably Good Moving Least Squares, ACM Transactions on Algorithms 2008 (weights).
  Lewiner, Lopes, Vieira, Tavares, Efficient Implementation of Marching Cubes' Cases with
    Topological Guarantees, Journal of Graphics Tools 2003.
"""

import dataclasses
import itertools

import numpy as np
import scipy.ndimage
import trimesh
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes
from trimesh.ray import ray_pyembree

_NEIGHBOURS = 8  # of a point: those on its own scan line and on the two next to it
_SPACING = (0.15, 0.4)  # metres, least and greatest accepted distance of the neighbours
_GREATEST_GAP = 0.8  # metres; points whose neighbours are more distant have no reliable plane
_TOWARDS_SENSOR = 0.01  # fraction of the spread that a normal perpendicular to the ray costs
_TILE = 128  # nodes per horizontal side of the blocks of the grid
_CHUNK = 1 << 18  # points, nodes or triangles per call
# A triangle is kept between its nearest points: the mean of their offsets from it, divided by their
# mean distance, is 0 inside a uniform cloud and 2 / pi at its straight border.
_SUPPORT = 16
_GREATEST_ASYMMETRY = 0.6


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
  """Triangles.

  Attributes:
    vertices: [V, 3] float64.
    faces: [F, 3] int64, counter-clockwise seen from the sensor.
  """

  vertices: np.ndarray
  faces: np.ndarray

  @property
  def centres(self) -> np.ndarray:
    """Centroids of the triangles, [F, 3]."""
    return self.vertices[self.faces].mean(axis=1)


_EMPTY = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))


@dataclasses.dataclass(frozen=True, eq=False)
class _TangentPlanes:
  """Points with their tangent planes.

  Attributes:
    points: [N, 3].
    normals: [N, 3], unit length, towards the sensor.
    spacing: [N], distance within which a point supports the surface.
    tree: of the points.
  """

  points: np.ndarray
  normals: np.ndarray
  spacing: np.ndarray
  tree: cKDTree


def join(meshes: list[Mesh]) -> Mesh:
  """Return the triangles of several meshes as one mesh, in their order."""
  offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
  return Mesh(
    np.concatenate([mesh.vertices for mesh in meshes]),
    np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets)]),
  )


def visible_faces(mesh: Mesh, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
  """Return the first triangle on each ray, [N] int64, -1 for none; arguments: [N, 3]."""
  if not len(mesh.faces):
    return np.full(len(origins), -1)
  caster = ray_pyembree.RayMeshIntersector(
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
  )
  return np.asarray(caster.intersects_first(origins, directions), np.int64)


def reconstruct(points: np.ndarray, sensors: np.ndarray, cell: float) -> Mesh:
  """Reconstruct the surface that a scanner measured.

  Args:
    points: [N, 3].
    sensors: [N, 3], position of the scanner when it measured the point.
    cell: side of the cubes; objects thinner than two of them keep one side only.

  Returns:
    A mesh with boundaries; no edge is longer than the diagonal of a cube. Points that have too few
    neighbours are not part of it.
  """
  planes = _tangent_planes(np.asarray(points, np.float64), np.asarray(sensors, np.float64))
  if planes is None:
    return _EMPTY
  low = np.floor(planes.points.min(axis=0) / cell).astype(np.int64)
  size = np.floor(planes.points.max(axis=0) / cell).astype(np.int64) - low + 1
  corners = itertools.product(*(range(0, n, _TILE) for n in size[:2]))
  mesh = join([_tile(planes, low + np.array([*corner, 0]), cell) for corner in corners])
  kept = [
    _supported(planes, part)
    for part in np.split(mesh.centres, range(_CHUNK, len(mesh.faces), _CHUNK))
  ]
  return Mesh(mesh.vertices, mesh.faces[np.concatenate(kept)])


def _tangent_planes(points: np.ndarray, sensors: np.ndarray) -> _TangentPlanes | None:
  """Fit a plane to the neighbours of each point; None if too few points have near ones."""
  if len(points) < _SUPPORT:
    return None
  tree = cKDTree(points)
  normals, spacing = np.zeros_like(points), np.zeros(len(points))
  for start in range(0, len(points), _CHUNK):
    part = slice(start, start + _CHUNK)
    distance, neighbours = tree.query(points[part], _NEIGHBOURS + 1, workers=-1)
    spacing[part] = distance[:, -1]
    offset = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    covariance = np.einsum('nki,nkj->nij', offset, offset)
    ray = sensors[part] - points[part]
    ray /= np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 1e-9)
    # The neighbours on a single scan line fit many planes: the one that faces the sensor is best.
    spread = _TOWARDS_SENSOR * np.trace(covariance, axis1=1, axis2=2)[:, None, None]
    covariance += spread * (np.eye(3) - ray[:, :, None] * ray[:, None, :])
    normal = np.linalg.eigh(covariance)[1][:, :, 0]
    normals[part] = np.where(np.sum(normal * ray, 1, keepdims=True) < 0, -normal, normal)
  dense = spacing < _GREATEST_GAP
  if np.sum(dense) < _SUPPORT:
    return None
  points = points[dense]
  return _TangentPlanes(points, normals[dense], np.clip(spacing[dense], *_SPACING), cKDTree(points))


def _tile(planes: _TangentPlanes, low: np.ndarray, cell: float) -> Mesh:
  """Extract the surface in the cubes of one block, whose first node is `low` (in cells)."""
  margin = int(np.ceil(_SPACING[1] / cell))
  nodes = np.rint(planes.points / cell).astype(np.int64) - low
  inside = ((nodes[:, :2] >= -margin) & (nodes[:, :2] <= _TILE + margin)).all(axis=1)
  if not inside.any():
    return _EMPTY
  bottom = nodes[inside, 2].min() - margin
  low, nodes = low + [0, 0, bottom], nodes[inside] - [0, 0, bottom]
  shape = np.array([_TILE + 1, _TILE + 1, nodes[:, 2].max() + margin + 1])
  occupied = np.zeros(shape + [2 * margin, 2 * margin, 0], bool)
  occupied[tuple((nodes + [margin, margin, 0]).T)] = True
  near = scipy.ndimage.maximum_filter(occupied, 2 * margin + 1)[margin:-margin, margin:-margin]
  distance = np.zeros(shape, np.float32)
  wanted = np.argwhere(near)
  for start in range(0, len(wanted), _CHUNK):
    part = wanted[start : start + _CHUNK]
    distance[tuple(part.T)] = _signed_distance(planes, (low + part) * cell)
  # The cube before a node, as in marching_cubes' mask: all its corners known, and of both signs.
  crossing = scipy.ndimage.minimum_filter(near, 2, mode='constant')
  crossing &= scipy.ndimage.maximum_filter(distance, 2) > 0
  crossing &= scipy.ndimage.minimum_filter(distance, 2) <= 0
  if not crossing.any():
    return _EMPTY
  vertices, faces = marching_cubes(distance, 0.0, mask=crossing, allow_degenerate=False)[:2]
  return Mesh((low + vertices.astype(np.float64)) * cell, faces.astype(np.int64))


def _signed_distance(planes: _TangentPlanes, positions: np.ndarray) -> np.ndarray:
  """Return the distance to the surface, positive on the side of the sensor; positions: [n, 3]."""
  distance, nearest = planes.tree.query(positions, _NEIGHBOURS, workers=-1)
  # Relative to the nearest point, so that the weights do not vanish far from the surface.
  exponent = (distance**2 - distance[:, :1] ** 2) / planes.spacing[nearest[:, :1]] ** 2
  weight = np.exp(-exponent)
  height = np.sum(planes.normals[nearest] * (positions[:, None] - planes.points[nearest]), -1)
  return np.sum(weight * height, axis=1) / np.sum(weight, axis=1)


def _supported(planes: _TangentPlanes, centres: np.ndarray) -> np.ndarray:
  """Return the triangles between points and near one of them, [n] bool; centres: [n, 3]."""
  distance, nearest = planes.tree.query(centres, _SUPPORT, workers=-1)
  offset = planes.points[nearest].mean(axis=1) - centres
  asymmetry = np.linalg.norm(offset, axis=1) / np.maximum(distance.mean(axis=1), 1e-9)
  return (distance[:, 0] < planes.spacing[nearest[:, 0]]) & (asymmetry < _GREATEST_ASYMMETRY)
