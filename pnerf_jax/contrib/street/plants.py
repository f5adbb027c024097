"""Trees with trunks, branches and crowns of leaf clusters with gaps; bushes; hedges.

Local frame: z up, origin on the ground at the trunk. Metres.
"""

import numpy as np

from pnerf_jax.contrib.street import objects, solids
from pnerf_jax.contrib.street.solids import Paint

_BARK = Paint('bark', (0.16, 0.12, 0.09), (0.06, 0.045, 0.035), 0.25)
_BIRCH = Paint('bark', (0.62, 0.60, 0.56), (0.06, 0.06, 0.06), 0.5)
# Leaf greens: dark inside, light outside.
_GREENS = (
  ((0.030, 0.065, 0.020), (0.10, 0.19, 0.045)),
  ((0.035, 0.060, 0.025), (0.085, 0.15, 0.06)),
  ((0.045, 0.070, 0.020), (0.17, 0.23, 0.06)),
  ((0.060, 0.050, 0.020), (0.24, 0.19, 0.06)),
  ((0.020, 0.050, 0.028), (0.05, 0.11, 0.055)),
)


def _leaf_paints(rng: np.random.Generator, which: int | None) -> tuple[Paint, ...]:
  dark, light = _GREENS[rng.integers(len(_GREENS)) if which is None else which]
  r, g, b = (0.5 * (a + b) for a, b in zip(dark, light))
  return tuple(Paint('foliage', color, dark, 0.6) for color in (dark, (r, g, b), light))


def _clump(
  center, radii, rng: np.random.Generator, paints, leaves: int, *, leaf: float
) -> list[solids.Solid]:
  """Build an irregular dark core with light leaves around it."""
  radii = np.broadcast_to(np.asarray(radii, float), 3)
  dents = rng.uniform(0.62, 1.0, solids.ball_vertices(1))
  pieces = [solids.ball(center, 0.86 * radii, paints[0], 1, dents)]
  directions = rng.normal(size=(leaves, 3))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  where = center + directions * radii * rng.uniform(0.72, 1.05, (leaves, 1))
  size = leaf * rng.uniform(0.6, 1.4, leaves)
  # Leaves on the upper side are light, others dark.
  light = directions[:, 2] + rng.normal(0, 0.4, leaves) > 0.1
  for mask, paint in ((light, paints[2]), (~light, paints[1])):
    if mask.any():
      pieces.append(solids.sheets(where[mask], size[mask], rng, paint))
  return pieces


def _branches(rng: np.random.Generator, fork: float, clumps, bark: Paint) -> list[solids.Solid]:
  """Build thin branches from the fork to some of the leaf clusters."""
  pieces = []
  for center in clumps[:6]:
    start = np.array([0, 0, fork + rng.uniform(-0.3, 0.5)])
    middle = 0.5 * (start + center) + [0, 0, -0.2]
    pieces.append(solids.tube(start, middle, (0.09, 0.06), bark, 5, caps=False))
    pieces.append(solids.tube(middle, center, (0.06, 0.03), bark, 5, caps=False))
  return pieces


def tree(
  rng: np.random.Generator, height: float, form: str = 'round', detail: float = 1.0
) -> objects.SceneObject:
  """Build a tree (class vegetation) with two parts, trunk and crown.

  Args:
    rng: source of its shape.
    height: metres.
    form: 'round', 'column', 'cone' or 'birch'.
    detail: factor on the number of leaves; below 1 for distant trees.
  """
  if form == 'cone':
    return _conifer(rng, height, detail)
  share, wide = {'round': (0.62, 0.34), 'column': (0.80, 0.15), 'birch': (0.70, 0.24)}[form]
  crown_height = share * height * rng.uniform(0.92, 1.06)
  radii = np.array([wide * height * rng.uniform(0.9, 1.1)] * 2 + [crown_height / 2])
  middle = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), height - crown_height / 2])
  bark = _BIRCH if form == 'birch' else _BARK
  paints = _leaf_paints(rng, 2 if form == 'birch' else None)
  count = int(round((11 + 1.1 * height) * (1 if form != 'column' else 0.9)))
  directions = rng.normal(size=(count, 3))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  reach = rng.uniform(0.35, 0.74, (count, 1))
  centers = middle + directions * radii * reach
  size = float(np.cbrt(np.prod(radii))) * (0.40 if form != 'column' else 0.46)
  leaves = int((52 if form != 'birch' else 80) * detail)
  crown = []
  for center in centers:
    lump = size * rng.uniform(0.7, 1.15) * np.array([1.0, 1.0, 0.8 if form != 'column' else 1.3])
    crown += _clump(center, lump, rng, paints, leaves, leaf=0.16 + 0.07 * size)
  fork = height - crown_height
  girth = 0.018 * height + 0.05
  trunk = [
    solids.tube((0, 0, -0.3), (0, 0, fork + 0.25 * crown_height), (girth, 0.7 * girth), bark, 9),
    solids.tube((0, 0, -0.3), (0, 0, 0.35), (1.5 * girth, girth), bark, 9),
  ]
  crown += _branches(rng, fork, centers[np.argsort(centers[:, 2])], bark)
  return objects.SceneObject(
    'vegetation',
    (objects.Part(solids.join(*trunk), 'prism'), objects.Part(solids.join(*crown), 'ellipsoid')),
  )


def _conifer(rng: np.random.Generator, height: float, detail: float) -> objects.SceneObject:
  paints = _leaf_paints(rng, 4)
  crown = []
  for z in np.arange(0.12, 0.97, 0.09):
    radius = 0.19 * height * (1.02 - z)
    count = max(2, int(6 * (1.1 - z)))
    for a in rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count:
      center = np.array([0.6 * radius * np.cos(a), 0.6 * radius * np.sin(a), z * height])
      crown += _clump(
        center,
        (0.62 * radius + 0.1, 0.62 * radius + 0.1, 0.055 * height),
        rng,
        paints,
        int(26 * detail),
        leaf=0.26,
      )
  trunk = solids.tube((0, 0, -0.3), (0, 0, 0.95 * height), (0.016 * height + 0.04, 0.03), _BARK, 8)
  return objects.SceneObject(
    'vegetation', (objects.Part(trunk, 'prism'), objects.Part(solids.join(*crown), 'ellipsoid'))
  )


def bush(rng: np.random.Generator, height: float) -> objects.SceneObject:
  """Build a bush about as wide as high, sometimes in flower."""
  paints = _leaf_paints(rng, None)
  pieces = []
  for _ in range(5):
    at = np.array([*rng.uniform(-0.30, 0.30, 2), rng.uniform(0.30, 0.62)]) * height
    pieces += _clump(
      at, height * rng.uniform(0.26, 0.38), rng, paints, 34, leaf=0.13 + 0.05 * height
    )
  if rng.random() < 0.3:
    flowers = Paint(
      'plain', ((0.6, 0.15, 0.25), (0.65, 0.6, 0.2), (0.6, 0.58, 0.6))[rng.integers(3)]
    )
    where = rng.normal(0, 0.25, (40, 3)) * height + [0, 0, 0.62 * height]
    pieces.append(solids.sheets(where, np.full(40, 0.10), rng, flowers))
  return objects.make_object('vegetation', *pieces, shape='ellipsoid')


def hedge(
  rng: np.random.Generator, length: float, height: float, depth: float = 0.7
) -> objects.SceneObject:
  """Build a clipped hedge along x."""
  paints = _leaf_paints(rng, int(rng.integers(3)))
  stations = np.linspace(-length / 2, length / 2, max(3, int(length / 0.45)))
  half = depth / 2
  outline = np.array(
    [
      (-0.9 * half, -0.3),
      (-half, 0.35 * height),
      (-0.95 * half, 0.8 * height),
      (-0.6 * half, height),
      (0.6 * half, height),
      (0.95 * half, 0.8 * height),
      (half, 0.35 * height),
      (0.9 * half, -0.3),
    ]
  )
  sections = []
  for x in stations:
    bumps = outline * (1 + rng.normal(0, 0.035, outline.shape))
    sections.append(np.concatenate([np.full((8, 1), x), bumps], 1))
  pieces = [solids.loft(sections, paints[0])]
  count = int(95 * length * (height + 0.5 * depth))
  along = rng.uniform(-length / 2, length / 2, count)
  place = rng.uniform(0, 2 * height + depth, count)
  y = np.where(place < height, -half, np.where(place < height + depth, place - height - half, half))
  z = np.where(
    place < height, place, np.where(place < height + depth, height, 2 * height + depth - place)
  )
  where = np.stack([along, y, z], 1) + rng.normal(0, 0.045, (count, 3))
  where[:, 2] = np.maximum(where[:, 2], 0.04)
  for i, paint in enumerate(paints[1:]):
    pieces.append(solids.sheets(where[i::2], rng.uniform(0.09, 0.22, len(where[i::2])), rng, paint))
  return objects.make_object('vegetation', *pieces)
