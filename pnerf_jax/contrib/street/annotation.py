"""What a person makes of the street: 3D primitives around the true things, imperfect as people are.

Slack of 5 to 30 %, small turns, a few primitives displaced or missing, flat prisms that overlap,
some meshes inside out, mirrored or sheared, as in the real files. Letters: street coordinates in
metres; `street_from_local` [4, 4] holds the scale, as in KITTI-360's XML.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import solids, things
from pnerf_jax.data import labels

_DISPLACED = 0.08  # share of primitives that sit up to 15 cm off
_SHEARED = 0.03
_MIRRORED = 0.02
_REVERSED = 0.06
_MISSABLE = ('trash bin', 'smallpole', 'traffic sign', 'box', 'bicycle', 'person', 'lamp')
_MISSING_REACH = 40.0  # metres from the middle of the drive within which things go missing


# Frames, relative to the drive's first and last, of the windows that people annotate one by one:
# that of the drive, the following one (which overlaps it), and one of another pass.
WINDOWS = {'own': (-60, 140), 'next': (20, 300), 'ghost': (2840, 3040)}


@dataclasses.dataclass(frozen=True)
class Annotation:
  """One primitive of the XML.

  Attributes:
    name: class.
    instance: instanceId; 0 for stuff.
    street_from_local: [4, 4].
    vertices: [N, 3] local; faces: [F, 3].
    timestamp: -1 or the frame at which it holds.
    window: which stretch of the drive it was annotated in, a key of WINDOWS.
  """

  name: str
  instance: int
  street_from_local: np.ndarray
  vertices: np.ndarray
  faces: np.ndarray
  timestamp: int = -1
  window: str = 'own'

  def world(self) -> np.ndarray:
    """[N, 3] vertices in street coordinates."""
    return self.vertices @ self.street_from_local[:3, :3].T + self.street_from_local[:3, 3]


_CUBE = 0.5 * np.array(
  [
    (1, 1, 1),
    (1, 1, -1),
    (1, -1, 1),
    (1, -1, -1),
    (-1, 1, -1),
    (-1, 1, 1),
    (-1, -1, -1),
    (-1, -1, 1),
  ],
  float,
)
_CUBE_FACES = np.reshape(
  [
    0,
    2,
    1,
    2,
    3,
    1,
    4,
    6,
    5,
    6,
    7,
    5,
    4,
    5,
    1,
    5,
    0,
    1,
    7,
    6,
    2,
    6,
    3,
    2,
    5,
    7,
    0,
    7,
    2,
    0,
    1,
    3,
    4,
    3,
    6,
    4,
  ],
  (12, 3),
)


def _unit_ellipsoid() -> tuple[np.ndarray, np.ndarray]:
  """KITTI-360's 63 x 80 mesh: 7 rings of 9 points about y, poles and seam repeated."""
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


def _ladder(corners: int) -> np.ndarray:
  """[corners - 2, 3] triangles of a polygon whose two long sides face each other."""
  faces, low, high = [], 0, corners - 1
  while high - low >= 2:
    faces.append((low, low + 1, high))
    low += 1
    if high - low >= 2:
      faces.append((low, high - 1, high))
      high -= 1
  return np.array(faces)


def prism(top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """[2 n, 3] vertices (upper ring first) and [4 n - 4, 3] faces of an extruded polygon [n, 3]."""
  n = len(top)
  i = np.arange(n)
  j = (i + 1) % n
  cap = _ladder(n)
  sides = np.stack([np.stack([i, i + n, j], 1), np.stack([j, i + n, j + n], 1)], 1).reshape(-1, 3)
  return np.concatenate([top, bottom]), np.concatenate([cap, cap[:, ::-1] + n, sides])


def _slack(rng: np.random.Generator, size: np.ndarray, cap: float) -> np.ndarray:
  """Extra metres in every direction: 5 to 30 %, at least 4 cm, at most `cap`."""
  return np.clip(rng.uniform(0.05, 0.30, 3) * size, 0.04, cap)


def _cuboid(part: things.Part, thing: things.Thing, rng: np.random.Generator):
  yaw = thing.yaw + rng.normal(0, 0.008)
  turn = solids.rotation_z(yaw)
  points = _visible(part, thing) @ turn
  low, high = points.min(0), points.max(0)
  extra = _slack(rng, high - low, 0.8 if thing.name in ('building', 'garage') else 0.35)
  share = rng.uniform(0.3, 0.7, 3)
  share[2] = rng.uniform(0.1, 0.3)  # people set boxes on the ground; the slack is above
  low, high = low - share * extra, high + (1 - share) * extra
  matrix = np.eye(4)
  matrix[:3, :3] = turn * (high - low)
  if rng.random() < _SHEARED:
    matrix[:3, 0] += rng.uniform(-0.03, 0.03) * matrix[:3, 1]
  matrix[:3, 3] = turn @ (0.5 * (low + high))
  return matrix, _CUBE, _CUBE_FACES


def _ellipsoid(part: things.Part, thing: things.Thing, rng: np.random.Generator):
  points = _visible(part, thing)
  low, high = points.min(0), points.max(0)
  center, half = 0.5 * (low + high), 0.5 * (high - low)
  # The mesh cuts the corners of its own ellipsoid, hence the wider fit.
  reach = np.quantile(np.linalg.norm((points - center) / half, axis=1), 0.97)
  half = half * reach * rng.uniform(1.04, 1.12, 3)
  # The mesh's poles lie on its y axis: it is stood up.
  stand = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
  mirror = -1.0 if rng.random() < _MIRRORED else 1.0
  matrix = np.eye(4)
  matrix[:3, :3] = stand * [half[0], half[2], mirror * half[1]]
  matrix[:3, 3] = center + rng.normal(0, 0.03, 3)
  return matrix, _BALL, _BALL_FACES


def _column(part: things.Part, thing: things.Thing, rng: np.random.Generator):
  """An upright prism of six or eight corners around a trunk."""
  points = _visible(part, thing)
  center = 0.5 * (points.min(0) + points.max(0))
  radius = np.quantile(np.linalg.norm(points[:, :2] - center[:2], axis=1), 0.98)
  radius = radius * rng.uniform(1.10, 1.35) + 0.02
  corners = int(rng.choice([6, 8]))
  angle = 2 * np.pi * (np.arange(corners) + rng.random()) / corners
  ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(corners)], 1)
  half = 0.5 * np.ptp(points[:, 2]) + 0.03
  vertices, faces = prism(ring + [0, 0, half], ring - [0, 0, half])
  return _at(center), vertices, faces


def _slab(part: things.Part, rng: np.random.Generator):
  """A ground prism: corners off by up to 25 cm outwards, top up to 5 cm above the ground."""
  outline = part.outline
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
  return _at(center), vertices, faces


def _at(center: np.ndarray) -> np.ndarray:
  matrix = np.eye(4)
  matrix[:3, 3] = center
  return matrix


def _visible(part: things.Part, thing: things.Thing) -> np.ndarray:
  """[n, 3] vertices of a part; buried ones are lifted to the ground."""
  points = part.solid.vertices[np.unique(part.solid.faces)]
  return np.maximum(points, [-np.inf, -np.inf, thing.foot - 0.05])


def enclose(
  thing: things.Thing,
  instance: int,
  rng: np.random.Generator,
  timestamp: int = -1,
  window: str = 'own',
) -> list[Annotation]:
  """The primitives a person draws around a thing, one a part."""
  out = []
  shift = np.zeros(3)
  if rng.random() < _DISPLACED:
    shift[0] = rng.uniform(0.05, 0.15)
    shift = solids.rotation_z(rng.uniform(0, 2 * np.pi)) @ shift
  for part in thing.parts:
    if part.shape == 'none':
      continue
    if part.shape == 'slab':
      matrix, vertices, faces = _slab(part, rng)
    elif part.shape == 'prism' and rng.random() < 0.7:
      matrix, vertices, faces = _column(part, thing, rng)
    elif part.shape == 'ellipsoid' and rng.random() < 0.85:
      matrix, vertices, faces = _ellipsoid(part, thing, rng)
    else:
      matrix, vertices, faces = _cuboid(part, thing, rng)
    if part.shape != 'slab':
      # A thin pole is not missed altogether.
      width = (np.ptp(vertices, axis=0) * np.linalg.norm(matrix[:3, :3], axis=0)).min()
      matrix[:3, 3] += shift * min(1.0, 0.4 * width / 0.15)
    out.append(Annotation(thing.name, instance, matrix, vertices, faces, timestamp, window))
  return out


def number(all_things: list[things.Thing]) -> np.ndarray:
  """[n] instanceId of every thing, counted per class from 1; 0 for stuff."""
  counts: dict[str, int] = {}
  numbers = []
  for thing in all_things:
    counts[thing.name] = counts.get(thing.name, 0) + 1
    is_thing = labels.IS_THING[labels.BY_NAME[thing.name].id]
    numbers.append(counts[thing.name] if is_thing else 0)
  return np.array(numbers, np.int64)


def forgotten(
  all_things: list[things.Thing], center: np.ndarray, count: int, rng: np.random.Generator
) -> set[int]:
  """Indices of `count` small things near `center` [3] that nobody annotated."""
  near = [
    i
    for i, thing in enumerate(all_things)
    if thing.name in _MISSABLE
    and np.linalg.norm(thing.parts[0].solid.vertices.mean(0) - center) < _MISSING_REACH
  ]
  return set(rng.permutation(near)[:count].tolist())
