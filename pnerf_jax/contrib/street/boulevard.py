"""Preset `boulevard`: a wide avenue with trees, parked cars, apartment blocks and bicycles.

Letters as in layout.py. Across, from the middle: a planted median in some seeds, carriageway,
parking bays, verge with trees, pavement, a narrow front garden, blocks of flats.
"""

import numpy as np

from pnerf_jax.contrib.street import buildings, furniture, people, plants, vehicles
from pnerf_jax.contrib.street.layout import Builder, Mover, Strip
from pnerf_jax.contrib.street.solids import Paint

SPEED = 0.85  # metres per frame
_ASPHALT = Paint('asphalt', (0.155, 0.158, 0.165))
_BAY = Paint('paver', (0.27, 0.255, 0.24), (0.13, 0.13, 0.13), 0.22)
_SLABS = Paint('paver', (0.40, 0.385, 0.36), (0.20, 0.20, 0.19), 0.45)
_LAWN = Paint('ground', (0.085, 0.150, 0.040), (0.20, 0.205, 0.085))


def alignment(rng: np.random.Generator) -> dict[str, float]:
  """Sample the course of the road: almost straight."""
  return {
    'bend': rng.uniform(-0.002, 0.002),
    'period': 400.0,
    'grade': rng.uniform(-0.004, 0.004),
    'roll': 0.05,
  }


def _strips(builder: Builder, median: float) -> dict[str, float]:
  """Add the ground; return the edges of its strips by name (metres from the axis)."""
  road = median + 4.8
  bay, verge, walk, garden = road + 2.1, road + 3.8, road + 7.2, road + 8.4
  if median:
    for side in (1, -1):
      builder.ground(Strip('road', median, road, 0.0, _ASPHALT), side)
      builder.ground(Strip('terrain', 0.0, median, 0.14, _LAWN, 0.02), side)
      builder.paint_line(builder.start, builder.end, side * (median + 0.25))
  else:
    builder.ground(Strip('road', -road, road, 0.0, _ASPHALT), 1)
    for s in np.arange(builder.start, builder.end - 3, 6.0):
      builder.paint_line(s, s + 3.0, 0.0)
  for side in (1, -1):
    builder.paint_line(builder.start, builder.end, side * (road - 0.12), 0.10)
    builder.ground(Strip('parking', road, bay, 0.03, _BAY), side)
    builder.ground(Strip('terrain', bay, verge, 0.12, _LAWN, 0.02, kerb=True), side)
    builder.ground(Strip('sidewalk', verge, walk, 0.12, _SLABS, 0.004), side)
    builder.ground(Strip('terrain', walk, garden, 0.12, _LAWN, 0.02), side)
    builder.ground(Strip('terrain', garden, garden + 32, 0.10, _LAWN, 0.03), side)
  return {
    'median': median,
    'road': road,
    'bay': bay,
    'verge': verge,
    'walk': walk,
    'garden': garden,
  }


def _blocks(builder: Builder, at: dict[str, float], side: int):
  """Add apartment blocks with courtyards between them."""
  rng = builder.rng
  s = builder.start + rng.uniform(0, 4)
  while s < builder.end - 8:
    width = rng.uniform(13, 22)
    shops = rng.random() < 0.3
    style = buildings.Style(
      buildings.wall_paint(rng, ['plaster', 'plaster', 'brick']),
      Paint('stone', (0.36, 0.34, 0.31), (0.22, 0.21, 0.2), 0.6),
      int(rng.integers(4, 7)),
      spacing=rng.uniform(2.4, 3.0),
      roof=str(rng.choice(['gable', 'flat', 'hip'])),
      balconies=rng.random() < 0.65,
      shops=shops,
    )
    middle = s + width / 2
    builder.face(
      buildings.house(rng, width, rng.uniform(10, 13), style),
      middle,
      side,
      at['garden'] + (0.2 if not shops else -0.2),
    )
    if not shops and rng.random() < 0.7:
      _garden_edge(builder, at, side, s + 0.5, s + width - 0.5)
    s += width
    if rng.random() < 0.55:
      gap = rng.uniform(4, 7)
      _courtyard(builder, at, side, s + gap / 2, gap)
      s += gap


def _garden_edge(builder: Builder, at: dict[str, float], side: int, s0: float, s1: float):
  rng = builder.rng
  kind = str(rng.choice(['iron', 'hedge', 'wall', 'picket']))
  count = max(1, round((s1 - s0) / 6))
  length = (s1 - s0) / count
  paint = buildings.wall_paint(rng, ['brick', 'stone'])
  for s in s0 + length * (np.arange(count) + 0.5):
    if kind == 'hedge':
      item = plants.hedge(rng, length, rng.uniform(0.8, 1.1), 0.55)
    elif kind == 'wall':
      item = furniture.wall(rng, length, 0.8, paint)
    else:
      item = furniture.fence(rng, length, kind)
    builder.face(item, s, side, at['walk'] + 0.25)
    if rng.random() < 0.35:
      builder.face(plants.bush(rng, rng.uniform(0.7, 1.1)), s, side, at['walk'] + 0.85)


def _courtyard(builder: Builder, at: dict[str, float], side: int, s: float, gap: float):
  rng = builder.rng
  if rng.random() < 0.5:
    builder.face(furniture.gate(rng, 3.0), s, side, at['walk'] + 0.4)
    rest = 0.5 * (gap - 3.3)
    for sign in (-1, 1):
      builder.face(
        furniture.wall(rng, rest, 1.7, buildings.wall_paint(rng, ['brick', 'plaster'])),
        s + sign * (1.65 + rest / 2),
        side,
        at['walk'] + 0.4,
      )
  else:
    builder.face(furniture.fence(rng, gap - 0.4, 'iron'), s, side, at['walk'] + 0.4)
  builder.face(plants.tree(rng, rng.uniform(6, 9), detail=0.6), s, side, at['garden'] + 4)


def _parked(builder: Builder, at: dict[str, float], side: int):
  rng = builder.rng
  s = builder.start + rng.uniform(0, 3)
  turn = np.pi if side > 0 else 0.0
  middle = 0.5 * (at['road'] + at['bay'])
  special = 'truck' if side > 0 else None
  while s < builder.end - 6:
    if special and 18 < s < 40:
      builder.put(vehicles.truck(rng), s + 3.6, side * (middle + 0.1), 0.03, turn)
      s, special = s + 8.4, None
      continue
    if rng.random() < 0.70:
      offset = side * (middle + rng.uniform(-0.12, 0.12))
      builder.put(vehicles.car(rng), s + 2.5, offset, 0.03, turn + rng.normal(0, 0.015))
    elif rng.random() < 0.35:
      builder.put(vehicles.car(rng), s + 2.5, side * middle, 0.03, turn, ghost=True)
    s += rng.uniform(5.3, 6.3)


def _verge(builder: Builder, at: dict[str, float], side: int):
  rng = builder.rng
  middle = 0.5 * (at['bay'] + at['verge'])
  form = str(rng.choice(['round', 'birch', 'round']))
  s = builder.start + rng.uniform(1, 5)
  while s < builder.end:
    detail = 1.0 if abs(s - 20) < 45 else 0.5
    builder.face(
      plants.tree(rng, rng.uniform(6.0, 8.5), form, detail),
      s,
      side,
      middle + rng.uniform(-0.15, 0.15),
    )
    place = s + rng.uniform(2.0, 3.2)
    kind = rng.random()
    if kind < 0.25:
      builder.put(
        furniture.traffic_sign(rng, rng.uniform(2.1, 2.6)),
        place,
        side * (at['bay'] + 0.35),
        0.12,
        0.0 if side < 0 else np.pi,
      )
    elif kind < 0.42:
      for i in range(int(rng.integers(2, 4))):
        builder.put(
          people.bicycle(rng),
          place + 0.8 * i,
          side * (at['verge'] + 0.2),
          0.12,
          np.pi / 2 + rng.normal(0, 0.08),
        )
    elif kind < 0.58:
      builder.face(furniture.cabinet(rng), place, side, at['verge'] - 0.4)
    elif kind < 0.76:
      for i in range(int(rng.integers(1, 3))):
        builder.face(furniture.trash_bin(rng), place + 0.8 * i, side, at['verge'] - 0.3)
    elif kind < 0.88:
      builder.face(furniture.bench(rng), place, side, at['verge'] + 0.3)
    s += rng.uniform(7.0, 9.5)
  for s in np.arange(builder.start + (6 if side > 0 else 17), builder.end, 22.0):
    builder.face(furniture.street_lamp(rng, 7.5), s, side, at['bay'] + 0.45)


def _people(builder: Builder, at: dict[str, float], side: int):
  rng = builder.rng
  for s in np.arange(builder.start + rng.uniform(2, 12), builder.end - 30, 9.0):
    if rng.random() < 0.75:
      away = rng.uniform(at['verge'] + 0.6, at['walk'] - 0.5)
      turn = rng.choice([0.0, np.pi]) + rng.normal(0, 0.2)
      for i in range(int(rng.integers(1, 3))):
        builder.put(people.person(rng), s + 0.2 * i, side * (away + 0.7 * i), 0.12, turn)


def furnish(builder: Builder) -> float:
  """Add all objects; return d of the ego car in metres."""
  rng = builder.rng
  at = _strips(builder, 1.2 if rng.random() < 0.5 else 0.0)
  lane = 0.5 * (at['median'] + at['road'])
  builder.reserve(-4.0, builder.travel + 8, -lane, 2.3)
  builder.reserve(40 - builder.travel / SPEED, 47, lane, 2.0)  # for the oncoming car
  builder.face(furniture.shelter(rng), 33.0 + rng.uniform(-4, 4), -1, at['verge'] + 1.0)
  for side in (1, -1):
    _blocks(builder, at, side)
    _parked(builder, at, side)
    _verge(builder, at, side)
    _people(builder, at, side)
  for s, side in ((rng.uniform(14, 20), -1), (rng.uniform(36, 55), 1)):
    turn = 0.0 if side < 0 else np.pi
    builder.put(people.cyclist(rng), s, side * (at['road'] - 0.75), 0.0, turn)
  builder.put(vehicles.bus(rng), builder.travel + 42, lane, 0.0, np.pi)
  builder.put(vehicles.car(rng), builder.travel + 28, -lane, 0.0)
  for s in rng.uniform(builder.start, 60, 6):
    builder.patch(
      s,
      rng.uniform(-at['road'] + 0.3, -at['median'] - 1.5),
      (rng.uniform(0.6, 4.0), rng.uniform(0.6, 1.2)),
      Paint('asphalt', (0.10, 0.10, 0.105)),
    )
  if at['median']:
    for s in np.arange(builder.start, builder.end, 7.5):
      item = (
        plants.bush(rng, rng.uniform(0.6, 1.0))
        if rng.random() < 0.6
        else plants.tree(rng, rng.uniform(3.8, 5.0), 'column', 0.6)
      )
      builder.put(item, s, 0.0, 0.14)
  builder.movers.append(Mover((vehicles.car(rng, 'hatch'),), 44.0, -1.0, lane))
  return -lane
