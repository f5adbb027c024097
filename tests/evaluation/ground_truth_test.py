"""Reading ground truth of one image, on a hand-made dataset of one frame."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.data import image_io, kitti360
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import ground_truth

_SEQUENCE = '2013_05_28_drive_0000_sync'


@pytest.fixture
def dataset(tmp_path):
  """A 40 x 20 image; the LiDAR is 1 m above the camera, with the same orientation."""
  pose_from_velo = np.array([[0, -1.0, 0, 0], [0, 0, -1, -1], [1, 0, 0, 0], [0, 0, 0, 1]])
  photo = np.full((20, 40, 3), 50, np.uint8)
  image_io.write_rgb(kitti360.rgb_folder(tmp_path, _SEQUENCE, 'image_00') / '0000000003.png', photo)
  return DatasetIndex(
    root=tmp_path,
    derived_root=tmp_path,
    sequence=_SEQUENCE,
    frames=(3,),
    cameras=('image_00',),
    sizes=np.array([[40, 20]]),
    intrinsics=np.array([[30.0, 30, 20, 10]]),
    world_from_cam=np.eye(4)[None],
    world_from_pose=np.eye(4)[None],
    pose_from_velo=pose_from_velo,
    stereo=(),
    notes=[],
  )


def _read(dataset, world_from_cam):
  return ground_truth.read_ground_truth(
    dataset, 'image_00', 3, world_from_cam, np.array([30.0, 30, 20, 10])
  )


def test_read_ground_truth_without_files_has_the_photo_only(dataset):
  truth = _read(dataset, np.eye(4))
  assert (truth.photo == 50).all()
  assert {name for name, value in vars(truth).items() if value is not None} == {'photo'}


def test_read_ground_truth_projects_the_scan_and_marks_occluded_points(dataset):
  path = kitti360.velodyne_path(dataset.root, dataset.sequence, 3)
  path.parent.mkdir(parents=True)
  # A pole 4 m away just left of a pixel's edge, a wall 20 m away just right of it, the wall again
  # 4 pixels further, and a point behind. LiDAR axes: x forward, y left, z up.
  places = [(0.49, 4.0), (0.51, 20.0), (4.0, 20.0)]
  scan = [[z, -pixels / 30 * z, -1, 0.5] for pixels, z in places] + [[-5, 0, 0, 0.5]]
  path.write_bytes(np.array(scan, '<f4').tobytes())
  world_from_cam = np.eye(4)
  world_from_cam[:3, 3] = 100, 200, 300
  truth = _read(dataset, world_from_cam)
  np.testing.assert_allclose(
    truth.lidar_uvz, [[20 + pixels, 10, z] for pixels, z in places], atol=1e-4
  )
  np.testing.assert_allclose(
    truth.lidar_world, [[100 + pixels / 30 * z, 200, 300 + z] for pixels, z in places], atol=1e-4
  )
  np.testing.assert_array_equal(truth.lidar_visible, [True, False, True])
  centers = [(0, 4.0), (1, 20.0), (4, 20.0)]
  np.testing.assert_allclose(
    truth.lidar_pixel_world, [[100 + u / 30 * z, 200, 300 + z] for u, z in centers], atol=1e-4
  )


def test_read_ground_truth_prefers_accumulated_depth_to_the_scan(dataset):
  depth = np.zeros((20, 40), np.float32)
  depth[10, 20], depth[10, 30] = 4, 20
  image_io.write_depth(
    kitti360.lidar_depth_folder(dataset.root, dataset.sequence, 'image_00') / '0000000003.png',
    depth,
  )
  truth = _read(dataset, np.eye(4))
  np.testing.assert_allclose(truth.lidar_uvz, [[20, 10, 4], [30, 10, 20]])
  np.testing.assert_allclose(truth.lidar_world, [[0, 0, 4], [20 / 3, 0, 20]])
  np.testing.assert_array_equal(truth.lidar_pixel_world, truth.lidar_world)
  assert truth.lidar_visible.all()


def test_frames_to_score_are_requested_or_with_ground_truth_or_all(dataset):
  dataset = dataclasses.replace(dataset, frames=(3, 4, 5))
  choose = lambda requested: ground_truth.frames_to_score(dataset, 'image_00', requested)
  assert choose(()) == [3, 4, 5] and choose((5, 3, 5)) == [3, 5]
  image_io.write_label(
    kitti360.truth_folder(dataset.root, dataset.sequence, 'image_00', 'semantic')
    / '0000000004.png',
    np.zeros((20, 40), np.uint8),
  )
  assert choose(()) == [4] and choose((3,)) == [3]
  with pytest.raises(InputError, match=r'eval_frames: \[7\] are not frames of the window \(3-5\)'):
    choose((3, 7))
  with pytest.raises(InputError, match='config.eval.camera: image_01'):
    ground_truth.camera_to_score(dataset, 'image_01')
  assert ground_truth.camera_to_score(dataset, '') == 'image_00'


def _write_truth(dataset, kind, values):
  """Write the true labels or instances of frame 3, [20, 40], from 40 values of a row."""
  write = image_io.write_label if kind == 'semantic' else image_io.write_instance
  path = kitti360.truth_folder(dataset.root, dataset.sequence, 'image_00', kind) / '0000000003.png'
  if kind == 'semantic' and max(values) > 44:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.tile(np.array(values, np.uint8), (20, 1))).save(path)
  else:
    write(path, np.tile(values, (20, 1)))
  return path


def test_check_ground_truth_refuses_train_ids(dataset):
  path = _write_truth(dataset, 'semantic', [0] * 10 + [1, 2, 8, 10, 13] * 5 + [255] * 5)
  with pytest.raises(InputError) as error:
    ground_truth.check_ground_truth(dataset, 'image_00', [3])
  assert str(error.value) == (
    f'{path}: the true labels are train ids (values 0-2, 8, 10, 13, 255). Write ids: 7 = road, not'
    ' 0; 26 = car, not 13.'
  )
  # Ids: with a car, or with no class that lacks a train id, or hardly one.
  for values in (
    [26] + [1, 2, 8, 10, 13] * 7 + [0] * 4,
    [7] * 20 + [11] * 15 + [255] * 5,
    [0] * 40,
  ):
    _write_truth(dataset, 'semantic', values)
    ground_truth.check_ground_truth(dataset, 'image_00', [3])


@pytest.mark.parametrize(
  'encode', [lambda ids: ids, lambda ids: ids * 256, lambda ids: ids * 0 + 7]
)
def test_check_ground_truth_refuses_instances_in_another_form(dataset, encode):
  ids = np.array([7] * 20 + [26] * 10 + [0] * 10)
  semantic = _write_truth(dataset, 'semantic', ids)
  instance = _write_truth(dataset, 'instance', ids * 1000)
  ground_truth.check_ground_truth(dataset, 'image_00', [3])
  _write_truth(dataset, 'instance', encode(ids))
  with pytest.raises(InputError) as error:
    ground_truth.check_ground_truth(dataset, 'image_00', [3])
  assert str(error.value) == (
    f'{instance}: 100% of the pixels have another class than in {semantic}. Write id * 1000 +'
    ' instanceId (26003 = car 3), or remove the instances.'
  )


def test_check_ground_truth_samples_frames_and_ignores_absent_files(dataset):
  ground_truth.check_ground_truth(dataset, 'image_00', [3])
  many = dataclasses.replace(
    dataset, frames=tuple(range(3, 13)), sizes=np.tile(dataset.sizes, (10, 1))
  )
  _write_truth(dataset, 'semantic', [1] * 40)
  with pytest.raises(InputError, match='train ids'):
    ground_truth.check_ground_truth(many, 'image_00', list(many.frames))
