"""How a street is laid out: its axis, the strips of ground beside it, and what is placed on them.

Letters: `s` metres along the road's axis (0 is where the first frame is taken, the ego car drives
towards +s), `d` metres to the left of the axis, `z` metres up. Street coordinates: the world
minus a constant. Side +1 is the left of the road, -1 its right.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import footprints, solids, things
from pnerf_jax.contrib.street.solids import Paint

_STEP = 0.25  # metres between the axis's support points
_PIECE = 14.0  # metres of ground that one person-made prism covers
# What gives way where the ground is taken; houses, hedges, fences and the like stand where put.
_YIELDING = (
  'car',
  'truck',
  'bus',
  'trailer',
  'caravan',
  'motorcycle',
  'bicycle',
  'rider',
  'person',
  'pole',
  'smallpole',
  'lamp',
  'traffic sign',
  'traffic light',
  'trash bin',
  'box',
  'vending machine',
  'stop',
  'unknown object',
)
_TRIES = (0.0, 0.8, -0.8, 1.6, -1.6, 2.6, -2.6, 4.0, -4.0)  # metres along the road
_KERB = Paint('plaster', (0.44, 0.43, 0.41), (0.3, 0.3, 0.3), 1.0)


@dataclasses.dataclass(frozen=True)
class Road:
  """The road's axis, sampled every _STEP metres.

  Attributes:
    s: [n] metres along; point: [n, 3] metres; heading: [n] radians from +x.
  """

  s: np.ndarray
  point: np.ndarray
  heading: np.ndarray

  def heading_at(self, s) -> np.ndarray:
    """[...] radians."""
    return np.interp(s, self.s, self.heading)

  def slope_at(self, s) -> np.ndarray:
    """[...] radians upwards in the driving direction."""
    return np.arctan(np.interp(s, self.s, np.gradient(self.point[:, 2], _STEP)))

  def at(self, s, d, z=0.0) -> np.ndarray:
    """[..., 3] street coordinates of s, d, and z above the axis."""
    s, d, z = np.broadcast_arrays(np.asarray(s, float), d, z)
    axis = np.stack([np.interp(s, self.s, self.point[:, i]) for i in range(3)], -1)
    heading = self.heading_at(s)
    return axis + np.stack([-np.sin(heading) * d, np.cos(heading) * d, z], -1)


def make_road(
  start: float, end: float, heading: float, bend: float, period: float, grade: float, roll: float
) -> Road:
  """A road of curvature bend * sin(2 pi s / period) and a rising, slightly rolling profile.

  Args:
    start, end: metres along.
    heading: radians at s = 0.
    bend: largest curvature, 1/m.
    period: metres of one left-right swing.
    grade: mean rise per metre.
    roll: metres of the profile's waves.
  """
  s = np.arange(start, end + _STEP, _STEP)
  turn = bend * period / (2 * np.pi) * (1 - np.cos(2 * np.pi * s / period))
  angle = heading + turn
  x, y = (
    np.concatenate([[0], np.cumsum(_STEP * f(0.5 * (angle[1:] + angle[:-1])))])
    for f in (np.cos, np.sin)
  )
  z = grade * s + roll * (np.sin(s / 17.0) + 0.5 * np.sin(s / 7.3 + 1))
  origin = [np.interp(0, s, x), np.interp(0, s, y), np.interp(0, s, z)]
  return Road(s, np.stack([x, y, z], 1) - origin, angle)


@dataclasses.dataclass(frozen=True)
class Strip:
  """A band of ground along the road.

  Attributes:
    name: class.
    inner, outer: metres from the axis, on the strip's side (inner < outer when side is +1
      or -1; the carriageway itself has side +1 and a negative inner).
    height: metres above the axis (a kerb is 0.12).
    paint: its surface.
    rough: metres of unevenness.
    kerb: whether it is edged with kerbstones.
    gaps: [(s0, s1, name, paint, height)] where another class interrupts the strip.
  """

  name: str
  inner: float
  outer: float
  height: float
  paint: Paint
  rough: float = 0.005
  kerb: bool = False
  gaps: tuple = ()


@dataclasses.dataclass(frozen=True)
class Mover:
  """A thing that moves along the road while the frames are taken.

  Attributes:
    things: in the local frame of its foot, x forward.
    start, speed: s at frame 0 in metres, metres per frame (negative: oncoming).
    offset: d in metres.
    height: metres above the axis.
  """

  things: tuple[things.Thing, ...]
  start: float
  speed: float
  offset: float
  height: float = 0.0

  def at(self, road: Road, frame: int) -> list[things.Thing]:
    """The things in street coordinates at the `frame`-th frame."""
    s = self.start + self.speed * frame
    yaw = float(road.heading_at(s)) + (np.pi if self.speed < 0 else 0.0)
    return [t.moved(road.at(s, self.offset, self.height), yaw) for t in self.things]


class Builder:
  """Collects the things of a street.

  Attributes:
    road, rng: the axis and the source of all choices.
    things: static things in street coordinates.
    ghosts: things of another pass: they have primitives, but are not there.
    movers: moving things.
    start, end: metres of road that are furnished.
    travel: metres that the ego car drives from s = 0.
  """

  def __init__(
    self,
    road: Road,
    rng: np.random.Generator,
    travel: float,
    behind: float = 35.0,
    ahead: float = 115.0,
  ):
    self.road, self.rng, self.travel = road, rng, travel
    self.start, self.end = -behind, travel + ahead
    self.things: list[things.Thing] = []
    self.ghosts: list[things.Thing] = []
    self.movers: list[Mover] = []
    self._taken = np.zeros((0, 4, 2))

  def reserve(self, start: float, end: float, d: float, width: float):
    """Keeps a lane of `width` metres around d free from s = start to end."""
    s = np.arange(start, end, 4.0)
    corners = [
      self.road.at(s + ds, d + 0.5 * dd * width)[:, :2]
      for ds, dd in ((0.0, -1), (4.0, -1), (4.0, 1), (0.0, 1))
    ]
    self._taken = np.concatenate([self._taken, np.stack(corners, 1)])

  def _free(self, group: list[things.Thing]) -> bool:
    return not any(footprints.overlap(one, self._taken) for one in footprints.rectangles(group))

  def put(
    self, item, s: float, d: float, height: float = 0.12, turn: float = 0.0, ghost: bool = False
  ):
    """Places a thing or a list of things of one frame with x along the road.

    Movable things make room: they are shifted along the road, or left out where all is taken.

    Args:
      item: thing or things.
      s, d: where, metres.
      height: of the ground there above the axis, metres.
      turn: radians added to the road's heading; pi makes it face the other way.
      ghost: it gets a primitive of another time and is not there.
    """
    group = item if isinstance(item, list) else [item]
    yields = not ghost and group[0].name in _YIELDING
    for shift in _TRIES if yields else _TRIES[:1]:
      yaw = float(self.road.heading_at(s + shift)) + turn
      placed = [one.moved(self.road.at(s + shift, d, height), yaw) for one in group]
      if not yields or self._free(placed):
        (self.ghosts if ghost else self.things).extend(placed)
        if not ghost:
          self._taken = np.concatenate([self._taken, footprints.rectangles(placed)])
        return

  def face(self, item, s: float, side: int, away: float, height: float = 0.12, turn: float = 0.0):
    """Places things so that their front (local -y) looks at the road from `away` metres."""
    self.put(item, s, side * away, height, turn + (0.0 if side > 0 else np.pi))

  def ground(self, strip: Strip, side: int):
    """Lays a strip of ground: true surface pieces, each with the outline of its prism."""
    cuts = sorted(
      {self.start, self.end, *(x for g in strip.gaps for x in g[:2] if self.start < x < self.end)}
    )
    for s0, s1 in zip(cuts[:-1], cuts[1:]):
      name, paint, height = strip.name, strip.paint, strip.height
      for a, b, *other in strip.gaps:
        if a <= 0.5 * (s0 + s1) <= b:
          name, paint, height = other
      count = max(1, round((s1 - s0) / _PIECE))
      edges = np.linspace(s0, s1, count + 1)
      for a, b in zip(edges[:-1], edges[1:]):
        self.things.append(self._patch(name, paint, a, b, strip, height, side))

  def _patch(
    self, name: str, paint: Paint, s0: float, s1: float, strip: Strip, height: float, side: int
  ) -> things.Thing:
    s = np.linspace(s0, s1, max(2, round((s1 - s0) / 1.0) + 1))
    wide = strip.outer - strip.inner
    away = np.linspace(strip.inner, strip.outer, max(2, min(12, round(wide / 0.6) + 1)))
    lattice = self.road.at(s[:, None], side * away[None], height)
    inside = np.ones(lattice.shape[:2])
    inside[[0, -1]] = 0  # seams stay where they are, so that neighbouring pieces meet
    inside[:, [0, -1]] = 0
    lattice[..., 2] += strip.rough * inside * self.rng.normal(size=inside.shape)
    pieces = [solids.grid(lattice, paint)]
    for edge in (lattice[:, 0], lattice[:, -1], lattice[0], lattice[-1]):
      low = edge - [0, 0, 0.16]  # no gap shows where a neighbour lies lower
      pieces.append(solids.grid(np.stack([low, edge]), _KERB if strip.kerb else paint))
    if strip.kerb:
      top = self.road.at(s[:, None], side * (strip.inner + np.array([0, 0.14])), height + 0.004)
      pieces.append(solids.grid(top, _KERB))
    ring = np.linspace(0, len(s) - 1, 4).round().astype(int)
    outline = np.concatenate([lattice[ring, 0], lattice[ring[::-1], -1]])
    return things.Thing(name, (things.Part(solids.join(*pieces), 'slab', outline),))

  def paint_line(
    self, s0: float, s1: float, d: float, width: float = 0.12, color=(0.66, 0.66, 0.63)
  ):
    """A marking: a thin sheet 4 mm above the road, part of the road."""
    s = np.linspace(s0, s1, max(2, round((s1 - s0) / 1.0) + 1))
    lattice = self.road.at(s[:, None], d + width * np.array([-0.5, 0.5]), 0.004)
    self.things.append(
      things.Thing(
        'road',
        (
          things.Part(
            solids.grid(lattice, Paint('gravel', color, tuple(0.55 * c for c in color), 1.0)),
            'none',
          ),
        ),
      )
    )

  def patch(self, s: float, d: float, size: tuple[float, float], paint: Paint):
    """A mended place or a manhole cover in the road."""
    lattice = self.road.at(np.array([s, s + size[0]])[:, None], d + np.array([0, size[1]]), 0.003)
    self.things.append(things.Thing('road', (things.Part(solids.grid(lattice, paint), 'none'),)))
