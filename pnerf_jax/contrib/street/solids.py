"""Painted triangle meshes, the geometry of a synthetic street.

Letters: `N` vertices, `F` triangles. Metres. Local frames: x forward (a car's length), y left,
z up. Texture coordinates of a triangle are an affine map of the point in the frame in which the
solid was made, `uv = map @ (x, y, z, 1)`, and move with the object. Meshes need not be closed; both
sides are visible.
"""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Paint:
  """Appearance of a triangle.

  Attributes:
    pattern: name of a function of textures.PATTERNS.
    color: linear RGB albedo in [0, 1].
    accent: second colour of the pattern (mortar, joints, curtain, ...).
    size: metres of one repeat (brick length, plank width); patterns on 0..1 ignore it.
    gloss: weight of the mirrored sky, in [0, 1].
  """

  pattern: str
  color: tuple[float, float, float]
  accent: tuple[float, float, float] = (0.5, 0.5, 0.5)
  size: float = 1.0
  gloss: float = 0.0


@dataclasses.dataclass(frozen=True)
class Solid:
  """Painted triangles.

  Attributes:
    vertices: [N, 3] float64, metres.
    faces: [F, 3] int64.
    paints: the distinct paints.
    paint: [F] int64, index into `paints`.
    uv_map: [F, 2, 4] float64, texture coordinates (metres, or 0..1 on panes) from local points.
  """

  vertices: np.ndarray
  faces: np.ndarray
  paints: tuple[Paint, ...]
  paint: np.ndarray
  uv_map: np.ndarray

  def moved(self, translation=(0.0, 0.0, 0.0), yaw: float = 0.0) -> 'Solid':
    """Return the solid, with its texture, turned by `yaw` radians about z, then translated."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_z(yaw)
    matrix[:3, 3] = translation
    vertices = self.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return dataclasses.replace(self, vertices=vertices, uv_map=self.uv_map @ np.linalg.inv(matrix))


def rotation_z(yaw: float) -> np.ndarray:
  """Return the rotation [3, 3] by `yaw` radians about the z axis."""
  c, s = np.cos(yaw), np.sin(yaw)
  return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Return the cross product [n, 3]; ten times as fast as numpy's for a few triangles."""
  ax, ay, az = a.T
  bx, by, bz = b.T
  return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Return unit normals [F, 3]; zero for triangles without area."""
  a, b, c = (vertices[faces[:, i]] for i in range(3))
  cross = _cross(b - a, c - a)
  return cross / np.maximum(np.sqrt((cross**2).sum(1, keepdims=True)), 1e-20)


def _frames(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Return texture maps [F, 2, 4]: u runs horizontally on the face, v up the slope."""
  normal = normals(vertices, faces)
  flat = np.abs(normal[:, 2]) > 0.95
  u = np.zeros_like(normal)
  u[:, 0], u[:, 1] = -normal[:, 1], normal[:, 0]
  u[flat] = [1.0, 0.0, 0.0]
  u /= np.maximum(np.sqrt((u**2).sum(1, keepdims=True)), 1e-20)
  v = _cross(normal, u)
  v *= np.where(flat, np.sign(v[:, 1]), np.sign(v[:, 2]))[:, None]
  frames = np.zeros((len(faces), 2, 4))
  frames[:, 0, :3], frames[:, 1, :3] = u, v
  return frames


def make(vertices, faces, paint: Paint) -> Solid:
  """Return a solid of vertices [N, 3] and triangles [F, 3] with one paint."""
  vertices = np.asarray(vertices, float)
  faces = np.asarray(faces, np.int64)
  return Solid(vertices, faces, (paint,), np.zeros(len(faces), np.int64), _frames(vertices, faces))


def join(*solids: Solid) -> Solid:
  """Return one solid with the triangles of all; equal paints are merged."""
  table: dict[Paint, int] = {}
  paint, faces, offset = [], [], 0
  for solid in solids:
    rows = np.array([table.setdefault(p, len(table)) for p in solid.paints], np.int64)
    paint.append(rows[solid.paint])
    faces.append(solid.faces + offset)
    offset += len(solid.vertices)
  return Solid(
    np.concatenate([s.vertices for s in solids]),
    np.concatenate(faces),
    tuple(table),
    np.concatenate(paint),
    np.concatenate([s.uv_map for s in solids]),
  )


def quad(corners, paint: Paint, unit: bool = False) -> Solid:
  """Return a quadrilateral.

  Args:
    corners: [4, 3] metres, in order; for `unit` from the lower left to the lower right.
    paint: its paint.
    unit: whether texture coordinates run from 0 to 1 (windows, doors, signs).
  """
  corners = np.asarray(corners, float)
  solid = make(corners, [[0, 1, 2], [0, 2, 3]], paint)
  if not unit:
    return solid
  rows = []
  for edge in (corners[1] - corners[0], corners[3] - corners[0]):
    scaled = edge / max(edge @ edge, 1e-12)
    rows.append(np.append(scaled, -scaled @ corners[0]))
  return dataclasses.replace(solid, uv_map=np.broadcast_to(np.array(rows), (2, 2, 4)).copy())


_BOX_FACES = ((0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6), (4, 5, 7, 6), (0, 2, 3, 1))


def _split(quads) -> np.ndarray:
  """Return the triangles [2 n, 3] of quadrilaterals [n, 4]."""
  quads = np.asarray(quads)
  return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def box(size, paint: Paint, base=(0.0, 0.0, 0.0), yaw: float = 0.0) -> Solid:
  """Return a box of `size` (x, y, z) metres with the centre of its bottom at `base`."""
  signs = np.array([[x, y, z] for z in (0.0, 1.0) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
  # Vertices 0..3 are the bottom, 4..7 the top; x runs fastest.
  solid = make(signs * np.asarray(size, float), _split(_BOX_FACES), paint)
  return solid.moved(base, yaw)


def _around(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return two unit vectors that span the plane perpendicular to `axis`."""
  helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
  first = np.cross(helper, axis)
  first /= np.linalg.norm(first)
  return first, np.cross(axis, first)


def tube(start, end, radius, paint: Paint, sides: int = 8, *, caps: bool = True) -> Solid:
  """Return a cylinder or cone frustum; `radius` is a number or (start, end), metres."""
  start, end = np.asarray(start, float), np.asarray(end, float)
  first, second = _around((end - start) / np.linalg.norm(end - start))
  angle = np.arange(sides) * (2 * np.pi / sides)
  ring = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
  radii = np.broadcast_to(np.asarray(radius, float), 2)
  vertices = np.concatenate([start + radii[0] * ring, end + radii[1] * ring, [start], [end]])
  i = np.arange(sides)
  j = (i + 1) % sides
  faces = [np.stack([i, j, j + sides], 1), np.stack([i, j + sides, i + sides], 1)]
  if caps:
    faces += [
      np.stack([j, i, np.full(sides, 2 * sides)], 1),
      np.stack([i + sides, j + sides, np.full(sides, 2 * sides + 1)], 1),
    ]
  return make(vertices, np.concatenate(faces), paint)


def path(points, radius: float, paint: Paint, sides: int = 5) -> Solid:
  """Return tubes along a polyline [n, 3]."""
  points = np.asarray(points, float)
  return join(
    *(tube(a, b, radius, paint, sides, caps=False) for a, b in zip(points[:-1], points[1:]))
  )


def ring(center, axis, radius: float, thickness: float, paint: Paint, *, sides: int = 16) -> Solid:
  """Return a torus of square section, e.g. a bicycle's tyre; `axis` is its axle."""
  axis = np.asarray(axis, float) / np.linalg.norm(axis)
  first, second = _around(axis)
  angle = np.arange(sides) * (2 * np.pi / sides)
  out = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
  half = thickness / 2
  section = [(radius + half, 0.0), (radius, half), (radius - half, 0.0), (radius, -half)]
  vertices = np.concatenate([np.asarray(center) + r * out + h * axis for r, h in section])
  i = np.arange(sides)
  j = (i + 1) % sides
  quads = [
    np.stack([i + a * sides, j + a * sides, j + b * sides, i + b * sides], 1)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))
  ]
  return make(vertices, _split(np.concatenate(quads)), paint)


@functools.lru_cache
def _icosphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
  """Return a unit sphere of 20 * 4**subdivisions triangles."""
  g = (1 + 5**0.5) / 2
  vertices = np.array(
    [
      (-1, g, 0),
      (1, g, 0),
      (-1, -g, 0),
      (1, -g, 0),
      (0, -1, g),
      (0, 1, g),
      (0, -1, -g),
      (0, 1, -g),
      (g, 0, -1),
      (g, 0, 1),
      (-g, 0, -1),
      (-g, 0, 1),
    ],
    float,
  )
  faces = np.array(
    [
      (0, 11, 5),
      (0, 5, 1),
      (0, 1, 7),
      (0, 7, 10),
      (0, 10, 11),
      (1, 5, 9),
      (5, 11, 4),
      (11, 10, 2),
      (10, 7, 6),
      (7, 1, 8),
      (3, 9, 4),
      (3, 4, 2),
      (3, 2, 6),
      (3, 6, 8),
      (3, 8, 9),
      (4, 9, 5),
      (2, 4, 11),
      (6, 2, 10),
      (8, 6, 7),
      (9, 8, 1),
    ]
  )
  for _ in range(subdivisions):
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = vertices[unique].mean(1)
    a, b, c = inverse.reshape(3, -1) + len(vertices)
    vertices = np.concatenate([vertices, middle])
    faces = np.concatenate(
      [
        np.stack([faces[:, 0], a, c], 1),
        np.stack([faces[:, 1], b, a], 1),
        np.stack([faces[:, 2], c, b], 1),
        np.stack([a, b, c], 1),
      ]
    )
  return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def ball(
  center,
  radii,
  paint: Paint,
  subdivisions: int = 1,
  dents: np.ndarray | None = None,
) -> Solid:
  """Return an ellipsoid.

  Args:
    center: [3] metres.
    radii: half axes, metres; a number or three.
    paint: its paint.
    subdivisions: determines the 20 * 4**subdivisions triangles.
    dents: [ball_vertices] factors on the radius, for irregular shapes.
  """
  vertices, faces = _icosphere(subdivisions)
  if dents is not None:
    vertices = vertices * dents[:, None]
  return make(vertices * np.asarray(radii, float) + np.asarray(center, float), faces, paint)


def ball_vertices(subdivisions: int) -> int:
  """Return the number of vertices of `ball`."""
  return len(_icosphere(subdivisions)[0])


def extrude(outline, width: float, paint: Paint, base=(0.0, 0.0, 0.0)) -> Solid:
  """Return a prism of a convex outline [n, 2] in the (x, z) plane, `width` metres along y."""
  outline = np.asarray(outline, float)
  n = len(outline)
  left = np.stack([outline[:, 0], np.full(n, width / 2), outline[:, 1]], 1)
  right = left * [1.0, -1.0, 1.0]
  i = np.arange(n)
  j = (i + 1) % n
  fan = np.array([[0, k, k + 1] for k in range(1, n - 1)])
  faces = [fan, fan[:, ::-1] + n, _split(np.stack([i, i + n, j + n, j], 1))]
  return make(np.concatenate([left, right]), np.concatenate(faces), paint).moved(base)


def loft(sections, paint: Paint, closed_ends: bool = True) -> Solid:
  """Return the surface through cross-sections [S, n, 3]."""
  sections = np.asarray(sections, float)
  count, n = sections.shape[:2]
  i = np.arange(n)
  j = (i + 1) % n
  quads = [
    np.stack([i + s * n, j + s * n, j + (s + 1) * n, i + (s + 1) * n], 1) for s in range(count - 1)
  ]
  faces = [_split(np.concatenate(quads))]
  if closed_ends:
    fan = np.array([[0, k, k + 1] for k in range(1, n - 1)])
    faces += [fan[:, ::-1], fan + (count - 1) * n]
  return make(sections.reshape(-1, 3), np.concatenate(faces), paint)


def grid(points: np.ndarray, paint: Paint) -> Solid:
  """Return the surface through a lattice of points [A, B, 3]."""
  rows, columns = points.shape[:2]
  index = np.arange(rows * columns).reshape(rows, columns)
  quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1)
  return make(points.reshape(-1, 3), _split(quads.reshape(-1, 4)), paint)


def sheets(centers: np.ndarray, sizes: np.ndarray, rng: np.random.Generator, paint: Paint) -> Solid:
  """Return leaf clusters: one randomly oriented quadrilateral per centre.

  Args:
    centers: [n, 3] metres.
    sizes: [n] edge lengths, metres.
    rng: source of the orientations.
    paint: their paint.
  """
  n = len(centers)
  first = rng.normal(size=(n, 3))
  first /= np.linalg.norm(first, axis=1, keepdims=True)
  second = np.cross(first, rng.normal(size=(n, 3)))
  second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-9)
  a, b = first * sizes[:, None] / 2, second * sizes[:, None] / 2
  # Irregular kites, so that silhouettes differ.
  corners = np.stack([-a - 0.3 * b, 0.2 * a - b, a + 0.2 * b, 0.1 * a + b], 1)
  corners = corners + np.asarray(centers)[:, None]
  return make(corners.reshape(-1, 3), _split(np.arange(4 * n).reshape(n, 4)), paint)
