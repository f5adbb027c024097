"""Intersection of the rays of one image with its candidate tile-primitive pairs.

Each pair gives some intervals of the tile's pixels with the primitive; the intervals of all pairs
of a tile are then merged. All work is done in chunks of fixed size, so that memory does not grow
with the image and nothing is recompiled from one image to the next.

Letters: `K` intervals kept per ray, `H` crossings kept per ray and primitive, `P` pixels of a tile,
`N` pairs of a tile and a primitive, `L` rows of the buffer: one interval of each pixel of a pair.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry import hits as hits_lib
from pnerf_jax.geometry import tiles as tiles_lib
from pnerf_jax.geometry.intervals import Intervals, add_interval, empty_intervals
from pnerf_jax.geometry.tiles import Candidates

PIXELS = tiles_lib.TILE_WIDTH * tiles_lib.TILE_HEIGHT
_FEW_HITS = 4  # nearly always enough; the other pairs are intersected again with MAX_HITS
_GROUP_PAIRS = 2048  # pairs whose intervals are in memory at a time
_CHUNK_PAIRS = 256
_CHUNK_TILES = 64


@dataclasses.dataclass(frozen=True)
class PairIntervals:
  """Intervals of one group of tile-primitive pairs.

  Attributes:
    buffer: [2, L, P], enter and exit, metres; valid until the next group is intersected.
    row: [...] int, rows of the buffer with an interval, sorted by pair.
    pair: [...] int, the pair of each of these rows, index into Candidates.
    overflow_pairs: [...] int, pairs with more than MAX_HITS crossings.
    num_truncated: [..., P] int32, intervals that were truncated in each pixel of these pairs.
  """

  buffer: jax.Array
  row: np.ndarray
  pair: np.ndarray
  overflow_pairs: np.ndarray
  num_truncated: np.ndarray


@functools.partial(jax.jit, static_argnames='num_hits', donate_argnums=0)
def _intersect_chunk(
  buffer: jax.Array,
  row: jax.Array,
  pairs: jax.Array,
  *,
  corners: jax.Array,
  faces: jax.Array,
  intrinsics: jax.Array,
  bounds: jax.Array,
  num_hits: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Intersect one chunk of pairs.

  Args:
    buffer: [2, L, P], enter and exit; H / 2 rows per pair are written, from `row` on.
    row: int32, the first row to write.
    pairs: [4, N] int32: column and row of the tile's first pixel, first face, number of faces.
    corners: [at least NF, 13], as in Candidates.
    faces: [Q] int32.
    intrinsics: [4], pixels.
    bounds: [2], near and far, metres.
    num_hits: H.

  Returns:
    The buffer; which of the written rows hold an interval [N, H / 2]; and the number of truncated
    intervals [N, P].
  """
  left, top, start, count = pairs
  near, far = bounds
  down, across = jnp.divmod(jnp.arange(PIXELS), tiles_lib.TILE_WIDTH)
  x = (left[:, None] + across - intrinsics[2]) / intrinsics[0]
  y = (top[:, None] + down - intrinsics[3]) / intrinsics[1]
  t_per_depth = jnp.sqrt(1.0 + x * x + y * y)

  def add_face(i, hits):
    """Add the crossings of a tile's rays with its i-th face to the hit buffer."""
    face = corners[faces[start + i]].T[..., None]
    vertices, normal, offset = face[:9].reshape(3, 3, -1, 1), face[9:12], face[12]
    planar = [(v[0] - x * v[2], v[1] - y * v[2]) for v in vertices]
    slope = normal[0] * x + normal[1] * y + normal[2]
    depths = vertices[:, 2]
    z = hits_lib.plane_depth(offset, slope, depths.min(axis=0), depths.max(axis=0))
    crossed = hits_lib.crosses_face(*planar) & (i < count)[:, None]
    return hits_lib.add_hit(hits, crossed, z * t_per_depth, near, far)

  hits = hits_lib.empty_hits(num_hits, *x.shape)
  hits = jax.lax.fori_loop(0, jnp.max(count), add_face, hits)
  enter, leave, num_truncated = hits_lib.hits_to_intervals(hits, near, far)
  has_interval = jnp.any(jnp.isfinite(enter), axis=-1).T
  rows = jnp.moveaxis(jnp.stack([enter, leave]), 1, 2).reshape(2, -1, PIXELS)
  return jax.lax.dynamic_update_slice(buffer, rows, (0, row, 0)), has_interval, num_truncated


@functools.partial(jax.jit, donate_argnums=0)
def _merge_chunk(
  intervals: Intervals, buffer: jax.Array, rows: jax.Array, primitives: jax.Array, tiles: jax.Array
) -> Intervals:
  """Keep the nearest intervals of each ray of one chunk of tiles.

  Args:
    intervals: [K, tiles of the image, P].
    buffer: [2, L, P], enter and exit.
    rows: [L] int32, rows of the buffer sorted by tile.
    primitives: [L] int32, the primitives of these rows.
    tiles: [3, tiles] int32: number of the tile, its first entry in `rows`, its number of entries.

  Returns:
    The intervals with these tiles filled.
  """
  tile, start, count = tiles

  def add_row(i, chunk):
    enter, leave = buffer[:, rows[start + i]]
    enter = jnp.where((i < count)[:, None], enter, jnp.inf)
    return add_interval(chunk, enter, leave, primitives[start + i][:, None])

  chunk = empty_intervals(intervals.enter.shape[0], len(tile), PIXELS)
  chunk = jax.lax.fori_loop(0, jnp.max(count), add_row, chunk)
  return jax.tree.map(lambda old, new: old.at[..., tile, :].set(new, mode='drop'), intervals, chunk)


@functools.partial(jax.jit, static_argnames=('width', 'height'))
def image_from_tiles(intervals: Intervals, width: int, height: int) -> Intervals:
  """Rearrange intervals [K, tiles, P] to [height, width, K]."""
  across, down = tiles_lib.tiles_of(width, height)

  def untile(x):
    x = x.reshape(-1, down, across, tiles_lib.TILE_HEIGHT, tiles_lib.TILE_WIDTH)
    x = x.transpose(1, 3, 2, 4, 0)
    x = x.reshape(down * tiles_lib.TILE_HEIGHT, across * tiles_lib.TILE_WIDTH, -1)
    return x[:height, :width]

  return Intervals(
    untile(intervals.enter),
    untile(intervals.exit),
    untile(intervals.primitive),
    untile(intervals.num_truncated)[..., 0],
  )


def _stack_padded(arrays: list[np.ndarray], size: int) -> np.ndarray:
  """Stack 1-D arrays as int32 [len(arrays), size], padded with zeros."""
  stacked = np.stack(arrays).astype(np.int32)
  return np.pad(stacked, ((0, 0), (0, size - stacked.shape[1])))


def _padded_size(needed: int, smallest: int) -> int:
  """Return a size from a coarse ladder, so that few shapes are compiled."""
  size = smallest
  while size < needed:
    size *= 4
  return size


def _groups(candidates: Candidates) -> list[slice]:
  """Split the pairs at tile boundaries into groups of _GROUP_PAIRS; one tile is never split."""
  tile, begin, groups = candidates.tile, 0, []
  while begin < len(tile):
    end = min(begin + _GROUP_PAIRS, len(tile))
    if end < len(tile):
      end = int(np.searchsorted(tile, tile[end]))
      if end <= begin:
        end = int(np.searchsorted(tile, tile[begin], side='right'))
    groups.append(slice(begin, end))
    begin = end
  return groups


def intersect_pairs(candidates: Candidates) -> Iterator[PairIntervals]:
  """Yield the intervals of all pairs, one group of pairs at a time; see PairIntervals.buffer."""
  groups = _groups(candidates)
  largest = max((group.stop - group.start for group in groups), default=0)
  num_pairs = _padded_size(largest, max(_GROUP_PAIRS, _CHUNK_PAIRS))
  # Every pair with few hits, and again with many.
  buffer = jnp.zeros((2, num_pairs * (_FEW_HITS + hits_lib.MAX_HITS) // 2, PIXELS))
  num_faces = len(candidates.corners)
  padding = _padded_size(num_faces, 1 << 12) - num_faces
  corners = jnp.asarray(np.pad(candidates.corners, ((0, padding), (0, 0))))
  for group in groups:
    found = _intersect_group(buffer, candidates, group, corners)
    yield found
    buffer = found.buffer


def _intersect_group(
  buffer: jax.Array, candidates: Candidates, group: slice, corners: jax.Array
) -> PairIntervals:
  """Intersect one group of pairs; the buffer is donated."""
  first, last = candidates.start[group.start], group.stop - 1
  faces = candidates.faces[first : candidates.start[last] + candidates.count[last]]
  across, _ = tiles_lib.tiles_of(candidates.camera.width, candidates.camera.height)
  intersect_chunk = functools.partial(
    _intersect_chunk,
    corners=corners,
    faces=jnp.asarray(_stack_padded([faces], _padded_size(len(faces), 1 << 16))[0]),
    intrinsics=jnp.asarray(candidates.camera.intrinsics, jnp.float32),
    bounds=jnp.asarray([candidates.near, candidates.far], jnp.float32),
  )
  # Pairs with similar numbers of faces share a chunk: its longest list sets the time.
  pairs = group.start + np.argsort(-candidates.count[group], kind='stable')
  offset, filled_rows, filled_pairs = 0, [], []
  for num_hits in (_FEW_HITS, hits_lib.MAX_HITS):
    chunks = [pairs[begin : begin + _CHUNK_PAIRS] for begin in range(0, len(pairs), _CHUNK_PAIRS)]
    results = []
    for i, chunk in enumerate(chunks):
      tile_row, tile_column = np.divmod(candidates.tile[chunk], across)
      left, top = tile_column * tiles_lib.TILE_WIDTH, tile_row * tiles_lib.TILE_HEIGHT
      columns = [left, top, candidates.start[chunk] - first, candidates.count[chunk]]
      buffer, *result = intersect_chunk(
        buffer,
        offset + i * _CHUNK_PAIRS * num_hits // 2,
        _stack_padded(columns, _CHUNK_PAIRS),
        num_hits=num_hits,
      )
      results.append(result)
    if not chunks:
      break
    has_interval, num_truncated = (
      np.concatenate(r)[: len(pairs)] for r in zip(*jax.device_get(results))
    )
    overflows = np.any(num_truncated > 0, axis=-1)
    if num_hits < hits_lib.MAX_HITS:
      has_interval = has_interval & ~overflows[:, None]
    index, nth = np.nonzero(has_interval)
    filled_rows.append(offset + index * (num_hits // 2) + nth)
    filled_pairs.append(pairs[index])
    offset += len(chunks) * _CHUNK_PAIRS * num_hits // 2
    pairs, num_truncated = pairs[overflows], num_truncated[overflows]
  row, pair = np.concatenate(filled_rows), np.concatenate(filled_pairs)
  order = np.argsort(pair, kind='stable')
  return PairIntervals(buffer, row[order], pair[order], pairs, num_truncated)


def merge_pairs(
  intervals: Intervals, found: PairIntervals, candidates: Candidates, selected: np.ndarray
) -> Intervals:
  """Merge the intervals of a group of pairs into those of its tiles.

  Args:
    intervals: [K, tiles of the image, P], donated.
    found: the intervals of the pairs.
    candidates: the pairs.
    selected: [...] bool, the entries of `found.row` to merge.

  Returns:
    The intervals [K, tiles of the image, P] with the group's tiles filled.
  """
  pair = found.pair[selected]
  tile = candidates.tile[pair]
  rows, primitives = jnp.asarray(
    _stack_padded([found.row[selected], candidates.primitive[pair]], found.buffer.shape[1])
  )
  start = np.flatnonzero(np.diff(tile, prepend=-1))
  count = np.diff(start, append=len(tile))
  longest_first = np.argsort(-count, kind='stable')
  for begin in range(0, len(start), _CHUNK_TILES):
    chunk = longest_first[begin : begin + _CHUNK_TILES]
    tiles = _stack_padded([tile[start[chunk]], start[chunk], count[chunk]], _CHUNK_TILES)
    tiles[0, len(chunk) :] = intervals.enter.shape[1]  # no such tile: nothing is written
    intervals = _merge_chunk(intervals, found.buffer, rows, primitives, tiles)
  return intervals
