"""Bounding primitives: closed triangle meshes of any shape, as one struct of arrays.

Cuboids, ellipsoids and extruded polygons are all meshes. The inside of a mesh follows from the
parity of the faces that a ray crosses (even-odd rule), so winding, mirrored or sheared transforms
and concavity do not matter.

Letters: `M` primitives, `NV` vertices and `NF` faces of all primitives, concatenated; `N` vertices
and `F` faces of one primitive; metres in the recentred world.
"""

import dataclasses
import logging
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse, spatial

from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
_MERGE_DISTANCE = 1e-6  # of vertices, as a fraction of the mesh's diagonal
_MIN_THICKNESS = 1e-9  # of a mesh with volume, as a fraction of its largest extent


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Primitives:
  """All primitives of a window; a window without primitives has one that is not valid.

  Attributes:
    valid: [M] bool.
    semantic: [M] int32, label id 0..44.
    instance: [M] int32, instanceId, 0 for stuff.
    timestamp: [M] int32, frame of a moving primitive, -1 for a static one.
    vertices: [NV, 3] float32, metres, recentred world; equal vertices are merged.
    faces: [NF, 3] int32, indices into `vertices`, ascending within a face, so that an edge has the
      same direction in all faces that share it.
    normals: [NF, 3] float32, unit length (zero for a face without area), of arbitrary orientation.
    spheres: [M, 4] float32, centre and radius of a bounding sphere, metres, with a margin.
    face_start: [M + 1] int32; primitive m has the faces face_start[m] to face_start[m + 1] - 1.
  """

  valid: jax.Array
  semantic: jax.Array
  instance: jax.Array
  timestamp: jax.Array
  vertices: jax.Array
  faces: jax.Array
  normals: jax.Array
  spheres: jax.Array
  face_start: jax.Array


def _merge_vertices(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Merge (nearly) coincident vertices, and drop the faces that collapse."""
  diagonal = np.linalg.norm(np.ptp(vertices, axis=0))
  pairs = spatial.cKDTree(vertices).query_pairs(_MERGE_DISTANCE * diagonal, output_type='ndarray')
  graph = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(len(vertices),) * 2)
  _, group = sparse.csgraph.connected_components(graph, directed=False)
  used, faces = np.unique(group[faces], return_inverse=True)
  _, first = np.unique(group, return_index=True)
  faces = np.sort(faces.reshape(-1, 3), axis=1)
  collapsed = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2])
  return vertices[first[used]], faces[~collapsed]


def _is_open(faces: np.ndarray) -> bool:
  """Return whether some edge bounds an odd number of faces, so that parity gives no inside."""
  edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])
  return bool(np.any(np.unique(edges, axis=0, return_counts=True)[1] % 2))


def _closed_mesh(
  vertices: np.ndarray, faces: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, bool]:
  """Merge the vertices of a mesh, and replace it by its convex hull if it is not watertight.

  Args:
    vertices: [N, 3] float64, metres.
    faces: [F, 3] int, any winding.
    name: name of the primitive, for messages.

  Returns:
    vertices [N', 3], faces [F', 3] with ascending corners, and whether it was replaced.

  Raises:
    InputError: the mesh is empty, not finite or without volume.
  """
  if not vertices.size or not faces.size:
    raise InputError(f'{name}: {len(vertices)} vertices and {len(faces)} faces. Remedy: remove it.')
  if not np.all(np.isfinite(vertices)):
    raise InputError(f'{name}: vertices are not finite. Remedy: correct or remove it.')
  if faces.min() < 0 or faces.max() >= len(vertices):
    raise InputError(
      f'{name}: faces refer to vertices {faces.min()}..{faces.max()} of {len(vertices)}. '
      'Remedy: correct or remove it.'
    )
  vertices, faces = _merge_vertices(vertices, faces)
  # Duplicate faces cancel.
  faces, copies = np.unique(faces, axis=0, return_counts=True)
  faces = faces[copies % 2 == 1]
  extent = np.linalg.svd(vertices - vertices.mean(axis=0), compute_uv=False)
  if len(faces) < 3 or extent[2] <= _MIN_THICKNESS * extent[0]:
    raise InputError(f'{name}: the mesh encloses no volume. Remedy: remove it.')
  replaced = _is_open(faces)
  if replaced:
    faces = np.sort(spatial.ConvexHull(vertices).simplices, axis=1)
  return vertices, faces, replaced


def _bounding_sphere(vertices: np.ndarray) -> np.ndarray:
  """Return centre and radius [4] of a sphere around vertices [N, 3], with a margin for rounding."""
  centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
  radius = np.max(np.linalg.norm(vertices - centre, axis=-1))
  return np.append(centre, 1.001 * radius + 0.1)


def _face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Return the unit normals [F, 3] of faces [F, 3]; 0 for faces without area."""
  a, b, c = np.moveaxis(vertices[faces], 1, 0)
  normals = np.cross(b - a, c - a)
  length = np.linalg.norm(normals, axis=-1, keepdims=True)
  return normals / np.where(length > 0, length, 1.0)


def _warn_of_hulls(source: str, replaced: Sequence[str], total: int) -> None:
  """Log one line on the annotations whose meshes were replaced by their convex hulls."""
  if replaced:
    _LOG.warning(
      '%s: %d of %d primitives are not watertight; their convex hulls are used: annotation %s',
      source,
      len(replaced),
      total,
      ', '.join(replaced[:8]) + (', ...' if len(replaced) > 8 else ''),
    )


def make_primitives(
  vertices: Sequence[np.ndarray],
  faces: Sequence[np.ndarray],
  *,
  semantic: Sequence[int],
  instance: Sequence[int],
  annotation: Sequence[int | str],
  timestamp: Sequence[int],
  source: str = 'scene',
) -> Primitives:
  """Pack meshes into one struct; entry m of every argument describes primitive m.

  A mesh that is not watertight has no inside: it is replaced by its convex hull, and one line of
  the log names all of these.

  Args:
    vertices: M arrays [N, 3], metres, recentred world.
    faces: M arrays [F, 3], int, any winding; coincident vertices may be separate.
    semantic: M label ids.
    instance: M instance ids.
    annotation: M numbers or names of annotations, for messages.
    timestamp: M frames, -1 for static primitives.
    source: file of the annotations, for messages.

  Returns:
    Primitives in the given order.

  Raises:
    InputError: a mesh is empty, not finite or without volume; the message names its annotation.
  """
  meshes = [
    _closed_mesh(
      np.asarray(v, np.float64).reshape(-1, 3),
      np.asarray(f, np.int64).reshape(-1, 3),
      f'primitive with annotation {a}',
    )
    for v, f, a in zip(vertices, faces, annotation, strict=True)
  ]
  _warn_of_hulls(source, [str(a) for a, mesh in zip(annotation, meshes) if mesh[2]], len(meshes))
  valid = np.ones(max(1, len(meshes)), bool)
  if not meshes:
    valid[0] = False
    semantic, instance, timestamp = [0], [0], [-1]
    meshes = [(np.zeros((1, 3)), np.zeros((1, 3), np.int64), False)]
  vertex_start = np.cumsum([0] + [len(v) for v, *_ in meshes])
  all_vertices = np.concatenate([v for v, *_ in meshes])
  all_faces = np.concatenate([f + start for (_, f, _), start in zip(meshes, vertex_start[:-1])])
  return Primitives(
    valid=jnp.asarray(valid),
    semantic=jnp.asarray(semantic, jnp.int32),
    instance=jnp.asarray(instance, jnp.int32),
    timestamp=jnp.asarray(timestamp, jnp.int32),
    vertices=jnp.asarray(all_vertices, jnp.float32),
    faces=jnp.asarray(all_faces, jnp.int32),
    normals=jnp.asarray(_face_normals(all_vertices, all_faces), jnp.float32),
    spheres=jnp.asarray(np.stack([_bounding_sphere(v) for v, *_ in meshes]), jnp.float32),
    face_start=jnp.asarray(np.cumsum([0] + [len(f) for _, f, _ in meshes]), jnp.int32),
  )
