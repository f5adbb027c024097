"""Preset `village`: a narrow, winding, rising street of adjoining old houses, walls and a square.

Letters as in layout.py. Houses stand directly behind a narrow pavement; where the row is
interrupted there is a walled court with a gate, a parking court, a small square, a side street or
an open verge behind a guard rail.
"""
import numpy as np

from pnerf_jax.street import buildings
from pnerf_jax.street import furniture
from pnerf_jax.street import people
from pnerf_jax.street import plants
from pnerf_jax.street import vehicles
from pnerf_jax.street.layout import Builder
from pnerf_jax.street.layout import Mover
from pnerf_jax.street.layout import Strip
from pnerf_jax.street.solids import Paint

SPEED = 0.6  # metres per frame
_SETTS = Paint('cobble', (.25, .24, .235), (.11, .11, .105), .16)
_FLAGS = Paint('stone', (.42, .40, .36), (.21, .20, .18), .60)
_COURT = Paint('gravel', (.44, .40, .33), (.27, .25, .21))
_BAY = Paint('paver', (.33, .31, .29), (.15, .14, .14), .25)
_GRASS = Paint('ground', (.09, .15, .045), (.21, .20, .10))
_LANE = -.55  # the ego car's d
_ROAD, _FRONT = 3.0, 4.6  # metres from the axis: kerb, house fronts


def alignment(rng: np.random.Generator) -> dict[str, float]:
  """The road's course: winding and climbing."""
  return dict(bend=float(rng.choice([-1, 1])) * rng.uniform(.010, .014), period=95.0,
              grade=float(rng.choice([-1, 1])) * rng.uniform(.02, .035), roll=.10)


def _row(builder: Builder, side: int, kinds) -> list[tuple[float, float, str]]:
  """(start, end, kind) of the plots on one side, houses in between."""
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
  surfaces = {'gate': ('ground', _COURT, .12), 'parking': ('parking', _BAY, .04),
              'square': ('sidewalk', _FLAGS, .12), 'side': ('road', _SETTS, .0),
              'rail': ('terrain', _GRASS, .10)}
  walk = [(a, b, *surfaces[kind]) for a, b, kind in plots if kind in ('side', 'parking')]
  deep = [(a, b, *surfaces[kind]) for a, b, kind in plots if kind in surfaces]
  builder.ground(Strip('sidewalk', _ROAD, _FRONT, .11, _FLAGS, .004, True, tuple(walk)), side)
  builder.ground(Strip('ground', _FRONT, 13.0, .11, _COURT, .01, False, tuple(deep)), side)
  builder.ground(Strip('terrain', 13.0, 42.0, .11, _GRASS, .04), side)


def _house(builder: Builder, side: int, s0: float, s1: float):
  rng = builder.rng
  style = buildings.Style(
      buildings.wall_paint(rng, ['plaster', 'plaster', 'stone', 'brick']),
      Paint('stone', (.35, .32, .27), (.2, .19, .17), .5), int(rng.choice([1, 2, 2, 3])),
      floor_height=2.7, window=(.95, 1.35), spacing=2.2,
      roof=str(rng.choice(['gable', 'gable', 'front'])), shops=rng.random() < .35,
      shutters=rng.random() < .6)
  builder.face(buildings.house(rng, s1 - s0 + .12, rng.uniform(7.5, 9.0), style), .5 * (s0 + s1),
               side, _FRONT + rng.uniform(.02, .35), .11)


def _plot(builder: Builder, side: int, s0: float, s1: float, kind: str):
  """What interrupts the row of houses."""
  rng, middle, width = builder.rng, .5 * (s0 + s1), s1 - s0
  stone = buildings.wall_paint(rng, ['stone', 'plaster', 'brick'])
  if kind == 'gate':
    builder.face(furniture.gate(rng, 2.9), middle, side, _FRONT + .3, .11)
    for sign in (-1, 1):
      builder.face(furniture.wall(rng, .5 * width - 1.6, 2.0, stone),
                   middle + sign * (.25 * width + .8), side, _FRONT + .3, .11)
    builder.face(plants.tree(rng, 6.0, 'round', .8), middle + 1, side, 9.0, .11)
    builder.face(buildings.garage(rng), middle - .2, side, 11.0, .11)
  elif kind == 'parking':
    builder.face(furniture.wall(rng, width, 1.5, stone), middle, side, 9.6, .04)
    builder.face(plants.hedge(rng, width, 1.9), middle, side, 10.4, .04)
    for i, s in enumerate(s0 + 1.6 + 2.65 * np.arange(int((width - 1) / 2.65))):
      if rng.random() < .7:
        builder.put(vehicles.car(rng), s, side * 6.7, .04, rng.choice([1, -1]) * np.pi / 2,
                    ghost=rng.random() < .2)
    builder.face(furniture.traffic_sign(rng), s1 - .3, side, _FRONT - .6, .04)
  elif kind == 'square':
    for ds in (-3.6, 3.4):
      builder.face(plants.tree(rng, rng.uniform(5.5, 7), 'round'), middle + ds, side, 7.2)
      builder.face(furniture.bench(rng), middle + ds + 1.6, side, 6.3)
    builder.face(furniture.vending_machine(rng), s0 + 1.0, side, 5.2)
    builder.face(furniture.lantern(rng), middle, side, 5.0)
    builder.face(plants.hedge(rng, width, 1.4), middle, side, 11.6)
    for _ in range(3):
      builder.put(people.person(rng), middle + rng.uniform(-4, 4), side * rng.uniform(4.6, 8), .12,
                  rng.uniform(0, 6))
    for i in range(3):
      builder.put(people.bicycle(rng), s1 - 2.2 + .75 * i, side * 5.6, .12, np.pi / 2)
  elif kind == 'side':
    builder.put(furniture.traffic_light(rng), s0 - .4, side * (_ROAD + .3), .11,
                0.0 if side < 0 else np.pi)
    builder.face(furniture.traffic_sign(rng), s1 + .5, side, _ROAD + .35, .11)
    builder.face(plants.tree(rng, 7.0, 'round', .6), middle - 4.5, side, 24.0)
    builder.put(vehicles.car(rng), middle, side * 17.0, .0, np.pi / 2)
  else:
    for s in (middle - .25 * width, middle + .25 * width):
      builder.face(furniture.guard_rail(rng, .5 * width), s, side, _FRONT - .25, .11)
    for _ in range(4):
      builder.face(plants.bush(rng, rng.uniform(.9, 1.8)), rng.uniform(s0, s1), side,
                   rng.uniform(5.2, 8.0), .10)
    builder.face(plants.tree(rng, 8.0, 'cone'), middle, side, 9.0, .10)


def _street_side(builder: Builder, side: int, plots):
  rng = builder.rng
  for s0, s1, kind in plots:
    if kind != 'house':
      continue
    spot = lambda: rng.uniform(s0 + .8, s1 - .8)
    for chance, make, away in (
        (.35, furniture.lantern, _ROAD + .25), (.40, furniture.trash_bin, _FRONT - .35),
        (.15, furniture.cabinet, _FRONT - .25), (.25, people.person, _ROAD + .65),
        (.12, furniture.vending_machine, _FRONT - .38)):
      if rng.random() < chance:
        builder.face(make(rng), spot(), side, away, .11,
                     rng.uniform(0, 6) if make is people.person else 0.0)
    if rng.random() < .35:
      for s in np.arange(s0 + .6, s1 - .3, 1.5):
        builder.face(furniture.bollard(rng), s, side, _ROAD + .2, .11)
    elif rng.random() < .25:
      builder.put(vehicles.motorcycle(rng), spot(), side * (_ROAD + .55), .11,
                  rng.normal(0, .15))
    if rng.random() < .3:
      builder.face(plants.bush(rng, rng.uniform(.5, .8)), s1 - .5, side, _FRONT - .3, .11)
    if rng.random() < .3:
      builder.put(furniture.traffic_sign(rng), s0 + .4, side * (_ROAD + .25), .11,
                  0.0 if side < 0 else np.pi)


def furnish(builder: Builder) -> float:
  """Builds the village; returns the ego car's d in metres."""
  rng = builder.rng
  builder.ground(Strip('road', -_ROAD, _ROAD, 0.0, _SETTS, .006), 1)
  builder.reserve(-4.0, builder.travel + 3, _LANE, 2.2)
  builder.reserve(15.0, 20.0, _ROAD + .7, .8)  # for the walker
  builder.put(vehicles.car(rng, 'hatch'), builder.travel + rng.uniform(10, 13), 1.6, 0.0, np.pi)
  builder.put(vehicles.car(rng), rng.uniform(17, 20), -1.75, 0.0, ghost=True)
  builder.put(vehicles.truck(rng), builder.travel + rng.uniform(19, 23), -1.45, 0.0)
  builder.put(people.cyclist(rng), builder.travel + rng.uniform(4, 6), -2.0, 0.0)
  kinds = {1: ['gate', 'parking', 'square', 'side', 'gate', 'rail', 'parking', 'gate', 'square'],
           -1: ['rail', 'gate', 'side', 'rail', 'parking', 'square', 'gate']}
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
    builder.patch(s, rng.uniform(-2.2, 1.5), (.7, .7), Paint('plain', (.10, .10, .10)))
  builder.movers.append(Mover((people.person(rng),), 19.0, -.11, _ROAD + .7, .11))
  return _LANE
