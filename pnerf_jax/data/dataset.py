"""Dataset indices of KITTI-360's layout, of transforms.json and of packed windows."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.config.schema import DataConfig
from pnerf_jax.data import image_io, kitti360, transforms
from pnerf_jax.data.dataset_index import DatasetIndex, check_cameras, select_frames
from pnerf_jax.data.transforms import ImageRecord
from pnerf_jax.errors import InputError


def open_dataset(data: DataConfig, stereo: bool = False) -> DatasetIndex:
  """Find the frames of the range that have a pose and an image of every camera.

  Args:
    data: config.data.
    stereo: use the cameras of the rectified pair instead of config.data.cameras.

  Raises:
    InputError: a file is missing or damaged, there is no frame, or no such camera or pair.
  """
  _check_layout(data)
  if data.source == 'tfds':
    from pnerf_jax.data.tfds import reader  # tensorflow_datasets takes seconds to import

    return reader.open_dataset(data, stereo)
  index = _index_transforms if data.source == 'transforms' else _index_kitti360
  return index(Path(data.root), data, stereo)


def _check_layout(data: DataConfig) -> None:
  """Raise InputError if config.data.root has the layout of another config.data.source."""
  marks = {
    'folder': ('data_2d_raw', '--config=configs/kitti360.py'),
    'transforms': (transforms.NAME, '--config=configs/transforms.py'),
    'tfds': ('kitti360_window', '--config.data.source=tfds'),
  }
  present = {source: mark for source, mark in marks.items() if Path(data.root, mark[0]).exists()}
  if present and data.source not in present:
    name, flag = next(iter(present.values()))
    raise InputError(
      f'{data.root}: has {name} but no {marks[data.source][0]}, which config.data.source'
      f' {data.source!r} needs. Use {flag}.'
    )


def _index_kitti360(root: Path, data: DataConfig, stereo: bool) -> DatasetIndex:
  """Index a folder in KITTI-360's layout."""
  sequence = _select_sequence(root, data.sequence)
  cameras = kitti360.PERSPECTIVE_CAMERAS if stereo else tuple(data.cameras)
  check_cameras(cameras, kitti360.PERSPECTIVE_CAMERAS, "KITTI-360's layout")
  images = {
    camera: set(kitti360.frames_in(kitti360.rgb_folder(root, sequence, camera)))
    for camera in kitti360.PERSPECTIVE_CAMERAS
  }
  for camera in cameras:
    if not images[camera]:
      others = ','.join(other for other, frames in images.items() if frames)
      raise InputError(
        f'{kitti360.rgb_folder(root, sequence, camera)}: no image of {camera}, named as'
        ' 0000000012.png. Download it'
        + (f' or use --config.data.cameras={others}.' if others else '.')
      )
  calibration = kitti360.read_calibration(root)
  poses = kitti360.read_poses(root, sequence, calibration)
  selection = select_frames(
    Path(root, 'data_2d_raw', sequence),
    data,
    {c: images[c] for c in cameras},
    poses.keys(),
    {c: len(found) for c, found in images.items() if found and c not in cameras},
  )
  frames = selection[0]
  first = kitti360.rgb_folder(root, sequence, cameras[0]) / f'{kitti360.frame_name(frames[0])}.png'
  size = image_io.read_size(first)  # of all images; readers refuse any other
  width, height = calibration.size
  if abs(size[0] * height / width - size[1]) > 1 + 0.01 * size[1]:
    raise InputError(
      f'{first}: {size[0]} x {size[1]} pixels, another shape than the {width} x {height} of'
      ' calibration/perspective.txt (S_rect). Use uncropped images, or the calibration of these.'
    )
  intrinsics = {
    camera: kitti360.resize_intrinsics(calibration.intrinsics[camera], calibration.size, size)
    for camera in cameras
  }
  records = [
    ImageRecord(
      camera, frame, size, intrinsics[camera], poses[frame] @ calibration.pose_from_cam[camera], {}
    )
    for frame in frames
    for camera in cameras
  ]
  return _make_index(
    root,
    data,
    selection,
    records,
    sequence=sequence,
    cameras=cameras,
    world_from_pose=np.stack([poses[frame] for frame in frames]),
    pose_from_velo=calibration.pose_from_velo,
    stereo=kitti360.PERSPECTIVE_CAMERAS,
  )


def _index_transforms(root: Path, data: DataConfig, stereo: bool) -> DatasetIndex:
  """Index the images that transforms.json describes."""
  described = transforms.read(root)
  path = Path(root, transforms.NAME)
  if data.sequence not in ('', described.sequence):
    raise InputError(
      f'{path}: is of sequence {described.sequence!r}; config.data.sequence is {data.sequence!r}.'
      ' Omit it or name this one.'
    )
  if stereo and not described.stereo:
    raise InputError(
      f'{path}: names no rectified stereo pair ("stereo": [left, right]), which depth needs. Name'
      ' it if two cameras are one, or write depth of another source and name it (depth_file_path).'
    )
  cameras = described.stereo if stereo else tuple(data.cameras) or described.cameras
  check_cameras(cameras, described.cameras, str(path))
  images = {
    camera: {frame for frame, other in described.records if other == camera} for camera in cameras
  }
  others = [camera for _, camera in described.records if camera not in cameras]
  selection = select_frames(
    path, data, images, set.union(*images.values()), collections.Counter(others)
  )
  selection[1].extend(described.notes)
  records = [described.records[frame, camera] for frame in selection[0] for camera in cameras]
  for name in (*(name for r in records for name in r.files.values()), described.primitives):
    if name and not Path(root, name).exists():
      raise InputError(
        f'{Path(root, name)}: no such file, but {path} names it. Correct the path or add the file.'
      )
  return _make_index(
    root,
    data,
    selection,
    records,
    sequence=described.sequence,
    cameras=cameras,
    world_from_pose=np.stack([record.world_from_cam for record in records[:: len(cameras)]]),
    pose_from_velo=None,
    stereo=described.stereo,
    primitives=described.primitives,
  )


def _make_index(
  root: Path,
  data: DataConfig,
  selection: tuple[tuple[int, ...], list[str]],
  records: Sequence[ImageRecord],
  **fields: Any,
) -> DatasetIndex:
  """Return the index of some views; selection: of select_frames."""
  return DatasetIndex(
    root=root,
    derived_root=Path(data.derived_root) if data.derived_root else root,
    frames=selection[0],
    notes=selection[1],
    sizes=np.array([record.size for record in records]),
    intrinsics=np.stack([record.intrinsics for record in records]),
    world_from_cam=np.stack([record.world_from_cam for record in records]),
    explicit_paths={
      (kind, record.frame, record.camera): image_io.DepthFile(Path(root, path), record.depth_unit)
      if kind in ('pseudo_depth', 'lidar_depth')
      and record.depth_unit * image_io.DEPTH_UNITS_PER_METRE != 1
      else Path(root, path)
      for record in records
      for kind, path in record.files.items()
    },
    **fields,
  )


def list_sequences(root: Path) -> list[str]:
  """Return the sequences of a dataset in KITTI-360's layout."""
  folder = Path(root, 'data_2d_raw')
  if not folder.is_dir():
    raise InputError(
      f"{folder}: no such folder. Point --config.data.root at a folder in KITTI-360's layout."
    )
  return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _select_sequence(root: Path, sequence: str) -> str:
  """Return the named sequence, or the only one."""
  present = list_sequences(root)
  if sequence not in present and (sequence or len(present) != 1):
    raise InputError(
      f'{root}: has {", ".join(present) or "no sequence"}; config.data.sequence is {sequence!r}.'
      ' Name one of these with --config.data.sequence.'
    )
  return sequence or present[0]
