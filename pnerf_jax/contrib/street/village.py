"""Preset `village`: a narrow, winding, rising street of adjoining old houses, walls and a square.

Letters as in layout.py. Houses stand directly behind a narrow pavement; the row is interrupted by
walled courts with a gate, parking courts, small squares, side streets and open verges behind a
guard rail.
"""

import numpy as np

from pnerf_jax.contrib.street import buildings, furniture, people, plants, vehicles
from pnerf_jax.contrib.street.layout import Builder, Mover, Strip
from pnerf_jax.contrib.street.solids import Paint

SPEED = 0.6  # metres per frame
_SETTS = Paint('cobble', (0.25, 0.24, 0.235), (0.11, 0.11, 0.105), 0.16)
_FLAGS = Paint('stone', (0.42, 0.40, 0.36), (0.21, 0.20, 0.18), 0.60)
_COURT = Paint('gravel', (0.44, 0.40, 0.33), (0.27, 0.25, 0.21))
_BAY = Paint('paver', (0.33, 0.31, 0.29), (0.15, 0.14, 0.14), 0.25)
_GRASS = Paint('ground', (0.09, 0.15, 0.045), (0.21, 0.20, 0.10))
_LANE = -0.55  # the ego car's d
_ROAD, _FRONT = 3.0, 4.6  # metres from the axis: kerb, house fronts


def alignment(rng: np.random.Generator) -> dict[str, float]:
  """Sample the course of the road: winding and climbing."""
  return {
    'bend': float(rng.choice([-1, 1])) * rng.uniform(0.010, 0.014),
    'period': 95.0,
    'grade': float(rng.choice([-1, 1])) * rng.uniform(0.02, 0.035),
    'roll': 0.10,
  }


def _row(builder: Builder, side: int, kinds) -> list[tuple[float, float, str]]:
  """Return (start, end, kind) of the plots on one side."""
  rng, plots = builder.rng, []
  s, run = builder.start, 0
  while s < builder.end:
    if run >= rng.integers(1, 3) and kinds:
      kind = kinds.pop(0)
      width = {'gate': 5.0, 'parking': 11.0, 'square': 13.0, 'side': 6.5, 'rail': 12.0}[kind]
      run = 0
    else:
      kind, width = 'house', rng.uniform(6.5, 10.0)
      run += 1
    plots.append((s, s + width, kind))
    s += width
  return plots


def _ground(builder: Builder, side: int, plots):
  surfaces = {
    'gate': ('ground', _COURT, 0.12),
    'parking': ('parking', _BAY, 0.04),
    'square': ('sidewalk', _FLAGS, 0.12),
    'side': ('road', _SETTS, 0.0),
    'rail': ('terrain', _GRASS, 0.10),
  }
  walk = [(a, b, *surfaces[kind]) for a, b, kind in plots if kind in ('side', 'parking')]
  deep = [(a, b, *surfaces[kind]) for a, b, kind in plots if kind in surfaces]
  builder.ground(Strip('sidewalk', _ROAD, _FRONT, 0.11, _FLAGS, 0.004, True, tuple(walk)), side)
  builder.ground(Strip('ground', _FRONT, 13.0, 0.11, _COURT, 0.01, False, tuple(deep)), side)
  builder.ground(Strip('terrain', 13.0, 42.0, 0.11, _GRASS, 0.04), side)


def _house(builder: Builder, side: int, s0: float, s1: float):
  rng = builder.rng
  style = buildings.Style(
    buildings.wall_paint(rng, ['plaster', 'plaster', 'stone', 'brick']),
    Paint('stone', (0.35, 0.32, 0.27), (0.2, 0.19, 0.17), 0.5),
    int(rng.choice([1, 2, 2, 3])),
    floor_height=2.7,
    window=(0.95, 1.35),
    spacing=2.2,
    roof=str(rng.choice(['gable', 'gable', 'front'])),
    shops=rng.random() < 0.35,
    shutters=rng.random() < 0.6,
  )
  builder.face(
    buildings.house(rng, s1 - s0 + 0.12, rng.uniform(7.5, 9.0), style),
    0.5 * (s0 + s1),
    side,
    _FRONT + rng.uniform(0.02, 0.35),
    0.11,
  )


def _plot(builder: Builder, side: int, s0: float, s1: float, kind: str):
  """Add a plot without a house; kind: see `_row`."""
  stone = buildings.wall_paint(builder.rng, ['stone', 'plaster', 'brick'])
  _PLOTS[kind](builder, side, s0, s1, stone)


def _gate_plot(builder: Builder, side: int, s0: float, s1: float, stone: Paint):
  """Add a gate in a wall, with a tree and a garage behind it."""
  rng, middle, width = builder.rng, 0.5 * (s0 + s1), s1 - s0
  builder.face(furniture.gate(rng, 2.9), middle, side, _FRONT + 0.3, 0.11)
  for sign in (-1, 1):
    builder.face(
      furniture.wall(rng, 0.5 * width - 1.6, 2.0, stone),
      middle + sign * (0.25 * width + 0.8),
      side,
      _FRONT + 0.3,
      0.11,
    )
  builder.face(plants.tree(rng, 6.0, 'round', 0.8), middle + 1, side, 9.0, 0.11)
  builder.face(buildings.garage(rng), middle - 0.2, side, 11.0, 0.11)


def _parking_plot(builder: Builder, side: int, s0: float, s1: float, stone: Paint):
  """Add parked cars in front of a wall and a hedge."""
  rng, middle, width = builder.rng, 0.5 * (s0 + s1), s1 - s0
  builder.face(furniture.wall(rng, width, 1.5, stone), middle, side, 9.6, 0.04)
  builder.face(plants.hedge(rng, width, 1.9), middle, side, 10.4, 0.04)
  for s in s0 + 1.6 + 2.65 * np.arange(int((width - 1) / 2.65)):
    if rng.random() < 0.7:
      builder.put(
        vehicles.car(rng),
        s,
        side * 6.7,
        0.04,
        rng.choice([1, -1]) * np.pi / 2,
        ghost=rng.random() < 0.2,
      )
  builder.face(furniture.traffic_sign(rng), s1 - 0.3, side, _FRONT - 0.6, 0.04)


def _square_plot(builder: Builder, side: int, s0: float, s1: float, stone: Paint):
  """Add a square with trees, benches, people and bicycles."""
  rng, middle, width = builder.rng, 0.5 * (s0 + s1), s1 - s0
  for ds in (-3.6, 3.4):
    builder.face(plants.tree(rng, rng.uniform(5.5, 7), 'round'), middle + ds, side, 7.2)
    builder.face(furniture.bench(rng), middle + ds + 1.6, side, 6.3)
  builder.face(furniture.vending_machine(rng), s0 + 1.0, side, 5.2)
  builder.face(furniture.lantern(rng), middle, side, 5.0)
  builder.face(plants.hedge(rng, width, 1.4), middle, side, 11.6)
  for _ in range(3):
    builder.put(
      people.person(rng),
      middle + rng.uniform(-4, 4),
      side * rng.uniform(4.6, 8),
      0.12,
      rng.uniform(0, 6),
    )
  for i in range(3):
    builder.put(people.bicycle(rng), s1 - 2.2 + 0.75 * i, side * 5.6, 0.12, np.pi / 2)


def _side_street_plot(builder: Builder, side: int, s0: float, s1: float, stone: Paint):
  """Add the mouth of a side street."""
  rng, middle = builder.rng, 0.5 * (s0 + s1)
  builder.put(
    furniture.traffic_light(rng), s0 - 0.4, side * (_ROAD + 0.3), 0.11, 0.0 if side < 0 else np.pi
  )
  builder.face(furniture.traffic_sign(rng), s1 + 0.5, side, _ROAD + 0.35, 0.11)
  builder.face(plants.tree(rng, 7.0, 'round', 0.6), middle - 4.5, side, 24.0)
  builder.put(vehicles.car(rng), middle, side * 17.0, 0.0, np.pi / 2)


def _rail_plot(builder: Builder, side: int, s0: float, s1: float, stone: Paint):
  """Add a slope with bushes behind a guard rail."""
  rng, middle, width = builder.rng, 0.5 * (s0 + s1), s1 - s0
  for s in (middle - 0.25 * width, middle + 0.25 * width):
    builder.face(furniture.guard_rail(rng, 0.5 * width), s, side, _FRONT - 0.25, 0.11)
  for _ in range(4):
    builder.face(
      plants.bush(rng, rng.uniform(0.9, 1.8)),
      rng.uniform(s0, s1),
      side,
      rng.uniform(5.2, 8.0),
      0.10,
    )
  builder.face(plants.tree(rng, 8.0, 'cone'), middle, side, 9.0, 0.10)


_PLOTS = {
  'gate': _gate_plot,
  'parking': _parking_plot,
  'square': _square_plot,
  'side': _side_street_plot,
  'rail': _rail_plot,
}


def _street_side(builder: Builder, side: int, plots):
  rng = builder.rng
  for s0, s1, kind in plots:
    if kind != 'house':
      continue
    spot = lambda: rng.uniform(s0 + 0.8, s1 - 0.8)
    for chance, make, away in (
      (0.35, furniture.lantern, _ROAD + 0.25),
      (0.40, furniture.trash_bin, _FRONT - 0.35),
      (0.15, furniture.cabinet, _FRONT - 0.25),
      (0.25, people.person, _ROAD + 0.65),
      (0.12, furniture.vending_machine, _FRONT - 0.38),
    ):
      if rng.random() < chance:
        builder.face(
          make(rng),
          spot(),
          side,
          away,
          0.11,
          turn=rng.uniform(0, 6) if make is people.person else 0.0,
        )
    if rng.random() < 0.35:
      for s in np.arange(s0 + 0.6, s1 - 0.3, 1.5):
        builder.face(furniture.bollard(rng), s, side, _ROAD + 0.2, 0.11)
    elif rng.random() < 0.25:
      builder.put(
        vehicles.motorcycle(rng), spot(), side * (_ROAD + 0.55), 0.11, rng.normal(0, 0.15)
      )
    if rng.random() < 0.3:
      builder.face(plants.bush(rng, rng.uniform(0.5, 0.8)), s1 - 0.5, side, _FRONT - 0.3, 0.11)
    if rng.random() < 0.3:
      builder.put(
        furniture.traffic_sign(rng),
        s0 + 0.4,
        side * (_ROAD + 0.25),
        0.11,
        0.0 if side < 0 else np.pi,
      )


def furnish(builder: Builder) -> float:
  """Add all objects; return d of the ego car in metres."""
  rng = builder.rng
  builder.ground(Strip('road', -_ROAD, _ROAD, 0.0, _SETTS, 0.006), 1)
  builder.reserve(-4.0, builder.travel + 3, _LANE, 2.2)
  builder.reserve(15.0, 20.0, _ROAD + 0.7, 0.8)  # for the moving pedestrian
  builder.put(vehicles.car(rng, 'hatch'), builder.travel + rng.uniform(10, 13), 1.6, 0.0, np.pi)
  builder.put(vehicles.car(rng), rng.uniform(17, 20), -1.75, 0.0, ghost=True)
  builder.put(vehicles.truck(rng), builder.travel + rng.uniform(19, 23), -1.45, 0.0)
  builder.put(people.cyclist(rng), builder.travel + rng.uniform(4, 6), -2.0, 0.0)
  kinds = {
    1: ['gate', 'parking', 'square', 'side', 'gate', 'rail', 'parking', 'gate', 'square'],
    -1: ['rail', 'gate', 'side', 'rail', 'parking', 'square', 'gate'],
  }
  for side in (1, -1):
    plots = _row(builder, side, kinds[side])
    _ground(builder, side, plots)
    for s0, s1, kind in plots:
      if kind == 'house':
        _house(builder, side, s0, s1)
      else:
        _plot(builder, side, s0, s1, kind)
    _street_side(builder, side, plots)
  for s in rng.uniform(builder.start, 60, 5):
    builder.patch(s, rng.uniform(-2.2, 1.5), (0.7, 0.7), Paint('plain', (0.10, 0.10, 0.10)))
  builder.movers.append(Mover((people.person(rng),), 19.0, -0.11, _ROAD + 0.7, 0.11))
  return _LANE
