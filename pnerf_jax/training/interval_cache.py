"""The intervals of all training rays, computed once and cached on disk.

A file holds, for some views, the number of intervals of each ray and the intervals themselves
without padding, a fifth of the padded size. Its name is a digest of everything that the intervals
depend on, including the source of the geometry, so a cached result equals a new one bit by bit.

Letters: V views, N their rays, K intervals kept per ray, Q intervals of all rays.
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
import numpy as np

from pnerf_jax.data.files import atomic_write
from pnerf_jax.distributed.threads import map_threads
from pnerf_jax.geometry import intersection
from pnerf_jax.geometry.cameras import Camera
from pnerf_jax.geometry.intervals import Intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene

_LOG = logging.getLogger(__name__)

_FORMAT = 2  # of the file
# Errors of a damaged file; MemoryError: a header that claims too much.
_DAMAGE = (
  *(OSError, ValueError, KeyError, EOFError, MemoryError),
  *(zipfile.BadZipFile, NotImplementedError),
)


@dataclasses.dataclass(frozen=True)
class _PackedIntervals:
  """The contents of a file.

  Attributes:
    count: [N] uint16, intervals of each ray.
    enter: [Q] float32, metres.
    exit: [Q] float32, metres.
    primitive: [Q] int32.
    num_truncated: [N] int32, intervals beyond the nearest K.
    moving: [N] bool, whether the ray intersects a moving object.
  """

  count: np.ndarray
  enter: np.ndarray
  exit: np.ndarray
  primitive: np.ndarray
  num_truncated: np.ndarray
  moving: np.ndarray


_NAMES = tuple(field.name for field in dataclasses.fields(_PackedIntervals))


def view_intervals(
  scene: Scene, views: Sequence[int], num_intervals: int, folder: pathlib.Path | None
) -> tuple[Intervals, np.ndarray]:
  """Return the intervals of the rays of some of the window's views, at training size.

  Args:
    scene: the window with its primitives.
    views: indices of the V views.
    num_intervals: K.
    folder: of the cache; None computes without a cache.

  Returns:
    Intervals [N, K], numpy, and [N] bool, whether a ray intersects a moving object. N counts W x H
    pixels of every view, W x H the largest training size; beyond a smaller image, rays have no
    intervals.
  """
  cameras = [dataset_camera(scene, view, full=False) for view in views]
  packed, path = None, None
  if folder is not None:
    path = folder / f'intervals_{_digest(scene, cameras, num_intervals)[:32]}.npz'
    num_rays = sum(camera.width * camera.height for camera in cameras)
    packed = _read(path, num_rays, num_intervals, len(scene.primitives.valid))
  if packed is None:
    per_view = map_threads(functools.partial(_intersect_view, scene, num_intervals), cameras)
    packed = _PackedIntervals(
      *(np.concatenate([getattr(view, name) for view in per_view]) for name in _NAMES)
    )
    if path is not None:
      _write(path, packed)
  valid = scene.window.valid_pixels()[list(views)].ravel()
  return jax.tree.map(
    lambda x, empty: _scatter(x, valid, empty),
    (_unpack(packed, num_intervals), packed.moving),
    (Intervals(np.inf, np.inf, -1, 0), False),
  )


def _digest(scene: Scene, cameras: list[Camera], num_intervals: int) -> str:
  """Return a digest of everything that the intervals depend on: numbers and code."""
  digest = hashlib.sha256(
    f'{_FORMAT} {num_intervals} {scene.window.near} {scene.window.far} {jax.__version__} '
    f'{jax.default_backend()} {len(cameras)}'.encode()
  )
  for source in sorted(pathlib.Path(intersection.__file__).parent.glob('*.py')):
    digest.update(source.read_bytes())
  for array in jax.tree.leaves(scene.primitives):
    array = np.ascontiguousarray(array)
    digest.update(f'{array.dtype} {array.shape}'.encode())
    digest.update(array.tobytes())
  for camera in cameras:
    digest.update(f'{camera.width} {camera.height} {int(camera.frame)}'.encode())
    digest.update(np.asarray(camera.intrinsics).tobytes())
    digest.update(np.asarray(camera.world_from_cam).tobytes())
  return digest.hexdigest()


def _intersect_view(scene: Scene, num_intervals: int, camera: Camera) -> _PackedIntervals:
  intervals, moving, _ = intersection.view_intervals(
    scene.primitives, camera, scene.window.near, float(scene.window.far), num_intervals
  )
  intervals = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), intervals)
  used = intervals.primitive >= 0  # the first ones of the K: intervals are sorted
  return _PackedIntervals(
    count=np.asarray(np.sum(used, axis=-1), np.uint16),
    enter=intervals.enter[used],
    exit=intervals.exit[used],
    primitive=intervals.primitive[used],
    num_truncated=intervals.num_truncated,
    moving=np.isfinite(np.asarray(moving)).ravel(),
  )


def _unpack(packed: _PackedIntervals, num_intervals: int) -> Intervals:
  """Return the padded intervals [N, K]."""
  used = np.arange(num_intervals) < packed.count[:, None]

  def pad(values, empty):
    padded = np.full(used.shape, empty, values.dtype)
    padded[used] = values
    return padded

  lists = (packed.enter, packed.exit, packed.primitive)
  enter, exit, primitive = map_threads(pad, lists, (np.inf, np.inf, -1))
  return Intervals(enter, exit, primitive, packed.num_truncated)


def _scatter(values: np.ndarray, valid: np.ndarray, empty: Any) -> np.ndarray:
  """Place values [n, ...] at the n True entries of `valid` [N], and `empty` elsewhere."""
  if valid.all():
    return values
  out = np.full((len(valid), *values.shape[1:]), empty, values.dtype)
  out[valid] = values
  return out


def _write(path: pathlib.Path, packed: _PackedIntervals) -> None:
  """Write a file; a full disk only costs the cache."""
  try:
    with atomic_write(path) as file:
      np.savez(file, **{name: getattr(packed, name) for name in _NAMES})
  except OSError as error:
    _LOG.warning('%s: interval cache not written (%s)', path, error.strerror or error)


def _read(
  path: pathlib.Path, num_rays: int, num_intervals: int, num_primitives: int
) -> _PackedIntervals | None:
  """Read a file; return None if there is none, or none that `_write` can have written."""
  if not path.is_file():
    return None
  try:
    with zipfile.ZipFile(path) as archive:
      if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
        raise ValueError('compressed')
    with np.load(path, allow_pickle=False) as file:  # verifies the check sum of each array
      packed = _PackedIntervals(*(file[name] for name in _NAMES))
    if not _is_valid(packed, num_rays, num_intervals, num_primitives):
      raise ValueError('other rays')
  except _DAMAGE as e:
    _LOG.warning('interval cache %s is invalid (%s); recomputing', path, str(e) or type(e).__name__)
    return None
  _LOG.info('%s: intervals of %d rays read', path, num_rays)
  return packed


def _is_valid(
  packed: _PackedIntervals, num_rays: int, num_intervals: int, num_primitives: int
) -> bool:
  total = int(packed.count.sum())
  expected = {
    'count': (np.uint16, (num_rays,)),
    'enter': (np.float32, (total,)),
    'exit': (np.float32, (total,)),
    'primitive': (np.int32, (total,)),
    'num_truncated': (np.int32, (num_rays,)),
    'moving': (bool, (num_rays,)),
  }
  if {name: (getattr(packed, name).dtype, getattr(packed, name).shape) for name in _NAMES} != (
    expected
  ):
    return False
  in_range = (packed.primitive >= 0) & (packed.primitive < num_primitives)
  return bool(np.all(packed.count <= num_intervals) and np.all(in_range))
