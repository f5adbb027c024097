"""One picture that tells whether a window's files fit each other: everything over one photo.

Letters: H, W training size.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from pnerf_jax.data import labels, palettes
from pnerf_jax.data.dataset import DatasetIndex
from pnerf_jax.evaluation import frame_result, ground_truth
from pnerf_jax.evaluation.report import panels
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene

_SHARE = 0.55  # of a label's colour over the photo
_DOT = 3  # pixels across a LiDAR point
_MOVING = (255, 0, 255)


def pictured_frame(dataset: DatasetIndex, camera: str) -> int:
  """The frame nearest to the middle of the window that has LiDAR; the middle one if none has."""
  middle = dataset.frames[len(dataset.frames) // 2]
  with_lidar = [
    frame
    for frame in dataset.frames
    if dataset.scan_path(frame) is not None
    or (path := dataset.path_of('lidar_depth', frame, camera)) is not None
    and path.exists()
  ]
  return min(with_lidar or [middle], key=lambda frame: abs(frame - middle))


def write(path: Path, dataset: DatasetIndex, scene: Scene, camera: str, num_intervals: int) -> int:
  """Writes photo, primitives, LiDAR, predictions and truth of one view; returns its frame.

  Args:
    path: PNG.
    footage: of the window.
    scene: with the window's layers at training size.
    camera: folder name.
    num_intervals: K, config.scene.max_intervals_per_ray.
  """
  window = scene.window
  frame = pictured_frame(dataset, camera)
  image = dataset.view_index(frame, camera)
  view = dataset_camera(scene, image, full=False)
  intervals, moving, _ = view_intervals(
    scene.primitives,
    jnp.asarray(view.intrinsics),
    jnp.asarray(view.world_from_cam),
    view.width,
    view.height,
    window.near,
    float(window.far),
    num_intervals,
    view.frame,
  )
  photo = window.of_view(window.rgb, image)
  found = ground_truth.read_ground_truth(
    dataset, camera, frame, window.world_from_cam[image], window.full_intrinsics[image]
  )
  first = first_named(np.asarray(intervals.primitive), np.asarray(scene.primitives.semantic))
  semantic = np.where(first < 0, labels.VOID, np.asarray(scene.primitives.semantic)[first])
  pictured = primitives_over(photo, first, semantic, np.isfinite(np.asarray(moving)))
  lidar = None
  if found.lidar_world is not None:
    lidar = lidar_over(
      photo,
      frame_result.project_points(
        found.lidar_world,
        window.world_from_cam[image],
        window.intrinsics[image],
        view.width,
        view.height,
      )[0],
    )
  words, depth = (
    window.of_view(layer, image) for layer in (window.pseudo_label, window.pseudo_depth)
  )
  true = found.truth_semantic
  sheet = [
    (f'photo: {camera}, frame {frame}', photo),
    ('first primitive of every pixel (magenta: moving)', pictured),
    ('LiDAR (red 3 m to blue 100 m)', lidar),
    ('pseudo depth', None if depth is None else palettes.depth_rgb(depth)),
    ('pseudo labels', None if words is None else _over(photo, words)),
    (
      'semantic truth',
      None
      if true is None
      else _over(found.photo, true)[np.ix_(*_nearest(true.shape, photo.shape))],
    ),
  ]
  present = np.concatenate([np.unique(ids) for ids in (semantic, words, true) if ids is not None])
  panels.write_sheet(path, sheet, photo.shape[:2], np.unique(present), photos=3)
  return frame


def first_named(primitive: np.ndarray, semantic: np.ndarray) -> np.ndarray:
  """The first primitive of each ray that is of a class: space outside all others may be a void one.

  Args:
    primitive: [H, W, K] index, -1 = none, sorted by entry.
    semantic: [M] ids of the primitives.

  Returns:
    [H, W] index, -1 = none.
  """
  named = (primitive >= 0) & (semantic[primitive] != labels.VOID)
  first = np.take_along_axis(primitive, np.argmax(named, axis=-1)[..., None], axis=-1)[..., 0]
  return np.where(named.any(axis=-1), first, -1)


def primitives_over(
  photo: np.ndarray, first: np.ndarray, semantic: np.ndarray, moving: np.ndarray
) -> np.ndarray:
  """The class of the primitive that each pixel's ray meets first, with white outlines.

  Args:
    photo: [H, W, 3] uint8.
    first: [H, W] index of the primitive, -1 = none.
    semantic: [H, W] its id; void leaves the photo as it is.
    moving: [H, W] bool, rays that pass a moving object.

  Returns:
    [H, W, 3] uint8.
  """
  picture = _over(photo, semantic)
  edge = scipy.ndimage.maximum_filter(first, 3) != scipy.ndimage.minimum_filter(first, 3)
  picture[edge & (first == scipy.ndimage.maximum_filter(first, 3))] = 255
  picture[moving] = ((1 - _SHARE) * photo[moving] + _SHARE * np.array(_MOVING)).astype(np.uint8)
  return picture


def lidar_over(photo: np.ndarray, uvz: np.ndarray) -> np.ndarray:
  """Points [N, 3] (column, row, metres) as dots over a dimmed photo; nearer ones hide farther."""
  depth = np.full(photo.shape[:2], np.inf)
  column, row = np.rint(uvz[:, :2].T).astype(np.int64)
  np.minimum.at(depth, (row, column), uvz[:, 2])
  depth = scipy.ndimage.minimum_filter(depth, _DOT, mode='nearest')
  picture = (0.6 * photo).astype(np.uint8)
  hit = np.isfinite(depth)
  picture[hit] = palettes.depth_rgb(depth[hit])
  return picture


def _over(photo: np.ndarray, semantic: np.ndarray) -> np.ndarray:
  known = ~np.isin(semantic, labels.UNKNOWN)
  mixed = (1 - _SHARE) * photo + _SHARE * palettes.semantic_rgb(semantic)
  return np.where(known[..., None], mixed, photo).astype(np.uint8)


def _nearest(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[np.ndarray, ...]:
  return tuple(((np.arange(n) + 0.5) * o / n).astype(int) for o, n in zip(old, new[:2]))
