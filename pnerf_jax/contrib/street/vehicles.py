"""Cars, trucks, buses, trailers, caravans and motorcycles: bodies, cabins, windows, wheels.

Local frame: x forward, y left, z up, origin on the ground under the middle. Metres.
"""

import numpy as np

from pnerf_jax.contrib.street import objects, solids
from pnerf_jax.contrib.street.solids import Paint

_TYRE = Paint('plain', (0.02, 0.02, 0.022))
_RIM = Paint('plain', (0.42, 0.43, 0.45), gloss=0.2)
_GLASS = Paint('glass', (0.025, 0.03, 0.035), gloss=0.30)
_DARK = Paint('plain', (0.015, 0.015, 0.016))
_LAMP = Paint('plain', (0.75, 0.78, 0.8), gloss=0.3)
_TAIL = Paint('plain', (0.45, 0.02, 0.02), gloss=0.2)
_PLATE = Paint('sign', (0.75, 0.75, 0.7), (0.1, 0.1, 0.12))
_GREY = Paint('plain', (0.16, 0.17, 0.18))

BODY_COLORS = (
  (0.55, 0.56, 0.58),
  (0.06, 0.07, 0.08),
  (0.32, 0.33, 0.36),
  (0.42, 0.03, 0.03),
  (0.05, 0.10, 0.28),
  (0.75, 0.75, 0.73),
  (0.10, 0.20, 0.14),
  (0.38, 0.33, 0.24),
  (0.55, 0.42, 0.05),
  (0.16, 0.05, 0.08),
  (0.18, 0.30, 0.42),
)

# Cross-sections of the body: x / length, bottom, top (metres), half width / largest half width.
_BODIES = {
  'sedan': (
    (-0.50, 0.40, 0.80, 0.80),
    (-0.47, 0.26, 0.92, 0.93),
    (-0.30, 0.20, 0.97, 1.0),
    (0.0, 0.20, 0.95, 1.0),
    (0.22, 0.20, 0.93, 1.0),
    (0.40, 0.20, 0.82, 0.97),
    (0.475, 0.24, 0.73, 0.90),
    (0.50, 0.34, 0.60, 0.76),
  ),
  'hatch': (
    (-0.50, 0.38, 0.88, 0.86),
    (-0.48, 0.25, 0.98, 0.95),
    (-0.30, 0.20, 0.98, 1.0),
    (0.0, 0.20, 0.96, 1.0),
    (0.24, 0.20, 0.95, 1.0),
    (0.41, 0.20, 0.84, 0.96),
    (0.48, 0.24, 0.73, 0.88),
    (0.50, 0.36, 0.60, 0.74),
  ),
  'van': (
    (-0.50, 0.34, 1.0, 0.92),
    (-0.49, 0.26, 1.05, 0.97),
    (-0.30, 0.22, 1.08, 1.0),
    (0.0, 0.22, 1.08, 1.0),
    (0.30, 0.22, 1.05, 1.0),
    (0.43, 0.22, 0.95, 0.97),
    (0.49, 0.27, 0.80, 0.90),
    (0.50, 0.40, 0.66, 0.80),
  ),
}
# Cabin outline: x / length and z of its rear bottom, rear top, front top and front bottom.
_CABINS = {
  'sedan': ((-0.40, 0.95), (-0.23, 1.40), (0.04, 1.44), (0.25, 0.93)),
  'hatch': ((-0.49, 0.97), (-0.40, 1.44), (0.02, 1.49), (0.24, 0.94)),
  'wagon': ((-0.49, 0.95), (-0.43, 1.43), (0.03, 1.47), (0.24, 0.94)),
  'van': ((-0.495, 1.04), (-0.47, 1.92), (0.20, 1.94), (0.40, 0.98)),
}


def _pane(
  corners: np.ndarray,
  left: float,
  right: float,
  low: float,
  high: float,
  *,
  paint: Paint,
  lift: float = 0.012,
) -> solids.Solid:
  """Build a pane above the bilinear patch of four corners (as in solids.quad)."""
  a, b, c, d = corners
  at = lambda u, v: (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)
  points = np.array([at(left, low), at(right, low), at(right, high), at(left, high)])
  normal = np.cross(points[1] - points[0], points[3] - points[0])
  return solids.quad(points + lift * normal / np.linalg.norm(normal), paint)


def _wheel(x: float, y: float, radius: float, width: float = 0.21) -> solids.Solid:
  """Build a tyre with its rim on the outside."""
  out = np.sign(y)
  tyre = solids.tube(
    (x, y - width / 2 * out, radius), (x, y + width / 2 * out, radius), radius, _TYRE, 14
  )
  rim = solids.tube(
    (x, y, radius), (x, y + (width / 2 + 0.012) * out, radius), 0.62 * radius, _RIM, 8
  )
  nut = solids.tube(
    (x, y, radius), (x, y + (width / 2 + 0.02) * out, radius), 0.2 * radius, _DARK, 6
  )
  return solids.join(tyre, rim, nut)


def _cabin(kind: str, length: float, half: float, body: Paint) -> list[solids.Solid]:
  """Build roof and pillars in body colour, with glass on every side."""
  outline = [(x * length, z) for x, z in _CABINS[kind]]
  (x0, z0), (x1, z1), (x2, z2), (x3, z3) = outline
  low, top = 0.88 * half, 0.70 * half
  belt = min(z0, z3)
  section = lambda x, z, w: np.array([[x, low, belt], [x, w, z], [x, -w, z], [x, -low, belt]])
  pieces = [
    solids.loft(
      [section(x0, z0, low), section(x1, z1, top), section(x2, z2, top), section(x3, z3, low)], body
    )
  ]
  front = np.array([[x3, -low, z3], [x3, low, z3], [x2, top, z2], [x2, -top, z2]])
  rear = np.array([[x0, low, z0], [x0, -low, z0], [x1, -top, z1], [x1, top, z1]])
  pieces += [
    _pane(front, 0.07, 0.93, 0.06, 0.92, paint=_GLASS),
    _pane(rear, 0.08, 0.92, 0.15, 0.90, paint=_GLASS),
  ]
  for side in (1.0, -1.0):
    # On the left side corners start at the lower rear, so that the normal points outwards.
    patch = np.array(
      [[x0, side * low, z0], [x3, side * low, z3], [x2, side * top, z2], [x1, side * top, z1]]
    )
    if side > 0:
      patch = patch[[1, 0, 3, 2]]
    cuts = ((0.09, 0.36), (0.40, 0.66), (0.70, 0.90))
    for i, (a, b) in enumerate(cuts):
      if kind == 'sedan' and i == (2 if side > 0 else 0):
        a, b = (a, 0.80) if side > 0 else (0.20, b)
      pieces.append(_pane(patch, a, b, 0.10, 0.86, paint=_GLASS))
  return pieces


def car(rng: np.random.Generator, kind: str | None = None) -> objects.SceneObject:
  """Build a car with wheels, windows, lights, mirrors and plates."""
  kind = kind or str(
    rng.choice(['sedan', 'hatch', 'wagon', 'hatch', 'van'], p=[0.25, 0.3, 0.2, 0.15, 0.1])
  )
  length = {'sedan': 4.6, 'hatch': 4.05, 'wagon': 4.6, 'van': 4.9}[kind] * rng.uniform(0.95, 1.05)
  half = {'sedan': 0.89, 'hatch': 0.86, 'wagon': 0.9, 'van': 0.95}[kind] * rng.uniform(0.97, 1.03)
  body = Paint('paint', BODY_COLORS[rng.integers(len(BODY_COLORS))], gloss=0.10)
  sections = []
  for x, zb, zt, w in _BODIES[kind if kind in _BODIES else 'hatch']:
    y, h = half * w, zt - zb
    right = [(0.90 * y, zb), (y, zb + 0.25 * h), (0.99 * y, zb + 0.72 * h), (0.88 * y, zt)]
    outline = right + [(-a, z) for a, z in right[::-1]]
    sections.append([(x * length, a, z) for a, z in outline])
  pieces = [solids.loft(sections, body), *_cabin(kind, length, half, body)]
  radius = 0.31 if kind != 'van' else 0.34
  for x in (-0.31 * length, 0.31 * length):
    for side in (-1.0, 1.0):
      y = side * (half - 0.10)
      arch = side * (half + 0.006)
      pieces.append(solids.tube((x, y, radius), (x, arch, radius), radius + 0.06, _DARK, 14))
      pieces.append(_wheel(x, side * (half - 0.075), radius))
  front, rear = length / 2, -length / 2
  for side in (-1.0, 1.0):
    pieces.append(solids.box((0.16, 0.34, 0.13), _LAMP, (front - 0.10, side * 0.66 * half, 0.57)))
    pieces.append(solids.box((0.14, 0.24, 0.20), _TAIL, (rear + 0.07, side * 0.72 * half, 0.66)))
    pieces.append(solids.box((0.12, 0.16, 0.11), body, (0.20 * length, side * (half + 0.05), 0.93)))
  pieces.append(solids.box((0.06, 1.0, 0.14), _DARK, (front - 0.02, 0, 0.33)))
  pieces.append(solids.box((0.04, 0.5, 0.11), _PLATE, (rear + 0.005, 0, 0.52)))
  pieces.append(solids.box((0.04, 0.5, 0.11), _PLATE, (front + 0.01, 0, 0.42)))
  pieces.append(solids.box((0.9 * length, 1.7 * half, 0.06), _DARK, (0, 0, 0.17)))
  return objects.make_object('car', *pieces)


def truck(rng: np.random.Generator) -> objects.SceneObject:
  """Build a box truck of seven metres."""
  cab = Paint(
    'paint', ((0.7, 0.7, 0.68), (0.1, 0.18, 0.4), (0.5, 0.1, 0.06))[rng.integers(3)], gloss=0.15
  )
  cargo = Paint(
    'ribs',
    ((0.72, 0.72, 0.7), (0.55, 0.5, 0.2), (0.3, 0.4, 0.5))[rng.integers(3)],
    (0.35, 0.35, 0.35),
    0.5,
  )
  pieces = [
    solids.box((4.7, 2.3, 2.4), cargo, (-1.1, 0, 0.95)),
    solids.box((6.6, 0.9, 0.3), _DARK, (-0.1, 0, 0.6)),
    solids.loft(
      [
        [(x, w, 0.45), (x, w, z), (x, -w, z), (x, -w, 0.45)]
        for x, w, z in ((1.4, 1.05, 2.5), (2.7, 1.05, 2.5), (3.1, 1.05, 1.35), (3.25, 0.98, 1.2))
      ],
      cab,
    ),
  ]
  pieces.append(
    _pane(
      np.array([[3.1, -1.0, 1.38], [3.1, 1.0, 1.38], [2.7, 1.0, 2.48], [2.7, -1.0, 2.48]]),
      0.04,
      0.96,
      0.06,
      0.9,
      paint=_GLASS,
    )
  )
  for side in (-1.0, 1.0):
    window = np.array(
      [
        [1.7, 1.06 * side, 1.45],
        [2.75, 1.06 * side, 1.45],
        [2.62, 1.06 * side, 2.25],
        [1.7, 1.06 * side, 2.25],
      ]
    )
    pieces.append(solids.quad(window, _GLASS))
    pieces.append(solids.box((0.1, 0.3, 0.18), _LAMP, (3.22, side * 0.75, 0.7)))
    pieces.append(solids.box((0.05, 0.2, 0.25), _TAIL, (-3.46, side * 0.95, 0.7)))
    pieces.append(solids.box((0.12, 0.14, 0.4), _DARK, (2.8, side * 1.25, 1.7)))
    pieces += [_wheel(x, side * 1.0, 0.45, 0.3) for x in (2.2, -2.0, -0.95)]
  pieces += [
    solids.box((0.12, 2.1, 0.3), _GREY, (3.28, 0, 0.4)),
    solids.box((0.05, 2.0, 0.12), _GREY, (-3.45, 0, 0.45)),
  ]
  return objects.make_object('truck', *pieces)


def trailer(rng: np.random.Generator) -> objects.SceneObject:
  """Build a small open trailer with a tarpaulin."""
  cover = Paint('plain', ((0.12, 0.2, 0.35), (0.3, 0.32, 0.3), (0.1, 0.25, 0.12))[rng.integers(3)])
  pieces = [
    solids.box(
      (2.3, 1.4, 0.45), Paint('ribs', (0.45, 0.46, 0.47), (0.2, 0.2, 0.2), 0.4), (0, 0, 0.45)
    ),
    solids.extrude([(-1.15, 0.9), (1.15, 0.9), (1.1, 1.3), (0, 1.45), (-1.1, 1.3)], 1.4, cover),
    solids.path([(1.15, 0.4, 0.5), (1.9, 0, 0.5)], 0.04, _GREY),
    solids.path([(1.15, -0.4, 0.5), (1.9, 0, 0.5), (1.9, 0, 0.05)], 0.04, _GREY),
  ]
  pieces += [_wheel(-0.1, side * 0.78, 0.29) for side in (-1.0, 1.0)]
  return objects.make_object('trailer', *pieces)


def caravan(rng: np.random.Generator) -> objects.SceneObject:
  """Build a white caravan."""
  shell = Paint('plain', (0.74, 0.73, 0.69), gloss=0.1)
  stripe = Paint('plain', ((0.5, 0.2, 0.08), (0.1, 0.25, 0.4))[rng.integers(2)])
  outline = [(-2.3, 0.5), (2.2, 0.5), (2.45, 1.2), (2.1, 2.45), (-2.1, 2.5), (-2.4, 1.4)]
  pieces = [
    solids.extrude(outline, 2.1, shell),
    solids.box((4.6, 2.13, 0.14), stripe, (0, 0, 0.95)),
    solids.path([(2.3, 0, 0.5), (3.2, 0, 0.5), (3.2, 0, 0.05)], 0.05, _GREY),
  ]
  for side in (-1.0, 1.0):
    y = side * 1.062
    for x0, x1 in ((-1.8, -0.6), (-0.2, 0.7)):
      pieces.append(
        solids.quad([(x0, y, 1.35), (x1, y, 1.35), (x1, y, 1.95), (x0, y, 1.95)], _GLASS)
      )
    pieces.append(_wheel(-0.2, side * 0.95, 0.32))
    pieces.append(solids.box((0.05, 0.2, 0.2), _TAIL, (-2.36, side * 0.8, 0.8)))
  pieces.append(
    solids.quad(
      [(-2.43, 0.7, 1.5), (-2.43, -0.7, 1.5), (-2.2, -0.7, 2.1), (-2.2, 0.7, 2.1)], _GLASS
    )
  )
  return objects.make_object('caravan', *pieces)


def bus(rng: np.random.Generator) -> objects.SceneObject:
  """Build a city bus of ten metres."""
  shell = Paint(
    'paint', ((0.6, 0.08, 0.06), (0.08, 0.22, 0.42), (0.62, 0.5, 0.1))[rng.integers(3)], gloss=0.12
  )
  pieces = [
    solids.box((10.0, 2.5, 2.75), shell, (0, 0, 0.3)),
    solids.box((9.6, 2.3, 0.15), _GREY, (0, 0, 3.05)),
  ]
  for side in (-1.0, 1.0):
    y = side * 1.262
    for x in np.arange(-4.6, 4.2, 1.3):
      pieces.append(
        solids.quad([(x, y, 1.35), (x + 1.15, y, 1.35), (x + 1.15, y, 2.6), (x, y, 2.6)], _GLASS)
      )
    pieces += [_wheel(x, side * 1.13, 0.48, 0.3) for x in (3.2, -2.8)]
    pieces.append(solids.box((0.08, 0.3, 0.2), _LAMP, (5.0, side * 0.95, 0.7)))
    pieces.append(solids.box((0.08, 0.2, 0.4), _TAIL, (-5.0, side * 1.05, 0.8)))
  for x, low, high in ((5.012, 1.1, 2.6), (-5.012, 1.6, 2.6)):
    pieces.append(
      solids.quad([(x, 1.1, low), (x, -1.1, low), (x, -1.1, high), (x, 1.1, high)], _GLASS)
    )
  return objects.make_object('bus', *pieces)


def motorcycle(rng: np.random.Generator) -> objects.SceneObject:
  """Build a parked motorcycle."""
  tank = Paint('paint', BODY_COLORS[rng.integers(len(BODY_COLORS))], gloss=0.25)
  pieces = [
    solids.ring((x, 0, 0.31), (0, 1, 0), 0.25, 0.12, _TYRE, sides=14) for x in (-0.68, 0.68)
  ]
  pieces += [solids.ring((x, 0, 0.31), (0, 1, 0), 0.10, 0.10, _RIM, sides=8) for x in (-0.68, 0.68)]
  pieces += [solids.path([(0.68, y, 0.31), (0.42, y, 0.95)], 0.03, _RIM) for y in (-0.09, 0.09)]
  pieces += [
    solids.ball((0.12, 0, 0.82), (0.32, 0.15, 0.15), tank),
    solids.box((0.5, 0.26, 0.3), _GREY, (0, 0, 0.28)),
    solids.box((0.75, 0.22, 0.10), _DARK, (-0.45, 0, 0.76)),
    solids.path([(-0.68, 0.1, 0.31), (-0.1, 0.1, 0.4)], 0.03, _RIM),
    solids.path([(0.42, -0.36, 1.0), (0.45, 0, 0.96), (0.42, 0.36, 1.0)], 0.02, _DARK),
    solids.ball((0.56, 0, 0.84), 0.10, _LAMP, 1),
    solids.box((0.12, 0.2, 0.1), _TAIL, (-0.9, 0, 0.72)),
    solids.tube((-0.95, -0.16, 0.3), (-0.1, -0.16, 0.3), 0.05, _RIM),
  ]
  return objects.make_object('motorcycle', *pieces)
