"""A picture of one image of a window with its primitives, LiDAR, predictions and ground truth.

Misaligned input is visible at a glance. Letters: H, W training size, K intervals per ray,
M primitives, N points.
"""

from pathlib import Path

import numpy as np
import scipy.ndimage

from pnerf_jax.contrib.report import panels
from pnerf_jax.data import labels, palettes
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.data.window import Window
from pnerf_jax.evaluation import frame_result, ground_truth
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene

_OPACITY = 0.55  # of class colours over the image
_POINT_SIZE = 3  # pixels
_MOVING_COLOR = (255, 0, 255)


def frames_with_lidar(dataset: DatasetIndex, camera: str) -> list[int]:
  """Return the frames with a scan or accumulated LiDAR depth."""
  paths = {frame: dataset.path_of('lidar_depth', frame, camera) for frame in dataset.frames}
  return [
    frame
    for frame, path in paths.items()
    if dataset.scan_path(frame) is not None or (path is not None and path.exists())
  ]


def select_frame(dataset: DatasetIndex, camera: str, window: Window) -> int:
  """Return the frame nearest to the middle that shows most: pseudo-labels, then LiDAR, if any has.

  Args:
    dataset: the window's files.
    camera: e.g. 'image_00'.
    window: the window.
  """
  middle = dataset.frames[len(dataset.frames) // 2]
  candidates = list(dataset.frames)
  for having in (_frames_with_labels(dataset, camera, window), frames_with_lidar(dataset, camera)):
    candidates = [frame for frame in candidates if frame in having] or candidates
  return min(candidates, key=lambda frame: abs(frame - middle))


def _frames_with_labels(dataset: DatasetIndex, camera: str, window: Window) -> list[int]:
  """Return the frames with a pixel whose pseudo-label is known."""
  label = window.pseudo_label
  return [
    frame
    for frame in dataset.frames
    if label is not None
    and not np.isin(label[dataset.view_index(frame, camera)], labels.UNKNOWN).all()
  ]


def write_overlay(
  path: Path, dataset: DatasetIndex, scene: Scene, camera: str, num_intervals: int
) -> int:
  """Write the picture of one image of the window.

  Args:
    path: PNG.
    dataset: the window's files.
    scene: the scene of the window.
    camera: e.g. 'image_00'.
    num_intervals: K, config.scene.max_intervals_per_ray.

  Returns:
    The frame number of the image.
  """
  window = scene.window
  frame = select_frame(dataset, camera, window)
  view = dataset.view_index(frame, camera)
  image = window.crop_to_image(window.rgb, view)
  assert image is not None  # training reads the images of its window
  truth = ground_truth.read_ground_truth(
    dataset, camera, frame, window.world_from_cam[view], window.full_intrinsics[view]
  )
  primitives, semantic = _draw_primitives(scene, view, image, num_intervals)
  lidar = None
  if truth.lidar_world is not None:
    height, width = image.shape[:2]
    uvz, _ = frame_result.project_points(
      truth.lidar_world, window.world_from_cam[view], window.intrinsics[view], width, height
    )
    lidar = overlay_lidar(image, uvz)
  pseudo_label = window.crop_to_image(window.pseudo_label, view)
  depth = window.crop_to_image(window.pseudo_depth, view)
  true, true_picture = truth.truth_semantic, None
  if true is not None:
    pixels = np.ix_(*_nearest_indices(true.shape, image.shape))
    true_picture = _blend_classes(truth.photo, true)[pixels]
  pictures = [
    (f'image: {camera}, frame {frame}', image),
    ('first primitive on the ray (magenta: moving)', primitives),
    ('LiDAR (red 3 m to blue 100 m)', lidar),
    ('stereo depth', None if depth is None else palettes.depth_rgb(depth)),
    _labels_picture(image, pseudo_label),
    ('semantic ground truth', true_picture),
  ]
  maps = [np.unique(ids) for ids in (semantic, pseudo_label, true) if ids is not None]
  class_ids = np.unique(np.concatenate(maps))
  panels.save(path, panels.sheet(pictures, image.shape[:2], class_ids, num_photos=3))
  return frame


def _labels_picture(image: np.ndarray, label: np.ndarray | None) -> tuple[str, np.ndarray]:
  """Return title and picture [H, W, 3] of the pseudo-labels [H, W] over an image."""
  if label is None or np.isin(label, labels.UNKNOWN).all():
    return 'pseudo-labels: none', image
  return 'pseudo-labels', _blend_classes(image, label)


def _draw_primitives(
  scene: Scene, view: int, image: np.ndarray, num_intervals: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return an image [H, W, 3] with the primitives over it, and the classes [H, W] that it shows."""
  intervals, moving, _ = view_intervals(
    scene.primitives,
    dataset_camera(scene, view, full=False),
    scene.window.near,
    float(scene.window.far),
    num_intervals,
  )
  class_of_primitive = np.asarray(scene.primitives.semantic)
  first = first_labelled(np.asarray(intervals.primitive), class_of_primitive)
  semantic = np.where(first < 0, labels.VOID, class_of_primitive[first])
  return overlay_primitives(image, first, semantic, np.isfinite(np.asarray(moving))), semantic


def first_labelled(primitive: np.ndarray, semantic: np.ndarray) -> np.ndarray:
  """Return the first primitive on each ray that is not of class void.

  Args:
    primitive: [H, W, K] index, -1 = none, sorted by entry.
    semantic: [M] class ids of the primitives.

  Returns:
    [H, W] index, -1 = none.
  """
  is_labelled = (primitive >= 0) & (semantic[primitive] != labels.VOID)
  index = np.argmax(is_labelled, axis=-1)[..., None]
  first = np.take_along_axis(primitive, index, axis=-1)[..., 0]
  return np.where(is_labelled.any(axis=-1), first, -1)


def overlay_primitives(
  image: np.ndarray, first: np.ndarray, semantic: np.ndarray, moving: np.ndarray
) -> np.ndarray:
  """Draw the first primitive on every ray in its class colour, with white outlines.

  Args:
    image: [H, W, 3] uint8.
    first: [H, W] index of the primitive, -1 = none.
    semantic: [H, W] its class id; void pixels keep the image.
    moving: [H, W] bool, rays that intersect a moving object.

  Returns:
    [H, W, 3] uint8.
  """
  picture = _blend_classes(image, semantic)
  largest = scipy.ndimage.maximum_filter(first, 3)
  is_edge = largest != scipy.ndimage.minimum_filter(first, 3)
  picture[is_edge & (first == largest)] = 255
  picture[moving] = ((1 - _OPACITY) * image[moving] + _OPACITY * np.array(_MOVING_COLOR)).astype(
    np.uint8
  )
  return picture


def overlay_lidar(image: np.ndarray, uvz: np.ndarray) -> np.ndarray:
  """Draw points as dots over the dimmed image; nearer ones occlude farther ones.

  Args:
    image: [H, W, 3] uint8.
    uvz: [N, 3] pixel column, pixel row, planar depth in metres.

  Returns:
    [H, W, 3] uint8.
  """
  depth = np.full(image.shape[:2], np.inf)
  column, row = np.rint(uvz[:, :2].T).astype(np.int64)
  np.minimum.at(depth, (row, column), uvz[:, 2])
  depth = scipy.ndimage.minimum_filter(depth, _POINT_SIZE, mode='nearest')
  picture = (0.6 * image).astype(np.uint8)
  hit = np.isfinite(depth)
  picture[hit] = palettes.depth_rgb(depth[hit])
  return picture


def _blend_classes(image: np.ndarray, semantic: np.ndarray) -> np.ndarray:
  """Blend class colours into an image where the class is known."""
  is_known = ~np.isin(semantic, labels.UNKNOWN)
  blended = (1 - _OPACITY) * image + _OPACITY * palettes.semantic_rgb(semantic)
  return np.where(is_known[..., None], blended, image).astype(np.uint8)


def _nearest_indices(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[np.ndarray, ...]:
  """Return the row and column indices of a nearest-neighbour resize between two shapes."""
  return tuple(((np.arange(n) + 0.5) * o / n).astype(int) for o, n in zip(old, new[:2]))
