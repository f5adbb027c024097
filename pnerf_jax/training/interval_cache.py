"""The intervals of all training rays: made once, kept on disk, read back where nothing changed.

A file holds, of some views, how many intervals each ray has and those intervals one after the
other: a fifth of the table. It is named by a digest of all that the intervals depend on, so that a
file is found only where making it anew would give the same bits.

Letters: V views, N their rays, K intervals kept of a ray, Q intervals of all rays.
"""

import dataclasses
import functools
import hashlib
import logging
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.data.files import atomic_write
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.geometry import intersection as intervals_lib
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.labelling.images import Camera, dataset_camera
from pnerf_jax.rendering.scene import Scene

_LOG = logging.getLogger(__name__)

_FORMAT = 1  # of the file; what the geometry computes is part of the digest by its source


@dataclasses.dataclass(frozen=True)
class _Found:
  """What one file holds.

  count: [N] uint16 intervals of each ray.   enter, exit: [Q] float32 metres.
  primitive: [Q] int32.   dropped: [N] int32 intervals that did not fit.   moving: [N] bool, the ray
  meets an object that moves.
  """

  count: np.ndarray
  enter: np.ndarray
  exit: np.ndarray
  primitive: np.ndarray
  num_truncated: np.ndarray
  moving: np.ndarray


_NAMES = tuple(field.name for field in dataclasses.fields(_Found))


def of_views(
  scene: Scene, images: Sequence[int], num_intervals: int, folder: pathlib.Path | None
) -> tuple[Intervals, np.ndarray]:
  """The intervals of the rays of some of the window's views, at training size.

  Args:
    scene: the window with its primitives.
    images: indices of the V views.
    num_intervals: K.
    folder: where they are kept between calls; None keeps nothing.

  Returns:
    Intervals [N, K], numpy, and [N] bool, whether a ray meets an object that moves. N counts W x H
    pixels of every view, the largest training size; beyond a smaller view's own image rays meet
    nothing.
  """
  views = [dataset_camera(scene, image, full=False) for image in images]
  found, path = None, None
  if folder is not None:
    path = folder / f'intervals_{_digest(scene, views, num_intervals)[:32]}.npz'
    found = _read(
      path,
      sum(view.width * view.height for view in views),
      num_intervals,
      len(scene.primitives.valid),
    )
  if found is None:
    found = _intersect(scene, views, num_intervals)
    if path is not None:
      _write(path, found)
  within = scene.window.within()[list(images)].ravel()
  return jax.tree.map(
    lambda x, empty: _spread(x, within, empty),
    (_unpack(found, num_intervals), found.moving),
    _NOTHING,
  )


def _digest(scene: Scene, views: list[Camera], num_intervals: int) -> str:
  """Names all that the intervals depend on: numbers, and the code that works on them."""
  digest = hashlib.sha256(
    f'{_FORMAT} {num_intervals} {scene.window.near} {scene.window.far} {jax.__version__} '
    f'{jax.default_backend()} {len(views)}'.encode()
  )
  for source in sorted(pathlib.Path(intervals_lib.__file__).parent.glob('*.py')):
    digest.update(source.read_bytes())
  for array in jax.tree.leaves(scene.primitives):
    array = np.ascontiguousarray(array)
    digest.update(f'{array.dtype} {array.shape}'.encode())
    digest.update(array.tobytes())
  for view in views:
    digest.update(f'{view.width} {view.height} {view.frame}'.encode())
    digest.update(view.intrinsics.tobytes() + view.world_from_cam.tobytes())
  return digest.hexdigest()


def _intersect(scene: Scene, views: list[Camera], num_intervals: int) -> _Found:
  """Intersects view after view, a few at a time: much of it is done by one core alone."""
  parts = map_threads(functools.partial(_intersect_view, scene, num_intervals), views)
  return _Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES))


def _intersect_view(scene: Scene, num_intervals: int, view: Camera) -> _Found:
  found, moving, _ = intervals_lib.view_intervals(
    scene.primitives,
    jnp.asarray(view.intrinsics),
    jnp.asarray(view.world_from_cam),
    view.width,
    view.height,
    scene.window.near,
    float(scene.window.far),
    num_intervals,
    view.frame,
  )
  found = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), found)
  used = found.primitive >= 0  # the first of the K: intervals are sorted
  return _Found(
    np.sum(used, axis=-1, dtype=np.uint16),
    found.enter[used],
    found.exit[used],
    found.primitive[used],
    found.num_truncated,
    np.isfinite(np.asarray(moving)).ravel(),
  )


def _unpack(found: _Found, num_intervals: int) -> Intervals:
  """The table [N, K] of a file's lists."""
  used = np.arange(num_intervals) < found.count[:, None]

  def table(values, empty):
    whole = np.full(used.shape, empty, values.dtype)
    whole[used] = values
    return whole

  lists = (found.enter, found.exit, found.primitive)
  return Intervals(*map_threads(table, lists, (np.inf, np.inf, -1)), found.num_truncated)


_NOTHING = (Intervals(np.inf, np.inf, -1, 0), False)  # what _spread writes where there is no ray


def _spread(values: np.ndarray, within: np.ndarray, empty: Any) -> np.ndarray:
  """Puts values [n, ...] where `within` [N] says, `empty` elsewhere."""
  if within.all():
    return values
  whole = np.full((len(within), *values.shape[1:]), empty, values.dtype)
  whole[within] = values
  return whole


def _write(path: pathlib.Path, found: _Found) -> None:
  """Keeps what was found; a disk on which it has no room is no reason to stop."""
  try:
    with atomic_write(path) as file:
      np.savez(file, **{name: getattr(found, name) for name in _NAMES})
  except OSError as error:
    _LOG.warning('%s: the intervals are not kept (%s)', path, error.strerror or error)


def _read(path: pathlib.Path, rays: int, num_intervals: int, primitives: int) -> _Found | None:
  """What a file holds; None where there is none, or none that can be what was written.

  Args:
    path: of the file.
    rays: N that it must have.
    num_intervals: K, the most that a ray may have.
    primitives: number of primitives.
  """
  if not path.exists():
    return None
  try:
    with np.load(path, allow_pickle=False) as file:  # checks the sum of each array
      found = _Found(*(file[name] for name in _NAMES))
    kinds = {name: (getattr(found, name).dtype, getattr(found, name).shape) for name in _NAMES}
    total = int(found.count.sum())
    fits = kinds == {
      'count': (np.uint16, (rays,)),
      'enter': (np.float32, (total,)),
      'exit': (np.float32, (total,)),
      'primitive': (np.int32, (total,)),
      'dropped': (np.int32, (rays,)),
      'moving': (bool, (rays,)),
    } and bool(
      np.all(found.count <= num_intervals)
      and np.all((found.primitive >= 0) & (found.primitive < primitives))
    )
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as e:
    _LOG.warning('%s: is damaged (%s); the intervals are made anew', path, type(e).__name__)
    return None
  if not fits:
    _LOG.warning('%s: does not hold these rays; the intervals are made anew', path)
    return None
  _LOG.info('%s: intervals of %d rays read', path, rays)
  return found
