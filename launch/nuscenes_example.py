"""Generates a small dataset with nuScenes' tables: a synthetic street seen by six cameras.

    PYTHONPATH=. python launch/nuscenes_example.py --out=DIR [--samples=6] [--width=320] [--seed=0]

DIR/nuscenes contains the tables (v1.0-example) and the images of scene-0001 for `prepare nuscenes`:
six cameras, ego poses and boxes of things. DIR/labels contains the data that this layout cannot
represent, in KITTI-360's folders: pseudo-labels and, for evaluation, ground truth. The same flags
give the same files. No data of nuScenes is used.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import sys

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from pnerf_jax.contrib.street import camera, generate, scenery
from pnerf_jax.data import files, image_io, kitti360
from pnerf_jax.errors import InputError
from pnerf_jax.runs.progress import progress_bar

SCENE = 'scene-0001'
# Viewing directions, degrees to the left of the driving direction.
CAMERAS = {
  'CAM_FRONT': 0,
  'CAM_FRONT_LEFT': 55,
  'CAM_BACK_LEFT': 110,
  'CAM_BACK': 180,
  'CAM_BACK_RIGHT': -110,
  'CAM_FRONT_RIGHT': -55,
}
_FIELD_OF_VIEW = np.radians(70)  # horizontal, of every camera
_EGO_FROM_POSE = np.diag(
  [1.0, -1.0, -1.0, 1.0]
)  # nuScenes: y left, z up; KITTI-360's IMU: y right, z down
_FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # ego from a forward-looking camera
_HALF_SECOND = 500_000  # microseconds between samples
_CATEGORIES = {
  'car': 'vehicle.car',
  'truck': 'vehicle.truck',
  'bus': 'vehicle.bus.rigid',
  'trailer': 'vehicle.trailer',
  'person': 'human.pedestrian.adult',
  'bicycle': 'vehicle.bicycle',
  'motorcycle': 'vehicle.motorcycle',
  'trash bin': 'movable_object.debris',
}
# Attributes of moving and of other objects, by the first part of the category.
_STATES = {
  'vehicle': ('vehicle.moving', 'vehicle.parked'),
  'human': ('pedestrian.moving', 'pedestrian.sitting_lying_down'),
}


def token(*parts) -> str:
  """Return the token of a record, a hash of its description."""
  return hashlib.md5(' '.join(map(str, parts)).encode()).hexdigest()


def rig(width: int) -> camera.Rig:
  """Return six 16:9 cameras 1.5 m above the road, in the vehicle frame of the street."""
  height = round(width * 9 / 16)
  focal = width / 2 / np.tan(_FIELD_OF_VIEW / 2)
  poses = []
  for degrees in CAMERAS.values():
    ego_from_cam = np.eye(4)
    turn = Rotation.from_euler('z', degrees, degrees=True).as_matrix()
    ego_from_cam[:3, :3] = turn @ _FORWARD
    ego_from_cam[:3, 3] = [0.8, 0, 0.6] + turn @ [0.6, 0, 0]
    poses.append(_EGO_FROM_POSE @ ego_from_cam)
  return dataclasses.replace(
    camera.rig(0.25),
    width=width,
    height=height,
    pose_from_rect=np.stack(poses),
    intrinsics=np.array([focal, focal, (width - 1) / 2 + 1.5, (height - 1) / 2 - 2.0]),
  )


def pose_record(world_from_local: np.ndarray) -> dict:
  """Return translation and rotation (w, x, y, z) of a rigid transform [4, 4]."""
  x, y, z, w = Rotation.from_matrix(world_from_local[:3, :3]).as_quat()
  return {'translation': world_from_local[:3, 3].tolist(), 'rotation': [w, x, y, z]}


def box_record(annotation, center: np.ndarray) -> dict:
  """Return centre, size (width, length, height) and rotation of a cuboid of the street."""
  matrix = annotation.street_from_local
  size = np.linalg.norm(matrix[:3, :3], axis=0) * np.ptp(annotation.vertices, axis=0)
  ahead, up = matrix[:3, 0] / np.linalg.norm(matrix[:3, 0]), np.array([0.0, 0, 1])
  world_from_box = np.eye(4)
  world_from_box[:3, :3] = np.stack([ahead, np.cross(up, ahead), up], axis=1)
  world_from_box[:3, 3] = matrix[:3, 3] + center
  return {**pose_record(world_from_box), 'size': [size[1], size[0], size[2]]}


def annotated(street: scenery.Street) -> list:
  """Return the cuboids of the street around things of nuScenes' classes."""
  return [
    item
    for item in street.annotations
    if item.name in _CATEGORIES and item.window == 'own' and len(item.vertices) == 8
  ]


def tables(street: scenery.Street, cameras: camera.Rig, frames: list[int]) -> dict[str, list[dict]]:
  """Return all tables of the scene.

  Args:
    street: street with a vehicle pose per frame.
    cameras: the cameras of `rig`.
    frames: frame numbers of the street.
  """
  samples = [
    {'token': token('sample', number), 'timestamp': _time(number), 'scene_token': token('scene')}
    for number in range(len(frames))
  ]
  scene = {
    'token': token('scene'),
    'name': SCENE,
    'nbr_samples': len(frames),
    'description': '',
    'log_token': '',
    'first_sample_token': samples[0]['token'],
    'last_sample_token': samples[-1]['token'],
  }
  return {
    'scene': [scene],
    'sample': samples,
    **camera_tables(street, cameras, len(frames)),
    **annotation_tables(street, frames),
  }


def _time(number: int) -> int:
  return 1_500_000_000_000_000 + number * _HALF_SECOND


def camera_tables(
  street: scenery.Street, cameras: camera.Rig, num_samples: int
) -> dict[str, list[dict]]:
  """Return the tables of the cameras, their images and poses; arguments as of `tables`."""
  fx, fy, cx, cy = cameras.intrinsics.tolist()
  calibrated = [
    {
      'token': token('calibrated', name),
      'sensor_token': token('sensor', name),
      **pose_record(_EGO_FROM_POSE @ pose_from_cam),
      'camera_intrinsic': [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
    }
    for name, pose_from_cam in zip(CAMERAS, cameras.pose_from_rect)
  ]
  poses, images = [], []
  for number in range(num_samples):
    world_from_ego = street.street_from_pose[number] @ _EGO_FROM_POSE
    world_from_ego[:3, 3] += street.center
    for name in CAMERAS:
      own, time = token('data', name, number), _time(number)
      poses.append({'token': own, 'timestamp': time, **pose_record(world_from_ego)})
      images.append(
        {
          'token': own,
          'sample_token': token('sample', number),
          'ego_pose_token': own,
          'calibrated_sensor_token': token('calibrated', name),
          'timestamp': time,
          'fileformat': 'jpg',
          'is_key_frame': True,
          'width': cameras.width,
          'height': cameras.height,
          'filename': image_name(name, number),
        }
      )
  sensors = [
    {'token': token('sensor', name), 'channel': name, 'modality': 'camera'} for name in CAMERAS
  ]
  return {
    'sensor': sensors,
    'calibrated_sensor': calibrated,
    'ego_pose': poses,
    'sample_data': images,
  }


def annotation_tables(street: scenery.Street, frames: list[int]) -> dict[str, list[dict]]:
  """Return the tables of the objects and their boxes; arguments as of `tables`."""
  items = annotated(street)
  instances: dict[str, dict] = {}
  annotations = []
  for number, frame in enumerate(frames):
    for place, item in enumerate(items):
      if item.timestamp not in (-1, frame):
        continue
      # A moving object has one cuboid per frame, all of one instance.
      instance, category = token('instance', item.name, item.instance), _CATEGORIES[item.name]
      instances[instance] = {'token': instance, 'category_token': token(category)}
      states = _STATES.get(category.partition('.')[0])
      annotations.append(
        {
          'token': token('annotation', place, number),
          'sample_token': token('sample', number),
          'instance_token': instance,
          'attribute_tokens': [token(states[item.timestamp < 0])] if states else [],
          'visibility_token': '4',
          **box_record(item, street.center),
        }
      )
  categories = sorted({_CATEGORIES[item.name] for item in items})
  return {
    'category': [{'token': token(name), 'name': name, 'description': ''} for name in categories],
    'attribute': [
      {'token': token(name), 'name': name, 'description': ''}
      for states in _STATES.values()
      for name in states
    ],
    'instance': list(instances.values()),
    'sample_annotation': annotations,
  }


def image_name(name: str, number: int) -> str:
  """Return the path of an image inside the dataset."""
  return f'samples/{name}/example__{name}__{number:06d}.jpg'


def write(out: pathlib.Path, samples: int, width: int, seed: int) -> None:
  """Write DIR; the tables are written last."""
  files.check_is_folder(out, '--out')
  parameters = scenery.Parameters('boulevard', seed, samples, 0.25)
  parameters.check()
  street, cameras = scenery.build(parameters), rig(width)
  network, exposure = generate.simulated_network(street, parameters), generate.auto_exposure(street)
  dataset, labels = out / 'nuscenes', out / 'labels'
  for number in progress_bar(range(samples), 'samples', 'sample'):
    for eye, name in enumerate(CAMERAS):
      rng = np.random.default_rng([seed, number, eye])
      image = generate.render_image(street, cameras, number, eye, exposure, rng=rng)
      with files.atomic_write(dataset / image_name(name, number)) as file:
        Image.fromarray(image.rgb).save(file, format='JPEG', quality=95)
      png_name = f'{kitti360.frame_name(number)}.png'
      truth = lambda kind: kitti360.truth_folder(labels, SCENE, name, kind) / png_name
      image_io.write_label(truth('semantic'), image.semantic)
      image_io.write_instance(truth('instance'), image.instance)
      image_io.write_label(
        kitti360.pseudo_label_folder(labels, SCENE, name) / png_name,
        network.predict(image.owner, image.points, rng),
      )
  for table, records in tables(street, cameras, parameters.frame_numbers).items():
    files.write_bytes(
      dataset / 'v1.0-example' / f'{table}.json', json.dumps(records, indent=0).encode()
    )


def main() -> int:
  """Write the dataset of the command line; return 1 if a flag is out of range."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', type=pathlib.Path, required=True, help='DIR')
  parser.add_argument('--samples', type=int, default=6, help='number of instants')
  parser.add_argument('--width', type=int, default=320, help='image width, pixels')
  parser.add_argument('--seed', type=int, default=0, help='seed of the street')
  options = parser.parse_args()
  try:
    if not 32 <= options.width <= 1600:
      raise InputError(f'--width={options.width}: out of range. Use 32 to 1600.')
    write(options.out, options.samples, options.width, options.seed)
  except InputError as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  print(f'{options.out}/nuscenes: {SCENE}, {options.samples} samples of {len(CAMERAS)} cameras')
  return 0


if __name__ == '__main__':
  sys.exit(main())
