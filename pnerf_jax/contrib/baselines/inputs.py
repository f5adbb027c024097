"""The input of the methods for one image: image, predictions, primitives, LiDAR; no ground truth.

Letters: H, W size of the source images, N LiDAR points of the window, P of them in the image, B
primitives that contain a point (at most).
"""

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from pnerf_jax.contrib.baselines import lidar, surface
from pnerf_jax.contrib.baselines.ray_labels import RayLabels, ray_labels
from pnerf_jax.data import image_io, kitti360, labels
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.evaluation import frame_result
from pnerf_jax.evaluation.metrics import visibility
from pnerf_jax.geometry.cameras import Camera, camera_rays
from pnerf_jax.geometry.intersection import view_intervals
from pnerf_jax.labelling.images import dataset_camera
from pnerf_jax.rendering.scene import Scene

_LOG = logging.getLogger(__name__)
_VOXEL = 0.1  # metres; one point per voxel is kept of all scans
_MESH_CELL = 0.1  # metres, size of the triangles


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
  """One image.

  Attributes:
    camera: at the size of the source images.
    image: [H, W, 3] uint8.
    pseudo_label: [H, W] uint8 ids, 0 = unknown.
    label_confidence: [H, W] float32, confidence of the pseudo-label, 1 if there is none.
    stereo_depth: [H, W] float32 pseudo depth, planar metres, 0 = none.
    ray_labels: labels of the primitives along the rays.
    depth_per_t: [H, W], metres of planar depth per metre along the ray.
    points: [P, 3], recentred metres, visible LiDAR points, at most one per pixel.
    point_pixel: [P, 2], row and column of the points.
    point_primitives: [P, B] int32, primitives that contain the points, -1 in unused entries.
    surface_primitives: [H, W, B] int32, primitives that contain the centroid of the nearest
      triangle of the LiDAR mesh, -1 in unused entries and without a triangle; None if not read.
  """

  camera: Camera
  image: np.ndarray
  pseudo_label: np.ndarray
  label_confidence: np.ndarray
  stereo_depth: np.ndarray
  ray_labels: RayLabels
  depth_per_t: np.ndarray
  points: np.ndarray
  point_pixel: np.ndarray
  point_primitives: np.ndarray
  surface_primitives: np.ndarray | None = None


class Reader:
  """Reads the inputs of one camera's images."""

  def __init__(self, scene: Scene, dataset: DatasetIndex, camera: str, num_intervals: int):
    self._scene = scene
    self._dataset = dataset
    self._camera = camera
    self._num_intervals = num_intervals
    self._static_points: tuple[np.ndarray, np.ndarray] | None = None
    self._static_mesh: surface.Mesh | None = None

  def has_lidar(self) -> bool:
    """Return whether any frame of the window has a scan."""
    return any(self._dataset.scan_path(frame) is not None for frame in self._dataset.frames)

  def read(self, frame: int, *, with_mesh: bool = False) -> Inputs:
    """Read one image.

    Args:
      frame: its number.
      with_mesh: reconstruct the LiDAR mesh, once per window, and look up what each pixel sees.

    Raises:
      InputError: a file exists but cannot be used.
    """
    scene, window = self._scene, self._scene.window
    primitives = scene.primitives
    camera = dataset_camera(scene, self._dataset.view_index(frame, self._camera), full=True)
    intervals, moving_t, moving_primitive = view_intervals(
      primitives, camera, window.near, float(window.far), self._num_intervals
    )
    points, pixel, containing = self._visible_points(camera)
    pseudo_label = self._layer('pseudo_label', frame, image_io.read_label, unknown_allowed=True)
    unknown = np.isin(pseudo_label, labels.UNKNOWN)
    return Inputs(
      camera=camera,
      image=image_io.read_rgb(
        self._dataset.image_path(frame, self._camera), (camera.width, camera.height)
      ),
      pseudo_label=np.where(unknown, 0, pseudo_label).astype(np.uint8),
      label_confidence=self._layer(
        'pseudo_confidence', frame, image_io.read_confidence, fill_value=1
      ),
      stereo_depth=self._layer('pseudo_depth', frame, image_io.read_depth),
      ray_labels=ray_labels(
        intervals,
        (moving_t, moving_primitive),
        primitives.semantic,
        primitives.instance,
        scene.class_ids,
      ),
      depth_per_t=np.asarray(camera_rays(camera).depth_per_t),
      points=points,
      point_pixel=pixel,
      point_primitives=containing,
      surface_primitives=self._surface_primitives(camera) if with_mesh else None,
    )

  def _layer(
    self, kind: str, frame: int, read: Callable[..., np.ndarray], fill_value: float = 0, **options
  ) -> np.ndarray:
    """Read a PNG at the size of the source images; without one, all pixels are `fill_value`."""
    width, height = self._dataset.size(frame, self._camera)
    path = self._dataset.path_of(kind, frame, self._camera)
    if path is None or not path.exists():
      return np.full((height, width), fill_value, np.float32)
    return read(path, (width, height), **options)

  def _scan(self, frame: int) -> np.ndarray:
    """Read the points [N, 3] of one scan, recentred."""
    path = self._dataset.scan_path(frame)
    if path is None:
      return np.zeros((0, 3))
    points = kitti360.read_velodyne(path)[:, :3]
    return (
      kitti360.transform(self._dataset.world_from_velo(frame), points) - self._scene.window.center
    )

  def _moving_points(self, frame: int, points: np.ndarray) -> np.ndarray:
    """Return the points [N, 3] of a scan that lie in moving primitives, [N] bool."""
    moves = np.asarray(self._scene.primitives.timestamp) == frame
    if not moves.any():
      return np.zeros(len(points), bool)
    return lidar.containing_primitives(self._scene.primitives, points, moves)[:, 0] >= 0

  def _sensor(self, frame: int) -> np.ndarray:
    """Return the position [3] of the scanner, recentred."""
    return self._dataset.world_from_velo(frame)[:3, 3] - self._scene.window.center

  def _all_static_points(self) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of all scans, downsampled, without those on moving objects.

    Returns:
      points [N, 3], and the scanner's positions [N, 3] when it measured them.
    """
    if self._static_points is None:
      parts, sensors = [np.zeros((0, 3))], [np.zeros((0, 3))]
      for frame in self._dataset.frames:
        points = self._scan(frame)
        points = points[~self._moving_points(frame, points)]
        parts.append(points[lidar.voxel_downsample(points, _VOXEL)])
        if len(points):
          sensors.append(np.broadcast_to(self._sensor(frame), parts[-1].shape))
      points = np.concatenate(parts)
      kept = lidar.voxel_downsample(points, _VOXEL)
      self._static_points = points[kept], np.concatenate(sensors)[kept]
      if len(points):
        _LOG.info('LiDAR: %d points of %d scans', len(kept), len(sensors) - 1)
    return self._static_points

  def _mesh(self, frame: int) -> surface.Mesh:
    """Return the mesh of all static points and of this scan's moving ones."""
    if self._static_mesh is None:
      self._static_mesh = surface.reconstruct(*self._all_static_points(), _MESH_CELL)
      _LOG.info('LiDAR mesh: %d triangles', len(self._static_mesh.faces))
    points = self._scan(frame)
    points = points[self._moving_points(frame, points)]
    if not len(points):
      return self._static_mesh
    points = points[lidar.voxel_downsample(points, _VOXEL)]
    sensor = np.broadcast_to(self._sensor(frame), points.shape)
    return surface.join([self._static_mesh, surface.reconstruct(points, sensor, _MESH_CELL)])

  def _surface_primitives(self, camera: Camera) -> np.ndarray:
    """Return surface_primitives of Inputs."""
    mesh, rays = self._mesh(camera.frame), camera_rays(camera)
    face = surface.visible_faces(
      mesh, *(np.asarray(x, np.float64).reshape(-1, 3) for x in (rays.origins, rays.directions))
    )
    seen, pixel = np.unique(face, return_inverse=True)
    containing = np.full((len(seen), lidar.MAX_PRIMITIVES), -1, np.int32)
    containing[seen >= 0] = self._containing(camera.frame, mesh.centres[seen[seen >= 0]])
    return containing[pixel].reshape(camera.height, camera.width, -1)

  def _containing(self, frame: int, points: np.ndarray) -> np.ndarray:
    """Return the annotated primitives [N, B] that contain points [N, 3] in a frame."""
    primitives = self._scene.primitives
    timestamp = np.asarray(primitives.timestamp)
    present = (timestamp < 0) | (timestamp == frame)
    present &= np.asarray(primitives.semantic) != labels.VOID
    return lidar.containing_primitives(primitives, points, present)

  def _visible_points(self, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points, point_pixel and point_primitives of Inputs."""
    points = np.concatenate([self._scan(camera.frame), self._all_static_points()[0]])
    world_from_cam = np.asarray(camera.world_from_cam, np.float64)
    in_camera = (points - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
    in_front = in_camera[:, 2] > 0
    points, in_camera = points[in_front], in_camera[in_front]
    uvz, points = frame_result.project_points(
      points[visibility.visible(in_camera, in_camera)],
      world_from_cam,
      camera.intrinsics,
      camera.width,
      camera.height,
    )
    pixel = np.rint(uvz[:, 1::-1]).astype(np.int64)
    return points, pixel, self._containing(camera.frame, points)
