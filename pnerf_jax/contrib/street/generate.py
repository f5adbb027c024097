"""Draws a street into a folder: images, truth, scans, predictions, primitives.

Complete folders are reused, half-written ones are written anew.
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.preparation import stereo
from pnerf_jax.contrib.street import (
  appearance,
  camera,
  lidar,
  predictions,
  raycast,
  scenery,
  writer,
)
from pnerf_jax.contrib.street import network as trained
from pnerf_jax.data import files, image_io, kitti360, labels, palettes
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)
MARKER = 'street.json'
CAMERAS = kitti360.PERSPECTIVE_CAMERAS
_FOLDERS = (
  'calibration',
  'data_2d_raw',
  'data_2d_semantics',
  'data_2d_pseudo_semantics',
  'data_2d_pseudo_depth',
  'data_3d_raw',
  'data_3d_bboxes',
  'data_poses',
)
_VERSION = 1  # raise it when the same parameters no longer give the same files
_SAMPLES = 2  # RGB samples a pixel, in each direction
_MIDDLE_GREY = 0.17  # what the median of the street's radiance is brought to
_BAND = 32  # image rows drawn at a time, which bounds the memory
_ACCURACY = 0.838  # of the pseudo labels


@dataclasses.dataclass(frozen=True)
class Image:
  """One drawn image.

  Attributes:
    rgb: [H, W, 3] uint8.
    owner: [H, W] index of the thing at the pixel's centre, -1 for sky.
    points: [H, W, 3] street coordinates, metres; inf for sky.
    depth: [H, W] planar metres, inf for sky.
    semantic: [H, W] uint8; instance: [H, W] uint16, id * 1000 + instanceId.
    confidence: [H, W] in [0, 1], share of a pixel's samples that agree with its centre.
  """

  rgb: np.ndarray
  owner: np.ndarray
  points: np.ndarray
  depth: np.ndarray
  semantic: np.ndarray
  instance: np.ndarray
  confidence: np.ndarray


def _owner(scenes, owners, origins, directions) -> tuple[np.ndarray, np.ndarray]:
  """Index of the thing [n] (-1 sky) and distance [n] of rays."""
  which, hits = raycast.nearest(scenes, origins, directions)
  owner = np.full(len(which), -1)
  for index, table in enumerate(owners):
    rays = (hits.face >= 0) & (which == index)
    owner[rays] = table[hits.face[rays]]
  return owner, hits.distance


def _look(
  street: scenery.Street, rig: camera.Rig, number: int, eye: int
) -> tuple[np.ndarray, np.ndarray]:
  """Through the pixels' centres: index of the thing [H, W] (-1 sky), points [H, W, 3]."""
  origins, directions = camera.rays(
    rig,
    street.street_from_pose[number] @ rig.pose_from_rect[eye],
    camera.pixel_centers(rig.width, rig.height, 1),
  )
  owner, distance = _owner(*street.scenes(number), origins, directions)
  seen = (owner >= 0)[:, None]
  points = np.where(seen, origins + np.where(seen, distance[:, None], 0) * directions, np.inf)
  shape = rig.height, rig.width
  return owner.reshape(shape), points.reshape(*shape, 3)


def pretended_network(
  street: scenery.Street, parameters: scenery.Parameters
) -> predictions.Network:
  """The network that names the pixels, about as good on every street."""
  network = predictions.Network(street.names, parameters.seed)
  numbers = np.linspace(0, parameters.frames - 1, min(5, parameters.frames)).round().astype(int)
  rig = camera.rig(0.25)
  network.calibrate([_look(street, rig, number, 0) for number in numbers], _ACCURACY)
  return network


def metered(street: scenery.Street) -> float:
  """Gain at which the middle of the drive is well exposed."""
  rig = camera.rig(0.06)
  number = len(street.street_from_pose) // 2
  origins, directions = camera.rays(
    rig,
    street.street_from_pose[number] @ rig.pose_from_rect[0],
    camera.pixel_centers(rig.width, rig.height, 1),
  )
  color = raycast.radiance(
    street.scenes(number)[0], street.light, origins, directions, 1 / rig.intrinsics[0]
  )
  earth = _look(street, rig, number, 0)[0].ravel() >= 0
  return float(np.clip(_MIDDLE_GREY / np.median(color[earth]), 0.6, 2.2))


def draw(
  street: scenery.Street,
  rig: camera.Rig,
  number: int,
  eye: int,
  exposure: float,
  rng: np.random.Generator,
) -> Image:
  """One image of the `number`-th frame by camera `eye` (0 left, 1 right)."""
  scenes, owners = street.scenes(number)
  street_from_rect = street.street_from_pose[number] @ rig.pose_from_rect[eye]
  semantic_of = np.append([labels.BY_NAME[name].id for name in street.names], labels.SKY)
  h, w = rig.height, rig.width
  spread = 1.0 / (_SAMPLES * rig.intrinsics[0])
  samples = camera.pixel_centers(w, h, _SAMPLES)
  owner, points = _look(street, rig, number, eye)
  truth = semantic_of[owner].astype(np.uint8)
  shown, agree = [], []
  for row in range(0, h, _BAND):
    chosen = slice(row * w * _SAMPLES**2, (row + _BAND) * w * _SAMPLES**2)
    origins, directions = camera.rays(rig, street_from_rect, samples[chosen])
    color = raycast.radiance(scenes, street.light, origins, directions, spread)
    shown.append(color.reshape(-1, _SAMPLES**2, 3).mean(1))
    found, _ = _owner(scenes, owners, origins, directions)
    middle = truth[row : row + _BAND].reshape(-1, 1)
    agree.append((semantic_of[found].reshape(-1, _SAMPLES**2) == middle).mean(1))
  # The two cameras and the frames are exposed a little differently.
  phase = 2 * np.pi * street.light.shift[0]
  gain = exposure * (1 + 0.04 * np.sin(0.35 * number + phase)) * (1.0 if eye == 0 else 1.025)
  seen = owner >= 0
  depth = (np.where(seen[..., None], points, 0) - street_from_rect[:3, 3]) @ street_from_rect[:3, 2]
  return Image(
    rgb=appearance.develop(np.concatenate(shown).reshape(h, w, 3), gain, rng),
    owner=owner,
    points=points,
    depth=np.where(seen, depth, np.inf),
    semantic=truth,
    instance=labels.pack_instance(truth, np.append(street.instance, 0)[owner]),
    confidence=0.25 + 0.75 * np.concatenate(agree).reshape(h, w),
  )


def _predictor(
  street: scenery.Street, parameters: scenery.Parameters
) -> Callable[[Image, np.random.Generator], tuple[np.ndarray, np.ndarray | None]]:
  """What gives an image's pseudo labels [H, W] and their confidence (None where there is none)."""
  if parameters.predictions == 'network':
    predict = trained.load()
    return lambda image, rng: predict(image.rgb)
  network = pretended_network(street, parameters)
  return lambda image, rng: (network.predict(image.owner, image.points, rng), None)


def _write_frame(
  root: Path,
  street: scenery.Street,
  rig: camera.Rig,
  predict: Callable,
  parameters: scenery.Parameters,
  number: int,
  exposure: float,
):
  """All files of one stereo frame. predict: of _predictor."""
  sequence, frame = parameters.sequence, parameters.frame_numbers[number]
  name = kitti360.frame_name(frame)
  # Every image has noise of its own, whatever the other frames are.
  rngs = [np.random.default_rng([parameters.seed, frame, k]) for k in range(5)]
  images = [draw(street, rig, number, eye, exposure, rngs[eye]) for eye in (0, 1)]
  depths = stereo.stereo_depth(
    images[0].rgb, images[1].rgb, float(rig.intrinsics[0]), camera.BASELINE
  )
  for eye, (cam, image, depth) in enumerate(zip(CAMERAS, images, depths)):
    image_io.write_rgb(kitti360.rgb_folder(root, sequence, cam) / f'{name}.png', image.rgb)
    truth = lambda kind: kitti360.truth_folder(root, sequence, cam, kind) / f'{name}.png'
    image_io.write_label(truth('semantic'), image.semantic)
    image_io.write_rgb(truth('semantic_rgb'), palettes.semantic_rgb(image.semantic))
    image_io.write_instance(truth('instance'), image.instance)
    image_io.write_confidence(truth('confidence'), image.confidence)
    called, sure = predict(image, rngs[2 + eye])
    image_io.write_label(kitti360.pseudo_label_folder(root, sequence, cam) / f'{name}.png', called)
    if sure is not None:
      image_io.write_confidence(
        kitti360.pseudo_confidence_folder(root, sequence, cam) / f'{name}.png', sure
      )
    image_io.write_depth(kitti360.pseudo_depth_folder(root, sequence, cam) / f'{name}.png', depth)
  scenes, _ = street.scenes(number)
  writer.write_scan(
    root,
    sequence,
    frame,
    lidar.scan(scenes, street.street_from_pose[number] @ rig.pose_from_velo, rngs[4]),
  )


def expected_files(root: Path, parameters: scenery.Parameters) -> list[Path]:
  """The files without which a street is not complete."""
  sequence = parameters.sequence
  out = [kitti360.boxes_path(root, sequence, split) for split in ('train', 'train_full')]
  out += [
    root / 'data_poses' / sequence / 'poses.txt',
    root / 'calibration' / 'perspective.txt',
    root / 'calibration' / 'calib_cam_to_pose.txt',
    root / 'calibration' / 'calib_cam_to_velo.txt',
  ]
  for frame in parameters.frame_numbers:
    name = kitti360.frame_name(frame) + '.png'
    out.append(kitti360.velodyne_path(root, sequence, frame))
    for cam in CAMERAS:
      folders = [
        kitti360.rgb_folder(root, sequence, cam),
        kitti360.pseudo_label_folder(root, sequence, cam),
        kitti360.pseudo_depth_folder(root, sequence, cam),
      ]
      if parameters.predictions == 'network':
        folders.append(kitti360.pseudo_confidence_folder(root, sequence, cam))
      folders += [
        kitti360.truth_folder(root, sequence, cam, kind)
        for kind in ('semantic', 'semantic_rgb', 'instance', 'confidence')
      ]
      out += [folder / name for folder in folders]
  return out


def _marker(parameters: scenery.Parameters, complete: bool) -> bytes:
  content = {'version': _VERSION, 'complete': complete, **dataclasses.asdict(parameters)}
  return (json.dumps(content, indent=2) + '\n').encode()


def _is_done(root: Path, parameters: scenery.Parameters) -> bool:
  """Whether `root` holds this very street; clears what a broken run left.

  Raises:
    InputError: the folder holds something else.
  """
  path = root / MARKER
  if root.exists() and not root.is_dir():
    raise InputError(f'{root}: is a file. Choose a folder with --out.')
  if not path.exists():
    if root.exists() and any(root.iterdir()):
      raise InputError(f'{root}: is not empty and holds no {MARKER}. Choose another --out.')
    return False
  try:
    # Streets of before there was a choice have invented predictions.
    found = {'predictions': 'noise', **json.loads(path.read_text())}
    complete = found['complete']
  except (ValueError, KeyError, TypeError):
    raise InputError(f'{path}: is damaged. Remove {root} or choose another --out.') from None
  if complete and found != json.loads(_marker(parameters, True)):
    wanted = json.loads(_marker(parameters, True))
    other = ', '.join(f'{key}={found.get(key)}' for key in wanted if found.get(key) != wanted[key])
    raise InputError(f'{root}: holds another street ({other}). Remove it or choose another --out.')
  if complete and all(file.exists() for file in expected_files(root, parameters)):
    return True
  for name in _FOLDERS:
    shutil.rmtree(root / name, ignore_errors=True)
  return False


def generate(root: Path, parameters: scenery.Parameters) -> bool:
  """Writes a street to `root`.

  Args:
    root: the folder, which becomes a dataset root (formats.md section 1).
    parameters: what to write.

  Returns:
    False if the folder already held this street.

  Raises:
    InputError: a parameter is out of range, or the folder holds something else.
  """
  root = Path(root)
  parameters.check()
  if _is_done(root, parameters):
    _LOG.info('%s: holds this street already', root)
    return False
  files.write_bytes(root / MARKER, _marker(parameters, False))
  street = scenery.build(parameters)
  rig = camera.rig(parameters.scale)
  predict = _predictor(street, parameters)
  sequence, numbers = parameters.sequence, parameters.frame_numbers
  world_from_pose = street.street_from_pose.copy()
  world_from_pose[:, :3, 3] += street.center
  writer.write_calibration(root, rig.files)
  writer.write_poses(root, sequence, numbers, world_from_pose, rig.pose_from_rect[0])
  writer.write_boxes(root, sequence, street.annotations, street.center, numbers)
  writer.write_lists(root, sequence, numbers)
  exposure = metered(street)
  for number in range(parameters.frames):
    _write_frame(root, street, rig, predict, parameters, number, exposure)
    _LOG.info('frame %d of %d', number + 1, parameters.frames)
  files.write_bytes(root / MARKER, _marker(parameters, True))
  return True
