"""One pinhole view, tile by tile: pairs of a tile and a primitive to rows, rows to a table.

A row holds one interval of each pixel of a tile with one primitive. All work is done in chunks of
fixed size, so that memory does not grow with the image and nothing is compiled anew from view to
view.

Letters: `K` intervals kept per ray, `H` crossings kept per ray and primitive, `P` pixels of a tile.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.geometry import hits as hits_lib
from pnerf_jax.geometry import intervals as table_lib
from pnerf_jax.geometry import tiles as tiles_lib
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.geometry.tiles import Candidates

PIXELS = tiles_lib.TILE_WIDTH * tiles_lib.TILE_HEIGHT
_FEW_HITS = 4  # nearly always enough; pairs that need more are done again with MAX_HITS
_GROUP = 2048  # pairs whose rows are in memory at a time
_PAIRS = 256  # pairs per chunk
_TILES = 64  # tiles per chunk


@functools.partial(jax.jit, static_argnames='num_hits', donate_argnums=0)
def _fill_rows(
  rows: jax.Array,
  row: jax.Array,
  corners: jax.Array,
  faces: jax.Array,
  pairs: jax.Array,
  intrinsics: jax.Array,
  bounds: jax.Array,
  num_hits: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Intersects one chunk of pairs of a tile and a primitive.

  Args:
    rows: [2, rows, P], enter and exit; those from `row` on are written, H / 2 per pair.
    row: int32.
    corners: [at least NF, 13], as in Candidates.
    faces: [Q] int32.
    pairs: [4, pairs] int32: column and row of the tile's first pixel, first face, number of faces.
    intrinsics: [4], pixels.
    bounds: [2], near and far, metres.
    num_hits: H.

  Returns:
    rows; which of the written ones hold an interval [pairs, H / 2]; and the number of intervals
    [pairs, P] that did not fit.
  """
  left, top, start, count = pairs
  near, far = bounds
  down, across = jnp.divmod(jnp.arange(PIXELS), tiles_lib.TILE_WIDTH)
  x = (left[:, None] + across - intrinsics[2]) / intrinsics[0]
  y = (top[:, None] + down - intrinsics[3]) / intrinsics[1]
  t_per_z = jnp.sqrt(1.0 + x * x + y * y)

  def add_face(i, account):
    """Adds where each pair's P pixel rays cross its i-th face to the account of hits."""
    face = corners[faces[start + i]].T[..., None]
    vertices, normal, offset = face[:9].reshape(3, 3, -1, 1), face[9:12], face[12]
    planar = [(v[0] - x * v[2], v[1] - y * v[2]) for v in vertices]
    slope = normal[0] * x + normal[1] * y + normal[2]
    depths = vertices[:, 2]
    z = hits_lib.plane_depth(offset, slope, depths.min(axis=0), depths.max(axis=0))
    crossed = hits_lib.crosses_face(*planar) & (i < count)[:, None]
    return hits_lib.add_hit(*account, crossed, z * t_per_z, near, far)

  account = hits_lib.empty_hits(num_hits, *x.shape)
  account = jax.lax.fori_loop(0, jnp.max(count), add_face, account)
  enter, leave, lost = hits_lib.hits_to_intervals(*account, near, far)
  found = jnp.any(jnp.isfinite(enter), axis=-1).T
  written = jnp.moveaxis(jnp.stack([enter, leave]), 1, 2).reshape(2, -1, PIXELS)
  return jax.lax.dynamic_update_slice(rows, written, (0, row, 0)), found, lost


@functools.partial(jax.jit, donate_argnums=0)
def _merge_rows(
  table: Intervals, rows: jax.Array, order: jax.Array, owner: jax.Array, tiles: jax.Array
) -> Intervals:
  """Keeps the nearest intervals of each ray of one chunk of tiles.

  Args:
    table: Intervals [K, tiles of the image, P].
    rows: [2, rows, P], enter and exit.
    order: [rows] int32, rows by tile.
    owner: [rows] int32, their primitives.
    tiles: [3, tiles] int32: number of the tile, where its rows start in `order`, how many.

  Returns:
    The table with these tiles filled.
  """
  tile, start, count = tiles

  def add_row(i, chunk):
    enter, leave = rows[:, order[start + i]]
    enter = jnp.where((i < count)[:, None], enter, jnp.inf)
    return table_lib.add_interval(chunk, enter, leave, owner[start + i][:, None])

  chunk = table_lib.empty_table(table.enter.shape[0], len(tile), PIXELS)
  chunk = jax.lax.fori_loop(0, jnp.max(count), add_row, chunk)
  return jax.tree.map(lambda old, new: old.at[..., tile, :].set(new, mode='drop'), table, chunk)


@functools.partial(jax.jit, static_argnames=('width', 'height'))
def image_from_tiles(table: Intervals, width: int, height: int) -> Intervals:
  """Intervals [K, tiles, P] as [height, width, K]."""
  across, down = tiles_lib.tiles_of(width, height)

  def untile(x):
    x = x.reshape(-1, down, across, tiles_lib.TILE_HEIGHT, tiles_lib.TILE_WIDTH)
    x = x.transpose(1, 3, 2, 4, 0)
    x = x.reshape(down * tiles_lib.TILE_HEIGHT, across * tiles_lib.TILE_WIDTH, -1)
    return x[:height, :width]

  return Intervals(
    untile(table.enter),
    untile(table.exit),
    untile(table.primitive),
    untile(table.num_truncated)[..., 0],
  )


def _padded(arrays: list[np.ndarray], size: int) -> np.ndarray:
  """Stacks 1-D arrays as int32 [len(arrays), size], filled up with zeros."""
  stacked = np.stack(arrays).astype(np.int32)
  return np.pad(stacked, ((0, 0), (0, size - stacked.shape[1])))


def _room(needed: int, smallest: int) -> int:
  """A size from a coarse ladder, so that few shapes are ever compiled."""
  size = smallest
  while size < needed:
    size *= 4
  return size


def upload_corners(candidates: Candidates) -> jax.Array:
  """The candidates' face table on the device, filled up to a size that many windows share."""
  corners = candidates.corners
  spare = _room(len(corners), 1 << 12) - len(corners)
  return jnp.asarray(np.pad(corners, ((0, spare), (0, 0))))


def groups_of(candidates: Candidates) -> Iterator[slice]:
  """Cuts the pairs, between tiles, into groups of at most 2048, unless one tile has more."""
  tile, begin = candidates.tile, 0
  while begin < len(tile):
    end = min(begin + _GROUP, len(tile))
    if end < len(tile):
      end = int(np.searchsorted(tile, tile[end]))
      if end <= begin:
        end = int(np.searchsorted(tile, tile[begin], side='right'))
    yield slice(begin, end)
    begin = end


def empty_rows(candidates: Candidates) -> jax.Array:
  """Room for the rows of any group, [2, rows, P]: each pair with few hits, then with many."""
  largest = max((g.stop - g.start for g in groups_of(candidates)), default=0)
  pairs = _room(largest, max(_GROUP, _PAIRS))
  return jnp.zeros((2, pairs * (_FEW_HITS + hits_lib.MAX_HITS) // 2, PIXELS))


def intersect_group(
  rows: jax.Array,
  candidates: Candidates,
  group: slice,
  across: int,
  corners: jax.Array,
  intrinsics: jax.Array,
  bounds: jax.Array,
) -> tuple[jax.Array, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Fills rows with the intervals of one group of pairs.

  Args:
    rows: [2, rows, P], donated.
    candidates: of the view.
    group: of pairs.
    across: number of tiles in a row of the image.
    corners: of upload_corners.
    intrinsics: [4], pixels.
    bounds: [2], near and far, metres.

  Returns:
    rows; which of them hold an interval, and the pairs they belong to, ascending; the pairs with
    more than MAX_HITS crossings, and the number of intervals [..., P] they lost.
  """
  first, last = candidates.start[group.start], group.stop - 1
  faces = candidates.faces[first : candidates.start[last] + candidates.count[last]]
  faces = jnp.asarray(_padded([faces], _room(len(faces), 1 << 16))[0])
  # Pairs with equally many faces into one chunk: its longest list sets the time.
  pairs = group.start + np.argsort(-candidates.count[group], kind='stable')
  offset, filled, owners = 0, [], []
  for num_hits in (_FEW_HITS, hits_lib.MAX_HITS):
    chunks = [pairs[begin : begin + _PAIRS] for begin in range(0, len(pairs), _PAIRS)]
    results = []
    for i, chunk in enumerate(chunks):
      row, column = np.divmod(candidates.tile[chunk], across)
      left, top = column * tiles_lib.TILE_WIDTH, row * tiles_lib.TILE_HEIGHT
      columns = [left, top, candidates.start[chunk] - first, candidates.count[chunk]]
      rows, *result = _fill_rows(
        rows,
        offset + i * _PAIRS * num_hits // 2,
        corners,
        faces,
        _padded(columns, _PAIRS),
        intrinsics,
        bounds,
        num_hits,
      )
      results.append(result)
    if not chunks:
      break
    found, lost = (np.concatenate(r)[: len(pairs)] for r in zip(*jax.device_get(results)))
    again = np.any(lost > 0, axis=-1)
    if num_hits < hits_lib.MAX_HITS:
      found = found & ~again[:, None]
    which, nth = np.nonzero(found)
    filled.append(offset + which * (num_hits // 2) + nth)
    owners.append(pairs[which])
    offset += len(chunks) * _PAIRS * num_hits // 2
    pairs, lost = pairs[again], lost[again]
  filled, owners = np.concatenate(filled), np.concatenate(owners)
  order = np.argsort(owners, kind='stable')
  return rows, filled[order], owners[order], pairs, lost


def merge_group(
  table: Intervals, rows: jax.Array, filled: np.ndarray, tile: np.ndarray, primitive: np.ndarray
) -> Intervals:
  """Merges rows into the tiles they belong to.

  Args:
    table: Intervals [K, tiles of the image, P], donated.
    rows: [2, rows, P].
    filled: which rows, sorted by tile.
    tile: of each.
    primitive: of each.

  Returns:
    The table.
  """
  order, owner = jnp.asarray(_padded([filled, primitive], rows.shape[1]))
  start = np.flatnonzero(np.diff(tile, prepend=-1))
  count = np.diff(start, append=len(tile))
  longest_first = np.argsort(-count, kind='stable')
  for begin in range(0, len(start), _TILES):
    chunk = longest_first[begin : begin + _TILES]
    tiles = _padded([tile[start[chunk]], start[chunk], count[chunk]], _TILES)
    tiles[0, len(chunk) :] = table.enter.shape[1]  # beyond the last tile: written nowhere
    table = _merge_rows(table, rows, order, owner, tiles)
  return table
