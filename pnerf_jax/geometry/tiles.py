"""Tile-based culling of faces for one image, in numpy on the host.

An image is divided into tiles of 16 x 8 pixels. A face is a candidate of a tile if its bounding
rectangle overlaps the tile and its three edge functions allow a crossing there. Culling is
conservative: no face is dropped that a ray of the tile crosses. The margins are several times the
rounding of the float32 test that follows.

Letters: `F` faces, `N` pairs of a tile and a primitive, `Q` pairs of a tile and a face, `x = X/Z`
and `y = Y/Z` the slopes of a ray in the camera's frame.

References:
  Pineda, A Parallel Algorithm for Polygon Rasterization, SIGGRAPH 1988 (edge functions).
  Olano and Greer, Triangle Scan Conversion using 2D Homogeneous Coordinates, 1997 (faces that reach
  behind the camera).
"""

import dataclasses

import numpy as np

from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.geometry.primitives import Primitives

TILE_WIDTH, TILE_HEIGHT = 16, 8
_ROUNDING = 4e-6  # about ten float32 roundings


@dataclasses.dataclass(frozen=True)
class Candidates:
  """Candidate tile-primitive pairs of an image, sorted by tile, then by primitive.

  Attributes:
    camera: the camera of the image.
    near: metres along the ray.
    far: metres along the ray.
    corners: [NF, 13] float32, every face in the camera's frame: its corners, its normal, and the
      distance of its plane along the normal; metres.
    faces: [Q] int32, the candidate faces of all pairs, concatenated.
    tile: [N] int32, row * tiles across + column.
    primitive: [N] int32.
    start: [N] int32; pair n has the faces start[n] to start[n] + count[n] - 1 of `faces`.
    count: [N] int32.
  """

  camera: Camera
  near: float
  far: float
  corners: np.ndarray
  faces: np.ndarray
  tile: np.ndarray
  primitive: np.ndarray
  start: np.ndarray
  count: np.ndarray


def tiles_of(width: int, height: int) -> tuple[int, int]:
  """Return the number of tiles across and down an image of the given size in pixels."""
  return -(-width // TILE_WIDTH), -(-height // TILE_HEIGHT)


def _tile_rectangles(
  corners: np.ndarray, intrinsics: np.ndarray, width: int, height: int, min_depth: float
) -> tuple[np.ndarray, np.ndarray]:
  """Return the rectangles of tiles that faces may overlap: first tile and size, (column, row).

  Args:
    corners: [F, 3, 3], the faces' corners in the camera's frame, metres.
    intrinsics: [4] float64, pixels.
    width: image width, pixels.
    height: image height, pixels.
    min_depth: planar depth from which on faces matter, metres.

  Returns:
    first [F, 2] and size [F, 2], int64; size 0 for a face out of view.
  """
  focal, centre = intrinsics[:2], intrinsics[2:]
  z = corners[..., 2:]
  front = z > min_depth
  safe_z = np.where(front, z, 1.0)
  pixels = corners[..., :2] / safe_z * focal + centre
  stretch = np.sum((corners / safe_z) ** 2, axis=-1, keepdims=True)
  margin = 0.02 + _ROUNDING * focal * stretch
  low, high = np.min(pixels - margin, axis=1), np.max(pixels + margin, axis=1)
  # A face that reaches behind the camera has no rectangle; the image borders still exclude it.
  border = (np.array([[-1.0, -1.0], [width, height]]) - centre) / focal
  offside = np.all(corners[..., :2] < border[0] * z, axis=1) | np.all(
    corners[..., :2] > border[1] * z, axis=1
  )
  all_front = np.all(front, axis=1)
  low = np.where(all_front, low, np.where(offside, np.inf, -np.inf))
  high = np.where(all_front, high, np.inf)
  tile, tiles = np.array([TILE_WIDTH, TILE_HEIGHT]), np.array(tiles_of(width, height))
  # Only pixel centres count: tile column c covers u = 16 c ... 16 c + 15.
  first = np.clip(np.ceil((low - tile + 1) / tile), 0, tiles).astype(np.int64)
  last = np.clip(np.floor(high / tile), -1, tiles - 1).astype(np.int64)
  size = np.maximum(last - first + 1, 0)
  in_view = np.any(front, axis=(1, 2)) & np.all(size > 0, axis=1)
  return first, np.where(in_view[:, None], size, 0)


def _edge_planes(corners: np.ndarray) -> np.ndarray:
  """Return the plane through each edge and the camera, inside positive, and a margin: [F, 3, 4].

  A ray of slopes x, y intersects the face in front of the camera only if (x, y, 1, 1) @ plane >= 0
  for all three edges, also if the face reaches behind the camera.
  """
  a, b, c = np.moveaxis(corners, 1, 0)
  planes = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
  la, lb, lc = (np.linalg.norm(corner, axis=-1) for corner in (a, b, c))
  volume = np.sum(a * planes[:, 0], axis=-1)
  # A face seen edge-on has no reliable inside: keep it.
  side = np.where(np.abs(volume) > 1e-5 * la * lb * lc, np.sign(volume), 0.0)
  margin = _ROUNDING * np.stack([lb * lc, lc * la, la * lb], axis=-1)
  return np.concatenate([planes * side[:, None, None], margin[..., None]], axis=-1)


def _is_tested(primitives: Primitives, nearest: np.ndarray, far: float, frame: int) -> np.ndarray:
  """Return whether primitives are static or of the given frame, and not entirely beyond far, [M].

  Args:
    primitives: metres.
    nearest: [NF], the smallest planar depth of each face, metres.
    far: metres.
    frame: frame number, -1 for none.
  """
  timestamp = np.asarray(primitives.timestamp)
  is_present = np.asarray(primitives.valid) & ((timestamp < 0) | (timestamp == frame))
  # By primitive, not by face: a face beyond far may end an interval that begins before far.
  return is_present & (np.minimum.reduceat(nearest, np.asarray(primitives.face_start)[:-1]) < far)


def _overlapped_tiles(
  corners: np.ndarray, intrinsics: np.ndarray, width: int, height: int, min_depth: float
) -> tuple[np.ndarray, np.ndarray]:
  """Return all pairs of a face and a tile that it may overlap: face [Q], tile [Q].

  Args: as for _tile_rectangles.
  """
  first, size = _tile_rectangles(corners, intrinsics, width, height, min_depth)
  num_tiles = size[:, 0] * size[:, 1]
  face = np.repeat(np.arange(len(corners)), num_tiles)
  rank = np.arange(len(face)) - np.repeat(np.cumsum(num_tiles) - num_tiles, num_tiles)
  row, column = np.divmod(rank, size[face, 0])
  row, column = row + first[face, 1], column + first[face, 0]
  half = (np.array([TILE_WIDTH, TILE_HEIGHT]) - 1) / 2
  x = (column * TILE_WIDTH + half[0] - intrinsics[2]) / intrinsics[0]
  y = (row * TILE_HEIGHT + half[1] - intrinsics[3]) / intrinsics[1]
  planes = _edge_planes(corners)
  # The largest value in the tile, from the value at its centre.
  constant = planes[..., 2] + planes[..., 3] + np.abs(planes[..., :2]) @ (half / intrinsics[:2])
  kept = np.ones(len(face), bool)
  for edge in range(3):
    px, py = planes[:, edge, 0][face], planes[:, edge, 1][face]
    kept &= px * x + py * y + constant[:, edge][face] >= 0
  return face[kept], (row * tiles_of(width, height)[0] + column)[kept]


def find_candidates(primitives: Primitives, camera: Camera, near: float, far: float) -> Candidates:
  """Find the candidates of all tiles of an image.

  Args:
    primitives: metres, recentred world; the static ones and those of the camera's frame are tested.
    camera: its pose is in the world of the primitives.
    near: metres along the ray.
    far: metres along the ray.

  Returns:
    Candidates of all tiles.
  """
  width, height = camera.width, camera.height
  intrinsics = np.asarray(camera.intrinsics, np.float64)
  pose = np.asarray(camera.world_from_cam, np.float64)
  # The inverse, not the transpose: a float32 rotation is orthogonal only up to rounding.
  cam_from_world = np.linalg.inv(pose[:3, :3])
  vertices = (np.asarray(primitives.vertices, np.float64) - pose[:3, 3]) @ cam_from_world.T
  corners = vertices[np.asarray(primitives.faces)]
  normals = np.asarray(primitives.normals, np.float64) @ pose[:3, :3]
  offsets = np.sum(normals * corners[:, 0], axis=-1, keepdims=True)

  face_start = np.asarray(primitives.face_start)
  owner = np.repeat(np.arange(len(face_start) - 1), np.diff(face_start))
  is_tested = _is_tested(primitives, corners[..., 2].min(axis=1), far, camera.frame)
  border = np.array([[0.0, 0.0], [width - 1, height - 1]])
  slopes = np.max(np.abs(border - intrinsics[2:]) / intrinsics[:2], axis=0)
  min_depth = max(0.9 * near / np.sqrt(1.0 + np.sum(slopes**2)), 1e-3)
  face = np.flatnonzero(is_tested[owner])
  index, tile = _overlapped_tiles(corners[face], intrinsics, width, height, min_depth)
  order = np.argsort(tile, kind='stable')  # faces are in the order of their primitives already
  tile, face = tile[order], face[index[order]]
  pair = tile * len(is_tested) + owner[face]
  start = np.flatnonzero(np.diff(pair, prepend=-1))
  return Candidates(
    camera=camera,
    near=near,
    far=far,
    corners=np.concatenate([corners.reshape(-1, 9), normals, offsets], axis=-1, dtype=np.float32),
    faces=face.astype(np.int32),
    tile=tile[start].astype(np.int32),
    primitive=owner[face[start]].astype(np.int32),
    start=start.astype(np.int32),
    count=np.diff(start, append=len(face)).astype(np.int32),
  )
