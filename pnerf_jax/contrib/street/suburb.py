"""Preset `suburb`: detached houses with gardens, hedges, fences, driveways and garages.

Letters as in layout.py. Across: carriageway, kerb and narrow pavement, garden boundary, front
garden, house. Every lot has a driveway (class parking) at one end.
"""

import numpy as np

from pnerf_jax.contrib.street import buildings, furniture, people, plants, vehicles
from pnerf_jax.contrib.street.layout import Builder, Strip
from pnerf_jax.contrib.street.solids import Paint

SPEED = 0.8  # metres per frame
_ASPHALT = Paint('asphalt', (0.17, 0.168, 0.165))
_SLABS = Paint('paver', (0.37, 0.36, 0.34), (0.19, 0.19, 0.18), 0.30)
_DRIVES = (
  Paint('paver', (0.36, 0.26, 0.21), (0.15, 0.13, 0.12), 0.20),
  Paint('gravel', (0.42, 0.40, 0.36), (0.25, 0.24, 0.22)),
  Paint('paver', (0.33, 0.33, 0.32), (0.15, 0.15, 0.15), 0.24),
)
_LAWN = Paint('ground', (0.075, 0.155, 0.035), (0.19, 0.215, 0.075))
_LANE = -0.3  # the ego car's d
_ROAD, _WALK, _EDGE = 3.3, 4.9, 5.15  # metres from the axis: kerb, garden, boundary


def alignment(rng: np.random.Generator) -> dict[str, float]:
  """Sample the course of the road: a soft bend."""
  return {
    'bend': float(rng.choice([-1, 1])) * rng.uniform(0.003, 0.006),
    'period': 260.0,
    'grade': rng.uniform(-0.012, 0.012),
    'roll': 0.12,
  }


def _lots(builder: Builder, side: int) -> list[tuple[float, float, float, float]]:
  """Return (start, end, driveway start, driveway end) of the lots on one side."""
  rng, lots = builder.rng, []
  s = builder.start - rng.uniform(0, 8)
  while s < builder.end:
    end = s + rng.uniform(15, 20)
    width = rng.uniform(3.1, 3.7)
    first = s + 0.4 if rng.random() < 0.5 else end - 0.4 - width
    lots.append((s, end, first, first + width))
    s = end
  return lots


def _ground(builder: Builder, side: int, lots):
  rng = builder.rng
  drives = [(a, b, 'parking', _DRIVES[rng.integers(3)], 0.13) for _, _, a, b in lots]
  # The kerb is lowered where a drive crosses the pavement.
  crossings = [(a, b, 'sidewalk', _SLABS, 0.05) for _, _, a, b in lots]
  builder.ground(Strip('sidewalk', _ROAD, _WALK, 0.12, _SLABS, 0.004, True, tuple(crossings)), side)
  builder.ground(Strip('terrain', _WALK, 12.6, 0.13, _LAWN, 0.025, False, tuple(drives)), side)
  builder.ground(Strip('terrain', 12.6, 45.0, 0.13, _LAWN, 0.04), side)


def _boundary(builder: Builder, side: int, s0: float, s1: float):
  """Add a hedge, fence or wall along the front of a lot."""
  rng = builder.rng
  if s1 - s0 < 1.0:
    return
  kind = str(rng.choice(['hedge', 'hedge', 'picket', 'mesh', 'boards', 'wall', 'wallhedge']))
  height = rng.uniform(0.9, 1.7)
  paint = buildings.wall_paint(rng, ['brick', 'stone', 'plaster'])
  count = max(1, round((s1 - s0) / 5.0))
  length = (s1 - s0) / count
  for s in s0 + length * (np.arange(count) + 0.5):
    if kind == 'hedge':
      builder.face(plants.hedge(rng, length, height), s, side, _EDGE + 0.25)
    elif kind == 'wallhedge':
      builder.face(furniture.wall(rng, length, 0.55, paint), s, side, _EDGE)
      builder.face(plants.hedge(rng, length, 1.2, 0.6), s, side, _EDGE + 0.55)
    elif kind == 'wall':
      builder.face(furniture.wall(rng, length, rng.uniform(0.85, 0.95), paint), s, side, _EDGE)
    else:
      builder.face(furniture.fence(rng, length, kind), s, side, _EDGE)


def _garden(builder: Builder, side: int, s0: float, s1: float, detail: float):
  rng = builder.rng
  for _ in range(int(rng.integers(1, 3))):
    form = str(rng.choice(['round', 'cone', 'birch', 'round', 'column']))
    height = rng.uniform(4.0, 7.5) if form != 'cone' else rng.uniform(5, 9)
    builder.face(
      plants.tree(rng, height, form, detail), rng.uniform(s0, s1), side, rng.uniform(6.8, 9.5)
    )
  for _ in range(int(rng.integers(2, 5))):
    builder.face(
      plants.bush(rng, rng.uniform(0.6, 1.6)), rng.uniform(s0, s1), side, rng.uniform(6.0, 10.0)
    )


def _lot(builder: Builder, side: int, lot):
  rng = builder.rng
  s0, s1, a, b = lot
  left, right = (b + 0.6, s1 - 0.8) if a - s0 < 2 else (s0 + 0.8, a - 0.6)
  detail = 1.0 if -5 < s0 < 50 else 0.45
  style = buildings.Style(
    buildings.wall_paint(rng, ['plaster', 'plaster', 'plaster', 'brick', 'planks']),
    Paint('plaster', (0.33, 0.32, 0.30), (0.25, 0.24, 0.22), 2.0),
    int(rng.integers(1, 3)),
    window=(1.25, 1.25),
    spacing=3.0,
    roof=str(rng.choice(['gable', 'front', 'hip'])),
    shutters=rng.random() < 0.4,
  )
  width = right - left - rng.uniform(0.5, 1.5)
  builder.face(
    buildings.house(rng, width, rng.uniform(8.5, 10.5), style),
    0.5 * (left + right),
    side,
    rng.uniform(10.8, 13.0),
  )
  middle = 0.5 * (a + b)
  if rng.random() < 0.8:
    builder.face(buildings.garage(rng), middle, side, rng.uniform(11.5, 12.4))
  if rng.random() < 0.5:
    builder.face(furniture.gate(rng, b - a), middle, side, _EDGE)
  _drive(builder, side, middle)
  _boundary(builder, side, s0 + 0.1, a - 0.15)
  _boundary(builder, side, b + 0.15, s1 - 0.1)
  _garden(builder, side, left, right, detail)
  for i in range(int(rng.integers(0, 3))):
    builder.face(
      furniture.trash_bin(rng),
      (a - 0.5 - 0.75 * i) if a - s0 > 2 else b + 0.5 + 0.75 * i,
      side,
      _WALK - 0.45,
    )
  divider = (
    plants.hedge(rng, 5.5, rng.uniform(1.2, 1.8), 0.6)
    if rng.random() < 0.6
    else furniture.fence(rng, 5.5, 'mesh')
  )
  builder.face(divider, s0, side, 8.6, turn=np.pi / 2)  # between two gardens


def _drive(builder: Builder, side: int, s: float):
  """Place a vehicle on a driveway."""
  rng = builder.rng
  turn = (np.pi / 2 if side > 0 else -np.pi / 2) + rng.choice([0.0, np.pi])
  kind = rng.random()
  if kind < 0.50:
    builder.put(
      vehicles.car(rng), s + rng.uniform(-0.1, 0.1), side * rng.uniform(8.2, 8.8), 0.13, turn
    )
  elif kind < 0.60:
    builder.put(vehicles.caravan(rng), s, side * 8.9, 0.13, turn)
  elif kind < 0.72:
    builder.put(vehicles.trailer(rng), s, side * 8.3, 0.13, turn)
  elif kind < 0.82:
    builder.put(vehicles.car(rng), s, side * 8.4, 0.13, turn, ghost=True)


def _street_side(builder: Builder, side: int):
  """Add poles, signs, cabinets, parked cars and pedestrians along the kerb."""
  rng = builder.rng
  for s in np.arange(builder.start + (3 if side > 0 else 14), builder.end, 26.0):
    if side > 0:
      builder.face(furniture.power_pole(rng, rng.uniform(6.5, 7.5)), s, side, _WALK - 0.25)
    else:
      builder.face(furniture.street_lamp(rng, 5.5), s, side, _WALK - 0.25)
  for s in np.arange(builder.start + rng.uniform(0, 12), builder.end - 10, 13.0):
    kind = rng.random()
    if kind < 0.35:
      builder.put(
        furniture.traffic_sign(rng), s, side * (_ROAD + 0.4), 0.12, 0.0 if side < 0 else np.pi
      )
    elif kind < 0.55:
      builder.face(furniture.cabinet(rng), s, side, _WALK - 0.3)
    elif kind < 0.75:
      builder.put(people.bicycle(rng), s, side * (_WALK - 0.25), 0.12, rng.normal(0, 0.06))
  for s in np.arange(builder.start + rng.uniform(0, 16), builder.end - 30, 16.0):
    builder.put(people.person(rng), s, side * (_ROAD + 0.9), 0.12, rng.choice([0.0, np.pi]))
  for s in np.arange(builder.start + rng.uniform(0, 18), builder.end - 10, 21.0):
    builder.put(
      vehicles.car(rng),
      s + rng.uniform(-2, 2),
      side * (_ROAD - 0.95),
      0.0,
      (0.0 if side < 0 else np.pi) + rng.normal(0, 0.02),
      ghost=rng.random() < 0.25,
    )


def furnish(builder: Builder) -> float:
  """Add all objects; return d of the ego car in metres."""
  rng = builder.rng
  builder.ground(Strip('road', -_ROAD, _ROAD, 0.0, _ASPHALT), 1)
  builder.reserve(-4.0, builder.travel + 6, _LANE, 2.2)
  for side in (1, -1):
    lots = _lots(builder, side)
    _ground(builder, side, lots)
    for lot in lots:
      _lot(builder, side, lot)
    _street_side(builder, side)
  builder.put(people.bicycle(rng), rng.uniform(15, 19), -(_WALK - 0.25), 0.12, 0.04)
  builder.put(people.cyclist(rng), builder.travel + rng.uniform(7, 12), _ROAD - 0.8, 0.0, np.pi)
  for s in rng.uniform(builder.start, 70, 8):
    builder.patch(
      s,
      rng.uniform(-2.6, 1.8),
      (rng.uniform(0.6, 3.5), rng.uniform(0.6, 1.2)),
      Paint('asphalt', (0.11, 0.11, 0.11)),
    )
  return _LANE
