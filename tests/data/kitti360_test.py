"""Calibration, poses and LiDAR against the real files of KITTI-360."""

import json

import numpy as np
import pytest

from pnerf_jax.data import kitti360, primitives
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import frame_result

S0000 = '2013_05_28_drive_0000_sync'


@pytest.fixture(scope='module')
def real(shared):
  return shared / 'kitti360_real'


@pytest.fixture(scope='module')
def calibration(real):
  return kitti360.read_calibration(real)


def test_real_perspective(real, calibration):
  perspective = kitti360.read_perspective(real / 'calibration' / 'perspective.txt')
  np.testing.assert_array_equal(
    perspective['K_00'], [788.629315, 0, 687.158398, 0, 786.382230, 317.752196, 0, 0, 0]
  )  # as published
  assert calibration.size == (1408, 376)
  for camera in kitti360.PERSPECTIVE_CAMERAS:
    np.testing.assert_array_equal(
      calibration.intrinsics[camera], [552.554261, 552.554261, 682.049453, 238.769549]
    )
  left, right = (calibration.pose_from_cam[camera] for camera in kitti360.PERSPECTIVE_CAMERAS)
  baseline = (np.linalg.inv(left) @ right)[0, 3]
  assert baseline == pytest.approx(328.318735 / 552.554261, abs=1e-5)


@pytest.mark.parametrize(
  'drive, rows', [('0000', 10514), ('0002', 500), ('0003', 1010), ('0008', 8185), ('0009', 100)]
)
def test_poses_agree_with_the_published_camera_poses(real, calibration, drive, rows):
  sequence = f'2013_05_28_drive_{drive}_sync'
  poses = kitti360.read_poses(real, sequence, calibration)
  cam0 = np.loadtxt(real / 'data_poses' / sequence / 'cam0_to_world.txt')
  assert len(poses) == len(cam0) == rows
  assert sorted(poses) == cam0[:, 0].astype(int).tolist()
  ours = np.stack([poses[int(f)] for f in cam0[:, 0]]) @ calibration.pose_from_cam['image_00']
  theirs = cam0[:, 1:].reshape(-1, 4, 4)
  assert np.abs(ours[:, :3, :3] - theirs[:, :3, :3]).max() < 1e-6
  assert np.abs(ours[:, :3, 3] - theirs[:, :3, 3]).max() < 6e-4


def test_second_camera_is_a_pure_shift_of_the_first(calibration):
  left, right = (calibration.pose_from_cam[c] for c in kitti360.PERSPECTIVE_CAMERAS)
  expected = np.eye(4)
  expected[0, 3] = 0.594183
  np.testing.assert_allclose(np.linalg.inv(left) @ right, expected, atol=1.5e-6)


def test_poses_fall_back_to_camera_poses(real, calibration, tmp_path):
  folder = tmp_path / 'data_poses' / S0000
  folder.mkdir(parents=True)
  lines = (real / 'data_poses' / S0000 / 'cam0_to_world.txt').read_text().splitlines()[:20]
  (folder / 'cam0_to_world.txt').write_text('\n'.join(lines))
  coarse = kitti360.read_poses(tmp_path, S0000, calibration)
  exact = kitti360.read_poses(real, S0000, calibration)
  for frame, pose in coarse.items():
    np.testing.assert_allclose(pose, exact[frame], atol=2e-3)


def test_scan_projects_by_the_official_formula(real, calibration):
  # u ~ P_rect_00[:, :3] R_rect_00 inv(T_cam_to_velo) X, straight from the files.
  points = kitti360.read_velodyne(kitti360.velodyne_path(real, S0000, 729))
  assert points.shape == (121479, 4)
  text = dict(
    line.split(':', 1)
    for line in (real / 'calibration' / 'perspective.txt').read_text().splitlines()
  )
  p = np.array(text['P_rect_00'].split(), float).reshape(3, 4)[:, :3]
  r = np.array(text['R_rect_00'].split(), float).reshape(3, 3)
  velo_from_cam = np.vstack(
    [np.loadtxt(real / 'calibration' / 'calib_cam_to_velo.txt').reshape(3, 4), [0, 0, 0, 1]]
  )
  homogeneous = np.c_[points[:, :3], np.ones(len(points))]
  uvw = homogeneous @ np.linalg.inv(velo_from_cam)[:3].T @ r.T @ p.T
  cam_from_velo = np.linalg.inv(calibration.pose_from_cam['image_00']) @ calibration.pose_from_velo
  ours = kitti360.transform(cam_from_velo, points[:, :3])
  np.testing.assert_allclose(ours[:, 2], uvw[:, 2], atol=1e-6)
  ahead = ours[:, 2] > 1
  np.testing.assert_allclose(
    552.554261 * ours[ahead, 0] / ours[ahead, 2] + 682.049453,
    uvw[ahead, 0] / uvw[ahead, 2],
    atol=1e-3,
  )
  hits, _ = frame_result.project_points(
    ours, np.eye(4), calibration.intrinsics['image_00'], 1408, 376
  )
  assert len(hits) > 15000
  # The cameras stand 1.55 m above the road (the dataset's documentation).
  vehicle = kitti360.transform(calibration.pose_from_velo, points[:, :3])
  ahead = (np.abs(vehicle[:, 1]) < 1.5) & (vehicle[:, 0] > 6) & (vehicle[:, 0] < 12)
  camera_z = calibration.pose_from_cam['image_00'][2, 3]
  assert np.median(vehicle[ahead, 2]) - camera_z == pytest.approx(1.55, abs=0.05)


def test_scan_in_the_world_meets_the_annotated_cars(real, calibration):
  pose = kitti360.read_poses(real, S0000, calibration)[729]
  points = kitti360.read_velodyne(kitti360.velodyne_path(real, S0000, 729))[:, :3]
  world = kitti360.transform(pose @ calibration.pose_from_velo, points)
  cars = {
    record.index: record
    for record in primitives.read_primitives_xml(kitti360.primitives_path(real, S0000, 'train'))
  }
  for index, least in ((941, 1000), (892, 200)):  # parked 6 and 19 m away
    corners = cars[index].vertices
    center = corners.mean(0)
    # The official corner order: 0 is (+++), 1 (++-), 2 (+-+), 5 (-++).
    axes = np.stack([corners[0] - corners[i] for i in (5, 2, 1)])
    inside = (np.abs((world - center) @ np.linalg.inv(axes)) < 0.5).all(-1)
    assert inside.sum() > least


def test_resized_intrinsics_keep_rays_through_the_same_place():
  rng = np.random.default_rng(0)
  points = rng.uniform([-3, -2, 4], [3, 2, 9], (50, 3))

  def pixel(intrinsics):
    return intrinsics[:2] * points[:, :2] / points[:, 2:] + intrinsics[2:]

  full = np.array([552.0, 550.0, 682.0, 238.0])
  small = kitti360.resize_intrinsics(full, (1408, 376), (352, 188))
  # The image's outer edge lies half a pixel outside the centre of the first pixel.
  np.testing.assert_allclose((pixel(small) + 0.5) / [352, 188], (pixel(full) + 0.5) / [1408, 376])


def test_resized_intrinsics_from_the_corner_scale_pixel_coordinates():
  full = np.array([552.0, 550.0, 682.0, 238.0])
  half = kitti360.resize_intrinsics(full, (1408, 376), (704, 188), 'corner')
  np.testing.assert_array_equal(half, full / 2)  # pixel u looks along pixel 2u
  centered = kitti360.resize_intrinsics(full, (1408, 376), (704, 188), 'center')
  np.testing.assert_array_equal(half - centered, [0, 0, 0.25, 0.25])  # half a pixel of `full`
  np.testing.assert_array_equal(centered, kitti360.resize_intrinsics(full, (1408, 376), (704, 188)))


def test_calibration_scales_to_a_rescaled_copy(shared):
  street = shared / 'streets' / 'street_a'
  calibration = kitti360.read_calibration(street)
  assert calibration.size == (352, 94)
  half = kitti360.resize_intrinsics(calibration.intrinsics['image_00'], calibration.size, (176, 47))
  np.testing.assert_allclose(half, [69.0692825, 69.0692825, 84.8186815, 29.4086935], atol=1e-6)


@pytest.mark.parametrize(
  'file, text, messages',
  [
    ('perspective.txt', None, ['no such file']),
    ('perspective.txt', 'P_rect_00: 1 2 3\n', ['line 1', '3 numbers', '12']),
    ('perspective.txt', 'S_rect_00: 64 24\n', ['no line S_rect_01']),
    ('perspective.txt', 'S_rect_00: 64 wide\n', ['line 1', 'wide']),
    ('calib_cam_to_pose.txt', 'image_00: 0 0 1 0 -1 0 0 0 0 -1 0 0\n', ['no line image_01']),
    ('calib_cam_to_pose.txt', 'image_00: 0 0 nan 0 -1 0 0 0 0 -1 0 0\n', ['line 1', 'finite']),
    ('calib_cam_to_velo.txt', '\n', ['empty, or more than one line']),
    ('calib_cam_to_velo.txt', '0 0 1 0 -1 0 0 0 0 -1 0 0\n' * 2, ['or more than one line']),
    (
      'perspective.txt',
      'S_rect_00: 64 24\n\nS_rect_00: 64 24\n',
      ['line 3: S_rect_00 is there twi'],
    ),
    (
      'calib_cam_to_pose.txt',
      'image_00: 0 0 1 0 -1 0 0 0 0 -1 0 0\n' * 2,
      ['line 2: image_00 is there twice'],
    ),
  ],
)
def test_malformed_calibration(tiny, file, text, messages):
  path = tiny.root / 'calibration' / file
  path.unlink()
  if text is not None:
    path.write_text(text)
  with pytest.raises(InputError) as error:
    kitti360.read_calibration(tiny.root)
  for message in [str(path), *messages]:
    assert message in str(error.value)


@pytest.mark.parametrize(
  'text, messages',
  [
    (None, ['no such file', '--config.data.root']),
    ('', ['no pose']),
    ('1 2 3\n', ['line 1', '3 numbers', '13']),
    ('0 1 0 0 0 0 1 0 0 0 0 1 0\n1 1 0 0 x 0 1 0 0 0 0 1 0\n', ['line 2', "'x'"]),
    ('0 1 0 0 inf 0 1 0 0 0 0 1 0\n', ['line 1', 'finite']),
    ('7 1 0 0 0 0 1 0 0 0 0 1 0\n' * 2, ['line 2: 7 is there twice. Remove the wrong line.']),
  ],
)
def test_malformed_poses(tiny, text, messages):
  path = tiny.root / 'data_poses' / tiny.sequence / 'poses.txt'
  path.unlink()
  if text is not None:
    path.write_text(text)
  with pytest.raises(InputError) as error:
    kitti360.read_poses(tiny.root, tiny.sequence, kitti360.read_calibration(tiny.root))
  for message in [str(path), *messages]:
    assert message in str(error.value)


@pytest.mark.parametrize(
  'size, intrinsics',
  [
    ((1408, 376), (0.39, 0.39, 682, 238)),
    ((1408, 376), (1e-9, 1e-9, 682, 238)),
    ((1408, 376), (35.7, 35.7, 682, 238)),
    ((1408, 376), (552, 55.2, 682, 238)),
    ((1408, 376), (60_000, 60_000, 682, 238)),
    ((1408, 376), (552, 552, 68_205, 238)),
    ((1408, 376), (552, 552, 682, -800)),
    ((0, 376), (552, 552, 682, 238)),
    ((8001, 8000), (4000, 4000, 4000, 4000)),
  ],
)
def test_check_camera_refuses_implausible_intrinsics(size, intrinsics):
  kitti360.check_camera((1408, 376), (552, 552, 682, 238), 'a.txt', 'Use another.')
  with pytest.raises(InputError, match=r'^a.txt: no pinhole camera has .* pixels.*Use another.$'):
    kitti360.check_camera(size, intrinsics, 'a.txt', 'Use another.')


def test_sizes_of_the_rectified_cameras_must_be_equal(tiny):
  path = tiny.root / 'calibration' / 'perspective.txt'
  path.write_text(path.read_text().replace('S_rect_01: 64', 'S_rect_01: 32'))
  with pytest.raises(InputError, match='perspective.txt: S_rect_00 and S_rect_01 differ'):
    kitti360.read_calibration(tiny.root)


def test_poses_of_a_dangling_link_are_not_replaced_by_others(tiny):
  path = tiny.root / 'data_poses' / tiny.sequence / 'poses.txt'
  row = '0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n'
  path.with_name('cam0_to_world.txt').write_text(row)
  path.unlink()
  calibration = kitti360.read_calibration(tiny.root)
  assert list(kitti360.read_poses(tiny.root, tiny.sequence, calibration)) == [0]
  path.symlink_to('gone.txt')
  with pytest.raises(InputError, match='poses.txt: is a link to gone.txt, which is absent'):
    kitti360.read_poses(tiny.root, tiny.sequence, calibration)


def test_marks_of_windows_text_files_are_skipped(tiny):
  expected = kitti360.read_calibration(tiny.root)
  files = [*tiny.root.glob('calibration/*.txt'), *tiny.root.glob('data_poses/*/poses.txt')]
  poses = kitti360.read_poses(tiny.root, tiny.sequence, expected)
  for path in files:
    content = path.read_text()
    path.unlink()  # links to a shared file
    path.write_bytes(b'\xef\xbb\xbf' + content.replace('\n', '\r\n').encode())
  found = kitti360.read_calibration(tiny.root)
  assert found.size == expected.size
  np.testing.assert_array_equal(found.pose_from_velo, expected.pose_from_velo)
  for frame, pose in kitti360.read_poses(tiny.root, tiny.sequence, found).items():
    np.testing.assert_array_equal(pose, poses[frame])


@pytest.mark.parametrize('size', [0, 15, 16 * 10 + 4])
def test_scans_that_were_cut_are_refused(tmp_path, size):
  path = tmp_path / '0000000001.bin'
  path.write_bytes(bytes(size))
  with pytest.raises(InputError, match=f'0000000001.bin: {size} bytes, expected a multiple of 16'):
    kitti360.read_velodyne(path)


def test_frames_have_ten_digits(tiny):
  folder = kitti360.rgb_folder(tiny.root, tiny.sequence, 'image_00')
  for name in ('12.png', '00000000012.png', '0000000013.jpg', '0000000014.PNG', '9999999999.png'):
    (folder / name).write_bytes(b'')
  assert kitti360.frames_in(folder) == [0, 1, 2, 3, 4, 5]


def test_binary_instead_of_text(tiny):
  path = tiny.root / 'calibration' / 'perspective.txt'
  path.write_bytes(bytes(range(256)))
  with pytest.raises(InputError, match='not a text file'):
    kitti360.read_calibration(tiny.root)


def test_malformed_scans(tmp_path):
  path = tmp_path / 'scan.bin'
  with pytest.raises(InputError, match='no such file'):
    kitti360.read_velodyne(path)
  path.write_bytes(b'\0' * 40)
  with pytest.raises(InputError, match='scan.bin: 40 bytes, expected a multiple of 16'):
    kitti360.read_velodyne(path)
  np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]], '<f4').tofile(path)
  with pytest.raises(InputError, match=r'scan.bin: point 1 is \[0.0, nan.*not finite'):
    kitti360.read_velodyne(path)


def test_corners_of_an_independent_reader(real):
  # Another project's reading of the official XML: corners in unrectified camera 0 at a frame.
  pose = kitti360.read_pose_file(real / 'data_poses' / S0000 / 'poses.txt', 12)[644]
  pose_from_cam = kitti360.read_cam_to_pose(real / 'calibration' / 'calib_cam_to_pose.txt')
  by_index = {
    record.index: record
    for record in primitives.read_primitives_xml(kitti360.primitives_path(real, S0000, 'train'))
  }
  listed = json.loads((real / 'extra' / 'bboxes_3D_cam0' / 'BBoxes_644.json').read_text())
  compared = 0
  for entry in listed:
    record = by_index.get(entry['index'])
    if record is not None:
      corners = kitti360.transform(
        pose @ pose_from_cam['image_00'], np.asarray(entry['corners_cam0'])
      )
      distance = np.linalg.norm(corners[:, None] - record.vertices[None], axis=-1)
      assert distance.min(1).max() < 2e-3 and distance.min(0).max() < 2e-3
      compared += 1
  assert compared >= 5
