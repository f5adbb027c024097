"""Windows of a small root, intact and damaged (real files: window_real_test.py)."""

import dataclasses
import functools
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.data import image_io, kitti360, window
from pnerf_jax.data.primitives import CUBE_FACES
from pnerf_jax.errors import InputError
from pnerf_jax.rendering.scene import make_scene


def test_load_window_by_hand(tiny):
  found = window.load_window(tiny.data, tiny.scene)
  assert found.frames == (0, 1, 2, 4, 5)
  assert found.notes[0] == '10 of 12 images used, because 2 have no pose (frames 3)'
  np.testing.assert_array_equal(found.center, [1002, 2000, 100])  # the mean x is 1002.4
  np.testing.assert_allclose(
    found.world_from_cam[1], [[0, 0, 1, -2], [-1, 0, 0, -0.5], [0, -1, 0, 0], [0, 0, 0, 1]]
  )
  (record,) = found.primitives
  np.testing.assert_allclose(record.vertices.mean(0), [8, 0, 0])
  np.testing.assert_allclose(found.bounds, [[7, -1, -1], [9, 1, 1]])
  assert found.far == 30 and found.near == 0.3
  folder = kitti360.rgb_folder(tiny.root, tiny.sequence, 'image_01')
  np.testing.assert_array_equal(found.rgb[-1], np.asarray(Image.open(folder / '0000000005.png')))


def test_open_meshes_of_a_file_are_one_line_with_its_name_and_their_classes(tiny, caplog):
  cube = functools.partial(tiny.cube_xml, faces=CUBE_FACES[2:])
  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      cube(center=(1010.0, 2000.0, 100.0), number=1),
      cube(center=(1012.0, 2004.0, 100.0), number=2, label='building', semanticId=11),
      tiny.cube_xml(center=(1012.0, 1996.0, 100.0), number=3),
    )
  )
  with caplog.at_level(logging.WARNING):
    make_scene(window.load_window(tiny.data, tiny.scene))
  (record,) = caplog.records
  assert record.getMessage() == (
    f'{tiny.primitives_path}: 2 of 3 primitives are not watertight; their convex hulls are used:'
    ' annotation 2 (car), 3 (building)'
  )


def test_pixel_origin_changes_the_principal_point_of_scaled_images_only(tiny):
  data = dataclasses.replace(tiny.data, image_scale=0.5)
  centered = window.load_window(data, tiny.scene)
  corner = window.load_window(dataclasses.replace(data, pixel_origin='corner'), tiny.scene)
  fx, fy, cx, cy = centered.full_intrinsics.T
  half = lambda *values: np.stack(values, -1).astype(np.float32)
  np.testing.assert_array_equal(
    centered.intrinsics, half(fx / 2, fy / 2, (cx + 0.5) / 2 - 0.5, (cy + 0.5) / 2 - 0.5)
  )
  np.testing.assert_array_equal(corner.intrinsics, half(fx / 2, fy / 2, cx / 2, cy / 2))
  np.testing.assert_array_equal(corner.full_intrinsics, centered.full_intrinsics)
  full = dataclasses.replace(tiny.data, image_scale=1.0, pixel_origin='corner')
  found = window.load_window(full, tiny.scene)
  np.testing.assert_array_equal(found.intrinsics, found.full_intrinsics)


def test_overrides(tiny):
  scene = dataclasses.replace(
    tiny.scene,
    center=(1000.0, 2000.0, 90.0),
    far=20.0,
    bounds=(1000.0, 1990.0, 95.0, 1030.0, 2010.0, 115.0),
  )
  found = window.load_window(tiny.data, scene)
  np.testing.assert_array_equal(found.center, [1000, 2000, 90])
  np.testing.assert_array_equal(found.bounds, [[0, -10, 5], [30, 10, 25]])
  assert found.far == 20


def test_moving_primitives(tiny):
  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      tiny.cube_xml(number=1, center=(1010.0, 2000.0, 100.0)),
      *(
        tiny.cube_xml(number=10 + f, instanceId=7, center=(1012.0 + f, 2000.0, 100.0), timestamp=f)
        for f in (1, 3, 4, 99)
      ),
    )
  )
  found = window.load_window(tiny.data, tiny.scene)
  assert [(record.index, record.timestamp) for record in found.primitives] == [
    (1, -1),
    (11, 1),
    (14, 4),
  ]
  np.testing.assert_allclose(found.bounds, [[7, -1, -1], [9, 1, 1]])  # of the static ones


def test_invisible_primitives_are_culled(tiny):
  def cube(number, x, y):
    return tiny.cube_xml(number=number, center=(x, y, 100.0))

  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      cube(1, 1010.0, 2000.0),
      cube(2, 990.0, 2000.0),
      cube(3, 1010.0, 2050.0),
      cube(4, 1200.0, 2000.0),
      cube(5, 1004.0, 2000.0),
    )
  )  # the last holds the camera of frame 4
  found = window.load_window(tiny.data, dataclasses.replace(tiny.scene, far=100.0))
  assert [record.index for record in found.primitives] == [1, 5]
  assert any('3 out of view' in note for note in found.notes)


def test_primitives_split(tiny):
  full = tiny.root / 'data_3d_bboxes' / 'train_full' / tiny.primitives_path.name
  full.parent.mkdir()
  full.write_text(
    tiny.boxes_xml(
      tiny.cube_xml(number=8, center=(1010.0, 2000.0, 100.0), instanceId=101),
      tiny.cube_xml(number=9, center=(1015.0, 2000.0, 98.0), label='road', semanticId=1),
    )
  )
  tiny.primitives_path.write_text(
    tiny.boxes_xml(
      tiny.cube_xml(number=1, center=(1010.0, 2000.0, 100.0)),
      tiny.cube_xml(number=2, center=(1020.0, 2000.0, 100.0)),
    )
  )

  def indices(split):
    found = window.load_window(
      dataclasses.replace(tiny.data, primitives=split), tiny.scene, supervision=False
    )
    return [record.index for record in found.primitives]

  assert indices('auto') == indices('train_full') == [8, 9]
  assert indices('train') == [1, 2]
  assert indices('union') == [8, 9, 2]
  full.unlink()
  assert indices('auto') == indices('union') == [1, 2]


def write_supervision(root, sequence, frames=(0, 1, 2, 4, 5)):
  """Pseudo-labels, confidence and depth of image_00; pixel (u, v) of the depth is 1 + u / 8 m."""
  label = np.tile(np.arange(64) % 45, (24, 1)).astype(np.uint8)
  label[0] = 255
  for frame in frames:
    name = f'{kitti360.frame_name(frame)}.png'
    folder = kitti360.pseudo_label_folder(root, sequence, 'image_00')
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(label).save(folder / name)
    image_io.write_confidence(folder.with_name('confidence') / name, np.full((24, 64), 0.5))
    image_io.write_depth(
      kitti360.pseudo_depth_folder(root, sequence, 'image_00') / name,
      np.tile(1 + np.arange(64) / 8, (24, 1)),
    )


def test_supervision(tiny):
  write_supervision(tiny.root, tiny.sequence)
  found = window.load_window(tiny.data, tiny.scene)
  expected = np.tile(np.arange(64) % 45, (24, 1))
  expected[0] = 0  # unknown, like 0 itself
  np.testing.assert_array_equal(found.pseudo_label[0], expected)
  np.testing.assert_allclose(found.pseudo_confidence[0], 0.5, atol=1e-5)
  np.testing.assert_array_equal(found.pseudo_depth[0, 3], 1 + np.arange(64) / 8)
  assert not found.pseudo_label[1::2].any() and not found.pseudo_depth[1::2].any()
  assert (found.pseudo_confidence[1::2] == 1).all()
  assert sum('for image_01' in note for note in found.notes) == 2
  assert not any('warning' in note for note in found.notes)


def test_half_size(tiny):
  write_supervision(tiny.root, tiny.sequence)
  found = window.load_window(dataclasses.replace(tiny.data, image_scale=0.5), tiny.scene)
  assert (found.width, found.height) == (32, 12) and (found.full_sizes == [64, 24]).all()
  np.testing.assert_allclose(found.intrinsics[0], [25, 25, 15.5, 5.5])
  photo = np.asarray(
    Image.open(kitti360.rgb_folder(tiny.root, tiny.sequence, 'image_00') / '0000000000.png')
  ).astype(float)
  average = photo.reshape(12, 2, 32, 2, 3).mean((1, 3))
  assert np.abs(found.rgb[0] - average).max() <= 0.5
  # The centre of new pixel i lies between 2 i and 2 i + 1: either is nearest, a mean is neither.
  columns = (found.pseudo_depth[0, 0] - 1) * 8
  assert set(columns - 2 * np.arange(32)) == {1}
  np.testing.assert_array_equal(found.pseudo_label[0, 5], (2 * np.arange(32) + 1) % 45)


def test_positions_far_from_the_origin_keep_precision(tiny, tmp_path):
  # float32 positions there would be half a metre apart.
  east, north = 4_000_000, 5_000_000
  moved = shutil.copytree(tiny.root, tmp_path / 'moved')
  poses = moved / 'data_poses' / tiny.sequence / 'poses.txt'
  rows = [line.split() for line in poses.read_text().splitlines()]
  for row in rows:
    row[4], row[8] = f'{float(row[4]) + east}', f'{float(row[8]) + north + 0.25}'
  poses.write_text('\n'.join(' '.join(row) for row in rows) + '\n')
  xml = tiny.boxes_xml(tiny.cube_xml(center=(1010.0 + east, 2000.25 + north, 100.0)))
  (moved / 'data_3d_bboxes' / 'train' / tiny.primitives_path.name).write_text(xml)
  here = window.load_window(tiny.data, tiny.scene)
  there = window.load_window(dataclasses.replace(tiny.data, root=str(moved)), tiny.scene)
  offset = there.center - here.center - [east, north, 0]
  np.testing.assert_allclose(
    there.world_from_cam[:, :3, 3] + offset, here.world_from_cam[:, :3, 3] + [0, 0.25, 0], atol=1e-6
  )
  np.testing.assert_allclose(
    there.primitives[0].vertices + offset, here.primitives[0].vertices + [0, 0.25, 0], atol=1e-6
  )


def test_derived_root_has_precedence(tiny, tmp_path):
  write_supervision(tiny.root, tiny.sequence)
  derived = tmp_path / 'derived'
  depth = kitti360.pseudo_depth_folder(derived, tiny.sequence, 'image_00')
  for frame in (0, 1, 2, 4, 5):
    image_io.write_depth(depth / f'{kitti360.frame_name(frame)}.png', np.full((24, 64), 33.0))
  found = window.load_window(dataclasses.replace(tiny.data, derived_root=str(derived)), tiny.scene)
  assert (found.pseudo_depth[0] == 33).all()
  assert found.pseudo_label[0].any()  # from the root


def test_missing_frame_is_reported(tiny):
  write_supervision(tiny.root, tiny.sequence, frames=(0, 1, 2, 5))
  found = window.load_window(tiny.data, tiny.scene)
  warnings = [note for note in found.notes if note.startswith('warning')]
  names = ('pseudo-labels', 'pseudo-label confidence', 'pseudo depth')
  folders = [
    folder(tiny.root, tiny.sequence, 'image_00')
    for folder in (
      kitti360.pseudo_label_folder,
      kitti360.pseudo_confidence_folder,
      kitti360.pseudo_depth_folder,
    )
  ]
  assert warnings == [
    f'warning: no {name} for image_00 in 1 of 5 frames, 4 ({folder})'
    for name, folder in zip(names, folders)
  ]
  assert not found.pseudo_label[6].any() and not found.pseudo_depth[6].any()
  assert (found.pseudo_confidence[6] == 1).all()


def test_the_nearest_file_of_every_frame_is_read(tiny, tmp_path):
  write_supervision(tiny.root, tiny.sequence)
  derived = tmp_path / 'derived'
  folder = kitti360.pseudo_depth_folder(derived, tiny.sequence, 'image_00')
  for frame in (1, 4):
    image_io.write_depth(folder / f'{kitti360.frame_name(frame)}.png', np.full((24, 64), 33.0))
  found = window.load_window(dataclasses.replace(tiny.data, derived_root=str(derived)), tiny.scene)
  assert found.pseudo_depth[0::2, 0, 0].tolist() == [1, 33, 1, 33, 1]
  assert not any('warning' in note for note in found.notes)
  (folder / '0000000005.png').symlink_to('gone.png')
  with pytest.raises(InputError, match='0000000005.png: is a link to gone.png, which is absent'):
    window.load_window(dataclasses.replace(tiny.data, derived_root=str(derived)), tiny.scene)


def test_primitives_of_a_dangling_link_are_not_replaced_by_others(tiny):
  full = tiny.root / 'data_3d_bboxes' / 'train_full' / tiny.primitives_path.name
  full.parent.mkdir()
  full.symlink_to('gone.xml')
  with pytest.raises(InputError, match='is a link to gone.xml, which is absent. Correct the link'):
    window.load_window(tiny.data, tiny.scene)


def test_images_of_another_shape_than_the_calibration_are_refused(tiny):
  path = tiny.root / 'calibration' / 'perspective.txt'
  path.write_text(path.read_text().replace(': 64.000000 24.000000', ': 128 48'))
  window.load_window(tiny.data, tiny.scene)  # half the size
  path.write_text(path.read_text().replace(': 128 48', ': 64 48'))
  message = '64 x 24 pixels, another shape than the 64 x 48 of calibration/perspective.txt'
  with pytest.raises(InputError, match=message):
    window.load_window(tiny.data, tiny.scene)


def test_frames_are_counted_where_they_exist(tiny):
  data = dataclasses.replace(tiny.data, start=1, frames=3, cameras=('image_01',))
  found = window.load_window(data, tiny.scene)
  assert found.frames == (1, 2, 4)
  assert found.notes[0] == (
    '3 of 12 images used, because 1 precede config.data.start=1 (frames 0);'
    ' 1 follow the 3 frames of config.data.frames (frames 5); 1 have no pose (frames 3);'
    ' 6 are of image_00, which is not selected'
  )


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-30])


def _write(array):
  return lambda path: Image.fromarray(array).save(path)


RGB = 'data_2d_raw/{s}/image_01/data_rect/0000000002.png'
LABEL = 'data_2d_pseudo_semantics/train/{s}/image_00/semantic/0000000002.png'
CONFIDENCE = 'data_2d_pseudo_semantics/train/{s}/image_00/confidence/0000000002.png'
DEPTH = 'data_2d_pseudo_depth/{s}/image_00/0000000002.png'


@pytest.mark.parametrize(
  'file, damage, messages',
  [
    (RGB, _truncate, ['damaged']),
    (RGB, _write(np.zeros((24, 63, 3), np.uint8)), ['63x24', '64x24']),
    (RGB, _write(np.zeros((24, 64), np.uint8)), ['pixel type L']),
    (LABEL, _truncate, ['damaged']),
    (LABEL, _write(np.zeros((12, 32), np.uint8)), ['32x12', '64x24']),
    (LABEL, _write(np.full((24, 64), 77, np.uint8)), ['label id 77']),
    (LABEL, _write(np.full((24, 64), 7, np.uint16)), ['8 bit grey']),
    (CONFIDENCE, _write(np.zeros((24, 64), np.uint8)), ['16 bit grey']),
    (DEPTH, _write(np.zeros((24, 64), np.uint8)), ['16 bit grey']),
    (DEPTH, _write(np.zeros((24, 65), np.uint16)), ['65x24']),
    (DEPTH, lambda path: path.write_bytes(b''), ['PNG']),
  ],
)
def test_damaged_images(tiny, file, damage, messages):
  write_supervision(tiny.root, tiny.sequence)
  path = tiny.root / file.format(s=tiny.sequence)
  damage(path)
  with pytest.raises(InputError) as error:
    window.load_window(tiny.data, tiny.scene)
  for message in [str(path), *messages]:
    assert message in str(error.value)


@pytest.mark.parametrize(
  'folder, messages',
  [
    ('data_2d_raw', ['data_2d_raw', '--config.data.root']),
    ('data_2d_raw/{s}/image_01', ['image_01', '--config.data.cameras=image_00']),
    ('data_2d_raw/{s}/image_00', ['image_00', '--config.data.cameras=image_01']),
    ('calibration', ['perspective.txt', 'no such file']),
    ('data_poses', ['poses.txt', 'no such file']),
    ('data_3d_bboxes', ['data_3d_bboxes', 'no such file']),
  ],
)
def test_missing_folders(tiny, folder, messages):
  shutil.rmtree(tiny.root / folder.format(s=tiny.sequence))
  with pytest.raises(InputError) as error:
    window.load_window(tiny.data, tiny.scene)
  for message in messages:
    assert message in str(error.value)


@pytest.mark.parametrize(
  'group, changes, messages',
  [
    ('data', {'sequence': 'drive_9'}, ["'drive_9'", '2013_05_28_drive_0007_sync']),
    ('data', {'sequence': '../root'}, ["'../root'"]),
    ('data', {'start': 6, 'frames': 1}, ['no frame from 6 on', '0-2, 4-5']),
    ('data', {'cameras': ('image_02',)}, ['config.data.cameras', 'image_02']),
    ('data', {'cameras': ()}, ['config.data.cameras']),
    ('data', {'primitives': 'all'}, ['config.data.primitives', "'all'", 'union']),
    (
      'data',
      {'primitives': 'none'},
      ['config.data.primitives', "'none'", '--config.scene.unannotated_space=void'],
    ),
    ('data', {'image_scale': 0.05}, ['config.data.image_scale', '3x1']),
    ('scene', {'far': 2.0}, ['no primitive is in view', '--config.scene.unannotated_space=void']),
  ],
)
def test_wrong_settings(tiny, group, changes, messages):
  groups = {'data': tiny.data, 'scene': tiny.scene}
  groups[group] = dataclasses.replace(groups[group], **changes)
  with pytest.raises(InputError) as error:
    window.load_window(groups['data'], groups['scene'])
  for message in messages:
    assert message in str(error.value)


def test_several_sequences_need_a_name(tiny):
  (tiny.root / 'data_2d_raw' / 'other').mkdir()
  with pytest.raises(InputError, match='--config.data.sequence'):
    window.load_window(tiny.data, tiny.scene)


def test_poses_and_images_that_do_not_overlap(tiny):
  path = tiny.root / 'data_poses' / tiny.sequence / 'poses.txt'
  path.write_text('50 1 0 0 0 0 1 0 0 0 0 1 0\n')
  with pytest.raises(InputError, match='images 0-5 and poses 50 do not overlap'):
    window.load_window(tiny.data, tiny.scene)


def test_void_needs_no_primitive(tiny):
  tiny.primitives_path.write_text(tiny.boxes_xml())
  found = window.load_window(tiny.data, dataclasses.replace(tiny.scene, unannotated_space='void'))
  assert not found.primitives and found.far == 100
  with pytest.raises(InputError, match='no primitive is in view'):
    window.load_window(tiny.data, tiny.scene)


def test_bounds_without_primitives_come_from_cameras_and_depth(tiny):
  write_supervision(tiny.root, tiny.sequence)
  for supervision in (True, False):
    found = window.load_window(
      dataclasses.replace(tiny.data, primitives='none'),
      dataclasses.replace(tiny.scene, unannotated_space='void'),
      supervision=supervision,
    )
    assert not found.primitives and found.far == 30  # nothing is measured beyond 10 m
    assert found.bounds[0, 0] == -2 and 33 < found.bounds[1, 0] < 34  # cameras at -2 .. 3 m


def test_one_camera(tiny):
  found = window.load_window(dataclasses.replace(tiny.data, cameras=('image_01',)), tiny.scene)
  assert found.view_camera.tolist() == [0] * 5 and found.rgb.shape[0] == 5
  np.testing.assert_allclose(found.world_from_cam[:, 1, 3], -0.5)
