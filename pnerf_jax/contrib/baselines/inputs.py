"""What a method may know of one image: photo, predictions, primitives, LiDAR; never the truth.

Letters: H, W size of the source images, N LiDAR points of the window, P of them in the image, B
primitives that contain a point.
"""

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from pnerf_jax.contrib.baselines import lidar
from pnerf_jax.contrib.baselines.ray_labels import RayLabels, ray_labels
from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.data.dataset import DatasetIndex
from pnerf_jax.evaluation import frame_result
from pnerf_jax.evaluation.metrics import visibility
from pnerf_jax.geometry import cameras
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import Camera, dataset_camera
from pnerf_jax.rendering.scene import Scene

_LOG = logging.getLogger(__name__)
_CELL = 0.1  # metres; of the points of all scans in a cube of this edge one stays


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """One image.

  Attributes:
    view: its camera at the size of the source images.
    photo: [H, W, 3] uint8.
    word: [H, W] uint8, pseudo label, 0 = unknown.
    trust: [H, W] float32, confidence of the pseudo label, 1 where there is none.
    stereo: [H, W] float32 pseudo depth, planar metres, 0 = none.
    met: what its rays meet.
    z_per_t: [H, W] metres of planar depth per metre along the ray.
    points: [P, 3] recentred metres, LiDAR points that it sees, at most one a pixel.
    pixel: [P, 2] row and column on which they fall.
    primitive: [P, B] primitives that contain them.
  """

  view: Camera
  photo: np.ndarray
  word: np.ndarray
  trust: np.ndarray
  stereo: np.ndarray
  met: RayLabels
  depth_per_t: np.ndarray
  points: np.ndarray
  pixel: np.ndarray
  primitive: np.ndarray


class Reader:
  """Reads the images of one camera."""

  def __init__(self, scene: Scene, dataset: DatasetIndex, camera: str, num_intervals: int):
    self._scene = scene
    self._dataset = dataset
    self._camera = camera
    self._num_intervals = num_intervals
    self._still = None

  def has_lidar(self) -> bool:
    """Whether any frame of the window has a scan."""
    return any(self._dataset.scan_path(frame) is not None for frame in self._dataset.frames)

  def read(self, frame: int) -> Inputs:
    """Reads one image. Raises InputError for a file that is there but cannot be used."""
    scene, dataset = self._scene, self._dataset
    view = dataset_camera(scene, dataset.view_index(frame, self._camera), full=True)
    intervals, moving_enter, moving_primitive = view_intervals(
      scene.primitives,
      view.intrinsics,
      view.world_from_cam,
      view.width,
      view.height,
      scene.window.near,
      float(scene.window.far),
      self._num_intervals,
      frame,
    )
    met = ray_labels(
      intervals,
      moving_enter,
      moving_primitive,
      scene.primitives.semantic,
      scene.primitives.instance,
      scene.class_ids,
    )
    points, pixel, primitive = self._seen_points(view)
    word = self._layer('pseudo_label', frame, image_io.read_label, unknown_allowed=True)
    return Inputs(
      view=view,
      photo=image_io.read_rgb(dataset.image_path(frame, self._camera), (view.width, view.height)),
      word=np.where(np.isin(word, labels.UNKNOWN), 0, word).astype(np.uint8),
      trust=self._layer('pseudo_confidence', frame, image_io.read_confidence, absent=1),
      stereo=self._layer('pseudo_depth', frame, image_io.read_depth),
      met=met,
      depth_per_t=_z_per_t(view),
      points=points,
      pixel=pixel,
      primitive=primitive,
    )

  def _layer(
    self, kind: str, frame: int, read: Callable[..., np.ndarray], absent: float = 0.0, **options
  ) -> np.ndarray:
    """A PNG at the size of the source images, `absent` everywhere where there is none."""
    width, height = self._dataset.size(frame, self._camera)
    path = self._dataset.path_of(kind, frame, self._camera)
    if path is None or not path.exists():
      return np.full((height, width), absent, np.float32)
    return read(path, (width, height), **options)

  def _scan(self, frame: int) -> np.ndarray:
    """Points [N, 3] of one scan, recentred."""
    path = self._dataset.scan_path(frame)
    if path is None:
      return np.zeros((0, 3))
    points = kitti360.read_velodyne(path)[:, :3]
    return (
      kitti360.transform(self._dataset.world_from_velo(frame), points) - self._scene.window.center
    )

  def _still_points(self) -> np.ndarray:
    """Points [N, 3] of all scans, thinned, without those on what moves."""
    if self._still is None:
      timestamp = np.asarray(self._scene.primitives.timestamp)
      parts = []
      for frame in self._dataset.frames:
        points = self._scan(frame)
        if (timestamp == frame).any():
          moves = lidar.containing(self._scene.primitives, points, timestamp == frame)[:, 0] >= 0
          points = points[~moves]
        parts.append(points[lidar.thin(points, _CELL)])
      points = np.concatenate(parts)
      self._still = points[lidar.thin(points, _CELL)]
      if len(points):
        _LOG.info('LiDAR: %d points of %d scans', len(self._still), len(parts))
    return self._still

  def _seen_points(self, view: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """points, pixel and primitive of Inputs."""
    primitives = self._scene.primitives
    points = np.concatenate([self._scan(view.frame), self._still_points()])
    world_from_cam = np.asarray(view.world_from_cam, np.float64)
    in_camera = (points - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
    points, in_camera = points[in_camera[:, 2] > 0], in_camera[in_camera[:, 2] > 0]
    seen = visibility.visible(in_camera, in_camera)
    uvz, points = frame_result.project_points(
      points[seen], world_from_cam, view.intrinsics, view.width, view.height
    )
    timestamp = np.asarray(primitives.timestamp)
    there = (timestamp < 0) | (timestamp == view.frame)
    there &= np.asarray(primitives.semantic) != labels.VOID
    return (
      points,
      np.rint(uvz[:, 1::-1]).astype(np.int64),
      lidar.containing(primitives, points, there),
    )


def _z_per_t(view: Camera) -> np.ndarray:
  rays = cameras.pixel_rays(
    view.intrinsics,
    view.world_from_cam,
    cameras.pixel_grid(view.width, view.height),
    np.int32(view.image),
  )
  return np.asarray(rays.depth_per_t)
