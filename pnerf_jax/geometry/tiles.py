"""Which faces can meet which tile of an image: the culling of one view, in numpy on the host.

An image is cut into tiles of 16 x 8 pixels. A face is a candidate of a tile if its rectangle and
its three edges allow a crossing there, so that a face is left out only where no ray of the tile can
cross it; the margins are several times the rounding of the float32 test that follows.

Letters: `N` pairs of a tile and a primitive, `Q` pairs of a tile and a face, `x = X/Z` and
`y = Y/Z` the slopes of a ray in the camera's frame.
"""

import dataclasses

import numpy as np

from pnerf_jax.geometry.primitives import Primitives

TILE_WIDTH, TILE_HEIGHT = 16, 8
_ROUNDING = 4e-6  # some ten float32 roundings


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What one view has to test, sorted by tile, then by primitive.

  Attributes:
    corners: [NF, 13] float32, every face in the camera's frame: its corners, its normal, and the
      distance of its plane along the normal; metres.
    faces: [Q] int32, the candidate faces of all pairs one after the other.
    tile: [N] int32, row * tiles across + column.
    primitive: [N] int32.
    start: [N] int32; pair n has the faces start[n] to start[n] + count[n] - 1 of `faces`.
    count: [N] int32.
  """

  corners: np.ndarray
  faces: np.ndarray
  tile: np.ndarray
  primitive: np.ndarray
  start: np.ndarray
  count: np.ndarray


def tiles_of(width: int, height: int) -> tuple[int, int]:
  """Number of tiles across and down an image of that many pixels."""
  return -(-width // TILE_WIDTH), -(-height // TILE_HEIGHT)


def _tile_rectangles(
  corners: np.ndarray, intrinsics: np.ndarray, width: int, height: int, nearest: float
) -> tuple[np.ndarray, np.ndarray]:
  """First tile (column, row) and number of tiles (columns, rows) that faces may touch.

  Args:
    corners: [F, 3, 3], the faces' corners in the camera's frame, metres.
    intrinsics: [4], pixels.
    width: of the image, pixels.
    height: of the image, pixels.
    nearest: planar depth before which nothing matters, metres.

  Returns:
    first [F, 2] and size [F, 2], int64; size 0 for a face out of view.
  """
  focal, centre = intrinsics[:2], intrinsics[2:]
  z = corners[..., 2:]
  front = z > nearest
  safe_z = np.where(front, z, 1.0)
  pixels = corners[..., :2] / safe_z * focal + centre
  stretch = np.sum((corners / safe_z) ** 2, axis=-1, keepdims=True)
  margin = 0.02 + _ROUNDING * focal * stretch
  low, high = np.min(pixels - margin, axis=1), np.max(pixels + margin, axis=1)
  # A face that reaches behind the camera has no rectangle; the image's borders still cut it off.
  border = (np.array([[-1.0, -1.0], [width, height]]) - centre) / focal
  offside = np.all(corners[..., :2] < border[0] * z, axis=1) | np.all(
    corners[..., :2] > border[1] * z, axis=1
  )
  whole = np.all(front, axis=1)
  low = np.where(whole, low, np.where(offside, np.inf, -np.inf))
  high = np.where(whole, high, np.inf)
  tile, tiles = np.array([TILE_WIDTH, TILE_HEIGHT]), np.array(tiles_of(width, height))
  # Only pixel centres count: column c holds u = 16 c ... 16 c + 15.
  first = np.clip(np.ceil((low - tile + 1) / tile), 0, tiles).astype(np.int64)
  last = np.clip(np.floor(high / tile), -1, tiles - 1).astype(np.int64)
  size = np.maximum(last - first + 1, 0)
  seen = np.any(front, axis=(1, 2)) & np.all(size > 0, axis=1)
  return first, np.where(seen[:, None], size, 0)


def _edge_planes(corners: np.ndarray) -> np.ndarray:
  """Per edge the plane through it and the camera, inside positive, and a margin: [F, 3, 4].

  A ray of slopes x, y meets the face in front of the camera only if (x, y, 1, 1) @ plane >= 0 for
  all three edges, whether or not the face reaches behind the camera.
  """
  a, b, c = np.moveaxis(corners, 1, 0)
  planes = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
  la, lb, lc = (np.linalg.norm(corner, axis=-1) for corner in (a, b, c))
  volume = np.sum(a * planes[:, 0], axis=-1)
  # The plane of a face seen edge-on has no safe side: keep it.
  side = np.where(np.abs(volume) > 1e-5 * la * lb * lc, np.sign(volume), 0.0)
  margin = _ROUNDING * np.stack([lb * lc, lc * la, la * lb], axis=-1)
  return np.concatenate([planes * side[:, None, None], margin[..., None]], axis=-1)


def _wanted(primitives: Primitives, nearest: np.ndarray, far: float, frame: int) -> np.ndarray:
  """[M] bool: static or of this frame, and not wholly beyond far.

  Args:
    primitives: of the window.
    nearest: [NF], the smallest planar depth of each face, metres.
    far: metres.
    frame: of the view.
  """
  timestamp = np.asarray(primitives.timestamp)
  wanted = np.asarray(primitives.valid) & ((timestamp < 0) | (timestamp == frame))
  # By primitive, not by face: a face beyond far may close an interval that begins before it.
  return wanted & (np.minimum.reduceat(nearest, np.asarray(primitives.face_start)[:-1]) < far)


def _touched_tiles(
  corners: np.ndarray, intrinsics: np.ndarray, width: int, height: int, nearest: float
) -> tuple[np.ndarray, np.ndarray]:
  """All pairs of a face and a tile that it may touch: index of the face [Q], tile [Q].

  Args: as for _tile_rectangles.
  """
  first, size = _tile_rectangles(corners, intrinsics, width, height, nearest)
  number = size[:, 0] * size[:, 1]
  face = np.repeat(np.arange(len(corners)), number)
  rank = np.arange(len(face)) - np.repeat(np.cumsum(number) - number, number)
  row, column = np.divmod(rank, size[face, 0])
  row, column = row + first[face, 1], column + first[face, 0]
  half = (np.array([TILE_WIDTH, TILE_HEIGHT]) - 1) / 2
  x = (column * TILE_WIDTH + half[0] - intrinsics[2]) / intrinsics[0]
  y = (row * TILE_HEIGHT + half[1] - intrinsics[3]) / intrinsics[1]
  planes = _edge_planes(corners)
  # Largest value in the tile, from that in its middle.
  constant = planes[..., 2] + planes[..., 3] + np.abs(planes[..., :2]) @ (half / intrinsics[:2])
  kept = np.ones(len(face), bool)
  for edge in range(3):
    px, py = planes[:, edge, 0][face], planes[:, edge, 1][face]
    kept &= px * x + py * y + constant[:, edge][face] >= 0
  return face[kept], (row * tiles_of(width, height)[0] + column)[kept]


def find_candidates(
  primitives: Primitives,
  intrinsics: np.ndarray,
  world_from_cam: np.ndarray,
  width: int,
  height: int,
  near: float,
  far: float,
  frame: int,
) -> Candidates:
  """Culls the primitives that are static or stand at `frame` against one pinhole view.

  Args:
    primitives: metres, recentred world.
    intrinsics: [4], fx, fy, cx, cy in pixels.
    world_from_cam: [4, 4], rigid, metres.
    width: of the image, pixels.
    height: of the image, pixels.
    near: along the ray, metres.
    far: along the ray, metres.
    frame: -1 for none.

  Returns:
    Candidates of all tiles.
  """
  intrinsics = np.asarray(intrinsics, np.float64)
  pose = np.asarray(world_from_cam, np.float64)
  # The inverse, not the transpose: a rotation in float32 is none to the last digit.
  cam_from_world = np.linalg.inv(pose[:3, :3])
  vertices = (np.asarray(primitives.vertices, np.float64) - pose[:3, 3]) @ cam_from_world.T
  corners = vertices[np.asarray(primitives.faces)]
  normals = np.asarray(primitives.normals, np.float64) @ pose[:3, :3]
  offsets = np.sum(normals * corners[:, 0], axis=-1, keepdims=True)

  face_start = np.asarray(primitives.face_start)
  owner = np.repeat(np.arange(len(face_start) - 1), np.diff(face_start))
  wanted = _wanted(primitives, corners[..., 2].min(axis=1), far, frame)
  border = np.array([[0.0, 0.0], [width - 1, height - 1]])
  slopes = np.max(np.abs(border - intrinsics[2:]) / intrinsics[:2], axis=0)
  nearest = max(0.9 * near / np.sqrt(1.0 + np.sum(slopes**2)), 1e-3)
  face = np.flatnonzero(wanted[owner])
  which, tile = _touched_tiles(corners[face], intrinsics, width, height, nearest)
  order = np.argsort(tile, kind='stable')  # Faces are in the order of their primitives already.
  tile, face = tile[order], face[which[order]]
  pair = tile * len(wanted) + owner[face]
  start = np.flatnonzero(np.diff(pair, prepend=-1))
  return Candidates(
    corners=np.concatenate([corners.reshape(-1, 9), normals, offsets], axis=-1, dtype=np.float32),
    faces=face.astype(np.int32),
    tile=tile[start].astype(np.int32),
    primitive=owner[face[start]].astype(np.int32),
    start=start.astype(np.int32),
    count=np.diff(start, append=len(face)).astype(np.int32),
  )
