"""Street furniture: lamps, signs, lights, bins, cabinets, shelters, fences, gates, walls.

Local frame: z up, origin on the ground, x along the street, the front faces -y. Metres. Parts of
different classes (a sign on its post) are separate objects.
"""

import numpy as np

from pnerf_jax.contrib.street import objects, solids
from pnerf_jax.contrib.street.solids import Paint

_STEEL = Paint('plain', (0.36, 0.38, 0.38), gloss=0.1)
_DARK = Paint('plain', (0.05, 0.06, 0.06))
_CONCRETE = Paint('plaster', (0.46, 0.45, 0.42), (0.3, 0.3, 0.29), 1.0)
_WOOD = Paint('planks', (0.32, 0.21, 0.13), (0.10, 0.07, 0.05), 0.12)
_GLASS = Paint('glass', (0.05, 0.06, 0.07), gloss=0.4)
_SIGNS = (
  (0.62, 0.05, 0.06),
  (0.05, 0.16, 0.50),
  (0.70, 0.60, 0.08),
  (0.68, 0.68, 0.66),
  (0.04, 0.32, 0.14),
)


def street_lamp(rng: np.random.Generator, height: float) -> list[objects.SceneObject]:
  """Build a mast with an arm of 1.4 m towards -y (pole) and its head (lamp)."""
  mast = Paint(
    'plain', ((0.38, 0.40, 0.40), (0.10, 0.16, 0.13), (0.50, 0.50, 0.47))[rng.integers(3)]
  )
  pole = [
    solids.tube((0, 0, -0.2), (0, 0, height), (0.10, 0.06), mast, 9),
    solids.tube((0, 0, -0.2), (0, 0, 1.0), 0.13, mast, 9),
    solids.path([(0, 0, height - 0.05), (0, -1.4, height + 0.25)], 0.045, mast, 6),
  ]
  head = [
    solids.box((0.26, 0.75, 0.14), _DARK, (0, -1.7, height + 0.19)),
    solids.box((0.2, 0.6, 0.05), Paint('plain', (0.8, 0.8, 0.75)), (0, -1.7, height + 0.14)),
  ]
  return [objects.make_object('pole', *pole), objects.make_object('lamp', *head)]


def lantern(rng: np.random.Generator) -> list[objects.SceneObject]:
  """Build a lantern of 3.6 m: post (pole) and glass head (lamp)."""
  iron = Paint('plain', ((0.04, 0.05, 0.05), (0.05, 0.10, 0.08))[rng.integers(2)])
  pole = [
    solids.tube((0, 0, -0.2), (0, 0, 3.1), (0.07, 0.045), iron, 8),
    solids.tube((0, 0, -0.2), (0, 0, 0.8), (0.13, 0.10), iron, 8),
    solids.ball((0, 0, 2.2), 0.10, iron, 0),
  ]
  head = [
    solids.tube((0, 0, 3.1), (0, 0, 3.5), (0.13, 0.20), Paint('plain', (0.70, 0.68, 0.55)), 6),
    solids.tube((0, 0, 3.5), (0, 0, 3.72), (0.26, 0.04), iron, 6),
  ]
  return [objects.make_object('pole', *pole), objects.make_object('lamp', *head)]


def traffic_sign(rng: np.random.Generator, height: float = 2.3) -> list[objects.SceneObject]:
  """Build one or two boards facing -x (traffic sign) on a thin post (smallpole)."""
  boards, z = [], height
  for _ in range(int(rng.integers(1, 3))):
    color = _SIGNS[rng.integers(len(_SIGNS))]
    paint = Paint('sign', color, (0.75, 0.75, 0.73))
    shape = int(rng.integers(3))
    if shape == 0:
      board = solids.tube((-0.035, 0, z), (-0.055, 0, z), 0.32, paint, 16)
    elif shape == 1:
      board = solids.box((0.02, 0.62, 0.62), paint, (-0.045, 0, z - 0.31))
    else:
      board = solids.make(
        [(-0.05, -0.38, z - 0.30), (-0.05, 0.38, z - 0.30), (-0.05, 0, z + 0.36)],
        [[0, 1, 2]],
        paint,
      )
    boards.append(board)
    z -= 0.72
  post = solids.tube((0, 0, -0.2), (0, 0, height + 0.35), 0.032, _STEEL, 7)
  return [objects.make_object('smallpole', post), objects.make_object('traffic sign', *boards)]


def traffic_light(rng: np.random.Generator) -> list[objects.SceneObject]:
  """Build a signal head facing -x on a pole."""
  pole = solids.tube((0, 0, -0.2), (0, 0, 3.4), 0.065, _DARK, 8)
  head = [solids.box((0.28, 0.30, 0.92), _DARK, (-0.20, 0, 2.45))]
  lit = int(rng.integers(3))
  colors = ((0.65, 0.04, 0.03), (0.60, 0.40, 0.03), (0.04, 0.50, 0.20))
  for i, color in enumerate(colors):
    r, g, b = (c if i == lit else 0.12 * c for c in color)
    z = 3.20 - 0.29 * i
    head.append(solids.tube((-0.34, 0, z), (-0.352, 0, z), 0.105, Paint('plain', (r, g, b)), 12))
  return [objects.make_object('pole', pole), objects.make_object('traffic light', *head)]


def bollard(rng: np.random.Generator) -> objects.SceneObject:
  """Build a bollard of 0.85 m."""
  paint = Paint(
    'plain', ((0.45, 0.44, 0.42), (0.06, 0.06, 0.07), (0.55, 0.08, 0.06))[rng.integers(3)]
  )
  return objects.make_object(
    'smallpole',
    solids.tube((0, 0, -0.2), (0, 0, 0.85), 0.075, paint, 8),
    solids.ball((0, 0, 0.88), 0.085, paint, 1),
  )


def power_pole(rng: np.random.Generator, height: float) -> objects.SceneObject:
  """Build a wooden mast with a cross-arm."""
  wood = Paint('bark', (0.24, 0.18, 0.13), (0.12, 0.09, 0.07), 0.3)
  return objects.make_object(
    'pole',
    solids.tube((0, 0, -0.3), (0, 0, height), (0.14, 0.10), wood, 9),
    solids.box((0.1, 1.5, 0.1), wood, (0, 0, height - 0.6)),
    *(
      solids.tube((0, y, height - 0.5), (0, y, height - 0.3), 0.04, _DARK, 6)
      for y in (-0.65, 0, 0.65)
    ),
    solids.box((0.25, 0.2, 0.4), _STEEL, (0, -0.2, rng.uniform(2.2, 3.0))),
  )


def trash_bin(rng: np.random.Generator) -> objects.SceneObject:
  """Build a wheeled bin with a lid."""
  color = (
    (0.06, 0.14, 0.30),
    (0.05, 0.16, 0.09),
    (0.07, 0.07, 0.07),
    (0.45, 0.33, 0.05),
    (0.22, 0.12, 0.06),
  )
  body = Paint('plain', color[rng.integers(5)], gloss=0.05)
  section = lambda z, a, b: [(-a, -b, z), (a, -b, z), (a, b, z), (-a, b, z)]
  return objects.make_object(
    'trash bin',
    solids.loft([section(0.06, 0.22, 0.24), section(0.95, 0.28, 0.34)], body),
    solids.box((0.62, 0.74, 0.09), body, (0, 0, 0.95)),
    solids.box((0.5, 0.08, 0.06), _DARK, (0, 0.38, 0.92)),
    *(solids.tube((x, 0.24, 0.1), (x + 0.05, 0.24, 0.1), 0.1, _DARK, 10) for x in (-0.28, 0.23)),
  )


def cabinet(rng: np.random.Generator) -> objects.SceneObject:
  """Build a grey junction box."""
  width = rng.uniform(0.7, 1.5)
  body = Paint(
    'ribs', ((0.42, 0.43, 0.40), (0.30, 0.34, 0.30))[rng.integers(2)], (0.2, 0.2, 0.2), 0.35
  )
  return objects.make_object(
    'box',
    solids.box((width, 0.4, 1.2), body, (0, 0, 0.08)),
    solids.box((width + 0.08, 0.46, 0.06), _CONCRETE, (0, 0, 1.28)),
    solids.box((width + 0.04, 0.44, 0.25), _CONCRETE, (0, 0, -0.15)),
  )


def vending_machine(rng: np.random.Generator) -> objects.SceneObject:
  """Build a vending machine with a lit front."""
  body = Paint('plain', ((0.55, 0.05, 0.05), (0.06, 0.16, 0.42), (0.6, 0.58, 0.5))[rng.integers(3)])
  return objects.make_object(
    'vending machine',
    solids.box((0.95, 0.75, 1.85), body),
    solids.quad(
      [(-0.36, -0.385, 0.75), (0.20, -0.385, 0.75), (0.20, -0.385, 1.72), (-0.36, -0.385, 1.72)],
      Paint('shop', (0.35, 0.33, 0.28), (0.1, 0.1, 0.1)),
      unit=True,
    ),
    solids.box((0.16, 0.03, 0.5), _DARK, (0.33, -0.385, 0.9)),
    solids.box((0.5, 0.03, 0.18), _DARK, (-0.06, -0.385, 0.35)),
  )


def shelter(rng: np.random.Generator) -> objects.SceneObject:
  """Build the glass shelter of a bus stop, with a bench (class stop)."""
  pieces = [
    solids.box((3.8, 1.5, 0.12), _DARK, (0, 0, 2.35)),
    solids.box((2.4, 0.4, 0.06), _WOOD, (0, 0.35, 0.45)),
  ]
  for x in (-1.8, 1.8):
    pieces += [solids.box((0.08, 0.08, 2.4), _DARK, (x, y, 0)) for y in (-0.6, 0.6)]
    pieces.append(
      solids.box(
        (0.03, 1.1, 1.9),
        _GLASS if rng.random() < 0.6 else Paint('sign', (0.5, 0.2, 0.1), (0.7, 0.7, 0.65)),
        (x, 0, 0.25),
      )
    )
  pieces += [solids.box((0.06, 0.06, 0.45), _DARK, (x, 0.35, 0)) for x in (-1.0, 1.0)]
  pieces += [solids.box((0.06, 0.06, 2.4), _DARK, (x, 0.6, 0)) for x in (-0.6, 0.6)]
  pieces.append(
    solids.box((3.6, 0.05, 0.9), Paint('sign', (0.08, 0.2, 0.35), (0.7, 0.7, 0.7)), (0, 0.62, 0.9))
  )
  return objects.make_object('stop', *pieces)


def bench(rng: np.random.Generator) -> objects.SceneObject:
  """Build a park bench of slats (class unknown object)."""
  slats = [solids.box((1.7, 0.1, 0.04), _WOOD, (0, y, 0.44)) for y in (-0.2, -0.06, 0.08)]
  back = [solids.box((1.7, 0.04, 0.1), _WOOD, (0, 0.24, z)) for z in (0.56, 0.72, 0.88)]
  legs = [solids.box((0.06, 0.5, 0.44), _DARK, (x, 0, 0)) for x in (-0.7, 0.7)]
  uprights = [solids.box((0.06, 0.05, 0.95), _DARK, (x, 0.22, 0)) for x in (-0.7, 0.7)]
  return objects.make_object('unknown object', *slats, *back, *legs, *uprights)


def fence(rng: np.random.Generator, length: float, kind: str) -> objects.SceneObject:
  """Build a fence with gaps along x; kind: 'picket', 'boards', 'mesh' or 'iron'."""
  xs = lambda step: np.arange(-length / 2 + step / 2, length / 2, step)
  half = length / 2
  if kind == 'boards':
    pieces = [
      solids.box((0.155, 0.03, rng.uniform(1.55, 1.62)), _WOOD, (x, -0.03, 0.05)) for x in xs(0.17)
    ]
    rails, height = (0.35, 1.3), 1.7
  elif kind == 'picket':
    white = Paint('plain', ((0.66, 0.65, 0.60), (0.33, 0.22, 0.13))[rng.integers(2)])
    pieces = [
      solids.box((0.10, 0.03, rng.uniform(0.93, 0.97)), white, (x, -0.03, 0.06)) for x in xs(0.19)
    ]
    rails, height = (0.28, 0.75), 1.05
  elif kind == 'iron':
    iron = Paint('plain', ((0.05, 0.07, 0.06), (0.09, 0.09, 0.10))[rng.integers(2)])
    pieces = [solids.box((0.035, 0.035, 1.25), iron, (x, 0, 0.10)) for x in xs(0.15)]
    pieces.append(solids.box((length, 0.3, 0.35), _CONCRETE, (0, 0, -0.25)))
    rails, height = (0.25, 1.2), 1.3
  else:
    wire = Paint('plain', (0.12, 0.22, 0.16))
    pieces = [solids.box((0.018, 0.012, 1.2), wire, (x, 0, 0.05)) for x in xs(0.22)]
    pieces += [
      solids.box((length, 0.012, 0.018), wire, (0, 0, z)) for z in (0.3, 0.5, 0.7, 0.9, 1.1)
    ]
    rails, height = (0.06, 1.22), 1.3
  timber = _WOOD if kind in ('boards', 'picket') else _DARK
  pieces += [solids.box((length, 0.045, 0.06), timber, (0, 0.01, z)) for z in rails]
  for x in np.linspace(-half + 0.04, half - 0.04, max(2, int(length / 2.2) + 1)):
    pieces.append(solids.box((0.09, 0.09, height + 0.25), timber, (x, 0.03, -0.2)))
  return objects.make_object('fence', *pieces)


def gate(rng: np.random.Generator, width: float) -> objects.SceneObject:
  """Build a gate of two barred leaves between stone posts."""
  iron = Paint(
    'plain', ((0.06, 0.08, 0.07), (0.30, 0.20, 0.12), (0.55, 0.55, 0.52))[rng.integers(3)]
  )
  pieces = [
    solids.box((0.06, 0.04, 1.15), iron, (x, 0, 0.1))
    for x in np.arange(-width / 2 + 0.1, width / 2 - 0.05, 0.17)
  ]
  pieces += [solids.box((width - 0.1, 0.05, 0.08), iron, (0, 0, z)) for z in (0.12, 0.65, 1.18)]
  pieces += [
    solids.box((0.32, 0.32, 1.65), _CONCRETE, (x, 0, -0.2)) for x in (-width / 2, width / 2)
  ]
  return objects.make_object('gate', *pieces)


def guard_rail(rng: np.random.Generator, length: float) -> objects.SceneObject:
  """Build a crash barrier along x."""
  pieces = [solids.box((length, 0.06, 0.14), _STEEL, (0, 0, z)) for z in (0.46, 0.64)]
  pieces.append(solids.box((length, 0.03, 0.06), _DARK, (0, 0.02, 0.59)))
  pieces += [
    solids.box((0.1, 0.12, 0.85), _STEEL, (x, 0.08, -0.2))
    for x in np.arange(-length / 2 + 0.3, length / 2, 2.0)
  ]
  return objects.make_object('guard rail', *pieces)


def wall(
  rng: np.random.Generator, length: float, height: float, paint: Paint
) -> objects.SceneObject:
  """Build a garden wall along x with a coping and piers."""
  pieces = [
    solids.box((length, 0.26, height + 0.6), paint, (0, 0, -0.6)),
    solids.box((length, 0.36, 0.08), _CONCRETE, (0, 0, height)),
  ]
  for x in np.arange(-length / 2 + 0.2, length / 2, 3.0):
    pieces.append(solids.box((0.40, 0.38, height + 0.7), paint, (x, 0, -0.6)))
    pieces.append(solids.box((0.48, 0.46, 0.08), _CONCRETE, (x, 0, height + 0.1)))
  return objects.make_object('wall', *pieces)
