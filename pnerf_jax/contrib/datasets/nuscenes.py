"""Conversion of a scene of a dataset with nuScenes' tables to transforms.json and boxes.json.

    ROOT/v1.0*-*/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor,
                  sample_annotation,instance,category,attribute}.json
    ROOT/samples/CAM_*/...

Only the published layout of the tables is used, no data or code of nuScenes; Lyft's v1.01-train has
the same. Frames are the samples of the scene, counted from 0; cameras are the channels; the world
is the global frame of the tables. Only things are annotated.
"""

import dataclasses
import logging
import tempfile
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.datasets.nuscenes_boxes import read_boxes
from pnerf_jax.contrib.datasets.nuscenes_tables import (
  HINT,
  Record,
  Tables,
  find_tables,
  numbers,
  rigid,
  text,
)
from pnerf_jax.data import files, image_io, kitti360, primitives_json, transforms
from pnerf_jax.errors import InputError
from pnerf_jax.runs.progress import progress_bar

_LOG = logging.getLogger(__name__)
BOXES = 'boxes.json'
_MAX_TIME = 2.0**53  # microseconds; year 2255


def convert(root: Path, out: Path, scene: str) -> transforms.Transforms:
  """Convert one scene; everything is checked before anything is written.

  Args:
    root: root of the dataset.
    out: folder of transforms.json, boxes.json and the images (links, or copies if necessary).
    scene: name in the table, such as scene-0061.

  Returns:
    The contents of transforms.json.

  Raises:
    InputError: there is no such scene, or a table or image is missing, damaged or inconsistent.
  """
  root, out = Path(root), Path(out)
  files.check_is_folder(out, '--out')
  files.check_output(out / transforms.NAME, transforms.MARK)
  tables = Tables(find_tables(root, scene))
  frames, times = _read_samples(tables, scene)
  sources = _image_records(tables, frames)
  boxes = read_boxes(tables, frames, times)
  _check_images(root, sources)
  records = {}
  for source in sources:
    suffix = Path(source.files['rgb']).suffix
    target = f'images/{source.camera}/{kitti360.frame_name(source.frame)}{suffix}'
    records[source.frame, source.camera] = dataclasses.replace(source, files={'rgb': target})
  cameras = tuple(sorted({source.camera for source in sources}))
  result = transforms.Transforms(scene, records, cameras, (), BOXES)
  with tempfile.TemporaryDirectory() as temporary:  # reading validates every value
    _write(Path(temporary), result, boxes)
    transforms.read(Path(temporary))
    primitives_json.read_primitives_json(Path(temporary, BOXES))
  for source in progress_bar(sources, 'images', 'file'):
    target = records[source.frame, source.camera].files['rgb']
    files.link(root / source.files['rgb'], out / target)
  _write(out, result, boxes)
  _LOG.info(
    '%s: %d samples, %d images of %d cameras, %d boxes (%d of one frame only: of objects that move'
    ' or were seen too seldom to tell). The space outside them is not annotated: train with'
    ' --config.scene.unannotated_space=void',
    out / transforms.NAME,
    len(frames),
    len(records),
    len(cameras),
    len(boxes),
    sum('frame' in box for box in boxes),
  )
  return result


def _write(folder: Path, described: transforms.Transforms, boxes: list[Record]) -> None:
  primitives_json.write_primitives_json(folder / BOXES, boxes)
  transforms.write(folder / transforms.NAME, described)


def _read_samples(tables: Tables, scene: str) -> tuple[dict[str, int], np.ndarray]:
  """Return the frame numbers of the samples of a scene by token, and their times [F] in seconds."""
  (record,) = tables.select('scene', 'name', {scene})
  transforms.folder_name(scene, 'name', str(tables.path('scene')))
  token = text(record, 'token', str(tables.path('scene')))
  samples = tables.select('sample', 'scene_token', {token})
  time = lambda sample: numbers(sample, 'timestamp', tables.where('sample', sample), 1, _MAX_TIME)
  samples.sort(key=lambda sample: time(sample)[0])
  frames = {token: i for i, token in enumerate(tables.texts('sample', 'token', samples))}
  if not frames:
    raise InputError(f'{tables.path("sample")}: scene {scene} has no sample. {HINT}')
  if len(frames) < len(samples):
    raise InputError(f'{tables.path("sample")}: a token of scene {scene} is there twice. {HINT}')
  times = np.concatenate([time(sample) for sample in samples])
  for i in np.flatnonzero(np.diff(times) == 0):
    raise InputError(
      f'{tables.where("sample", samples[i + 1])}: timestamp is {times[i]:.0f}, that of sample'
      f' {samples[i]["token"]!r:.60} too. {HINT}'
    )
  return frames, times / 1e6


def _check_images(root: Path, sources: list[transforms.ImageRecord]) -> None:
  """Raise InputError unless all files are images of the size that the tables state.

  A link in the dataset may lead to any file.
  """
  missing = [source for source in sources if not (root / source.files['rgb']).exists()]
  if missing:
    raise InputError(
      f'{root / missing[0].files["rgb"]}: no such file ({len(missing)} of {len(sources)} images'
      f' are missing). {HINT}'
    )
  for source in sources:
    path = root / source.files['rgb']
    size = image_io.read_size(path)
    if size != source.size:
      raise InputError(
        f'{path}: has {size[0]} x {size[1]} pixels, but sample_data.json states {source.size[0]} x'
        f' {source.size[1]}. {HINT}'
      )


def _image_records(tables: Tables, frames: dict[str, int]) -> list[transforms.ImageRecord]:
  """Return the camera images of all samples; their 'rgb' is the path inside the dataset."""
  data = [
    record
    for record in tables.select('sample_data', 'sample_token', set(frames))
    if record.get('is_key_frame') is True
  ]
  of = lambda table, key, records, owner: tables.by_token(table, tables.texts(owner, key, records))
  calibrated = of('calibrated_sensor', 'calibrated_sensor_token', data, 'sample_data')
  sensors = of('sensor', 'sensor_token', calibrated.values(), 'calibrated_sensor')
  sensor_of = lambda record: sensors[calibrated[record['calibrated_sensor_token']]['sensor_token']]
  data = [record for record in data if sensor_of(record).get('modality') == 'camera']
  poses = of('ego_pose', 'ego_pose_token', data, 'sample_data')
  images: dict[tuple[int, str], transforms.ImageRecord] = {}
  for record in data:
    image = _image_record(
      tables,
      record,
      calibrated[record['calibrated_sensor_token']],
      sensor_of(record),
      poses[record['ego_pose_token']],
    )
    image = dataclasses.replace(image, frame=frames[record['sample_token']])
    if (image.frame, image.camera) in images:
      raise InputError(
        f'{tables.where("sample_data", record)}: is another key frame of {image.camera} in sample'
        f' {record["sample_token"]!r:.60}. {HINT}'
      )
    images[image.frame, image.camera] = image
  if not images:
    raise InputError(f'{tables.path("sample_data")}: the scene has no camera image. {HINT}')
  return [images[key] for key in sorted(images)]


def _image_record(
  tables: Tables, record: Record, calibration: Record, sensor: Record, pose: Record
) -> transforms.ImageRecord:
  """Return one camera image, without its frame.

  Args:
    tables: of the dataset, for error messages.
    record: of sample_data.
    calibration: of calibrated_sensor.
    sensor: of sensor.
    pose: of ego_pose.
  """
  where = tables.where('sample_data', record)
  calibrated = tables.where('calibrated_sensor', calibration)
  width, height = (int(numbers(record, key, where, 1)[0]) for key in ('width', 'height'))
  # OpenCV convention: integers are pixel centres.
  intrinsics = numbers(calibration, 'camera_intrinsic', calibrated, 9)[[0, 4, 2, 5]]
  kitti360.check_camera((width, height), intrinsics, calibrated, HINT)
  return transforms.ImageRecord(
    camera=transforms.folder_name(sensor.get('channel'), 'channel', tables.where('sensor', sensor)),
    frame=-1,
    size=(width, height),
    intrinsics=intrinsics,
    world_from_cam=rigid(pose, tables.where('ego_pose', pose)) @ rigid(calibration, calibrated),
    files={'rgb': transforms.relative_path(record.get('filename'), 'filename', where)},
  )
