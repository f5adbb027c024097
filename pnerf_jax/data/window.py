"""One window of a sequence: frames, cameras, supervision, centre, far bound, primitives.

Letters: V views (frame-major, cameras inner), H x W the largest training size of any view; a view
of a smaller one fills the upper left corner. The world is the dataset's minus `center`, subtracted
in float64 before the conversion to float32.
"""

import dataclasses

import numpy as np

from pnerf_jax.config.schema import DataConfig, SceneConfig
from pnerf_jax.data import bounds as bounds_lib
from pnerf_jax.data import kitti360
from pnerf_jax.data import primitives as primitives_lib
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges
from pnerf_jax.data.image_layers import DEPTH, read_layer, read_layers, training_sizes
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError

_MAX_DISTANCE = 1e4  # metres from the centre, where float32 resolves 1 mm
_LARGE_STEP = 50.0  # metres between neighbouring frames of one street
_LARGE_TURN = 100.0  # degrees of a camera between them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
  """The part of a dataset that training, rendering and evaluation use.

  Attributes:
    sequence: name of the drive.
    center: [3] float64, metres, the dataset's world; subtracted from every position below.
    near: metres along rays.
    far: metres along rays.
    bounds: [2, 3] float32, low and high corner of the sampled volume.
    frames: frame numbers.
    cameras: e.g. ('image_00', 'image_01').
    view_frame: [V] int32, frame number.
    view_camera: [V] int32, index into cameras.
    world_from_cam: [V, 4, 4] float32.
    intrinsics: [V, 4] float32 (fx, fy, cx, cy) at training size.
    sizes: [V, 2] int (width, height) in training.
    full_sizes: [V, 2] int (width, height) of the images on disk.
    full_intrinsics: [V, 4] float32 at full size.
    rgb: [V, H, W, 3] uint8, or None without supervision.
    pseudo_label: [V, H, W] uint8 id, 0 = no supervision; None if the dataset has none.
    pseudo_confidence: [V, H, W] float32 in [0, 1], or None.
    pseudo_depth: [V, H, W] float32 planar metres, 0 = invalid; None if the dataset has none.
    primitives: records in or near the views, vertices float64 recentred.
    primitives_source: names of their files, for messages.
    unannotated_space: 'empty' or 'void', the space outside all primitives.
    notes: lines for the log.
  """

  sequence: str
  center: np.ndarray
  near: float
  far: float
  bounds: np.ndarray
  frames: tuple[int, ...]
  cameras: tuple[str, ...]
  view_frame: np.ndarray
  view_camera: np.ndarray
  world_from_cam: np.ndarray
  intrinsics: np.ndarray
  sizes: np.ndarray
  full_sizes: np.ndarray
  full_intrinsics: np.ndarray
  rgb: np.ndarray | None
  pseudo_label: np.ndarray | None
  pseudo_confidence: np.ndarray | None
  pseudo_depth: np.ndarray | None
  primitives: list[PrimitiveRecord]
  primitives_source: str
  unannotated_space: str
  notes: list[str]

  @property
  def width(self) -> int:
    """W, of the widest view in training."""
    return int(self.sizes[:, 0].max())

  @property
  def height(self) -> int:
    """H, of the highest view in training."""
    return int(self.sizes[:, 1].max())

  def valid_pixels(self) -> np.ndarray:
    """Return [V, H, W] bool, the pixels within each view's own image."""
    width, height = self.sizes.T[..., None, None]
    return (np.arange(self.height)[:, None] < height) & (np.arange(self.width) < width)

  def crop_to_image(self, layer: np.ndarray | None, image: int) -> np.ndarray | None:
    """Return the part [h, w, ...] of [V, H, W, ...] that is a view's own image; None of None."""
    width, height = self.sizes[image]
    return None if layer is None else layer[image, :height, :width]


def load_window(data: DataConfig, scene: SceneConfig, *, supervision: bool = True) -> Window:
  """Load the window that `config.data` and `config.scene` select.

  With supervision, every process reads its share of the images; the window is complete in all.

  Args:
    data: config.data.
    scene: config.scene.
    supervision: read images; otherwise only geometry.

  Raises:
    InputError: a file is missing, damaged or does not fit; no frame; no primitive in view.
  """
  dataset = open_dataset(data)
  dataset.check_eval_frames(data.eval_frames)  # not only after training
  sizes = training_sizes(dataset.sizes, data.image_scale, data.max_width)
  views = dataset.views()
  world_from_cam = dataset.world_from_cam.copy()
  center = np.array(scene.center or np.round(world_from_cam[:, :3, 3].mean(0)), np.float64)
  world_from_cam[:, :3, 3] -= center
  step_notes = _check_positions(dataset, world_from_cam[:, :3, 3], scene)
  intrinsics = kitti360.resize_intrinsics(
    dataset.intrinsics, dataset.sizes.T, sizes.T, data.pixel_origin
  )
  view_array = bounds_lib.CameraArray(world_from_cam, intrinsics, sizes)
  if data.primitives == 'none':
    far, notes = _far_without_primitives(scene, dataset, view_array)
    primitives: list[PrimitiveRecord] = []
  else:
    primitives, far, notes = _visible_primitives(data, scene, dataset, view_array, center)
  notes = [*dataset.notes, *step_notes, *notes]
  layers = read_layers(dataset, sizes, notes) if supervision else (None,) * 4
  return Window(
    sequence=dataset.sequence,
    center=center,
    near=float(scene.near),
    far=far,
    bounds=_bounds(scene, center, primitives, view_array, far).astype(np.float32),
    frames=dataset.frames,
    cameras=dataset.cameras,
    view_frame=np.array([frame for frame, _ in views], np.int32),
    view_camera=np.array([dataset.cameras.index(camera) for _, camera in views], np.int32),
    world_from_cam=world_from_cam.astype(np.float32),
    intrinsics=intrinsics.astype(np.float32),
    sizes=sizes,
    full_sizes=dataset.sizes,
    full_intrinsics=dataset.intrinsics.astype(np.float32),
    rgb=layers[0],
    pseudo_label=layers[1],
    pseudo_confidence=layers[2],
    pseudo_depth=layers[3],
    primitives=primitives,
    primitives_source=', '.join(dataset.primitives_names(data.primitives) if primitives else ()),
    unannotated_space=scene.unannotated_space,
    notes=notes,
  )


def _bounds(
  scene: SceneConfig,
  center: np.ndarray,
  primitives: list[PrimitiveRecord],
  views: bounds_lib.CameraArray,
  far: float,
) -> np.ndarray:
  """Return the low and high corner of the sampled box, [2, 3] metres from the centre."""
  if scene.bounds:
    return np.reshape(scene.bounds, (2, 3)) - center
  if scene.unannotated_space == 'void':
    return bounds_lib.view_bounds(views, far)
  return bounds_lib.primitive_bounds(_static(primitives), views, far)


def _check_positions(dataset: DatasetIndex, positions: np.ndarray, scene: SceneConfig) -> list[str]:
  """Return warnings about neighbouring frames that are not of one place or direction.

  Args:
    dataset: the window's files.
    positions: [V, 3] of the cameras, metres from the centre.
    scene: config.scene.

  Raises:
    InputError: the cameras are too far from the centre for float32.
  """
  distances = np.linalg.norm(positions, axis=-1)
  frame, camera = dataset.views()[int(distances.argmax())]
  if distances.max() > _MAX_DISTANCE:
    hint = (
      f'Correct config.scene.center, which is {scene.center}.'
      if scene.center
      else 'Correct the poses, or select one place with --config.data.start and .frames.'
    )
    raise InputError(
      f'{camera} of frame {frame} is {distances.max():.3g} m from the centre of the window, which'
      f' may be {_MAX_DISTANCE:g} m. {hint}'
    )
  steps = np.linalg.norm(np.diff(dataset.world_from_pose[:, :3, 3], axis=0), axis=-1)
  notes = [
    f'warning: frames {dataset.frames[i]} and {dataset.frames[i + 1]} are {steps[i]:.0f} m apart;'
    f' --config.data.frames={i + 1} ends the window before'
    for i in np.flatnonzero(steps > _LARGE_STEP)[:1]
  ]
  count = len(dataset.cameras)
  rotations = dataset.world_from_cam[:, :3, :3]
  traces = np.einsum('vij,vij->v', rotations[count:], rotations[:-count])
  angles = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
  for view in np.flatnonzero(angles > _LARGE_TURN)[:1]:
    (frame, camera), (following, _) = dataset.views()[view], dataset.views()[view + count]
    notes.append(
      f'warning: {camera} turns by {angles[view]:.0f} degrees from frame {frame} to {following};'
      ' check their poses'
    )
  return notes


def _static(primitives: list[PrimitiveRecord]) -> list[PrimitiveRecord]:
  return [primitive for primitive in primitives if primitive.timestamp < 0]


def _visible_primitives(
  data: DataConfig,
  scene: SceneConfig,
  dataset: DatasetIndex,
  views: bounds_lib.CameraArray,
  center: np.ndarray,
) -> tuple[list[PrimitiveRecord], float, list[str]]:
  """Return the recentred primitives that the views may see, the far bound and lines to log."""
  num_other_frames = 0

  def predicate(start_frame: int, end_frame: int, timestamp: int) -> bool:
    """Return whether a primitive was annotated in the window; count the others."""
    nonlocal num_other_frames
    accepted = primitives_lib.annotated_in_window(
      start_frame, end_frame, timestamp, dataset.frames, scene.annotation_margin_frames
    )
    num_other_frames += not accepted
    return accepted

  names = dataset.primitives_names(data.primitives)
  records = dataset.read_primitives(data.primitives, predicate)
  unique = primitives_lib.deduplicate(records)
  primitives, far = bounds_lib.cull_invisible(
    [dataclasses.replace(record, vertices=record.vertices - center) for record in unique],
    views,
    float(scene.far),
  )
  num_static = len(_static(primitives))
  warning = ''
  if dataset.primitives and unique:
    cameras = dataclasses.replace(views, world_from_cam=dataset.world_from_cam)
    warning = bounds_lib.pose_warning(unique, cameras)
  if not num_static and scene.unannotated_space == 'empty':
    raise InputError(
      f'{", ".join(names)}: no primitive is in view of frames {format_ranges(dataset.frames)}.'
      f' {num_other_frames} are of other frames, {len(unique) - len(primitives)} out of view.'
      f' {warning}'.rstrip()
      + ' Choose other frames with --config.data.start, or --config.scene.unannotated_space=void to'
      ' train without primitives.'
    )
  note = (
    f'{len(primitives)} primitives ({len(primitives) - num_static} dynamic) within {far:g} m from'
    f' {", ".join(names)}; skipped {num_other_frames} of other frames,'
    f' {len(records) - len(unique)} duplicates, {len(unique) - len(primitives)} out of view'
  )
  return primitives, far, [note, *([f'warning: {warning}'] if warning else [])]


def _far_without_primitives(
  scene: SceneConfig, dataset: DatasetIndex, views: bounds_lib.CameraArray
) -> tuple[float, list[str]]:
  """Return the far bound, of the config or of pseudo depth, and a line to log."""
  if scene.unannotated_space != 'void':
    raise InputError(
      "config.data.primitives is 'none', so all space is unannotated, but config.scene."
      f'unannotated_space is {scene.unannotated_space!r}. Set'
      ' --config.scene.unannotated_space=void too.'
    )
  # The depth is read even without supervision, so that the far bound does not depend on it.
  far = float(scene.far) or bounds_lib.far_from_depth(
    read_layer(DEPTH, dataset, views.sizes, []), views
  )
  return far, [f'no primitives are used (config.data.primitives); far bound {far:g} m']
