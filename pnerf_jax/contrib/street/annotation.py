"""Simulation of the human annotation: imperfect 3D primitives around the true objects.

As in the real files, primitives are 5 to 30 % too large and slightly rotated, a few are displaced
or missing, ground prisms overlap, and some meshes are inside out, mirrored or sheared. Street
coordinates in metres; `street_from_local` [4, 4] includes the scale, as in KITTI-360's XML.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import objects, solids
from pnerf_jax.data import labels

# Fractions of the primitives.
_DISPLACED = 0.08  # by up to 15 cm
_SHEARED = 0.03
_MIRRORED = 0.02
_REVERSED = 0.06
_SOMETIMES_MISSED = ('trash bin', 'smallpole', 'traffic sign', 'box', 'bicycle', 'person', 'lamp')
_MISSED_WITHIN = 40.0  # metres from the middle of the drive


# KITTI-360 is annotated window by window. Frames, relative to the first and last one of the drive,
# of its own window, of the next one (which overlaps it), and of one at another time.
WINDOWS = {'own': (-60, 140), 'next': (20, 300), 'ghost': (2840, 3040)}


@dataclasses.dataclass(frozen=True)
class Annotation:
  """One primitive of the XML.

  Attributes:
    name: class.
    instance: instanceId; 0 for stuff.
    street_from_local: [4, 4].
    vertices: [N, 3], local coordinates.
    faces: [F, 3] triangles.
    timestamp: the frame at which it is valid; -1 = static.
    window: the window in which it was annotated, a key of WINDOWS.
  """

  name: str
  instance: int
  street_from_local: np.ndarray
  vertices: np.ndarray
  faces: np.ndarray
  timestamp: int = -1
  window: str = 'own'

  def world(self) -> np.ndarray:
    """Return the vertices [N, 3] in street coordinates, metres."""
    return self.vertices @ self.street_from_local[:3, :3].T + self.street_from_local[:3, 3]


# KITTI-360's cube of 8 vertices and 12 faces.
_CUBE = 0.5 * np.array(
  [
    [1, 1, 1],
    [1, 1, -1],
    [1, -1, 1],
    [1, -1, -1],
    [-1, 1, -1],
    [-1, 1, 1],
    [-1, -1, -1],
    [-1, -1, 1],
  ]
)
_CUBE_FACES = np.array(  # vertices of a face, one digit each
  [list(map(int, face)) for face in '021 231 465 675 451 501 762 632 570 720 134 364'.split()]
)


def _unit_ellipsoid() -> tuple[np.ndarray, np.ndarray]:
  """Return KITTI-360's mesh of 63 vertices and 80 faces: 7 rings of 9 points about y."""
  polar, turn = np.meshgrid(
    np.arange(7) * np.pi / 6, np.pi - np.arange(9) * np.pi / 4, indexing='ij'
  )
  vertices = np.stack(
    [np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], -1
  ).reshape(-1, 3)
  faces = []
  for ring in range(6):
    for k in range(8):
      a, b = 9 * ring + k, 9 * (ring + 1) + k
      if ring > 0:
        faces.append((a + 1, a, b + 1) if ring < 5 else (a + 1, a, b))
      if ring < 5:
        faces.append((a if ring else a + 1, b, b + 1))
  return vertices, np.array(faces)


_BALL, _BALL_FACES = _unit_ellipsoid()


def _triangulate_strip(corners: int) -> np.ndarray:
  """Return triangles [corners - 2, 3] of a band-shaped polygon."""
  faces, low, high = [], 0, corners - 1
  while high - low >= 2:
    faces.append((low, low + 1, high))
    low += 1
    if high - low >= 2:
      faces.append((low, high - 1, high))
      high -= 1
  return np.array(faces)


def prism(top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return vertices [2 n, 3] (top first) and faces [4 n - 4, 3] of a prism between [n, 3] rings."""
  n = len(top)
  i = np.arange(n)
  j = (i + 1) % n
  cap = _triangulate_strip(n)
  sides = np.stack([np.stack([i, i + n, j], 1), np.stack([j, i + n, j + n], 1)], 1).reshape(-1, 3)
  return np.concatenate([top, bottom]), np.concatenate([cap, cap[:, ::-1] + n, sides])


def _slack(rng: np.random.Generator, size: np.ndarray, cap: float) -> np.ndarray:
  """Return the excess size [3], metres: 5 to 30 %, at least 4 cm, at most `cap`."""
  return np.clip(rng.uniform(0.05, 0.30, 3) * size, 0.04, cap)


def _cuboid(part: objects.Part, obj: objects.SceneObject, rng: np.random.Generator):
  yaw = obj.yaw + rng.normal(0, 0.008)
  turn = solids.rotation_z(yaw)
  points = _vertices_above_ground(part, obj) @ turn
  low, high = points.min(0), points.max(0)
  extra = _slack(rng, high - low, 0.8 if obj.name in ('building', 'garage') else 0.35)
  share = rng.uniform(0.3, 0.7, 3)
  share[2] = rng.uniform(0.1, 0.3)  # annotators place boxes on the ground
  low, high = low - share * extra, high + (1 - share) * extra
  matrix = np.eye(4)
  matrix[:3, :3] = turn * (high - low)
  if rng.random() < _SHEARED:
    matrix[:3, 0] += rng.uniform(-0.03, 0.03) * matrix[:3, 1]
  matrix[:3, 3] = turn @ (0.5 * (low + high))
  return matrix, _CUBE, _CUBE_FACES


def _ellipsoid(part: objects.Part, obj: objects.SceneObject, rng: np.random.Generator):
  points = _vertices_above_ground(part, obj)
  low, high = points.min(0), points.max(0)
  center, half = 0.5 * (low + high), 0.5 * (high - low)
  # The mesh lies inside its ellipsoid, which must therefore be larger than the object.
  reach = np.quantile(np.linalg.norm((points - center) / half, axis=1), 0.97)
  half = half * reach * rng.uniform(1.04, 1.12, 3)
  # Turn the poles of the mesh from the y axis to the z axis.
  stand = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
  mirror = -1.0 if rng.random() < _MIRRORED else 1.0
  matrix = np.eye(4)
  matrix[:3, :3] = stand * [half[0], half[2], mirror * half[1]]
  matrix[:3, 3] = center + rng.normal(0, 0.03, 3)
  return matrix, _BALL, _BALL_FACES


def _column(part: objects.Part, obj: objects.SceneObject, rng: np.random.Generator):
  """Fit an upright prism with six or eight corners around a trunk."""
  points = _vertices_above_ground(part, obj)
  center = 0.5 * (points.min(0) + points.max(0))
  radius = np.quantile(np.linalg.norm(points[:, :2] - center[:2], axis=1), 0.98)
  radius = radius * rng.uniform(1.10, 1.35) + 0.02
  corners = int(rng.choice([6, 8]))
  angle = 2 * np.pi * (np.arange(corners) + rng.random()) / corners
  ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(corners)], 1)
  half = 0.5 * np.ptp(points[:, 2]) + 0.03
  vertices, faces = prism(ring + [0, 0, half], ring - [0, 0, half])
  return _translation(center), vertices, faces


def _slab(part: objects.Part, rng: np.random.Generator):
  """Fit a ground prism: corners up to 22 cm outside, top up to 5 cm above the ground."""
  outline = part.outline
  assert outline is not None  # of every slab
  center = outline.mean(0)
  away = outline[:, :2] - center[:2]
  away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
  top = outline - center
  top[:, :2] += away * rng.uniform(0.04, 0.22, (len(top), 1))
  top[:, 2] += rng.uniform(0.0, 0.05) + rng.normal(0, 0.008, len(top))
  if solids.normals(top, np.array([[0, len(top) // 2 - 1, len(top) - 1]]))[0, 2] < 0:
    top = top[::-1]
  vertices, faces = prism(top, top - [0, 0, rng.uniform(0.35, 0.6)])
  if rng.random() < _REVERSED:
    faces = faces[:, ::-1]
  return _translation(center), vertices, faces


def _translation(center: np.ndarray) -> np.ndarray:
  matrix = np.eye(4)
  matrix[:3, 3] = center
  return matrix


def _vertices_above_ground(part: objects.Part, obj: objects.SceneObject) -> np.ndarray:
  """Return the vertices [n, 3] of a part, with buried ones raised to the ground."""
  points = part.solid.vertices[np.unique(part.solid.faces)]
  return np.maximum(points, [-np.inf, -np.inf, obj.ground_z - 0.05])


def annotate(
  obj: objects.SceneObject,
  instance: int,
  rng: np.random.Generator,
  timestamp: int = -1,
  window: str = 'own',
) -> list[Annotation]:
  """Return the primitives that annotate an object, one per part.

  Args:
    obj: the object.
    instance: its instanceId.
    rng: source of the annotation errors.
    timestamp: frame at which they are valid; -1 = static.
    window: a key of WINDOWS.
  """
  out = []
  shift = np.zeros(3)
  if rng.random() < _DISPLACED:
    shift[0] = rng.uniform(0.05, 0.15)
    shift = solids.rotation_z(rng.uniform(0, 2 * np.pi)) @ shift
  for part in obj.parts:
    if part.shape == 'none':
      continue
    if part.shape == 'slab':
      matrix, vertices, faces = _slab(part, rng)
    elif part.shape == 'prism' and rng.random() < 0.7:
      matrix, vertices, faces = _column(part, obj, rng)
    elif part.shape == 'ellipsoid' and rng.random() < 0.85:
      matrix, vertices, faces = _ellipsoid(part, obj, rng)
    else:
      matrix, vertices, faces = _cuboid(part, obj, rng)
    if part.shape != 'slab':
      # A displaced primitive still covers most of a thin pole.
      width = (np.ptp(vertices, axis=0) * np.linalg.norm(matrix[:3, :3], axis=0)).min()
      matrix[:3, 3] += shift * min(1.0, 0.4 * width / 0.15)
    out.append(Annotation(obj.name, instance, matrix, vertices, faces, timestamp, window))
  return out


def instance_ids(objects_: list[objects.SceneObject]) -> np.ndarray:
  """Return the instanceId [n] of every object, counted per class from 1; 0 for stuff."""
  counts: dict[str, int] = {}
  numbers = []
  for obj in objects_:
    counts[obj.name] = counts.get(obj.name, 0) + 1
    is_thing = labels.IS_THING[labels.BY_NAME[obj.name].id]
    numbers.append(counts[obj.name] if is_thing else 0)
  return np.array(numbers, np.int64)


def choose_unannotated(
  objects_: list[objects.SceneObject], center: np.ndarray, count: int, rng: np.random.Generator
) -> set[int]:
  """Return indices of `count` small objects near `center` [3] that stay without a primitive."""
  near = [
    i
    for i, obj in enumerate(objects_)
    if obj.name in _SOMETIMES_MISSED
    and np.linalg.norm(obj.parts[0].solid.vertices.mean(0) - center) < _MISSED_WITHIN
  ]
  return set(rng.permutation(near)[:count].tolist())
