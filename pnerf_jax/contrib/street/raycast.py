"""Ray casting against the true triangles, by trimesh with Embree.

Letters: `n` rays, `F` triangles. Street coordinates: metres, the world minus a constant.
"""

import dataclasses

import numpy as np
import trimesh
from trimesh.ray import ray_pyembree

from pnerf_jax.contrib.street import illumination, solids, textures

_LIFT = 0.004  # metres that shadow rays start above their surface


@dataclasses.dataclass(frozen=True)
class Hits:
  """First hits of n rays.

  Attributes:
    face: [n] int64, triangle of the scene; -1 = no hit.
    distance: [n] metres along the unit direction; inf = no hit.
  """

  face: np.ndarray
  distance: np.ndarray


class Scene:
  """Triangles with their paints and an Embree acceleration structure.

  Attributes:
    owner: [F] int64, index of the solid that a triangle belongs to.
    normal: [F, 3] unit normals, on either side.
  """

  def __init__(self, pieces: list[solids.Solid]):
    whole = solids.join(*pieces)
    self.owner = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
    self.normal = solids.normals(whole.vertices, whole.faces)
    self._height = np.einsum('ij,ij->i', self.normal, whole.vertices[whole.faces[:, 0]])
    self._uv_map = whole.uv_map
    paints = whole.paints
    self._pattern = np.array([textures.PATTERN_NAMES.index(p.pattern) for p in paints])[whole.paint]
    column = lambda name: np.array([getattr(p, name) for p in paints], float)[whole.paint]
    self._color, self._accent = column('color'), column('accent')
    self._size, self._gloss = column('size'), column('gloss')
    mesh = trimesh.Trimesh(whole.vertices, whole.faces, process=False)
    self._embree = ray_pyembree.RayMeshIntersector(mesh)

  def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
    """Return the first hits of rays [n, 3]; distances to the triangles' planes, in float64."""
    face = np.asarray(self._embree.intersects_first(origins, directions), np.int64)
    hit = np.flatnonzero(face >= 0)
    rows = face[hit]
    slope = np.einsum('ij,ij->i', self.normal[rows], directions[hit])
    height = self._height[rows] - np.einsum('ij,ij->i', self.normal[rows], origins[hit])
    distance = np.full(len(face), np.inf)
    # A triangle seen edge-on has no plane distance; such a hit counts as a miss.
    distance[hit] = np.where(np.abs(slope) > 1e-7, height / np.where(slope == 0, 1, slope), np.inf)
    distance[distance <= 0] = np.inf
    face[~np.isfinite(distance)] = -1
    return Hits(face, distance)

  def occluded(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return whether anything lies on the rays, [n] bool."""
    return np.asarray(self._embree.intersects_any(origins, directions))

  def surface_at(
    self, faces: np.ndarray, points: np.ndarray, directions: np.ndarray, sample_width: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return albedo [n, 3], unit normal towards the viewer [n, 3] and gloss [n] of hits.

    Args:
      faces: [n] triangles.
      points: [n, 3] metres.
      directions: [n, 3] unit viewing rays.
      foot: [n] metres, perpendicular to the ray.
    """
    normal = self.normal[faces]
    cosine = np.einsum('ij,ij->i', normal, directions)
    normal = np.where(cosine[:, None] > 0, -normal, normal)
    uv_map = self._uv_map[faces]
    uv = np.einsum('nij,nj->ni', uv_map[:, :, :3], points) + uv_map[:, :, 3]
    sample_width = sample_width / np.clip(np.abs(cosine), 0.25, 1)
    samples = textures.SurfaceSamples(
      uv, sample_width, self._color[faces], self._accent[faces], self._size[faces], faces
    )
    return textures.albedo(self._pattern[faces], samples), normal, self._gloss[faces]


def nearest(
  scenes: list[Scene],
  origins: np.ndarray,
  directions: np.ndarray,
) -> tuple[np.ndarray, Hits]:
  """Return the first hits over several scenes: index of the scene [n] and the hits."""
  hits = [scene.cast(origins, directions) for scene in scenes]
  distances = np.stack([h.distance for h in hits])
  scene_index = np.argmin(distances, 0)
  every = np.arange(len(scene_index))
  faces = np.stack([h.face for h in hits])
  return scene_index, Hits(faces[scene_index, every], distances[scene_index, every])


def radiance(
  scenes: list[Scene],
  light: illumination.Light,
  origins: np.ndarray,
  directions: np.ndarray,
  spread: float,
) -> np.ndarray:
  """Return the linear RGB colour [n, 3] of rays.

  Args:
    scenes: the geometry; all scenes cast shadows.
    light: the illumination.
    origins: [n, 3] metres.
    directions: [n, 3], unit length.
    spread: radians that a sample covers.
  """
  scene_index, hits = nearest(scenes, origins, directions)
  color = np.empty_like(directions)
  miss = np.flatnonzero(hits.face < 0)
  color[miss] = illumination.sky(light, directions[miss])
  for index, scene in enumerate(scenes):
    rays = np.flatnonzero((hits.face >= 0) & (scene_index == index))
    if not len(rays):
      continue
    ahead, far = directions[rays], hits.distance[rays]
    points = origins[rays] + far[:, None] * ahead
    surface, normal, gloss = scene.surface_at(hits.face[rays], points, ahead, spread * far)
    lit = normal @ light.sun > 0
    start = points[lit] + _LIFT * normal[lit]
    toward = np.broadcast_to(light.sun, start.shape)
    lit[lit] = ~np.any([other.occluded(start, toward) for other in scenes], axis=0)
    color[rays] = illumination.shade(light, surface, normal, ahead, gloss, lit=lit, distance=far)
  return color
