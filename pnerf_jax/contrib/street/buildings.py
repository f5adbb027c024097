"""Houses, apartment blocks, terraces and garages with recessed windows, doors and roofs.

Local frame: the front is in the plane y = 0 and faces -y; x runs along the street, the house
extends to y = depth; z = 0 is the ground. Metres.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import objects, solids
from pnerf_jax.contrib.street.solids import Paint

_GLASS = Paint('window', (0.04, 0.05, 0.06), (0.72, 0.71, 0.68), gloss=0.35)
_SHOP = Paint('shop', (0.05, 0.05, 0.055), (0.20, 0.20, 0.20), gloss=0.35)
_WHITE = Paint('plain', (0.72, 0.71, 0.68))
_STONE = Paint('plaster', (0.42, 0.40, 0.37), (0.3, 0.3, 0.28), 2.0)
_ROOFS = (
  Paint('tiles', (0.30, 0.11, 0.07), (0.14, 0.06, 0.04), 0.33),
  Paint('tiles', (0.20, 0.10, 0.08), (0.10, 0.06, 0.05), 0.33),
  Paint('tiles', (0.10, 0.10, 0.11), (0.05, 0.05, 0.06), 0.33),
)
_FLAT_ROOF = Paint('gravel', (0.30, 0.29, 0.28), (0.2, 0.2, 0.2), 1.0)
_SINK = 1.2  # metres that walls extend below the ground, for slopes


@dataclasses.dataclass(frozen=True)
class Style:
  """Style of a house.

  Attributes:
    wall: paint of the walls.
    plinth: paint of the lowest 0.6 m.
    floors: number of storeys.
    floor_height: metres.
    window: (width, height), metres.
    spacing: metres between window centres.
    roof: 'gable' (ridge along the street), 'front' (ridge across), 'hip' or 'flat'.
    balconies: whether the front has balconies.
    shops: whether the ground floor has shop windows.
    shutters: whether windows have shutters.
  """

  wall: Paint
  plinth: Paint
  floors: int
  floor_height: float = 2.9
  window: tuple[float, float] = (1.1, 1.4)
  spacing: float = 2.6
  roof: str = 'gable'
  balconies: bool = False
  shops: bool = False
  shutters: bool = False


def wall_paint(rng: np.random.Generator, kinds) -> Paint:
  """Sample the paint of a wall; kinds: some of 'brick', 'plaster', 'stone', 'planks'."""
  kind = str(rng.choice(list(kinds)))
  if kind == 'brick':
    base = np.array(
      ((0.34, 0.13, 0.09), (0.42, 0.20, 0.12), (0.28, 0.12, 0.10), (0.45, 0.34, 0.24))[
        rng.integers(4)
      ]
    ) * rng.uniform(0.85, 1.1)
    return Paint('brick', tuple(base), (0.45, 0.42, 0.38), 0.26)
  if kind == 'stone':
    base = np.array((0.38, 0.34, 0.28)) * rng.uniform(0.8, 1.15)
    return Paint('stone', tuple(base), (0.22, 0.20, 0.18), 0.55)
  if kind == 'planks':
    base = np.array(((0.30, 0.18, 0.10), (0.40, 0.30, 0.2), (0.16, 0.2, 0.22))[rng.integers(3)])
    return Paint('planks', tuple(base), (0.07, 0.05, 0.04), 0.16)
  base = np.array(
    (
      (0.66, 0.62, 0.52),
      (0.70, 0.69, 0.66),
      (0.60, 0.48, 0.32),
      (0.62, 0.42, 0.30),
      (0.48, 0.53, 0.50),
      (0.55, 0.58, 0.62),
      (0.66, 0.58, 0.36),
    )[rng.integers(7)]
  )
  return Paint('plaster', tuple(base * rng.uniform(0.85, 1.05)), (0.35, 0.33, 0.30), 3.0)


def _facade(
  origin, along, width: float, height: float, holes, *, bands, recess: float
) -> list[solids.Solid]:
  """Build a wall with openings.

  Args:
    origin: [3] lower left corner seen from outside.
    along: [3] unit vector to the right seen from outside.
    width: metres.
    height: metres.
    holes: [(left, right, low, high, pane paint)], not overlapping.
    bands: [(top, paint)] from below, the last one up to `height`.
    recess: depth of the panes, metres.
  """
  origin, along = np.asarray(origin, float), np.asarray(along, float)
  inward = np.cross([0.0, 0.0, 1.0], along)
  at = lambda x, z, deep=0.0: origin + x * along + np.array([0, 0, z]) + deep * inward
  patch = lambda x0, x1, z0, z1, paint, deep=0.0, unit=False: solids.quad(
    [at(x0, z0, deep), at(x1, z0, deep), at(x1, z1, deep), at(x0, z1, deep)], paint, unit
  )
  levels = sorted({-_SINK, *(top for top, _ in bands), *(z for h in holes for z in h[2:4])})
  pieces = []
  for z0, z1 in zip(levels[:-1], levels[1:]):
    middle = 0.5 * (z0 + z1)
    paint = next(p for top, p in bands if middle < top)
    x = 0.0
    for left, right, low, high, _ in sorted(holes, key=lambda h: h[0]):
      if low < middle < high:
        pieces.append(patch(x, left, z0, z1, paint))
        x = right
    pieces.append(patch(x, width, z0, z1, paint))
  for left, right, low, high, pane in holes:
    pieces.append(patch(left, right, low, high, pane, recess, unit=True))
    frame = Paint('plain', (0.50, 0.48, 0.45))
    for a, b in (
      ((left, low), (left, high)),
      ((right, low), (right, high)),
      ((left, low), (right, low)),
      ((left, high), (right, high)),
    ):
      pieces.append(solids.quad([at(*a), at(*b), at(*b, recess), at(*a, recess)], frame))
  return pieces


def _holes(rng: np.random.Generator, style: Style, width: float, front: bool) -> list:
  """Place rows of windows, and on the street front also a door and shops."""
  wide, high = style.window
  columns = max(1, int((width - 0.8) / (style.spacing if front else 1.6 * style.spacing)))
  centers = (np.arange(columns) + 0.5) * width / columns
  door = int(rng.integers(columns)) if front else -1
  door_paint = Paint(
    'door',
    ((0.20, 0.10, 0.05), (0.10, 0.18, 0.14), (0.35, 0.34, 0.32), (0.25, 0.05, 0.05))[
      rng.integers(4)
    ],
    (0.05, 0.06, 0.07),
  )
  holes = []
  for floor in range(style.floors):
    base = 0.75 + floor * style.floor_height
    for i, x in enumerate(centers):
      if floor == 0 and i == door:
        holes.append((x - 0.55, x + 0.55, 0.12, 2.35, door_paint))
      elif floor == 0 and style.shops and front:
        half = min(0.42 * width / columns, 1.9)
        holes.append((x - half, x + half, 0.55, 2.65, _SHOP))
      elif front or rng.random() < 0.75:
        holes.append((x - wide / 2, x + wide / 2, base, base + high, _GLASS))
  return holes


def _balcony(x: float, z: float, rng: np.random.Generator) -> list[solids.Solid]:
  """Build a slab with a balustrade in front of a window."""
  rail = Paint(
    'plain', ((0.15, 0.15, 0.16), (0.55, 0.55, 0.53), (0.3, 0.22, 0.15))[rng.integers(3)]
  )
  pieces = [
    solids.box((2.3, 1.1, 0.16), _STONE, (x, -0.55, z - 0.16)),
    solids.box((2.3, 0.05, 0.06), rail, (x, -1.07, z + 0.92)),
  ]
  for dx in np.arange(-1.1, 1.11, 0.2):
    pieces.append(solids.box((0.035, 0.035, 0.92), rail, (x + dx, -1.07, z)))
  for side in (-1.12, 1.12):
    pieces.append(solids.box((0.05, 1.05, 0.96), rail, (x + side, -0.55, z)))
  if rng.random() < 0.5:
    where = np.stack(
      [x + rng.uniform(-1, 1, 40), np.full(40, -1.13), z + 0.9 + rng.normal(0, 0.08, 40)], 1
    )
    pieces.append(
      solids.sheets(
        where, np.full(40, 0.16), rng, Paint('foliage', (0.3, 0.08, 0.08), (0.05, 0.1, 0.03), 0.3)
      )
    )
  return pieces


def _gable(
  width: float, depth: float, eaves: float, pitch: float, roof: Paint, *, wall: Paint
) -> list[solids.Solid]:
  """Build a roof with its ridge along x, and the wall triangles below it."""
  over, ridge = 0.45, eaves + pitch * depth / 2
  low = eaves - pitch * over
  x0, x1, y0, y1, ym = -width / 2 - 0.3, width / 2 + 0.3, -over, depth + over, depth / 2
  pieces = []
  for ya in (y0, y1):
    pieces.append(
      solids.quad([(x0, ya, low), (x1, ya, low), (x1, ym, ridge), (x0, ym, ridge)], roof)
    )
    pieces.append(
      solids.quad(
        [(x0, ya, low - 0.16), (x1, ya, low - 0.16), (x1, ya, low), (x0, ya, low)], _WHITE
      )
    )
  for x in (-width / 2, width / 2):
    pieces.append(
      solids.make([(x, 0, eaves), (x, depth, eaves), (x, ym, ridge - 0.05)], [[0, 1, 2]], wall)
    )
  return pieces


def _roof(
  rng: np.random.Generator, style: Style, width: float, depth: float, eaves: float
) -> list[solids.Solid]:
  """Build the roof with chimney and dormers."""
  roof = _ROOFS[rng.integers(3)]
  if style.roof == 'flat':
    return [
      solids.box((width, depth, 0.08), _FLAT_ROOF, (0, depth / 2, eaves - 0.1)),
      solids.box((width + 0.3, 0.35, 0.5), _STONE, (0, 0.02, eaves - 0.15)),
      solids.box((2.2, 2.5, 1.6), _STONE, (rng.uniform(-0.2, 0.2) * width, 0.6 * depth, eaves)),
    ]
  pitch = rng.uniform(0.55, 0.9)
  if style.roof == 'hip':
    ridge = eaves + 0.5 * pitch * depth
    pieces = _hip(width, depth, eaves, ridge, roof)
  elif style.roof == 'front':
    pieces = [
      solid.moved((0, depth / 2, 0), np.pi / 2)
      for solid in (
        s.moved((0, -width / 2, 0))
        for s in _gable(depth, width, eaves, pitch, roof, wall=style.wall)
      )
    ]
    ridge = eaves + pitch * width / 2
  else:
    pieces = _gable(width, depth, eaves, pitch, roof, wall=style.wall)
    ridge = eaves + pitch * depth / 2
    for x in np.arange(-width / 2 + 2.2, width / 2 - 2.0, 4.5) if rng.random() < 0.5 else ():
      y = 0.25 * depth
      pieces += _dormer((x, y, eaves + pitch * y), style.wall, roof)
  pieces.append(
    solids.box(
      (0.7, 0.6, 1.5),
      Paint('brick', (0.3, 0.13, 0.1), (0.4, 0.38, 0.35), 0.26),
      (rng.uniform(-0.3, 0.3) * width, 0.55 * depth, ridge - 0.7),
    )
  )
  return pieces


def _hip(width: float, depth: float, eaves: float, ridge: float, roof: Paint) -> list[solids.Solid]:
  """Build a hip roof up to the height of its ridge."""
  half = max(0.2, width / 2 - depth / 2)
  low, o = eaves - 0.25, 0.4
  c = [
    (-width / 2 - o, -o, low),
    (width / 2 + o, -o, low),
    (width / 2 + o, depth + o, low),
    (-width / 2 - o, depth + o, low),
    (-half, depth / 2, ridge),
    (half, depth / 2, ridge),
  ]
  return [
    solids.quad([c[0], c[1], c[5], c[4]], roof),
    solids.quad([c[2], c[3], c[4], c[5]], roof),
    solids.make([c[1], c[2], c[5]], [[0, 1, 2]], roof),
    solids.make([c[3], c[0], c[4]], [[0, 1, 2]], roof),
  ]


def _dormer(foot: tuple[float, float, float], wall: Paint, roof: Paint) -> list[solids.Solid]:
  """Build a dormer with its window at a point of the roof."""
  x, y, z = foot
  pane = [(x - 0.5, z + 0.1), (x + 0.5, z + 0.1), (x + 0.5, z + 1.0), (x - 0.5, z + 1.0)]
  return [
    solids.box((1.5, 2.4, 1.5), wall, (x, y + 0.6, z - 0.3)),
    solids.quad([(px, y - 0.61, pz) for px, pz in pane], _GLASS, unit=True),
    solids.box((1.8, 2.8, 0.12), roof, (x, y + 0.5, z + 1.2)),
  ]


def house(
  rng: np.random.Generator, width: float, depth: float, style: Style
) -> objects.SceneObject:
  """Build a house with two parts, walls and roof."""
  eaves = 0.35 + style.floors * style.floor_height
  bands = [(0.6 if not style.shops else 2.95, style.plinth), (eaves, style.wall)]
  front = _holes(rng, style, width, True)
  pieces = _facade((-width / 2, 0, 0), (1, 0, 0), width, eaves, front, bands=bands, recess=0.16)
  for x, direction in ((width / 2, (0, 1, 0)), (-width / 2, (0, -1, 0))):
    side = _holes(rng, style, depth, False)
    corner = (x, 0 if direction[1] > 0 else depth, 0)
    pieces += _facade(corner, direction, depth, eaves, side, bands=bands, recess=0.12)
  pieces += _facade((width / 2, depth, 0), (-1, 0, 0), width, eaves, [], bands=bands, recess=0.1)
  for hole in front:
    pieces += _around_hole(rng, style, width, hole)
  for z in ([2.95] if style.shops else []) + [eaves - 0.25]:
    pieces.append(solids.box((width + 0.1, 0.14, 0.2), _STONE, (0, -0.05, z)))
  roof = solids.join(*_roof(rng, style, width, depth, eaves))
  return objects.SceneObject('building', (objects.Part(solids.join(*pieces)), objects.Part(roof)))


def _around_hole(
  rng: np.random.Generator,
  style: Style,
  width: float,
  hole: tuple[float, float, float, float, Paint],
) -> list[solids.Solid]:
  """Build sill, shutters and balcony of a window, or step and canopy of a door, or an awning."""
  left, right, low, high, paint = hole
  middle = 0.5 * (left + right) - width / 2
  pieces = []
  if paint.pattern == 'window':
    pieces.append(solids.box((right - left + 0.2, 0.16, 0.07), _STONE, (middle, -0.03, low - 0.07)))
    if style.shutters:
      shutter = Paint('ribs', style.plinth.color, (0.1, 0.1, 0.1), 0.12)
      for side in (-1, 1):
        x = middle + side * (0.5 * (right - left) + 0.26)
        pieces.append(solids.box((0.45, 0.05, high - low), shutter, (x, -0.03, low)))
    if style.balconies and low > 2.5 and int(7 * middle + 3 * low) % 3 == 0:
      pieces += _balcony(middle, low - 0.7, rng)
  elif paint.pattern == 'door':
    pieces.append(solids.box((right - left + 0.5, 0.9, 0.14), _STONE, (middle, -0.4, -0.02)))
    pieces.append(solids.box((right - left + 0.6, 0.9, 0.09), _STONE, (middle, -0.42, high + 0.12)))
  elif paint.pattern == 'shop' and rng.random() < 0.5:
    colors = ((0.5, 0.06, 0.05), (0.06, 0.22, 0.14), (0.07, 0.12, 0.35))
    awning = Paint('stripes', colors[rng.integers(3)], (0.68, 0.66, 0.6), 0.4)
    x0, x1 = middle - 1.6, middle + 1.6
    corners = [(x0, -1.1, 2.35), (x1, -1.1, 2.35), (x1, 0, 2.85), (x0, 0, 2.85)]
    pieces.append(solids.quad(corners, awning))
  return pieces


def garage(rng: np.random.Generator, width: float = 3.1, depth: float = 5.8) -> objects.SceneObject:
  """Build a flat-roofed garage with a ribbed door."""
  wall = wall_paint(rng, ['plaster', 'plaster', 'brick'])
  door = Paint(
    'ribs',
    ((0.55, 0.55, 0.53), (0.16, 0.22, 0.18), (0.30, 0.17, 0.10))[rng.integers(3)],
    (0.15, 0.15, 0.15),
    0.22,
  )
  half = 0.5 * width
  pieces = _facade(
    (-half, 0, 0),
    (1, 0, 0),
    width,
    2.5,
    [(0.3, width - 0.3, 0.02, 2.12, door)],
    bands=[(2.5, wall)],
    recess=0.22,
  )
  for origin, along, size in (
    ((half, 0, 0), (0, 1, 0), depth),
    ((-half, depth, 0), (0, -1, 0), depth),
    ((half, depth, 0), (-1, 0, 0), width),
  ):
    pieces += _facade(origin, along, size, 2.5, [], bands=[(2.5, wall)], recess=0.1)
  pieces.append(solids.box((width + 0.3, depth + 0.3, 0.18), _FLAT_ROOF, (0, depth / 2, 2.42)))
  return objects.make_object('garage', *pieces)
