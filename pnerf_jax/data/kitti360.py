"""KITTI-360 on disk: where files lie, calibration, poses and LiDAR scans.

All numbers are numpy float64. A pose `b_from_a` is [4, 4] and maps points of frame a to frame b:
`world` (metric, z up), `pose` (the vehicle's IMU), `velo` (LiDAR), `cam` (RECTIFIED perspective
camera: x right, y down, z forward; integer pixel coordinates are pixel centres).
Source: the dataset's documentation and kitti360Scripts.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.data import files
from pnerf_jax.errors import InputError

PERSPECTIVE_CAMERAS = ('image_00', 'image_01')
FAR_AWAY = 1e8  # metres; the dataset's world coordinates stay below 1e7
MAX_FRAME = 2**31 - 1
_MAX_PIXELS = 65535  # image size and focal length
_ROTATION_ERROR = 1e-2  # of R^T R, far above the rounding of the files
_MAX_RANGE = 1e4  # metres; no LiDAR sees farther
_MAX_TEXT, _MAX_SCAN = 2**26, 2**28  # bytes, some 20 times the largest real files
_AGAIN = 'Copy it from KITTI-360 again.'
_CALIBRATION = 'Use the calibration of KITTI-360.'


def frame_name(frame: int) -> str:
  """File name of a frame without its ending."""
  return f'{frame:010d}'


def rgb_folder(root: Path, sequence: str, camera: str) -> Path:
  """Folder of the rectified photos."""
  return files.join(root, 'data_2d_raw', sequence, camera, 'data_rect')


def truth_folder(root: Path, sequence: str, camera: str, kind: str) -> Path:
  """Folder of ground truth; kind: 'semantic', 'instance' or 'confidence'."""
  return files.join(root, 'data_2d_semantics', 'train', sequence, camera, kind)


def pseudo_label_folder(root: Path, sequence: str, camera: str) -> Path:
  """Folder of pseudo labels."""
  return files.join(root, 'data_2d_pseudo_semantics', 'train', sequence, camera, 'semantic')


def pseudo_confidence_folder(root: Path, sequence: str, camera: str) -> Path:
  """Folder of the confidence of pseudo labels (optional)."""
  return pseudo_label_folder(root, sequence, camera).with_name('confidence')


def pseudo_depth_folder(root: Path, sequence: str, camera: str) -> Path:
  """Folder of pseudo depth."""
  return files.join(root, 'data_2d_pseudo_depth', sequence, camera)


def lidar_depth_folder(root: Path, sequence: str, camera: str) -> Path:
  """Folder of accumulated LiDAR depth (only data converted from the authors' archive has it)."""
  return files.join(root, 'data_2d_lidar_depth', sequence, camera)


# Where the files of a view lie, by kind; of those that may be derived, and of the others.
DERIVED: dict[str, Callable[..., Path]] = {
  'pseudo_label': pseudo_label_folder,
  'pseudo_confidence': pseudo_confidence_folder,
  'pseudo_depth': pseudo_depth_folder,
  'lidar_depth': lidar_depth_folder,
}
RECORDED: dict[str, Callable[..., Path]] = {
  'rgb': rgb_folder,
  **{
    f'true_{kind}': functools.partial(truth_folder, kind=kind)
    for kind in ('semantic', 'instance', 'confidence')
  },
}


def velodyne_path(root: Path, sequence: str, frame: int) -> Path:
  """File of one LiDAR scan."""
  return files.join(
    root, 'data_3d_raw', sequence, 'velodyne_points', 'data', frame_name(frame) + '.bin'
  )


def boxes_path(root: Path, sequence: str, split: str) -> Path:
  """XML of the 3D primitives; split: 'train' or 'train_full'."""
  return files.join(root, 'data_3d_bboxes', split, sequence + '.xml')


def frames_in(folder: Path, suffix: str = '.png') -> list[int]:
  """Sorted frame numbers of the files in a folder; names that are no numbers are passed over."""
  if not folder.is_dir():
    return []
  names = [f.stem for f in folder.iterdir() if f.suffix == suffix]
  return sorted(
    {int(name) for name in names if re.fullmatch('[0-9]{1,10}', name) and int(name) <= MAX_FRAME}
  )


@dataclasses.dataclass(frozen=True)
class CameraCalibration:
  """Calibration of the rectified cameras and the LiDAR.

  Attributes:
    width, height: image size that the intrinsics belong to.
    intrinsics: camera -> [4] (fx, fy, cx, cy) in pixels.
    pose_from_cam: camera -> [4, 4], rectified camera to vehicle.
    pose_from_velo: [4, 4], LiDAR to vehicle.
  """

  width: int
  height: int
  intrinsics: dict[str, np.ndarray]
  pose_from_cam: dict[str, np.ndarray]
  pose_from_velo: np.ndarray

  def resized_intrinsics(self, camera: str, width: int, height: int) -> np.ndarray:
    """(fx, fy, cx, cy) [4] for images of another size; pixel centres stay pixel centres."""
    return resize_intrinsics(self.intrinsics[camera], (self.width, self.height), (width, height))

  def cam_from_velo(self, camera: str) -> np.ndarray:
    """[4, 4] from LiDAR to a rectified camera at the same instant."""
    return np.linalg.inv(self.pose_from_cam[camera]) @ self.pose_from_velo

  @property
  def baseline(self) -> float:
    """Distance between the two rectified cameras in metres."""
    left, right = (self.pose_from_cam[camera] for camera in PERSPECTIVE_CAMERAS)
    return float((np.linalg.inv(left) @ right)[0, 3])


def resize_intrinsics(intrinsics: np.ndarray, old_size: Sequence, new_size: Sequence) -> np.ndarray:
  """Intrinsics [..., 4] after resizing images from old to new (width, height), each [...]."""
  sx, sy = new_size[0] / old_size[0], new_size[1] / old_size[1]
  fx, fy, cx, cy = np.moveaxis(np.asarray(intrinsics, np.float64), -1, 0)
  return np.stack([sx * fx, sy * fy, (cx + 0.5) * sx - 0.5, (cy + 0.5) * sy - 0.5], -1)


def read_calibration(root: Path) -> CameraCalibration:
  """Reads perspective.txt, calib_cam_to_pose.txt and calib_cam_to_velo.txt of a dataset root."""
  folder = files.join(root, 'calibration')
  perspective = read_perspective(folder / 'perspective.txt')
  pose_from_unrectified = read_cam_to_pose(folder / 'calib_cam_to_pose.txt')
  velo_from_unrectified = read_cam_to_velo(folder / 'calib_cam_to_velo.txt')
  pose_from_cam = {}
  for camera in PERSPECTIVE_CAMERAS:
    rectify = np.eye(4)
    rectify[:3, :3] = perspective[f'R_rect_{camera[-2:]}'].reshape(3, 3)
    pose_from_cam[camera] = pose_from_unrectified[camera] @ np.linalg.inv(rectify)
  width, height = (int(round(x)) for x in perspective['S_rect_00'])
  intrinsics = {}
  for camera in PERSPECTIVE_CAMERAS:
    # Only the left 3x3: the fourth column holds the baseline, which the camera's own pose has.
    p = perspective[f'P_rect_{camera[-2:]}'].reshape(3, 4)
    intrinsics[camera] = np.array([p[0, 0], p[1, 1], p[0, 2], p[1, 2]])
  return CameraCalibration(
    width,
    height,
    intrinsics,
    pose_from_cam,
    pose_from_unrectified['image_00'] @ np.linalg.inv(velo_from_unrectified),
  )


_PERSPECTIVE_SIZES = {
  'S': 2,
  'K': 9,
  'D': 5,
  'R': 9,
  'T': 3,
  'S_rect': 2,
  'R_rect': 9,
  'P_rect': 12,
}
_PERSPECTIVE_NEEDED = ('S_rect', 'R_rect', 'P_rect')


def read_perspective(path: Path) -> dict[str, np.ndarray]:
  """perspective.txt as key -> flat float64 array; K's entry (3,3), published as 0, is read as 1."""
  values = {}
  for number, line in _lines(path):
    key, _, rest = line.partition(':')
    size = _PERSPECTIVE_SIZES.get(key[:-3]) if key[-3:] in ('_00', '_01') else None
    if size is not None:
      values[key] = _floats(path, number, rest.split(), size)
      if key.startswith('K_'):
        values[key][8] = 1.0
      elif key.startswith('R_rect_'):
        check_rotation(values[key].reshape(3, 3), f'{path}: line {number}')
  for key in _PERSPECTIVE_NEEDED:
    for camera in ('00', '01'):
      if f'{key}_{camera}' not in values:
        raise InputError(f'{path}: no line {key}_{camera}. {_CALIBRATION}')
  for camera in ('00', '01'):
    p, size = values[f'P_rect_{camera}'], values[f'S_rect_{camera}']
    if not (
      min(p[0], p[5]) > 0
      and min(size) >= 1
      and max(p[0], p[5], *size) <= _MAX_PIXELS
      and max(abs(p[2]), abs(p[6])) <= _MAX_PIXELS
    ):
      raise InputError(
        f'{path}: no camera {camera} has {size[0]:g} x {size[1]:g} pixels, focal'
        f' lengths {p[0]:g} and {p[5]:g}, centre ({p[2]:g}, {p[6]:g}).'
        f' {_CALIBRATION}'
      )
  return values


def read_cam_to_pose(path: Path) -> dict[str, np.ndarray]:
  """calib_cam_to_pose.txt: camera -> [4, 4] pose_from_cam of the UNRECTIFIED camera."""
  poses = {}
  for number, line in _lines(path):
    camera, _, rest = line.partition(':')
    poses[camera.strip()] = _rigid(_floats(path, number, rest.split(), 12), path, number)
  for camera in PERSPECTIVE_CAMERAS:
    if camera not in poses:
      raise InputError(f'{path}: no line {camera}. {_CALIBRATION}')
  return poses


def read_cam_to_velo(path: Path) -> np.ndarray:
  """calib_cam_to_velo.txt: [4, 4] velo_from_cam of the UNRECTIFIED camera 0."""
  lines = _lines(path)
  if not lines:
    raise InputError(f'{path}: empty file. {_CALIBRATION}')
  number, line = lines[0]
  return _rigid(_floats(path, number, line.split(), 12), path, number)


def read_poses(root: Path, sequence: str, calibration: CameraCalibration) -> dict[int, np.ndarray]:
  """world_from_pose [4, 4] of every frame that has one, by frame number.

  From poses.txt; from cam0_to_world.txt (some 5e-4 m coarser) only where the first is absent.
  """
  folder = files.join(root, 'data_poses', sequence)
  poses, cam0 = folder / 'poses.txt', folder / 'cam0_to_world.txt'
  if poses.exists() or not cam0.exists():
    return read_pose_file(poses, 12)
  cam_from_pose = np.linalg.inv(calibration.pose_from_cam['image_00'])
  return {
    frame: world_from_cam @ cam_from_pose
    for frame, world_from_cam in read_pose_file(cam0, 16).items()
  }


def read_pose_file(path: Path, numbers: int) -> dict[int, np.ndarray]:
  """poses.txt (12 numbers after the frame) or cam0_to_world.txt (16): frame -> [4, 4]."""
  poses = {}
  for number, line in _lines(path):
    frame, *row = _floats(path, number, line.split(), numbers + 1)
    if frame != int(frame) or not 0 <= frame <= MAX_FRAME:
      raise InputError(f'{path}: line {number}: {frame:g} is no frame number. {_AGAIN}')
    poses[int(frame)] = _rigid(np.array(row[:12]), path, number)
  if not poses:
    raise InputError(f'{path}: holds no pose. {_AGAIN}')
  return poses


def read_velodyne(path: Path) -> np.ndarray:
  """One scan [N, 4] float32: x forward, y left, z up (metres, LiDAR frame), reflectance."""
  data = files.read_bytes(path, _MAX_SCAN, _AGAIN)
  if len(data) % 16:
    raise InputError(
      f'{path}: {len(data)} bytes, not a multiple of 16 (four float32 a point).'
      ' The file is cut off; copy it again.'
    )
  points = np.frombuffer(data, '<f4').reshape(-1, 4)
  wrong = ~(np.abs(points) <= _MAX_RANGE).all(-1)  # not finite, too
  if wrong.any():
    row = int(np.argmax(wrong))
    raise InputError(
      f'{path}: point {row} is {points[row].tolist()}: not finite or farther than'
      f' {_MAX_RANGE:g} m. {_AGAIN}'
    )
  return points


def transform(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Maps points [N, 3] from frame a to frame b."""
  return np.asarray(points, np.float64) @ b_from_a[:3, :3].T + b_from_a[:3, 3]


def _lines(path: Path) -> list[tuple[int, str]]:
  """Numbered lines of a text file that hold anything."""
  content = files.read_bytes(
    path, _MAX_TEXT, 'It belongs to KITTI-360; check --config.data.root and --config.data.sequence.'
  )
  try:
    text = content.decode('utf-8')
  except UnicodeDecodeError:
    raise InputError(f'{path}: is not a text file. {_AGAIN}') from None
  return [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def _floats(path: Path, line: int, words: list[str], count: int) -> np.ndarray:
  try:
    values = np.array([float(word) for word in words])
  except ValueError as e:
    raise InputError(f'{path}: line {line}: {str(e)[:80]}. {_AGAIN}') from None
  if len(values) != count:
    raise InputError(f'{path}: line {line} holds {len(values)} numbers, expected {count}. {_AGAIN}')
  if not np.isfinite(values).all():
    word = words[int(np.argmin(np.isfinite(values)))]
    raise InputError(f'{path}: line {line}: {word[:40]} is not finite. {_AGAIN}')
  return values


def _rigid(row: np.ndarray, path: Path, line: int) -> np.ndarray:
  """[4, 4] from the 12 numbers of a row-major 3x4, checked to be a rigid motion."""
  motion = row.reshape(3, 4)
  check_rotation(motion[:, :3], f'{path}: line {line}')
  if np.abs(motion[:, 3]).max() > FAR_AWAY:
    raise InputError(
      f'{path}: line {line}: position {motion[:, 3].tolist()} is farther than'
      f' {FAR_AWAY:g} m. {_AGAIN}'
    )
  return np.vstack([motion, [0.0, 0.0, 0.0, 1.0]])


def check_rotation(matrix: np.ndarray, where: str, remedy: str = _AGAIN) -> None:
  """InputError unless the columns of a [3, 3] are orthonormal and right-handed."""
  # Bounded first, since the product of huge entries is not finite.
  if (
    np.abs(matrix).max() > 2
    or np.linalg.det(matrix) < 0
    or (np.abs(matrix.T @ matrix - np.eye(3)).max() > _ROTATION_ERROR)
  ):
    raise InputError(f'{where}: {matrix.round(3).tolist()} is no rotation. {remedy}')
