"""Objects of a street: class, true geometry, and the shape of the primitives that annotate them.

Local frames as in solids.py; `yaw` turns an object about z in street coordinates.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import solids


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of an object that gets a primitive of its own.

  Attributes:
    solid: true geometry.
    shape: shape of the primitive: 'cuboid', 'ellipsoid', 'prism' (an upright polygon around the
      part), 'slab' (the ground polygon `outline`) or 'none' (inside the primitive of another part).
    outline: [n, 3] metres, street coordinates; the ground polygon of a slab, in order.
  """

  solid: solids.Solid
  shape: str = 'cuboid'
  outline: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SceneObject:
  """An object; in contrast to 'things' of panoptic segmentation also a piece of ground or a wall.

  Attributes:
    name: class name of the official table.
    parts: its parts; all belong to one instance.
    yaw: rotation of its cuboids about z, radians.
    ground_z: z of the ground below it, metres; primitives do not extend below it.
  """

  name: str
  parts: tuple[Part, ...]
  yaw: float = 0.0
  ground_z: float = -np.inf

  def moved(self, translation=(0.0, 0.0, 0.0), yaw: float = 0.0) -> 'SceneObject':
    """Return the object turned by `yaw` radians about z, then translated, metres."""
    parts = tuple(Part(part.solid.moved(translation, yaw), part.shape) for part in self.parts)
    ground_z = float(translation[2]) + (self.ground_z if np.isfinite(self.ground_z) else 0.0)
    return SceneObject(self.name, parts, self.yaw + yaw, ground_z)


def make_object(name: str, *pieces: solids.Solid, shape: str = 'cuboid') -> SceneObject:
  """Return an object with a single part made of all pieces."""
  return SceneObject(name, (Part(solids.join(*pieces), shape),))
