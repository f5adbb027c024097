"""Writers of a street's calibration, poses, primitives, scans and lists in KITTI-360's layout."""

from pathlib import Path

import numpy as np

from pnerf_jax.contrib.street import annotation
from pnerf_jax.data import files, kitti360, labels

_TOOL_NAMES = {
  'parking': 'driveway',
  'terrain': 'ground',
  'ground': 'unknownGround',
  'pole': 'bigPole',
  'smallpole': 'smallPole',
  'person': 'pedestrian',
  'traffic light': 'trafficLight',
  'traffic sign': 'trafficSign',
  'trash bin': 'trashbin',
  'vending machine': 'vendingmachine',
  'guard rail': 'guardrail',
  'unknown object': 'unknownObject',
}
_TREE_NAMES = {8: 'treeCube', 63: 'treeSphere'}
_FIRST_INDEX = 1100  # indices are counted over a whole sequence


def _matrix(tag: str, values: np.ndarray, kind: str) -> str:
  rows, columns = values.shape
  text = ' '.join(f'{v:d}' if kind == 'u' else f'{v:.9g}' for v in values.ravel().tolist())
  return (
    f'  <{tag} type_id="opencv-matrix">\n   <rows>{rows}</rows>\n   <cols>{columns}</cols>\n'
    f'   <dt>{kind}</dt>\n   <data>{text}</data>\n  </{tag}>\n'
  )


def primitives_xml(
  annotations: list[annotation.Annotation], center: np.ndarray, frames: list[int], stuff: bool
) -> str:
  """Return the text of data_3d_bboxes/<split>/<seq>.xml.

  Args:
    annotations: the primitives; the n-th has index 1100 + n in every split.
    center: [3] world coordinates of the street's origin.
    frames: frame numbers of the drive.
    stuff: whether to include classes without instances (split train_full).
  """
  parts = ['<?xml version="1.0"?>\n<opencv_storage>\n']
  for number, item in enumerate(annotations):
    label = labels.BY_NAME[item.name]
    if not (label.has_instances or stuff):
      continue
    start, end = annotation.WINDOWS[item.window]
    world = item.street_from_local.copy()
    world[:3, 3] += center
    name = (
      _TREE_NAMES.get(len(item.vertices), 'tree')
      if item.name == 'vegetation'
      else (_TOOL_NAMES.get(item.name, item.name))
    )
    fields = {
      'index': _FIRST_INDEX + number,
      'label': name,
      'semanticId_orig': label.kitti_id,
      'semanticId': label.kitti_id,
      'instanceId': item.instance,
      'category': 'instance' if label.has_instances else 'stuff',
      'timestamp': item.timestamp,
      'dynamic': 0,
      'start_frame': frames[0] + start,
      'end_frame': frames[-1] + end,
    }
    parts.append(f' <object{number + 1}>\n')
    parts += [f'  <{key}>{value}</{key}>\n' for key, value in fields.items()]
    parts += [
      _matrix('transform', world, 'f'),
      _matrix('vertices', item.vertices, 'f'),
      _matrix('faces', np.asarray(item.faces, int), 'u'),
      f' </object{number + 1}>\n',
    ]
  return ''.join(parts) + '</opencv_storage>\n'


def _write_text(path: Path, text: str):
  files.write_bytes(path, text.encode())


def write_primitives(
  root: Path,
  sequence: str,
  annotations: list[annotation.Annotation],
  center: np.ndarray,
  frames: list[int],
):
  """Write both XML files: `train` with things only, `train_full` with things and stuff."""
  for split in ('train', 'train_full'):
    _write_text(
      kitti360.primitives_path(root, sequence, split),
      primitives_xml(annotations, center, frames, split == 'train_full'),
    )


def write_poses(
  root: Path,
  sequence: str,
  frames: list[int],
  world_from_pose: np.ndarray,
  pose_from_rect0: np.ndarray,
):
  """Write poses.txt and cam0_to_world.txt, with as many digits as the published ones.

  Args:
    root: the dataset root.
    sequence: name of the drive.
    frames: frame numbers.
    world_from_pose: [frames, 4, 4].
    pose_from_rect0: [4, 4] of rectified camera 0.
  """
  folder = Path(root, 'data_poses', sequence)
  poses = ''.join(
    f'{frame} ' + ' '.join(f'{v:.10g}' for v in pose[:3].ravel()) + '\n'
    for frame, pose in zip(frames, world_from_pose)
  )
  cameras = ''.join(
    f'{frame} ' + ' '.join(f'{v:.6e}' for v in (pose @ pose_from_rect0).ravel()) + ' \n'
    for frame, pose in zip(frames, world_from_pose)
  )
  _write_text(folder / 'poses.txt', poses)
  _write_text(folder / 'cam0_to_world.txt', cameras)


def write_calibration(root: Path, texts: dict[str, str]):
  """Write the files of the calibration folder."""
  for name, text in texts.items():
    _write_text(Path(root, 'calibration', name), text)


def write_scan(root: Path, sequence: str, frame: int, points: np.ndarray):
  """Write Velodyne points [N, 4] float32."""
  files.write_bytes(
    kitti360.velodyne_path(root, sequence, frame), np.ascontiguousarray(points, '<f4').tobytes()
  )


def write_lists(root: Path, sequence: str, frames: list[int]):
  """Write frame lists (every fourth frame is in val) and timestamps at 10 Hz."""
  lines = [
    f'data_2d_raw/{sequence}/image_00/data_rect/{name}.png'
    f' data_2d_semantics/train/{sequence}/image_00/semantic/{name}.png\n'
    for name in map(kitti360.frame_name, frames)
  ]
  folder = Path(root, 'data_2d_semantics', 'train')
  _write_text(
    folder / '2013_05_28_drive_train_frames.txt',
    ''.join(line for i, line in enumerate(lines) if i % 4 or len(lines) == 1),
  )
  _write_text(folder / '2013_05_28_drive_val_frames.txt', ''.join(lines[::4]))
  seconds = np.arange(frames[-1] + 1) * 0.1
  times = ''.join(
    f'2013-05-28 {12 + int(t // 3600):02d}:{int(t // 60) % 60:02d}:{t % 60:012.9f}\n'
    for t in seconds
  )
  raw = Path(root, 'data_2d_raw', sequence)
  for folder in (
    raw / 'image_00',
    raw / 'image_01',
    Path(root, 'data_3d_raw', sequence, 'velodyne_points'),
  ):
    _write_text(folder / 'timestamps.txt', times)
