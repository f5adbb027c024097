"""Generation of a street in a folder: images, ground truth, scans, pseudo-labels, primitives.

Complete folders are reused; incomplete ones are generated again.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pnerf_jax.contrib.preparation import stereo
from pnerf_jax.contrib.street import (
  camera,
  illumination,
  lidar,
  network,
  predictions,
  raycast,
  scenery,
  writer,
)
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
_VERSION = 1  # increment when the same parameters no longer give the same files
_SAMPLES = 2  # rays per pixel side
_MIDDLE_GREY = 0.17  # median radiance after exposure
_BAND = 32  # image rows rendered at a time, to limit memory
_ACCURACY = 0.838  # of simulated pseudo-labels


@dataclasses.dataclass(frozen=True)
class Image:
  """A rendered image with its ground truth.

  Attributes:
    rgb: [H, W, 3] uint8.
    owner: [H, W] index of the object at the centre of the pixel; -1 = sky.
    points: [H, W, 3] street coordinates, metres; inf for sky.
    depth: [H, W] planar depth, metres; inf for sky.
    semantic: [H, W] uint8 ids.
    instance: [H, W] uint16, id * 1000 + instanceId.
    confidence: [H, W], 0.25 + 0.75 * the fraction of samples with the class of the pixel's centre.
  """

  rgb: np.ndarray
  owner: np.ndarray
  points: np.ndarray
  depth: np.ndarray
  semantic: np.ndarray
  instance: np.ndarray
  confidence: np.ndarray


def _trace(scenes, owners, origins, directions) -> tuple[np.ndarray, np.ndarray]:
  """Return object index [n] (-1 = sky) and distance [n] of the first hits of rays."""
  scene_index, hits = raycast.nearest(scenes, origins, directions)
  owner = np.full(len(scene_index), -1)
  for index, owner_of_face in enumerate(owners):
    rays = (hits.face >= 0) & (scene_index == index)
    owner[rays] = owner_of_face[hits.face[rays]]
  return owner, hits.distance


def _trace_pixel_centers(
  street: scenery.Street, rig: camera.Rig, number: int, eye: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return object index [H, W] (-1 = sky) and point [H, W, 3] at the centres of the pixels."""
  origins, directions = camera.rays(
    rig,
    street.street_from_pose[number] @ rig.pose_from_rect[eye],
    camera.pixel_centers(rig.width, rig.height, 1),
  )
  owner, distance = _trace(*street.scenes(number), origins, directions)
  seen = (owner >= 0)[:, None]
  points = np.where(seen, origins + np.where(seen, distance[:, None], 0) * directions, np.inf)
  shape = rig.height, rig.width
  return owner.reshape(shape), points.reshape(*shape, 3)


def simulated_network(
  street: scenery.Street, parameters: scenery.Parameters
) -> predictions.SimulatedNetwork:
  """Return a simulated network, calibrated to the same accuracy on every street."""
  simulated = predictions.SimulatedNetwork(street.names, parameters.seed)
  numbers = np.linspace(0, parameters.frames - 1, min(5, parameters.frames)).round().astype(int)
  rig = camera.rig(0.25)
  views = [_trace_pixel_centers(street, rig, number, 0) for number in numbers]
  simulated.calibrate(views, _ACCURACY)
  return simulated


def auto_exposure(street: scenery.Street) -> float:
  """Return the gain that exposes the middle of the drive correctly."""
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
  is_object = _trace_pixel_centers(street, rig, number, 0)[0].ravel() >= 0
  return float(np.clip(_MIDDLE_GREY / np.median(color[is_object]), 0.6, 2.2))


def render_image(
  street: scenery.Street,
  rig: camera.Rig,
  number: int,
  eye: int,
  exposure: float,
  *,
  rng: np.random.Generator,
) -> Image:
  """Render an image.

  Args:
    street: the street.
    rig: the cameras.
    number: index of the frame, counted from 0.
    eye: 0 = left camera, 1 = right camera.
    exposure: gain, see `auto_exposure`.
    rng: source of the sensor noise.
  """
  scenes, owners = street.scenes(number)
  street_from_rect = street.street_from_pose[number] @ rig.pose_from_rect[eye]
  semantic_of = np.append([labels.BY_NAME[name].id for name in street.names], labels.SKY)
  h, w = rig.height, rig.width
  spread = 1.0 / (_SAMPLES * rig.intrinsics[0])
  samples = camera.pixel_centers(w, h, _SAMPLES)
  owner, points = _trace_pixel_centers(street, rig, number, eye)
  truth = semantic_of[owner].astype(np.uint8)
  colors, agreement = [], []
  for row in range(0, h, _BAND):
    band = slice(row * w * _SAMPLES**2, (row + _BAND) * w * _SAMPLES**2)
    origins, directions = camera.rays(rig, street_from_rect, samples[band])
    color = raycast.radiance(scenes, street.light, origins, directions, spread)
    colors.append(color.reshape(-1, _SAMPLES**2, 3).mean(1))
    sample_owner, _ = _trace(scenes, owners, origins, directions)
    center = truth[row : row + _BAND].reshape(-1, 1)
    agreement.append((semantic_of[sample_owner].reshape(-1, _SAMPLES**2) == center).mean(1))
  # Exposure differs slightly between cameras and frames.
  phase = 2 * np.pi * street.light.shift[0]
  gain = exposure * (1 + 0.04 * np.sin(0.35 * number + phase)) * (1.0 if eye == 0 else 1.025)
  seen = owner >= 0
  depth = (np.where(seen[..., None], points, 0) - street_from_rect[:3, 3]) @ street_from_rect[:3, 2]
  return Image(
    rgb=illumination.develop(np.concatenate(colors).reshape(h, w, 3), gain, rng),
    owner=owner,
    points=points,
    depth=np.where(seen, depth, np.inf),
    semantic=truth,
    instance=labels.pack_instance(truth, np.append(street.instance, 0)[owner]),
    confidence=0.25 + 0.75 * np.concatenate(agreement).reshape(h, w),
  )


def _make_predictor(
  street: scenery.Street, parameters: scenery.Parameters
) -> Callable[[Image, np.random.Generator], tuple[np.ndarray, np.ndarray | None]]:
  """Return a function from an image to pseudo-labels [H, W] and confidence [H, W] or None."""
  if parameters.predictions == 'network':
    predict = network.load()
    return lambda image, rng: predict(image.rgb)
  simulated = simulated_network(street, parameters)
  return lambda image, rng: (simulated.predict(image.owner, image.points, rng), None)


def _write_frame(
  root: Path,
  street: scenery.Street,
  rig: camera.Rig,
  predict: Callable,
  parameters: scenery.Parameters,
  *,
  number: int,
  exposure: float,
):
  """Write all files of one stereo frame. predict: see `_make_predictor`."""
  sequence, frame = parameters.sequence, parameters.frame_numbers[number]
  name = kitti360.frame_name(frame)
  # The noise of an image does not depend on the number of frames.
  rngs = [np.random.default_rng([parameters.seed, frame, k]) for k in range(5)]
  images = [render_image(street, rig, number, eye, exposure, rng=rngs[eye]) for eye in (0, 1)]
  depths = stereo.stereo_depth(
    images[0].rgb, images[1].rgb, float(rig.intrinsics[0]), camera.BASELINE
  )
  for eye, (cam, image, depth) in enumerate(zip(CAMERAS, images, depths)):
    image_io.write_rgb(kitti360.rgb_folder(root, sequence, cam) / f'{name}.png', image.rgb)
    truth = lambda kind: kitti360.truth_folder(root, sequence, cam, kind) / f'{name}.png'
    image_io.write_label(truth('semantic'), image.semantic)
    semantic_rgb = truth('semantic').parent.with_name('semantic_rgb') / f'{name}.png'
    image_io.write_rgb(semantic_rgb, palettes.semantic_rgb(image.semantic))
    image_io.write_instance(truth('instance'), image.instance)
    image_io.write_confidence(truth('confidence'), image.confidence)
    predicted, confidence = predict(image, rngs[2 + eye])
    image_io.write_label(
      kitti360.pseudo_label_folder(root, sequence, cam) / f'{name}.png', predicted
    )
    if confidence is not None:
      image_io.write_confidence(
        kitti360.pseudo_confidence_folder(root, sequence, cam) / f'{name}.png', confidence
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
  """Return the files that a complete street contains, but for lists and timestamps."""
  sequence = parameters.sequence
  out = [kitti360.primitives_path(root, sequence, split) for split in ('train', 'train_full')]
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
        for kind in ('semantic', 'instance', 'confidence')
      ]
      folders.append(
        kitti360.truth_folder(root, sequence, cam, 'semantic').with_name('semantic_rgb')
      )
      out += [folder / name for folder in folders]
  return out


def _marker(parameters: scenery.Parameters, complete: bool) -> bytes:
  content = {'version': _VERSION, 'complete': complete, **dataclasses.asdict(parameters)}
  return (json.dumps(content, indent=2) + '\n').encode()


def _is_complete(root: Path, parameters: scenery.Parameters) -> bool:
  """Return whether `root` holds this street; remove the files of an interrupted run.

  Raises:
    InputError: the folder holds something else.
  """
  path = root / MARKER
  if not files.exists(path):
    if any(root.iterdir()):
      raise InputError(f'{root}: is not empty and holds no {MARKER}. Choose another --out.')
    return False
  try:
    # Markers of the first version have no `predictions`; those were simulated.
    found = {'predictions': 'noise', **files.read_json(path)}
    complete = found['complete']
  except (ValueError, KeyError, TypeError):
    raise InputError(f'{path}: is damaged. Choose another --out.') from None
  if complete and found != json.loads(_marker(parameters, True)):
    wanted = json.loads(_marker(parameters, True))
    other = ', '.join(f'{key}={found.get(key)}' for key in wanted if found.get(key) != wanted[key])
    raise InputError(f'{root}: holds another street ({other}). Choose another --out.')
  if complete and all(file.exists() for file in expected_files(root, parameters)):
    return True
  for name in _FOLDERS:
    shutil.rmtree(root / name, ignore_errors=True)
  return False


def generate(root: Path, parameters: scenery.Parameters) -> bool:
  """Write a street to `root`.

  Args:
    root: the folder, which becomes a dataset root.
    parameters: parameters of the street.

  Returns:
    False if the folder already contains this street.

  Raises:
    InputError: a parameter is out of range, or the folder holds something else.
  """
  root = Path(root)
  parameters.check()
  files.check_is_folder(root, '--out')
  root.mkdir(parents=True, exist_ok=True)
  with _locked(root):
    if _is_complete(root, parameters):
      _LOG.info('%s: contains this street already', root)
      return False
    files.write_bytes(root / MARKER, _marker(parameters, False))
    _write(root, parameters)
    files.write_bytes(root / MARKER, _marker(parameters, True))
  return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
  """Lock a folder itself, since a lock file would belong to the street.

  Raises:
    InputError: another process holds the lock.
  """
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):  # a filesystem without locks
      try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise InputError(
          f'--out={folder}: another process is generating a street there. Wait until it ends, or'
          ' use another folder.'
        ) from None
    yield
  finally:
    os.close(descriptor)


def _write(root: Path, parameters: scenery.Parameters) -> None:
  """Write all files of a street but the marker."""
  street = scenery.build(parameters)
  rig = camera.rig(parameters.scale)
  predict = _make_predictor(street, parameters)
  sequence, numbers = parameters.sequence, parameters.frame_numbers
  world_from_pose = street.street_from_pose.copy()
  world_from_pose[:, :3, 3] += street.center
  writer.write_calibration(root, rig.files)
  writer.write_poses(root, sequence, numbers, world_from_pose, rig.pose_from_rect[0])
  writer.write_primitives(root, sequence, street.annotations, street.center, numbers)
  writer.write_lists(root, sequence, numbers)
  exposure = auto_exposure(street)
  for number in range(parameters.frames):
    _write_frame(root, street, rig, predict, parameters, number=number, exposure=exposure)
    _LOG.info('frame %d of %d', number + 1, parameters.frames)
