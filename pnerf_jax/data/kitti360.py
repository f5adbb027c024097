"""KITTI-360 on disk: paths, calibration, poses and LiDAR scans.

All numbers are numpy float64. A pose `b_from_a` is [4, 4] and maps points of frame a to frame b:
`world` (metric, z up), `pose` (the vehicle's IMU), `velo` (LiDAR), `cam` (RECTIFIED perspective
camera: x right, y down, z forward; integer pixel coordinates are pixel centres).

References:
  Y. Liao, J. Xie, A. Geiger. KITTI-360. TPAMI 2022; its documentation and kitti360Scripts.
"""

import dataclasses
import functools
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from pnerf_jax.config.spec import MAX_LENGTH
from pnerf_jax.data import files, image_io
from pnerf_jax.errors import InputError

PERSPECTIVE_CAMERAS = ('image_00', 'image_01')
MAX_FRAME = 2**31 - 1
_MAX_PIXELS = 65535  # image size and focal length
_TANGENTS = (0.005, 8.0)  # of half the field of view: 0.6 to 166 degrees
_ROTATION_ERROR = 1e-2  # of R^T R, far above the rounding of the files
_MAX_RANGE = 1e4  # metres, of a LiDAR
_MAX_TEXT, _MAX_SCAN = 2**26, 2**28  # bytes, some 20 times the largest real files
_COPY = 'Copy it from KITTI-360 again.'
_CALIBRATION = 'Use the calibration of KITTI-360.'
_PERSPECTIVE_SIZES = {'S': 2, 'K': 9, 'D': 5, 'R': 9, 'T': 3}  # numbers by key
_PERSPECTIVE_SIZES |= {'S_rect': 2, 'R_rect': 9, 'P_rect': 12}

# Folders of a camera's files by kind. Files of the first four may also be in a derived-data root;
# only data converted from the authors' archive has lidar_depth (accumulated LiDAR).
DERIVED = {
  'pseudo_label': 'data_2d_pseudo_semantics/train/{sequence}/{camera}/semantic',
  'pseudo_confidence': 'data_2d_pseudo_semantics/train/{sequence}/{camera}/confidence',
  'pseudo_depth': 'data_2d_pseudo_depth/{sequence}/{camera}',
  'lidar_depth': 'data_2d_lidar_depth/{sequence}/{camera}',
}
RECORDED = {
  'rgb': 'data_2d_raw/{sequence}/{camera}/data_rect',
  'true_semantic': 'data_2d_semantics/train/{sequence}/{camera}/semantic',
  'true_instance': 'data_2d_semantics/train/{sequence}/{camera}/instance',
  'true_confidence': 'data_2d_semantics/train/{sequence}/{camera}/confidence',
}


def camera_folder(root: Path, sequence: str, camera: str, kind: str) -> Path:
  """Return the folder of a camera's files of a kind (a key of DERIVED or RECORDED)."""
  parts = (DERIVED | RECORDED)[kind].split('/')
  return Path(root, *(part.format(sequence=sequence, camera=camera) for part in parts))


rgb_folder = functools.partial(camera_folder, kind='rgb')
pseudo_label_folder = functools.partial(camera_folder, kind='pseudo_label')
pseudo_confidence_folder = functools.partial(camera_folder, kind='pseudo_confidence')
pseudo_depth_folder = functools.partial(camera_folder, kind='pseudo_depth')
lidar_depth_folder = functools.partial(camera_folder, kind='lidar_depth')


def truth_folder(root: Path, sequence: str, camera: str, kind: str) -> Path:
  """Return the folder of ground truth; kind: 'semantic', 'instance' or 'confidence'."""
  return camera_folder(root, sequence, camera, f'true_{kind}')


def frame_name(frame: int) -> str:
  """Return the file name of a frame without its suffix."""
  return f'{frame:010d}'


def velodyne_path(root: Path, sequence: str, frame: int) -> Path:
  """Return the path of a LiDAR scan."""
  folder = Path(root, 'data_3d_raw', sequence, 'velodyne_points', 'data')
  return folder / f'{frame_name(frame)}.bin'


def primitives_path(root: Path, sequence: str, split: str) -> Path:
  """Return the path of the XML of the 3D primitives; split: 'train' or 'train_full'."""
  return Path(root, 'data_3d_bboxes', split, f'{sequence}.xml')


def frames_in(folder: Path) -> list[int]:
  """Return the sorted frame numbers of the PNG files in a folder; other names are ignored."""
  if not folder.is_dir():
    return []
  frames = [int(f.stem) for f in folder.iterdir() if re.fullmatch('[0-9]{10}[.]png', f.name)]
  return sorted(frame for frame in frames if frame <= MAX_FRAME)


@dataclasses.dataclass(frozen=True)
class CameraCalibration:
  """Calibration of the rectified cameras and the LiDAR.

  Attributes:
    size: (width, height) in pixels.
    intrinsics: by camera, [4] (fx, fy, cx, cy) in pixels at that size.
    pose_from_cam: by camera, [4, 4], rectified camera to vehicle.
    pose_from_velo: [4, 4], LiDAR to vehicle.
  """

  size: tuple[int, int]
  intrinsics: dict[str, np.ndarray]
  pose_from_cam: dict[str, np.ndarray]
  pose_from_velo: np.ndarray


def resize_intrinsics(
  intrinsics: np.ndarray,
  old_size: Sequence | np.ndarray,
  new_size: Sequence | np.ndarray,
  pixel_origin: str = 'center',
) -> np.ndarray:
  """Return the intrinsics of resized images.

  Args:
    intrinsics: [..., 4] fx, fy, cx, cy in pixels.
    old_size: width and height of each, [...].
    new_size: likewise.
    pixel_origin: 'center' keeps what an image shows; 'corner' scales the principal point as it is,
      so that pixel u of an image at the scale s looks along pixel u / s of the old one.

  Returns:
    [..., 4] float64.
  """
  sx, sy = new_size[0] / old_size[0], new_size[1] / old_size[1]
  fx, fy, cx, cy = np.moveaxis(np.asarray(intrinsics, np.float64), -1, 0)
  if pixel_origin == 'corner':
    return np.stack([sx * fx, sy * fy, sx * cx, sy * cy], -1)
  return np.stack([sx * fx, sy * fy, (cx + 0.5) * sx - 0.5, (cy + 0.5) * sy - 0.5], -1)


def read_calibration(root: Path) -> CameraCalibration:
  """Read perspective.txt, calib_cam_to_pose.txt and calib_cam_to_velo.txt of a dataset root."""
  folder = Path(root, 'calibration')
  perspective = read_perspective(folder / 'perspective.txt')
  pose_from_unrectified = read_cam_to_pose(folder / 'calib_cam_to_pose.txt')
  velo_from_unrectified = read_cam_to_velo(folder / 'calib_cam_to_velo.txt')
  pose_from_cam, intrinsics = {}, {}
  for camera in PERSPECTIVE_CAMERAS:
    rectify = np.eye(4)
    rectify[:3, :3] = perspective[f'R_rect_{camera[-2:]}'].reshape(3, 3)
    pose_from_cam[camera] = pose_from_unrectified[camera] @ np.linalg.inv(rectify)
    intrinsics[camera] = _intrinsics(perspective, camera)
  width, height = (int(round(x)) for x in perspective['S_rect_00'])
  pose_from_velo = pose_from_unrectified['image_00'] @ np.linalg.inv(velo_from_unrectified)
  return CameraCalibration((width, height), intrinsics, pose_from_cam, pose_from_velo)


def _intrinsics(perspective: dict[str, np.ndarray], camera: str) -> np.ndarray:
  """Return [4] (fx, fy, cx, cy) of P_rect; its fourth column, the baseline, is in the pose too."""
  return perspective[f'P_rect_{camera[-2:]}'][[0, 5, 2, 6]]


def read_perspective(path: Path) -> dict[str, np.ndarray]:
  """Read perspective.txt: flat arrays by key."""
  values: dict[str, np.ndarray] = {}
  for where, line in _lines(path):
    key, _, rest = line.partition(':')
    count = _PERSPECTIVE_SIZES.get(key[:-3]) if key[-3:] in ('_00', '_01') else None
    if count is not None:
      _check_first(key, values, where)
      values[key] = parse_floats(rest.split(), count, where)
      if key.startswith('R_rect_'):
        check_rotation(values[key].reshape(3, 3), where)
  _require(path, values, [f'{key}_rect_{i}' for key in 'SRP' for i in ('00', '01')])
  for camera in PERSPECTIVE_CAMERAS:
    size = values[f'S_rect_{camera[-2:]}']
    check_camera(size, _intrinsics(values, camera), f'{path}: {camera}', _CALIBRATION)
  if (values['S_rect_00'] != values['S_rect_01']).any():
    raise InputError(f'{path}: S_rect_00 and S_rect_01 differ. {_CALIBRATION}')
  return values


def read_cam_to_pose(path: Path) -> dict[str, np.ndarray]:
  """Read calib_cam_to_pose.txt: [4, 4] pose_from_cam of the UNRECTIFIED cameras."""
  poses: dict[str, np.ndarray] = {}
  for where, line in _lines(path):
    camera, _, rest = line.partition(':')
    _check_first(camera.strip(), poses, where)
    poses[camera.strip()] = _rigid(parse_floats(rest.split(), 12, where), where)
  _require(path, poses, PERSPECTIVE_CAMERAS)
  return poses


def _require(path: Path, values: Collection[str], keys: Collection[str]) -> None:
  for key in keys:
    if key not in values:
      raise InputError(f'{path}: no line {key}. {_CALIBRATION}')


def _check_first(key: str | int, values: Collection, where: str) -> None:
  if key in values:
    raise InputError(f'{where}: {key} is there twice. Remove the wrong line.')


def read_cam_to_velo(path: Path) -> np.ndarray:
  """Read calib_cam_to_velo.txt: [4, 4] velo_from_cam of the UNRECTIFIED camera 0."""
  lines = _lines(path)
  if len(lines) != 1:
    raise InputError(f'{path}: empty, or more than one line. {_CALIBRATION}')
  where, line = lines[0]
  return _rigid(parse_floats(line.split(), 12, where), where)


def read_poses(root: Path, sequence: str, calibration: CameraCalibration) -> dict[int, np.ndarray]:
  """Read world_from_pose [4, 4] of every frame that has a pose, by frame number.

  From poses.txt, or from cam0_to_world.txt (some 5e-4 m coarser) if only that is present.
  """
  folder = Path(root, 'data_poses', sequence)
  poses, cam0 = folder / 'poses.txt', folder / 'cam0_to_world.txt'
  if files.exists(poses) or not files.exists(cam0):
    return read_pose_file(poses, 12)
  cam_from_pose = np.linalg.inv(calibration.pose_from_cam['image_00'])
  return {frame: pose @ cam_from_pose for frame, pose in read_pose_file(cam0, 16).items()}


def read_pose_file(path: Path, numbers: int) -> dict[int, np.ndarray]:
  """Read poses.txt (12 numbers after the frame) or cam0_to_world.txt (16): [4, 4] by frame."""
  poses: dict[int, np.ndarray] = {}
  for where, line in _lines(path):
    frame, *row = parse_floats(line.split(), numbers + 1, where)
    if frame != int(frame) or not 0 <= frame <= MAX_FRAME:
      raise InputError(f'{where}: {frame:g} is no frame number. {_COPY}')
    _check_first(int(frame), poses, where)
    poses[int(frame)] = _rigid(np.array(row[:12]), where)
  if not poses:
    raise InputError(f'{path}: no pose. {_COPY}')
  return poses


def read_velodyne(path: files.ReadableFile) -> np.ndarray:
  """Read a scan [N, 4] float32: x forward, y left, z up (metres, LiDAR frame), reflectance."""
  data = files.read_bytes(path, _MAX_SCAN, _COPY)
  check_scan_size(path, len(data))
  points = np.frombuffer(data, '<f4').reshape(-1, 4)
  wrong = ~(np.abs(points) <= _MAX_RANGE).all(-1)  # also not finite
  if wrong.any():
    row = int(np.argmax(wrong))
    raise InputError(
      f'{path}: point {row} is {points[row].tolist()}: not finite or farther than'
      f' {_MAX_RANGE:g} m. {_COPY}'
    )
  return points


def check_scan_size(path: files.ReadableFile, size: int) -> None:
  """Raise InputError unless a scan of this size, bytes, holds points."""
  if not size or size % 16:
    raise InputError(
      f'{path}: {size} bytes, expected a multiple of 16 (four float32 per point). {_COPY}'
    )


def transform(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Map points [N, 3] from frame a to frame b."""
  return np.asarray(points, np.float64) @ b_from_a[:3, :3].T + b_from_a[:3, 3]


def _lines(path: Path) -> list[tuple[str, str]]:
  """Return ('FILE: line N', line) of every line of a text file that is not blank."""
  content = files.read_bytes(
    path, _MAX_TEXT, 'It belongs to KITTI-360; check --config.data.root and --config.data.sequence.'
  )
  try:
    text = content.decode('utf-8-sig')
  except UnicodeDecodeError:
    raise InputError(f'{path}: not a text file. {_COPY}') from None
  lines = enumerate(text.splitlines(), 1)
  return [(f'{path}: line {i}', line) for i, line in lines if line.strip()]


def parse_floats(tokens: Sequence[str], count: int, where: str, hint: str = _COPY) -> np.ndarray:
  """Return [count] finite numbers of a text file."""
  try:
    values = np.array([float(token) for token in tokens])
  except ValueError as e:
    raise InputError(f'{where}: {str(e)[:80]}. {hint}') from None
  if len(values) != count:
    raise InputError(f'{where} has {len(values)} numbers, expected {count}. {hint}')
  if not np.isfinite(values).all():
    token = tokens[int(np.argmin(np.isfinite(values)))]
    raise InputError(f'{where}: {token[:40]} is not finite. {hint}')
  return values


def _rigid(row: np.ndarray, where: str) -> np.ndarray:
  """Return [4, 4] of the 12 numbers of a row-major 3x4 rigid motion."""
  motion = row.reshape(3, 4)
  check_rotation(motion[:, :3], where)
  if np.abs(motion[:, 3]).max() > MAX_LENGTH:
    raise InputError(
      f'{where}: position {motion[:, 3].tolist()} is farther than {MAX_LENGTH:g} m. {_COPY}'
    )
  return np.vstack([motion, [0.0, 0.0, 0.0, 1.0]])


def check_rotation(matrix: np.ndarray, where: str, hint: str = _COPY) -> None:
  """Raise InputError unless the columns of a [3, 3] are orthonormal and right-handed."""
  # Magnitudes first, since the product of huge entries is not finite.
  if (
    np.abs(matrix).max() > 2
    or np.linalg.det(matrix) < 0
    or np.abs(matrix.T @ matrix - np.eye(3)).max() > _ROTATION_ERROR
  ):
    raise InputError(f'{where}: {matrix.round(3).tolist()} is no rotation. {hint}')


def check_camera(
  size: Sequence | np.ndarray, intrinsics: Sequence | np.ndarray, where: str, hint: str
) -> None:
  """Raise InputError unless (width, height) and (fx, fy, cx, cy) in pixels are plausible."""
  fx, fy, cx, cy = intrinsics
  width, height = size
  low, high = _TANGENTS
  plausible = min(size) >= 1 and min(fx, fy) > 0 and max(fx, fy, *size) <= _MAX_PIXELS
  if not (
    plausible
    and width * height <= image_io.MAX_PIXELS
    and low <= min(width / fx, height / fy) / 2 <= max(width / fx, height / fy) / 2 <= high
    and 0.25 <= fx / fy <= 4
    and -width <= cx <= 2 * width
    and -height <= cy <= 2 * height
  ):
    raise InputError(
      f'{where}: no pinhole camera has {width:g} x {height:g} pixels, focal lengths {fx:g} and'
      f' {fy:g} pixels, centre ({cx:g}, {cy:g}). {hint}'
    )
