"""Layout of a street: the axis of the road, strips of ground along it, and objects placed on them.

Letters: `s` metres along the axis of the road (0 at the first frame; the ego car drives towards
+s), `d` metres to the left of the axis, `z` metres up. Street coordinates: the world minus a
constant. Side +1 is the left of the road, -1 its right.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import footprints, solids
from pnerf_jax.contrib.street.objects import Part, SceneObject
from pnerf_jax.contrib.street.solids import Paint

_STEP = 0.25  # metres between samples of the axis
_PIECE = 14.0  # metres of ground covered by one primitive
# Classes that are shifted where they would overlap others; houses, hedges and fences are not.
_MOVABLE = (
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
_SHIFTS = (0.0, 0.8, -0.8, 1.6, -1.6, 2.6, -2.6, 4.0, -4.0)  # metres along the road
_KERB = Paint('plaster', (0.44, 0.43, 0.41), (0.3, 0.3, 0.3), 1.0)


@dataclasses.dataclass(frozen=True)
class Road:
  """The axis of the road, sampled every _STEP metres.

  Attributes:
    s: [n] metres along the axis.
    point: [n, 3] metres.
    heading: [n] radians from +x.
  """

  s: np.ndarray
  point: np.ndarray
  heading: np.ndarray

  def heading_at(self, s) -> np.ndarray:
    """Return the heading [...] in radians."""
    return np.interp(s, self.s, self.heading)

  def slope_at(self, s) -> np.ndarray:
    """Return the upward slope [...] in the driving direction, radians."""
    return np.arctan(np.interp(s, self.s, np.gradient(self.point[:, 2], _STEP)))

  def at(self, s, d, z=0.0) -> np.ndarray:
    """Return the street coordinates [..., 3] of s, d, and z above the axis."""
    s, d, z = np.broadcast_arrays(np.asarray(s, float), d, z)
    axis = np.stack([np.interp(s, self.s, self.point[:, i]) for i in range(3)], -1)
    heading = self.heading_at(s)
    return axis + np.stack([-np.sin(heading) * d, np.cos(heading) * d, z], -1)


def make_road(
  start: float, end: float, heading: float, bend: float, period: float, *, grade: float, roll: float
) -> Road:
  """Return a road of curvature bend * sin(2 pi s / period) and an undulating profile.

  Args:
    start: first s, metres.
    end: last s, metres.
    heading: radians at s = 0.
    bend: largest curvature, 1/m.
    period: wavelength of the curvature, metres.
    grade: mean rise per metre.
    roll: amplitude of the profile, metres.
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
    inner: metres from the axis to its near edge; the carriageway has side +1 and a negative inner.
    outer: metres from the axis to its far edge.
    height: metres above the axis (a kerb is 0.12).
    paint: its surface.
    rough: standard deviation of the unevenness, metres.
    kerb: whether it has a kerb.
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
  """Objects that move along the road during the recording.

  Attributes:
    objects: in their local frame, x forward.
    start: s at frame 0, metres.
    speed: metres per frame; negative = oncoming.
    offset: d, metres.
    height: metres above the axis.
  """

  objects: tuple[SceneObject, ...]
  start: float
  speed: float
  offset: float
  height: float = 0.0

  def at(self, road: Road, frame: int) -> list[SceneObject]:
    """Return the objects in street coordinates at the `frame`-th frame."""
    s = self.start + self.speed * frame
    yaw = float(road.heading_at(s)) + (np.pi if self.speed < 0 else 0.0)
    return [t.moved(road.at(s, self.offset, self.height), yaw) for t in self.objects]


class Builder:
  """The objects of a street under construction.

  Attributes:
    road: the axis of the road.
    rng: source of all choices.
    objects: static objects in street coordinates.
    ghosts: objects of another time: they have primitives but are absent from the images.
    movers: moving objects.
    start: first s with objects, metres.
    end: last s with objects, metres.
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
    self.objects: list[SceneObject] = []
    self.ghosts: list[SceneObject] = []
    self.movers: list[Mover] = []
    self._taken = np.zeros((0, 4, 2))

  def reserve(self, start: float, end: float, d: float, width: float):
    """Keep a lane of `width` metres around d free from s = start to end."""
    s = np.arange(start, end, 4.0)
    corners = [
      self.road.at(s + ds, d + 0.5 * dd * width)[:, :2]
      for ds, dd in ((0.0, -1), (4.0, -1), (4.0, 1), (0.0, 1))
    ]
    self._taken = np.concatenate([self._taken, np.stack(corners, 1)])

  def _free(self, group: list[SceneObject]) -> bool:
    return not any(footprints.overlap(one, self._taken) for one in footprints.rectangles(group))

  def put(
    self, item, s: float, d: float, height: float = 0.12, turn: float = 0.0, *, ghost: bool = False
  ):
    """Place an object, or a list of objects with a common frame, with x along the road.

    Movable objects that would overlap others are shifted along the road, or dropped.

    Args:
      item: one or several objects.
      s: metres.
      d: metres.
      height: of the ground above the axis, metres.
      turn: radians added to the heading of the road; pi = facing the other way.
      ghost: whether it is an object of another time, with a primitive only.
    """
    group = item if isinstance(item, list) else [item]
    yields = not ghost and group[0].name in _MOVABLE
    for shift in _SHIFTS if yields else _SHIFTS[:1]:
      yaw = float(self.road.heading_at(s + shift)) + turn
      placed = [one.moved(self.road.at(s + shift, d, height), yaw) for one in group]
      if not yields or self._free(placed):
        (self.ghosts if ghost else self.objects).extend(placed)
        if not ghost:
          self._taken = np.concatenate([self._taken, footprints.rectangles(placed)])
        return

  def face(
    self, item, s: float, side: int, away: float, height: float = 0.12, *, turn: float = 0.0
  ):
    """Place objects `away` metres from the axis with their front (local -y) towards the road."""
    self.put(item, s, side * away, height, turn + (0.0 if side > 0 else np.pi))

  def ground(self, strip: Strip, side: int):
    """Add a strip of ground in pieces, each with the outline of its primitive."""
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
        self.objects.append(self._patch(name, paint, a, b, strip, height=height, side=side))

  def _patch(
    self, name: str, paint: Paint, s0: float, s1: float, strip: Strip, *, height: float, side: int
  ) -> SceneObject:
    s = np.linspace(s0, s1, max(2, round((s1 - s0) / 1.0) + 1))
    wide = strip.outer - strip.inner
    away = np.linspace(strip.inner, strip.outer, max(2, min(12, round(wide / 0.6) + 1)))
    lattice = self.road.at(s[:, None], side * away[None], height)
    inside = np.ones(lattice.shape[:2])
    inside[[0, -1]] = 0  # edges stay flat, so that neighbouring pieces join
    inside[:, [0, -1]] = 0
    lattice[..., 2] += strip.rough * inside * self.rng.normal(size=inside.shape)
    pieces = [solids.grid(lattice, paint)]
    for edge in (lattice[:, 0], lattice[:, -1], lattice[0], lattice[-1]):
      low = edge - [0, 0, 0.16]  # covers the gap to a lower neighbour
      pieces.append(solids.grid(np.stack([low, edge]), _KERB if strip.kerb else paint))
    if strip.kerb:
      top = self.road.at(s[:, None], side * (strip.inner + np.array([0, 0.14])), height + 0.004)
      pieces.append(solids.grid(top, _KERB))
    ring = np.linspace(0, len(s) - 1, 4).round().astype(int)
    outline = np.concatenate([lattice[ring, 0], lattice[ring[::-1], -1]])
    return SceneObject(name, (Part(solids.join(*pieces), 'slab', outline),))

  def paint_line(
    self, s0: float, s1: float, d: float, width: float = 0.12, color=(0.66, 0.66, 0.63)
  ):
    """Add a lane marking: a sheet 4 mm above the road, of class road."""
    s = np.linspace(s0, s1, max(2, round((s1 - s0) / 1.0) + 1))
    lattice = self.road.at(s[:, None], d + width * np.array([-0.5, 0.5]), 0.004)
    self.objects.append(
      SceneObject(
        'road',
        (
          Part(
            solids.grid(lattice, Paint('gravel', color, tuple(0.55 * c for c in color), 1.0)),
            'none',
          ),
        ),
      )
    )

  def patch(self, s: float, d: float, size: tuple[float, float], paint: Paint):
    """Add a repaired patch or a manhole cover to the road."""
    lattice = self.road.at(np.array([s, s + size[0]])[:, None], d + np.array([0, size[1]]), 0.003)
    self.objects.append(SceneObject('road', (Part(solids.grid(lattice, paint), 'none'),)))
