"""A thing: one object with its class, its true shape, and how a person would enclose it.

Local frames as in solids.py; `yaw` turns a thing about z in street coordinates.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import solids


@dataclasses.dataclass(frozen=True)
class Part:
  """A piece of a thing that gets a primitive of its own.

  Attributes:
    solid: true geometry.
    shape: the form of its primitive: 'cuboid', 'ellipsoid', 'prism' (an upright polygon around
      it), 'slab' (a polygon of ground given by `outline`) or 'none' (lies within another's).
    outline: [n, 3] metres, the ground polygon of a slab in order, in street coordinates.
  """

  solid: solids.Solid
  shape: str = 'cuboid'
  outline: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Thing:
  """One object.

  Attributes:
    name: class name of the official table.
    parts: its pieces; all belong to one instance.
    yaw: radians about z that its cuboids are turned by.
    foot: z of the ground it stands on; what lies lower is buried and not enclosed.
  """

  name: str
  parts: tuple[Part, ...]
  yaw: float = 0.0
  foot: float = -np.inf

  def moved(self, translation=(0.0, 0.0, 0.0), yaw: float = 0.0) -> 'Thing':
    """The thing turned by `yaw` radians about z, then translated, metres; it stands there."""
    parts = tuple(Part(part.solid.moved(translation, yaw), part.shape) for part in self.parts)
    foot = float(translation[2]) + (self.foot if np.isfinite(self.foot) else 0.0)
    return Thing(self.name, parts, self.yaw + yaw, foot)


def thing(name: str, *pieces: solids.Solid, shape: str = 'cuboid') -> Thing:
  """A thing of a single part made of all the pieces."""
  return Thing(name, (Part(solids.join(*pieces), shape),))
