"""The rig: KITTI-360's calibration at a given image size, vehicle poses, and camera rays.

Frames: `pose` is the vehicle (IMU: x forward, y right, z down); `cam` K an unrectified camera,
`rect` K the rectified one (x right, y down, z forward); `velo` the Velodyne. Metres.
All matrices are computed from the rounded numbers in the files, so that the rendered images agree
exactly with the files. The numbers are those of KITTI-360's published calibration.
"""

import dataclasses

import numpy as np

FULL_WIDTH, FULL_HEIGHT = 1408, 376
BASELINE = 0.594183
CAMERA_HEIGHT = 1.58  # metres of camera 0 above the road

_FOCAL, _CX, _CY = 552.554261, 682.049453, 238.769549
# Camera 1 follows from the baseline and both rectifying rotations.
_POSE_FROM_CAM = {
  0: (
    (0.0371783278, -0.0986182135, 0.9944306009, 1.5752681039),
    (0.9992675562, -0.0053553387, -0.0378902567, 0.0043914093),
    (0.0090621821, 0.9951109327, 0.0983468786, -0.6500000000),
  ),
  2: (
    (0.9995185086, 0.0041276589, -0.0307524527, 0.7264036936),
    (-0.0307926666, 0.0100608424, -0.9994751579, -0.1499658517),
    (-0.0038160970, 0.9999408692, 0.0101830998, -1.0686400091),
  ),
  3: (
    (-0.9996821702, 0.0005703407, -0.0252038325, 0.7016842127),
    (-0.0252033830, 0.0007820814, 0.9996820384, 0.7463650950),
    (0.0005898709, 0.9999995315, -0.0007674583, -1.0751978255),
  ),
}
_VELO_FROM_CAM = (
  (0.04307104361, -0.08829286498, 0.995162929, 0.8043914418),
  (-0.999004371, 0.007784614041, 0.04392796942, 0.2993489574),
  (-0.01162548558, -0.9960641394, -0.08786966659, -0.1770225824),
)
_VELO_FROM_SICK = (
  (0.9998328856, -0.01305514558, -0.01279702916, -0.3971222434),
  (0.01322436405, 0.9998250388, 0.01322905751, -0.009085164561),
  (0.0126220829, -0.01339607931, 0.9998305997, -0.07072622777),
)
_RECT_FROM_CAM = (
  (
    (0.999974, -0.007141, -0.000089),
    (0.007141, 0.999969, -0.003247),
    (0.000112, 0.003247, 0.999995),
  ),
  (
    (0.999778, -0.012115, 0.017222),
    (0.012059, 0.999922, 0.003351),
    (-0.017261, -0.003143, 0.999846),
  ),
)
_RAW_K = (
  (788.629315, 687.158398, 786.382230, 317.752196),
  (785.134093, 686.437073, 782.346289, 321.352788),
)
_RAW_D = (
  (-0.344441, 0.141678, 0.000414, -0.000222, -0.029608),
  (-0.353195, 0.161996, 0.000383, -0.000242, -0.041476),
)
_FISHEYE = {
  'image_02': (
    2.2134047507854890e00,
    1.6798235660113681e-02,
    1.6548773243373522e00,
    4.2223943394772046e-04,
    4.2462134260997584e-04,
    1.3363220825849971e03,
    1.3357883350012958e03,
    7.1694323510126321e02,
    7.0576498308221585e02,
  ),
  'image_03': (
    2.5535139132482758e00,
    4.9370396274089505e-02,
    4.5068455478645308e00,
    1.3477698472982495e-03,
    -7.0340482615055284e-04,
    1.4849388981875156e03,
    1.4849477411748708e03,
    6.9888316784030962e02,
    6.9814541887723055e02,
  ),
}
_FISHEYE_KEYS = (
  ('mirror_parameters', ('xi',)),
  ('distortion_parameters', ('k1', 'k2', 'p1', 'p2')),
  ('projection_parameters', ('gamma1', 'gamma2', 'u0', 'v0')),
)


def rigid(rotation, translation=(0.0, 0.0, 0.0)) -> np.ndarray:
  """Return the [4, 4] transform of a rotation [3, 3] and a translation [3]."""
  out = np.eye(4)
  out[:3, :3], out[:3, 3] = rotation, translation
  return out


def _row(values, digits: int = 10) -> str:
  return ' '.join(f'{v:.{digits}f}' for v in np.asarray(values).ravel())


@dataclasses.dataclass(frozen=True)
class Rig:
  """Calibration for one image size.

  Attributes:
    width: pixels of the rectified images.
    height: pixels of the rectified images.
    intrinsics: [4] fx, fy, cx, cy of both rectified cameras, pixels.
    pose_from_rect: [2, 4, 4].
    pose_from_velo: [4, 4].
    files: texts by file name in calibration/.
  """

  width: int
  height: int
  intrinsics: np.ndarray
  pose_from_rect: np.ndarray
  pose_from_velo: np.ndarray
  files: dict[str, str]


def _perspective(width: int, height: int, intrinsics: np.ndarray, rect: list) -> str:
  """Return the text of perspective.txt for an image size."""
  fx, fy, cx, cy = intrinsics
  sx, sy = width / FULL_WIDTH, height / FULL_HEIGHT
  raw_size = (np.rint(1392 * sx), np.rint(512 * sy))
  shift = rigid(np.eye(3), (-BASELINE, 0, 0))
  cam1_from_cam0 = np.linalg.inv(rigid(rect[1])) @ shift @ rigid(rect[0])
  extrinsics = (np.eye(4), cam1_from_cam0)
  lines = ['calib_time: 17-Feb-2016 14:23:48', 'corner_dist: 0.100000']
  for k in (0, 1):
    kfx, kcx, kfy, kcy = _RAW_K[k]
    # The published files hold 0 in the last entry of K; readers must take it as 1.
    raw = (kfx * sx, 0, (kcx + 0.5) * sx - 0.5, 0, kfy * sy, (kcy + 0.5) * sy - 0.5, 0, 0, 0)
    projection = (fx, 0, cx, -k * fx * BASELINE, 0, fy, cy, 0, 0, 0, 1, 0)
    rows = (
      ('S', raw_size),
      ('K', raw),
      ('D', _RAW_D[k]),
      ('R', extrinsics[k][:3, :3]),
      ('T', extrinsics[k][:3, 3]),
      ('S_rect', (width, height)),
      ('R_rect', rect[k]),
      ('P_rect', projection),
    )
    lines += [f'{name}_0{k}: {_row(values, 9 if name == "R_rect" else 6)}' for name, values in rows]
  return '\n'.join(lines) + '\n'


def _fisheye(name: str) -> str:
  """Return the text of image_02.yaml or image_03.yaml (OpenCV YAML)."""
  values = iter(_FISHEYE[name])
  lines = [
    '%YAML:1.0',
    '---',
    'model_type: MEI',
    f'camera_name: {name}',
    'image_width: 1400',
    'image_height: 1400',
  ]
  for group, keys in _FISHEYE_KEYS:
    lines.append(f'{group}:')
    lines += [f'   {key}: {next(values):.16e}' for key in keys]
  return '\n'.join(lines) + '\n'


def rig(scale: float) -> Rig:
  """Return the rig for images of `scale` times 1408 x 376 pixels."""
  width = max(16, round(FULL_WIDTH * scale))
  height = max(16, round(FULL_HEIGHT * scale))
  sx, sy = width / FULL_WIDTH, height / FULL_HEIGHT
  intrinsics = np.round(
    [_FOCAL * sx, _FOCAL * sy, (_CX + 0.5) * sx - 0.5, (_CY + 0.5) * sy - 0.5], 6
  )
  rect = []
  for matrix in _RECT_FROM_CAM:
    u, _, vt = np.linalg.svd(np.array(matrix))
    rect.append(np.round(u @ vt, 9))
  pose_from_cam = {
    k: rigid(np.array(m)[:, :3], np.array(m)[:, 3]) for k, m in _POSE_FROM_CAM.items()
  }
  pose_from_rect0 = pose_from_cam[0] @ np.linalg.inv(rigid(rect[0]))
  pose_from_cam[1] = np.round(
    pose_from_rect0 @ rigid(np.eye(3), (BASELINE, 0, 0)) @ rigid(rect[1]), 10
  )
  velo = np.array(_VELO_FROM_CAM)
  files = {
    'calib_cam_to_pose.txt': ''.join(
      f'image_0{k}: {_row(m[:3])} \n' for k, m in sorted(pose_from_cam.items())
    ),
    'calib_cam_to_velo.txt': ' '.join(f'{v:.10g}' for v in np.ravel(_VELO_FROM_CAM)) + '\n',
    'calib_sick_to_velo.txt': ' '.join(f'{v:.10g}' for v in np.ravel(_VELO_FROM_SICK)) + '\n',
    'perspective.txt': _perspective(width, height, intrinsics, rect),
    'image_02.yaml': _fisheye('image_02'),
    'image_03.yaml': _fisheye('image_03'),
  }
  return Rig(
    width,
    height,
    intrinsics,
    np.stack([pose_from_cam[k] @ np.linalg.inv(rigid(rect[k])) for k in (0, 1)]),
    pose_from_cam[0] @ np.linalg.inv(rigid(velo[:, :3], velo[:, 3])),
    files,
  )


def vehicle_pose(position, heading: float, slope: float, roll: float) -> np.ndarray:
  """Return world_from_pose [4, 4] of a vehicle, with camera 0 CAMERA_HEIGHT above the road.

  Args:
    position: [3] point of the road below the IMU, metres.
    heading: driving direction, radians from +x.
    slope: radians upwards.
    roll: radians.
  """
  forward = np.array(
    [np.cos(heading) * np.cos(slope), np.sin(heading) * np.cos(slope), np.sin(slope)]
  )
  right = np.array([np.sin(heading), -np.cos(heading), 0.0])
  down = np.cross(forward, right)
  c, s = np.cos(roll), np.sin(roll)
  right, down = c * right + s * down, c * down - s * right
  up = CAMERA_HEIGHT + _POSE_FROM_CAM[0][2][3]
  return rigid(np.stack([forward, right, down], 1), np.asarray(position) - up * down)


def rays(
  rig_: Rig, world_from_rect: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return origins and unit directions [n, 3] of the rays through pixels [n, 2] (u, v)."""
  fx, fy, cx, cy = rig_.intrinsics
  local = np.stack([(pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy, np.ones(len(pixels))], 1)
  directions = local @ world_from_rect[:3, :3].T
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  return np.broadcast_to(world_from_rect[:3, 3], directions.shape).copy(), directions


def pixel_centers(width: int, height: int, samples: int) -> np.ndarray:
  """Return sample positions [height * width * samples**2, 2], samples**2 per pixel in sequence."""
  offset = (np.arange(samples) + 0.5) / samples - 0.5
  v, u, dv, du = np.meshgrid(np.arange(height), np.arange(width), offset, offset, indexing='ij')
  return np.stack([u + du, v + dv], -1).reshape(-1, 2)
