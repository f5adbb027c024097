"""Cars, trucks, buses, trailers, caravans and motorcycles: bodies, cabins, windows, wheels.

Local frame: x forward, y left, z up, origin on the ground under the middle. Metres.
"""
import numpy as np

from pnerf_jax.street import solids
from pnerf_jax.street import things
from pnerf_jax.street.solids import Paint

_TYRE = Paint('plain', (0.02, 0.02, 0.022))
_RIM = Paint('plain', (0.42, 0.43, 0.45), gloss=0.2)
_GLASS = Paint('glass', (0.025, 0.03, 0.035), gloss=0.30)
_DARK = Paint('plain', (0.015, 0.015, 0.016))
_LAMP = Paint('plain', (0.75, 0.78, 0.8), gloss=0.3)
_TAIL = Paint('plain', (0.45, 0.02, 0.02), gloss=0.2)
_PLATE = Paint('sign', (0.75, 0.75, 0.7), (0.1, 0.1, 0.12))
_GREY = Paint('plain', (0.16, 0.17, 0.18))

BODY_COLORS = ((0.55, 0.56, 0.58), (0.06, 0.07, 0.08), (0.32, 0.33, 0.36), (0.42, 0.03, 0.03),
               (0.05, 0.10, 0.28), (0.75, 0.75, 0.73), (0.10, 0.20, 0.14), (0.38, 0.33, 0.24),
               (0.55, 0.42, 0.05), (0.16, 0.05, 0.08), (0.18, 0.30, 0.42))

# Lower body stations: x / length, bottom, top (metres), half width / full half width.
_BODIES = {
    'sedan': ((-.50, .40, .80, .80), (-.47, .26, .92, .93), (-.30, .20, .97, 1.),
              (.0, .20, .95, 1.), (.22, .20, .93, 1.), (.40, .20, .82, .97),
              (.475, .24, .73, .90), (.50, .34, .60, .76)),
    'hatch': ((-.50, .38, .88, .86), (-.48, .25, .98, .95), (-.30, .20, .98, 1.),
              (.0, .20, .96, 1.), (.24, .20, .95, 1.), (.41, .20, .84, .96),
              (.48, .24, .73, .88), (.50, .36, .60, .74)),
    'van': ((-.50, .34, 1.0, .92), (-.49, .26, 1.05, .97), (-.30, .22, 1.08, 1.),
            (.0, .22, 1.08, 1.), (.30, .22, 1.05, 1.), (.43, .22, .95, .97),
            (.49, .27, .80, .90), (.50, .40, .66, .80)),
}
# Cabin outline from the rear: x / length and z of rear foot, rear roof, front roof, front foot.
_CABINS = {
    'sedan': ((-.40, .95), (-.23, 1.40), (.04, 1.44), (.25, .93)),
    'hatch': ((-.49, .97), (-.40, 1.44), (.02, 1.49), (.24, .94)),
    'wagon': ((-.49, .95), (-.43, 1.43), (.03, 1.47), (.24, .94)),
    'van': ((-.495, 1.04), (-.47, 1.92), (.20, 1.94), (.40, .98)),
}


def _pane(corners: np.ndarray, left: float, right: float, low: float, high: float,
          paint: Paint, lift: float = 0.012) -> solids.Solid:
  """A pane on the bilinear patch of four corners (as in solids.quad), lifted off its surface."""
  a, b, c, d = corners
  at = lambda u, v: (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)
  points = np.array([at(left, low), at(right, low), at(right, high), at(left, high)])
  normal = np.cross(points[1] - points[0], points[3] - points[0])
  return solids.quad(points + lift * normal / np.linalg.norm(normal), paint)


def _wheel(x: float, y: float, radius: float, width: float = 0.21) -> solids.Solid:
  """A tyre with its rim; the rim looks away from the axle's middle."""
  out = np.sign(y)
  tyre = solids.tube((x, y - width / 2 * out, radius), (x, y + width / 2 * out, radius), radius,
                     _TYRE, 14)
  rim = solids.tube((x, y, radius), (x, y + (width / 2 + 0.012) * out, radius), 0.62 * radius,
                    _RIM, 8)
  nut = solids.tube((x, y, radius), (x, y + (width / 2 + 0.02) * out, radius), 0.2 * radius,
                    _DARK, 6)
  return solids.join(tyre, rim, nut)


def _cabin(kind: str, length: float, half: float, body: Paint) -> list[solids.Solid]:
  """Roof and pillars in body colour, glass on every side."""
  outline = [(x * length, z) for x, z in _CABINS[kind]]
  (x0, z0), (x1, z1), (x2, z2), (x3, z3) = outline
  low, top = 0.88 * half, 0.70 * half
  belt = min(z0, z3)
  section = lambda x, z, w: np.array([[x, low, belt], [x, w, z], [x, -w, z], [x, -low, belt]])
  pieces = [solids.loft([section(x0, z0, low), section(x1, z1, top), section(x2, z2, top),
                         section(x3, z3, low)], body)]
  front = np.array([[x3, -low, z3], [x3, low, z3], [x2, top, z2], [x2, -top, z2]])
  rear = np.array([[x0, low, z0], [x0, -low, z0], [x1, -top, z1], [x1, top, z1]])
  pieces += [_pane(front, .07, .93, .06, .92, _GLASS), _pane(rear, .08, .92, .15, .90, _GLASS)]
  for side in (1.0, -1.0):
    # Corners run from the lower rear (left side) so that the normal looks outwards.
    patch = np.array([[x0, side * low, z0], [x3, side * low, z3], [x2, side * top, z2],
                      [x1, side * top, z1]])
    if side > 0:
      patch = patch[[1, 0, 3, 2]]
    cuts = ((.09, .36), (.40, .66), (.70, .90))
    for i, (a, b) in enumerate(cuts):
      if kind == 'sedan' and i == (2 if side > 0 else 0):
        a, b = (a, .80) if side > 0 else (.20, b)
      pieces.append(_pane(patch, a, b, .10, .86, _GLASS))
  return pieces


def car(rng: np.random.Generator, kind: str | None = None) -> things.Thing:
  """A parked or moving car with wheels, windows, lights, mirrors and plates."""
  kind = kind or str(rng.choice(['sedan', 'hatch', 'wagon', 'hatch', 'van'],
                                p=[.25, .3, .2, .15, .1]))
  length = {'sedan': 4.6, 'hatch': 4.05, 'wagon': 4.6, 'van': 4.9}[kind] * rng.uniform(.95, 1.05)
  half = {'sedan': .89, 'hatch': .86, 'wagon': .9, 'van': .95}[kind] * rng.uniform(.97, 1.03)
  body = Paint('paint', BODY_COLORS[rng.integers(len(BODY_COLORS))], gloss=0.10)
  sections = []
  for x, zb, zt, w in _BODIES[kind if kind in _BODIES else 'hatch']:
    y, h = half * w, zt - zb
    right = [(0.90 * y, zb), (y, zb + 0.25 * h), (0.99 * y, zb + 0.72 * h), (0.88 * y, zt)]
    outline = right + [(-a, z) for a, z in right[::-1]]
    sections.append([(x * length, a, z) for a, z in outline])
  pieces = [solids.loft(sections, body), *_cabin(kind, length, half, body)]
  radius = 0.31 if kind != 'van' else 0.34
  for x in (-.31 * length, .31 * length):
    for side in (-1.0, 1.0):
      y = side * (half - 0.10)
      arch = side * (half + 0.006)
      pieces.append(solids.tube((x, y, radius), (x, arch, radius), radius + .06, _DARK, 14))
      pieces.append(_wheel(x, side * (half - 0.075), radius))
  front, rear = length / 2, -length / 2
  for side in (-1.0, 1.0):
    pieces.append(solids.box((.16, .34, .13), _LAMP, (front - .10, side * .66 * half, .57)))
    pieces.append(solids.box((.14, .24, .20), _TAIL, (rear + .07, side * .72 * half, .66)))
    pieces.append(solids.box((.12, .16, .11), body, (.20 * length, side * (half + .05), .93)))
  pieces.append(solids.box((.06, 1.0, .14), _DARK, (front - .02, 0, .33)))
  pieces.append(solids.box((.04, .5, .11), _PLATE, (rear + .005, 0, .52)))
  pieces.append(solids.box((.04, .5, .11), _PLATE, (front + .01, 0, .42)))
  pieces.append(solids.box((.9 * length, 1.7 * half, .06), _DARK, (0, 0, .17)))
  return things.thing('car', *pieces)


def truck(rng: np.random.Generator) -> things.Thing:
  """A box lorry of seven metres."""
  cab = Paint('paint', ((.7, .7, .68), (.1, .18, .4), (.5, .1, .06))[rng.integers(3)], gloss=.15)
  cargo = Paint('ribs', ((.72, .72, .7), (.55, .5, .2), (.3, .4, .5))[rng.integers(3)],
                (.35, .35, .35), 0.5)
  pieces = [solids.box((4.7, 2.3, 2.4), cargo, (-1.1, 0, .95)),
            solids.box((6.6, .9, .3), _DARK, (-.1, 0, .6)),
            solids.loft([[(x, w, .45), (x, w, z), (x, -w, z), (x, -w, .45)]
                         for x, w, z in ((1.4, 1.05, 2.5), (2.7, 1.05, 2.5), (3.1, 1.05, 1.35),
                                         (3.25, .98, 1.2))], cab)]
  pieces.append(_pane(np.array([[3.1, -1.0, 1.38], [3.1, 1.0, 1.38], [2.7, 1.0, 2.48],
                                [2.7, -1.0, 2.48]]), .04, .96, .06, .9, _GLASS))
  for side in (-1.0, 1.0):
    window = np.array([[1.7, 1.06 * side, 1.45], [2.75, 1.06 * side, 1.45],
                       [2.62, 1.06 * side, 2.25], [1.7, 1.06 * side, 2.25]])
    pieces.append(solids.quad(window, _GLASS))
    pieces.append(solids.box((.1, .3, .18), _LAMP, (3.22, side * .75, .7)))
    pieces.append(solids.box((.05, .2, .25), _TAIL, (-3.46, side * .95, .7)))
    pieces.append(solids.box((.12, .14, .4), _DARK, (2.8, side * 1.25, 1.7)))
    pieces += [_wheel(x, side * 1.0, .45, .3) for x in (2.2, -2.0, -.95)]
  pieces += [solids.box((.12, 2.1, .3), _GREY, (3.28, 0, .4)),
             solids.box((.05, 2.0, .12), _GREY, (-3.45, 0, .45))]
  return things.thing('truck', *pieces)


def trailer(rng: np.random.Generator) -> things.Thing:
  """A small open trailer with a tarpaulin."""
  cover = Paint('plain', ((.12, .2, .35), (.3, .32, .3), (.1, .25, .12))[rng.integers(3)])
  pieces = [solids.box((2.3, 1.4, .45), Paint('ribs', (.45, .46, .47), (.2, .2, .2), .4),
                       (0, 0, .45)),
            solids.extrude([(-1.15, .9), (1.15, .9), (1.1, 1.3), (0, 1.45), (-1.1, 1.3)], 1.4,
                           cover),
            solids.path([(1.15, .4, .5), (1.9, 0, .5)], .04, _GREY),
            solids.path([(1.15, -.4, .5), (1.9, 0, .5), (1.9, 0, .05)], .04, _GREY)]
  pieces += [_wheel(-.1, side * .78, .29) for side in (-1.0, 1.0)]
  return things.thing('trailer', *pieces)


def caravan(rng: np.random.Generator) -> things.Thing:
  """A white camping caravan."""
  shell = Paint('plain', (.74, .73, .69), gloss=.1)
  stripe = Paint('plain', ((.5, .2, .08), (.1, .25, .4))[rng.integers(2)])
  outline = [(-2.3, .5), (2.2, .5), (2.45, 1.2), (2.1, 2.45), (-2.1, 2.5), (-2.4, 1.4)]
  pieces = [solids.extrude(outline, 2.1, shell), solids.box((4.6, 2.13, .14), stripe, (0, 0, .95)),
            solids.path([(2.3, 0, .5), (3.2, 0, .5), (3.2, 0, .05)], .05, _GREY)]
  for side in (-1.0, 1.0):
    y = side * 1.062
    for x0, x1 in ((-1.8, -.6), (-.2, .7)):
      pieces.append(solids.quad([(x0, y, 1.35), (x1, y, 1.35), (x1, y, 1.95), (x0, y, 1.95)],
                                _GLASS))
    pieces.append(_wheel(-.2, side * .95, .32))
    pieces.append(solids.box((.05, .2, .2), _TAIL, (-2.36, side * .8, .8)))
  pieces.append(solids.quad([(-2.43, .7, 1.5), (-2.43, -.7, 1.5), (-2.2, -.7, 2.1),
                             (-2.2, .7, 2.1)], _GLASS))
  return things.thing('caravan', *pieces)


def bus(rng: np.random.Generator) -> things.Thing:
  """A city bus of ten metres with a row of windows."""
  shell = Paint('paint', ((.6, .08, .06), (.08, .22, .42), (.62, .5, .1))[rng.integers(3)],
                gloss=.12)
  pieces = [solids.box((10.0, 2.5, 2.75), shell, (0, 0, .3)),
            solids.box((9.6, 2.3, .15), _GREY, (0, 0, 3.05))]
  for side in (-1.0, 1.0):
    y = side * 1.262
    for x in np.arange(-4.6, 4.2, 1.3):
      pieces.append(solids.quad([(x, y, 1.35), (x + 1.15, y, 1.35), (x + 1.15, y, 2.6),
                                 (x, y, 2.6)], _GLASS))
    pieces += [_wheel(x, side * 1.13, .48, .3) for x in (3.2, -2.8)]
    pieces.append(solids.box((.08, .3, .2), _LAMP, (5.0, side * .95, .7)))
    pieces.append(solids.box((.08, .2, .4), _TAIL, (-5.0, side * 1.05, .8)))
  for x, low, high in ((5.012, 1.1, 2.6), (-5.012, 1.6, 2.6)):
    pieces.append(solids.quad([(x, 1.1, low), (x, -1.1, low), (x, -1.1, high), (x, 1.1, high)],
                              _GLASS))
  return things.thing('bus', *pieces)


def motorcycle(rng: np.random.Generator) -> things.Thing:
  """A parked motorcycle or scooter."""
  tank = Paint('paint', BODY_COLORS[rng.integers(len(BODY_COLORS))], gloss=.25)
  pieces = [solids.ring((x, 0, .31), (0, 1, 0), .25, .12, _TYRE, 14) for x in (-.68, .68)]
  pieces += [solids.ring((x, 0, .31), (0, 1, 0), .10, .10, _RIM, 8) for x in (-.68, .68)]
  pieces += [solids.path([(.68, y, .31), (.42, y, .95)], .03, _RIM) for y in (-.09, .09)]
  pieces += [solids.ball((.12, 0, .82), (.32, .15, .15), tank),
             solids.box((.5, .26, .3), _GREY, (0, 0, .28)),
             solids.box((.75, .22, .10), _DARK, (-.45, 0, .76)),
             solids.path([(-.68, .1, .31), (-.1, .1, .4)], .03, _RIM),
             solids.path([(.42, -.36, 1.0), (.45, 0, .96), (.42, .36, 1.0)], .02, _DARK),
             solids.ball((.56, 0, .84), .10, _LAMP, 1),
             solids.box((.12, .2, .1), _TAIL, (-.9, 0, .72)),
             solids.tube((-.95, -.16, .3), (-.1, -.16, .3), .05, _RIM)]
  return things.thing('motorcycle', *pieces)
