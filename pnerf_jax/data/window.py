"""One window of a sequence: frames, cameras, supervision, centre, far bound, primitives.

Letters: V views (frame-major, cameras inner), H x W the largest training size of any view; a view
of a smaller one fills the upper left corner. The world is the data's own minus `center`; the
subtraction happens in float64, before anything becomes float32.
"""

import dataclasses
from typing import Any

import numpy as np

from pnerf_jax.data import bounds as bounds_lib
from pnerf_jax.data import kitti360
from pnerf_jax.data import primitives as boxes_lib
from pnerf_jax.data.dataset import DatasetIndex, open_dataset, ranges
from pnerf_jax.data.image_layers import DEPTH, read_layer, read_layers, training_sizes
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.primitives_json import read_primitives
from pnerf_jax.distributed.process_shard import ProcessShard
from pnerf_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Window:
  """Everything that training, rendering and evaluation need of the dataset.

  Attributes:
    sequence: folder name of the drive.
    center: [3] float64, metres, the data's world; subtracted from every position below.
    near, far: metres along rays.
    bounds: [2, 3] float32, low and high corner of the box in which samples may fall.
    frames: frame numbers.
    cameras: e.g. ('image_00', 'image_01').
    view_frame, view_camera: [V] int32 frame number, index into cameras.
    world_from_cam: [V, 4, 4] float32.
    intrinsics: [V, 4] float32 (fx, fy, cx, cy) at training size.
    sizes: [V, 2] int (width, height) in training.
    full_sizes: [V, 2] int (width, height) of the images on disk.
    full_intrinsics: [V, 4] float32 at full size.
    rgb: [V, H, W, 3] uint8, or None without supervision.
    pseudo_label: [V, H, W] uint8 id, 0 = no supervision; None where the data has none.
    pseudo_confidence: [V, H, W] float32 in [0, 1], or None.
    pseudo_depth: [V, H, W] float32 planar metres, 0 = invalid; None where the data has none.
    boxes: the primitives that matter, vertices float64 recentred.
    outside: 'empty' or 'void', what space outside all primitives is.
    skipped_frames: frames of the range that have no pose.
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
  boxes: list[PrimitiveRecord]
  outside: str
  skipped_frames: int
  notes: list[str]

  @property
  def width(self) -> int:
    """W, of the widest view in training."""
    return int(self.sizes[:, 0].max())

  @property
  def height(self) -> int:
    """H, of the highest view in training."""
    return int(self.sizes[:, 1].max())

  def within(self) -> np.ndarray:
    """[V, H, W] bool, which pixels are within a view's own image."""
    width, height = self.sizes.T[..., None, None]
    return (np.arange(self.height)[:, None] < height) & (np.arange(self.width) < width)

  def of_view(self, layer: np.ndarray | None, image: int) -> np.ndarray | None:
    """One view's own part [h, w, ...] of an array [V, H, W, ...] above; None of None."""
    width, height = self.sizes[image]
    return None if layer is None else layer[image, :height, :width]


def load_window(
  data: Any, scene: Any, supervision: bool = True, share: ProcessShard = ProcessShard()
) -> Window:
  """Reads the window that `config.data` and `config.scene` name.

  Args:
    data: config.data.
    scene: config.scene.
    supervision: without it only geometry is read, and no pixel.
    share: the views whose pixels this process reads; the window is whole in all processes.

  Raises:
    InputError: a file that is missing, damaged or does not fit; no frame; no primitive in view.
  """
  if scene.unannotated_space not in ('empty', 'void'):
    raise InputError(
      f"config.scene.unannotated_space is {scene.unannotated_space!r}. Use 'empty' or 'void'."
    )
  dataset = open_dataset(data)
  notes = list(dataset.notes)
  sizes = training_sizes(dataset.sizes, data.image_scale, data.max_width)
  views = dataset.views()
  world_from_cam = dataset.world_from_cam.copy()
  center = _override(scene, 'center', 3)
  if center is None:
    center = np.round(world_from_cam[:, :3, 3].mean(0))
  world_from_cam[:, :3, 3] -= center
  intrinsics = kitti360.resize_intrinsics(dataset.intrinsics, dataset.sizes.T, sizes.T)
  read_scene = _scene_without_boxes if data.primitives == 'none' else _scene
  boxes, far, bounds = read_scene(
    data.primitives,
    scene,
    dataset,
    bounds_lib.CameraArray(world_from_cam, intrinsics, sizes),
    center,
    notes,
  )
  layers = read_layers(dataset, sizes, share, notes) if supervision else (None,) * 4
  return Window(
    sequence=dataset.sequence,
    center=center,
    near=float(scene.near),
    far=far,
    bounds=bounds,
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
    boxes=boxes,
    outside=scene.unannotated_space,
    skipped_frames=dataset.skipped_frames,
    notes=notes,
  )


def _override(scene: Any, name: str, count: int) -> np.ndarray | None:
  """The numbers of a config.scene field whose default () means derived from the data."""
  values = tuple(getattr(scene, name))
  if not values:
    return None
  if len(values) != count or not np.isfinite(values).all():
    raise InputError(f'config.scene.{name} is {values}. Use {count} numbers, or () to derive them.')
  return np.array(values, np.float64)


def _scene(
  split: str,
  scene: Any,
  dataset: DatasetIndex,
  views: bounds_lib.CameraArray,
  center: np.ndarray,
  notes: list[str],
) -> tuple[list[PrimitiveRecord], float, np.ndarray]:
  """The primitives that matter (recentred), the far bound and the bounds [2, 3] float32."""
  paths = dataset.primitives_paths(split)
  elsewhere = 0

  def selects(start_frame: int, end_frame: int, timestamp: int) -> bool:
    nonlocal elsewhere
    here = boxes_lib.annotated_in_window(
      start_frame, end_frame, timestamp, dataset.frames, scene.annotation_margin_frames
    )
    elsewhere += not here
    return here

  found = [box for path in paths for box in read_primitives(path, selects)]
  once = boxes_lib.deduplicate(found)
  boxes, far = bounds_lib.cull_invisible(
    [dataclasses.replace(box, vertices=box.vertices - center) for box in once],
    views,
    float(scene.far),
  )
  still = [box for box in boxes if box.timestamp < 0]
  notes.append(
    f'{len(boxes)} primitives ({len(boxes) - len(still)} moving) within {far:g} m from'
    f' {", ".join(str(path) for path in paths)}; left out: {elsewhere} of other frames,'
    f' {len(found) - len(once)} repeats, {len(once) - len(boxes)} out of view'
  )
  if not still and scene.unannotated_space == 'empty':
    raise InputError(
      f'{paths[0]}: no primitive is in view of frames'
      f' {ranges(dataset.frames)}. Choose other frames with --config.data.start, or'
      ' --config.scene.unannotated_space=void to train without primitives.'
    )
  derived = (
    bounds_lib.view_bounds(views, far)
    if scene.unannotated_space == 'void'
    else bounds_lib.primitive_bounds(still, views, far)
  )
  return boxes, far, _bounds(scene, center, derived)


def _scene_without_boxes(
  split: str,
  scene: Any,
  dataset: DatasetIndex,
  views: bounds_lib.CameraArray,
  center: np.ndarray,
  notes: list[str],
) -> tuple[list[PrimitiveRecord], float, np.ndarray]:
  """What _scene returns where primitives shall not be used, from cameras and pseudo depth."""
  if scene.unannotated_space != 'void':
    raise InputError(
      f'config.data.primitives is {split!r}, so nothing but void is left, but config.'
      f'scene.unannotated_space is {scene.unannotated_space!r}. Set --config.scene.unannotated_space=void too.'
    )
  far = float(scene.far)
  if not far:  # read here too, for the far bound is wanted with and without supervision
    depth = read_layer(DEPTH, dataset, views.sizes, ProcessShard(), [])
    far = bounds_lib.far_from_depth(depth, views)
  notes.append(f'no primitives are used (config.data.primitives); far bound {far:g} m')
  return [], far, _bounds(scene, center, bounds_lib.view_bounds(views, far))


def _bounds(scene: Any, center: np.ndarray, derived: np.ndarray) -> np.ndarray:
  """The bounds [2, 3] float32 of the config, recentred, else the derived ones."""
  bounds = _override(scene, 'bounds', 6)
  return (derived if bounds is None else bounds.reshape(2, 3) - center).astype(np.float32)
