"""One window of a sequence: frames, cameras, supervision, centre, far bound, primitives.

Letters: V views (frame-major, cameras inner), H x W training size. The world is KITTI-360's minus
`center`; the subtraction happens in float64, before anything becomes float32.
"""
from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pnerf_jax.data import boxes as boxes_lib
from pnerf_jax.data import extent, kitti360, labels, png
from pnerf_jax.data.boxes import Box
from pnerf_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Window:
  """Everything that training, rendering and evaluation need of the dataset.

  Attributes:
    sequence: folder name of the drive.
    center: [3] float64, KITTI-360 world metres; subtracted from every position below.
    near, far: metres along rays.
    bounds: [2, 3] float32, low and high corner of the box in which samples may fall.
    frames: frame numbers.
    cameras: e.g. ('image_00', 'image_01').
    view_frame, view_camera: [V] int32 frame number, index into cameras.
    world_from_cam: [V, 4, 4] float32.
    intrinsics: [V, 4] float32 (fx, fy, cx, cy) at training size.
    width, height: training size.
    full_width, full_height: size of the PNGs on disk.
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
  width: int
  height: int
  full_width: int
  full_height: int
  full_intrinsics: np.ndarray
  rgb: np.ndarray | None
  pseudo_label: np.ndarray | None
  pseudo_confidence: np.ndarray | None
  pseudo_depth: np.ndarray | None
  boxes: list[Box]
  outside: str
  skipped_frames: int
  notes: list[str]


@dataclasses.dataclass(frozen=True)
class Footage:
  """Which frames of which drive a config names.

  Attributes:
    root, derived: dataset folder, folder of what was derived from it (often the same).
    sequence, frames, cameras, skipped_frames, notes: as in Window.
    size: (width, height) of the PNGs.
    calibration: of the cameras.
    world_from_pose: [F, 4, 4] float64 of the frames, KITTI-360 world.
  """
  root: Path
  derived: Path
  sequence: str
  frames: tuple[int, ...]
  cameras: tuple[str, ...]
  size: tuple[int, int]
  calibration: kitti360.Calibration
  world_from_pose: np.ndarray
  skipped_frames: int
  notes: list[str]

  def folder(self, folder_of: Callable[..., Path], camera: str) -> Path | None:
    """The first of derived and root that has the folder `folder_of(root, sequence, camera)`."""
    for root in (self.derived, self.root):
      if folder_of(root, self.sequence, camera).is_dir():
        return folder_of(root, self.sequence, camera)
    return None

  def image_path(self, frame: int, camera: str) -> Path:
    """The photo of one view."""
    folder = kitti360.rgb_folder(self.root, self.sequence, camera)
    return folder / f'{kitti360.frame_name(frame)}.png'

  def views(self) -> list[tuple[int, str]]:
    """(frame, camera) of every view, in the order of all arrays."""
    return [(frame, camera) for frame in self.frames for camera in self.cameras]


def load_window(data: Any, scene: Any, supervision: bool = True) -> Window:
  """Reads the window that `config.data` and `config.scene` name.

  Args:
    data: config.data.
    scene: config.scene.
    supervision: without it only geometry is read, and no pixel.

  Raises:
    InputError: a file that is missing, damaged or does not fit; no frame; no primitive in view.
  """
  if scene.outside not in ('empty', 'void'):
    raise InputError(f"config.scene.outside is {scene.outside!r}. Use 'empty' or 'void'.")
  footage = find_footage(data)
  notes = list(footage.notes)
  size = training_size(footage.size, data.scale, data.max_width)
  views = footage.views()
  pose_from_cam = footage.calibration.pose_from_cam
  world_from_cam = np.stack([world_from_pose @ pose_from_cam[camera]
                             for world_from_pose in footage.world_from_pose
                             for camera in footage.cameras])
  center = _override(scene, 'center', 3)
  if center is None:
    center = np.round(world_from_cam[:, :3, 3].mean(0))
  world_from_cam[:, :3, 3] -= center
  full_intrinsics = np.stack([footage.calibration.resized_intrinsics(camera, *footage.size)
                              for _, camera in views])
  intrinsics = kitti360.resize_intrinsics(full_intrinsics, footage.size, size)
  read_scene = _scene_without_boxes if data.boxes == 'none' else _scene
  boxes, far, bounds = read_scene(
      data.boxes, scene, footage, extent.Views(world_from_cam, intrinsics, *size), center, notes)
  layers = _supervision(footage, size, notes) if supervision else (None, None, None, None)
  return Window(
      sequence=footage.sequence, center=center, near=float(scene.near), far=far, bounds=bounds,
      frames=footage.frames, cameras=footage.cameras,
      view_frame=np.array([frame for frame, _ in views], np.int32),
      view_camera=np.array([footage.cameras.index(camera) for _, camera in views], np.int32),
      world_from_cam=world_from_cam.astype(np.float32), intrinsics=intrinsics.astype(np.float32),
      width=size[0], height=size[1], full_width=footage.size[0], full_height=footage.size[1],
      full_intrinsics=full_intrinsics.astype(np.float32), rgb=layers[0], pseudo_label=layers[1],
      pseudo_confidence=layers[2], pseudo_depth=layers[3], boxes=boxes, outside=scene.outside,
      skipped_frames=footage.skipped_frames, notes=notes)


def find_footage(data: Any, cameras: tuple[str, ...] = ()) -> Footage:
  """Finds the frames that `config.data` names: those of the range with a pose and all images.

  Args:
    data: config.data.
    cameras: instead of config.data.cameras.
  """
  root = Path(data.root)
  sequence = _sequence(root, data.sequence)
  cameras = tuple(cameras or data.cameras)
  wrong = [camera for camera in cameras if camera not in kitti360.PERSPECTIVE_CAMERAS]
  if wrong or not cameras or len(set(cameras)) < len(cameras):
    raise InputError(f'config.data.cameras is {cameras}. Use image_00, image_01 or both.')
  images = {}
  for camera in cameras:
    folder = kitti360.rgb_folder(root, sequence, camera)
    images[camera] = set(kitti360.frames_in(folder))
    if not images[camera]:
      others = [c for c in kitti360.PERSPECTIVE_CAMERAS
                if kitti360.frames_in(kitti360.rgb_folder(root, sequence, c))]
      remedy = f' or use --config.data.cameras={",".join(others)}' if others else ''
      raise InputError(f'{folder}: holds no image of {camera}. Download it{remedy}.')
  calibration = kitti360.read_calibration(root)
  poses = kitti360.read_poses(root, sequence, calibration)
  frames, skipped, notes = _frames(root, sequence, data, images, poses)
  first = kitti360.rgb_folder(root, sequence, cameras[0]) / f'{kitti360.frame_name(frames[0])}.png'
  return Footage(
      root=root, derived=Path(data.derived or root), sequence=sequence, frames=frames,
      cameras=cameras, size=png.read_size(first), calibration=calibration,
      world_from_pose=np.stack([poses[frame] for frame in frames]), skipped_frames=skipped,
      notes=notes)


def training_size(full_size: tuple[int, int], scale: float, max_width: int) -> tuple[int, int]:
  """(width, height) of training images; scale 0 is the largest of 1, 1/2, 1/4 within max_width."""
  if not 0 <= scale <= 1:
    raise InputError(f'config.data.scale is {scale}. Use a share in (0, 1], or 0 for automatic.')
  scale = scale or next((s for s in (1.0, 0.5) if full_size[0] * s <= max_width), 0.25)
  width, height = (int(round(scale * x)) for x in full_size)
  if min(width, height) < 8:
    raise InputError(f'config.data.scale {scale} makes images of {width}x{height}.'
                     ' Use a larger one.')
  return width, height


def _sequence(root: Path, sequence: str) -> str:
  """The named sequence, or the only one that there is."""
  folder = root / 'data_2d_raw'
  if not folder.is_dir():
    raise InputError(f'{folder}: no such folder. Point --config.data.root at a folder in'
                     " KITTI-360's layout.")
  there = sorted(f.name for f in folder.iterdir() if f.is_dir())
  if sequence in there:
    return sequence
  if sequence or len(there) != 1:
    raise InputError(f'{folder}: holds {", ".join(there) or "no sequence"}; config.data.sequence is'
                     f' {sequence!r}. Name one of these with --config.data.sequence.')
  return there[0]


def _frames(root: Path, sequence: str, data: Any, images: dict[str, set[int]],
            poses: dict[int, np.ndarray]) -> tuple[tuple[int, ...], int, list[str]]:
  """Frames of the range with a pose and all images; how many lack a pose; notes."""
  some = set.union(*images.values())
  every = set.intersection(*images.values()) & poses.keys()
  if data.frames < 1:
    raise InputError(f'config.data.frames is {data.frames}. Use 1 or more.')
  if data.start < -1:
    raise InputError(f'config.data.start is {data.start}. Use a frame number, or -1.')
  start = data.start if data.start >= 0 else min(every, default=0)
  span = range(start, start + data.frames)
  frames = tuple(sorted(frame for frame in every if frame in span))
  if not frames:
    folder = root / 'data_2d_raw' / sequence
    there = f'{ranges(every)} have both' if every else (
        f'images {ranges(some)} and poses {ranges(poses)} do not meet')
    raise InputError(f'{folder}: no frame of {span[0]}-{span[-1]} has an image of every camera and'
                     f' a pose; {there}. Set --config.data.start and --config.data.frames.')
  notes = []
  poseless = [frame for frame in some if frame in span and frame not in poses]
  if poseless:
    notes.append(f'{len(poseless)} frames have no pose and are skipped: {ranges(poseless)}')
  imageless = [frame for frame in poses if frame in span and frame not in every]
  if imageless:
    notes.append(f'{len(imageless)} frames lack an image and are skipped: {ranges(imageless)}')
  return frames, len(poseless), notes


def ranges(frames: Any, most: int = 8) -> str:
  """Frame numbers as text, runs joined: '4-6, 9'."""
  frames = sorted(frames)
  runs = [[frame, frame] for frame in frames[:1]]
  for frame in frames[1:]:
    if frame == runs[-1][1] + 1:
      runs[-1][1] = frame
    else:
      runs.append([frame, frame])
  words = [str(a) if a == b else f'{a}-{b}' for a, b in runs]
  return ', '.join(words[:most] + (['...'] if len(words) > most else []))


def _override(scene: Any, name: str, count: int) -> np.ndarray | None:
  """The numbers of a config.scene field whose default () means derived from the data."""
  values = tuple(getattr(scene, name))
  if not values:
    return None
  if len(values) != count or not np.isfinite(values).all():
    raise InputError(f'config.scene.{name} is {values}. Use {count} numbers, or () to derive them.')
  return np.array(values, np.float64)


def _scene(split: str, scene: Any, footage: Footage, views: extent.Views, center: np.ndarray,
           notes: list[str]) -> tuple[list[Box], float, np.ndarray]:
  """The primitives that matter (recentred), the far bound and the bounds [2, 3] float32."""
  paths = _boxes_paths(footage, split)
  elsewhere = 0

  def selects(start_frame: int, end_frame: int, timestamp: int) -> bool:
    nonlocal elsewhere
    here = boxes_lib.belongs(start_frame, end_frame, timestamp, footage.frames, scene.frame_margin)
    elsewhere += not here
    return here

  found = [box for path in paths for box in boxes_lib.read_boxes(path, selects)]
  once = boxes_lib.without_repeats(found)
  boxes = [dataclasses.replace(box, vertices=box.vertices - center) for box in once]
  still = [box for box in boxes if box.timestamp < 0]
  far = float(scene.far) or extent.derive_far(still, views)
  boxes = [box for box in boxes if extent.visible(box, views, far).any()]
  still = [box for box in boxes if box.timestamp < 0]
  notes.append(
      f'{len(boxes)} primitives ({len(boxes) - len(still)} moving) within {far:g} m from'
      f' {", ".join(str(path) for path in paths)}; left out: {elsewhere} of other frames,'
      f' {len(found) - len(once)} repeats, {len(once) - len(boxes)} out of view')
  if not still and scene.outside == 'empty':
    raise InputError(f'{paths[0]}: no primitive is in view of frames'
                     f" {ranges(footage.frames)}. Choose other frames with --config.data.start, or"
                     " --config.scene.outside=void to train without primitives.")
  derived = (extent.view_bounds(views, far) if scene.outside == 'void' else
             extent.primitive_bounds(still, views, far))
  return boxes, far, _bounds(scene, center, derived)


def _scene_without_boxes(split: str, scene: Any, footage: Footage, views: extent.Views,
                         center: np.ndarray, notes: list[str]
                         ) -> tuple[list[Box], float, np.ndarray]:
  """What _scene returns where primitives shall not be used, from cameras and pseudo depth."""
  if scene.outside != 'void':
    raise InputError(f'config.data.boxes is {split!r}, so nothing but void is left, but config.scene'
                     f'.outside is {scene.outside!r}. Set --config.scene.outside=void too.')
  far = float(scene.far)
  if not far:  # read here too, for the far bound is wanted with and without supervision
    far = extent.far_from_depth(_layer(_DEPTH, footage, (views.width, views.height), []), views)
  notes.append(f'no primitives are used (config.data.boxes); far bound {far:g} m')
  return [], far, _bounds(scene, center, extent.view_bounds(views, far))


def _bounds(scene: Any, center: np.ndarray, derived: np.ndarray) -> np.ndarray:
  """The bounds [2, 3] float32 of the config, recentred, else the derived ones."""
  bounds = _override(scene, 'bounds', 6)
  return (derived if bounds is None else bounds.reshape(2, 3) - center).astype(np.float32)


def _boxes_paths(footage: Footage, split: str) -> list[Path]:
  """The XML files that config.data.boxes names."""
  full, train = (kitti360.boxes_path(footage.root, footage.sequence, s)
                 for s in ('train_full', 'train'))
  if split == 'auto':
    return [full if full.exists() else train]
  if split == 'union':
    return [path for path in (full, train) if path.exists()] or [full]
  if split in ('train', 'train_full'):
    return [full if split == 'train_full' else train]
  raise InputError(
      f"config.data.boxes is {split!r}. Use 'auto', 'train', 'train_full', 'union' or 'none'.")


def _supervision(footage: Footage, size: tuple[int, int], notes: list[str]) -> tuple:
  """(rgb, pseudo_label, pseudo_confidence, pseudo_depth) of all views at training size."""
  rgb = np.stack([resize_area(png.read_rgb(footage.image_path(*view), footage.size), size)
                  for view in footage.views()])

  label, confidence, depth = (_layer(layer, footage, size, notes)
                              for layer in (_LABEL, _CONFIDENCE, _DEPTH))
  return rgb, label, confidence, depth


def _read_pseudo_label(path: Path, size: tuple[int, int]) -> np.ndarray:
  label = png.read_label(path, size, unknown_allowed=True)
  return np.where(np.isin(label, labels.UNKNOWN), 0, label).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class _Layer:
  """One kind of supervision beside the photos, and what stands where there is none."""
  name: str
  folder_of: Callable[..., Path]
  read: Callable[[Path, tuple[int, int]], np.ndarray]
  absent: Any  # its type is that of the layer
  consequence: str


_LABEL = _Layer('pseudo labels', kitti360.pseudo_label_folder, _read_pseudo_label, np.uint8(0),
                'its label losses are off')
_CONFIDENCE = _Layer('confidence of the pseudo labels', kitti360.pseudo_confidence_folder,
                     png.read_confidence, np.float32(1), '')
_DEPTH = _Layer('pseudo depth', kitti360.pseudo_depth_folder, png.read_depth, np.float32(0),
                'its depth loss is off')


def _layer(layer: _Layer, footage: Footage, size: tuple[int, int],
           notes: list[str]) -> np.ndarray | None:
  """One supervision layer [V, H, W]; `absent` where a view has none, None if no view has."""
  folders = {camera: footage.folder(layer.folder_of, camera) for camera in footage.cameras}
  for camera, folder in folders.items():
    if layer.consequence and folder is None:
      place = layer.folder_of(footage.derived, footage.sequence, camera)
      notes.append(f'no {layer.name} for {camera}: {layer.consequence} ({place})')
  if not any(folders.values()):
    return None
  views = footage.views()
  stack = np.full((len(views), size[1], size[0]), layer.absent)
  for i, (frame, camera) in enumerate(views):
    if folders[camera] is not None:
      path = folders[camera] / f'{kitti360.frame_name(frame)}.png'
      if path.exists():
        stack[i] = resize_nearest(layer.read(path, footage.size), size)
      else:
        notes.append(f'warning: {path}: missing, no {layer.name} for this frame')
  return stack


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Averages [H, W, 3] uint8 over the area of each new pixel; size: (width, height)."""
  if image.shape[1::-1] == tuple(size):
    return image
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The pixel under each new pixel's centre; [H, W]; size: (width, height)."""
  rows, columns = (
      ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size[::-1], image.shape))
  return image[np.ix_(rows, columns)]
