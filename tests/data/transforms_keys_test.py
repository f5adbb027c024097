"""Keys of transforms.json as nerfstudio, instant-ngp and users write them: meaning and messages."""

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.preparation import export_transforms
from pnerf_jax.data import image_io, transforms, window
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError


def write_depth(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((12, 16), values, np.uint16)).save(path)


@pytest.mark.parametrize(
  'keys, value, metres',
  [
    ({}, 10_000, 10.0),
    ({}, 3217, 3.217),
    ({'depth_unit_scale_factor': 1 / 256}, 2560, 10.0),
    ({'depth_unit_scale_factor': 0.01}, 1234, 12.34),
  ],
)
def test_depth_has_the_unit_of_nerfstudio_or_of_the_key(own, keys, value, metres):
  names = {'depth_file_path': 'depth/1.png', 'lidar_depth_file_path': 'lidar/1.png'}
  own.add('images/1.png', **names)
  for name in names.values():
    write_depth(own.root / name, value)
  found = own.open(**keys)
  for kind in ('pseudo_depth', 'lidar_depth'):
    path = found.path_of(kind, 1, 'images')
    np.testing.assert_allclose(image_io.read_depth(path, (16, 12)), metres, rtol=1e-6)
  loaded = window.load_window(own.config.data, own.config.scene)
  np.testing.assert_allclose(loaded.pseudo_depth, metres, rtol=1e-6)
  assert any('depth is read as millimetres' in note for note in found.notes) == (not keys)
  # An export states the unit that it writes; millimetres are rounded to 1/256 m.
  out = own.root.parent / 'out'
  export_transforms.export_transforms(own.config.data, out)
  own.config.data.root = str(out)
  again = open_dataset(own.config.data)
  depth = image_io.read_depth(again.path_of('pseudo_depth', 1, 'images'))
  np.testing.assert_allclose(depth, metres, atol=1 / 512)
  assert not any('millimetres' in note for note in again.notes)


@pytest.mark.parametrize('unit', [0, -1, 1000, '0.001', None])
def test_depth_unit_must_be_metres_per_unit(own, unit):
  own.add('images/1.png', depth_file_path='depth/1.png')
  assert 'depth_unit_scale_factor' in own.error(depth_unit_scale_factor=unit)


def test_depth_unit_of_only_some_images_is_refused(own):
  for number in range(3):
    image_io.write_depth(own.root / f'depth/{number}.png', np.full((12, 16), 10.0))
  unit = {'depth_unit_scale_factor': 1 / 256}
  own.add('images/0.png', depth_file_path='depth/0.png', **unit)
  own.add('images/1.png').add('images/2.png', depth_file_path='depth/2.png')
  message = own.error()
  assert 'frames[2]: no "depth_unit_scale_factor", which 1 other images with depth have' in message
  del own.frames[2]['depth_file_path']
  assert own.open().frames == (0, 1, 2)


@pytest.mark.parametrize(
  'keys, message',
  [
    ({'camera_axes': ['OPENCV']}, "camera_axes is ['OPENCV'], not one of OPENGL, OPENCV"),
    ({'camera_model': 'pinhole'}, "camera_model is 'pinhole', not one of PINHOLE, SIMPLE_PINHOLE"),
    ({'fl_x': '10'}, "fl_x: '10', expected a number"),
    ({'transform_matrix': [[1.0] * 4] * 3}, 'transform_matrix: 3 x 4 values, expected 4 x 4'),
  ],
)
def test_values_of_another_type_are_refused(own, keys, message):
  own.add('images/1.png')
  own.frames[0] |= keys
  assert message in own.error()


REFUSED = [
  ({'is_fisheye': True}, 'is_fisheye is True: the image is distorted'),
  ({'ftheta_p1': 0.3}, 'ftheta_p1 is 0.3'),
  ({'distortion': [0.1, 0, 0, 0]}, 'distortion is [0.1, 0, 0, 0]'),
  ({'dist_coeffs': [[0, 0.2]]}, 'dist_coeffs is [[0, 0.2]]'),
  ({'distortion_params': [0, 0, 1e-9, 0]}, 'distortion_params'),
  ({'k3': -0.1}, 'k3 is -0.1'),
  ({'rolling_shutter_time': 0.03}, 'rolling_shutter_time is 0.03: the image is of a rolling'),
  ({'mask_path': 'masks/1.png'}, "mask_path is 'masks/1.png': the image is masked"),
  ({'camera_model': 'OPENCV_FISHEYE'}, "camera_model is 'OPENCV_FISHEYE'"),
]


@pytest.mark.parametrize('keys, message', REFUSED)
@pytest.mark.parametrize('place', ['file', 'entry'])
def test_keys_that_change_the_meaning_are_refused(own, keys, message, place):
  own.add('images/1.png', 'images/2.png')
  own.frames[1] |= keys if place == 'entry' else {}
  assert message in own.error(**(keys if place == 'file' else {}))


@pytest.mark.parametrize(
  'keys',
  [
    {'k1': 0, 'k2': 0.0, 'p1': 0, 'p2': 0, 'camera_model': 'OPENCV'},
    {'distortion_params': [0, 0, 0, 0, 0, 0]},
    {'distortion_params': [], 'dist_coeffs': None, 'distortion': [[0.0] * 5]},
    {'is_fisheye': False, 'rolling_shutter_time': 0, 'mask_path': None},
    {'camera_model': 'SIMPLE_RADIAL', 'k1': 0},
    {'applied_scale': 1.0, 'applied_transform': [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]},
  ],
)
def test_keys_without_effect_are_accepted(own, keys):
  own.add('images/1.png')
  poses = own.open().world_from_cam
  found = own.open(**keys)
  np.testing.assert_array_equal(found.world_from_cam, poses)
  assert not any('unknown keys' in note for note in found.notes)


def test_unknown_keys_are_listed_in_one_line(own):
  own.add('images/1.png', 'images/2.png', sharpness=3.0, colmap_im_id=4)
  notes = own.open(aabb_scale=16, frame=3).notes
  (note,) = [note for note in notes if 'unknown keys' in note]
  path = own.root / transforms.NAME
  assert note == f'{path}: ignoring the unknown keys aabb_scale, colmap_im_id, frame, sharpness'


def test_a_key_that_is_there_twice_is_refused(own):
  own.add('images/1.png').open()
  path = own.root / transforms.NAME
  path.write_text(path.read_text().replace('"fl_x": 10', '"fl_x": 10, "fl_x": 12'))
  with pytest.raises(
    InputError, match=r"transforms.json: not JSON \(twice in one object: 'fl_x'\)"
  ):
    open_dataset(own.config.data)


def test_focal_length_of_a_field_of_view(own):
  own.add('images/1.png')
  own.common = {'w': 16, 'h': 12, 'camera_angle_x': np.pi / 2}
  found = own.open()
  np.testing.assert_allclose(found.intrinsics, [[8, 8, 7.5, 5.5]])
  assert any('no fl_y, cx, cy: square pixels and a centred' in note for note in found.notes)
  found = own.open(camera_angle_y=2 * np.arctan(0.5), cx=7, cy=5)
  np.testing.assert_allclose(found.intrinsics, [[8, 12, 6.5, 4.5]])
  assert not any('square pixels' in note for note in found.notes)
  np.testing.assert_allclose(own.open(fl_x=8.1, fl_y=11).intrinsics[0, :2], [8.1, 11])
  message = own.error(fl_x=10, fl_y=11)
  assert 'fl_x is 10, but camera_angle_x 1.5708 means 8 pixels.' in message
  assert 'camera_angle_x is 4, not between 0 and pi' in own.error(camera_angle_x=4)
  del own.common['camera_angle_x']
  np.testing.assert_allclose(own.open(camera_angle_y=np.pi / 2).intrinsics, [[6, 6, 7.5, 5.5]])


@pytest.mark.parametrize(
  'keys',
  [
    {'fl_x': 0.78, 'fl_y': 0.78},  # divided by the width
    {'w': 1500, 'h': 1000, 'fl_x': 35.7, 'fl_y': 35.7},  # millimetres
    {'fl_x': 1e-9, 'fl_y': 1e-9},
    {'fl_x': 10, 'fl_y': 100},
    {'fl_x': 60_000, 'fl_y': 60_000},
    {'cx': 400},
    {'cy': -200},
  ],
)
def test_implausible_intrinsics_are_refused(own, keys):
  message = own.add('images/1.png').error(**keys)
  assert 'no pinhole camera has' in message and 'which are in pixels' in message


def test_backslashes_and_resized_images_name_the_remedy(own):
  own.add('images/1.png')
  own.open(w=32, h=24, cx=16, cy=12)
  message = 'images/1.png: size 16x12, expected 32x24. Resize it, or correct the size and intrins'
  with pytest.raises(InputError, match=message):
    window.load_window(own.config.data, own.config.scene)
  own.frames[0]['file_path'] = 'images\\1.png'
  assert 'file_path is images\\1.png, with backslashes. Write "/"' in own.error()


def test_a_partly_filled_derived_folder_hides_no_named_file(own):
  for frame in (1, 2, 3):
    own.add(f'images/{frame}.png', depth_file_path=f'depth/{frame}.png')
    write_depth(own.root / f'depth/{frame}.png', 5000 + frame)
  derived = own.root / 'data_2d_pseudo_depth/scene/images/0000000002.png'
  write_depth(derived, 256 * 9)
  own.open()
  found = window.load_window(own.config.data, own.config.scene)
  np.testing.assert_allclose(found.pseudo_depth[:, 0, 0], [5.001, 9, 5.003], rtol=1e-6)
  assert not any('missing' in note for note in found.notes)


def test_another_layout_names_its_config(own, tmp_path):
  own.add('images/1.png').open()
  own.config.data.source = 'folder'
  message = 'has transforms.json but no data_2d_raw.*Use --config=configs/transforms.py'
  with pytest.raises(InputError, match=message):
    open_dataset(own.config.data)
  (tmp_path / 'drive/data_2d_raw').mkdir(parents=True)
  own.config.data.source, own.config.data.root = 'transforms', str(tmp_path / 'drive')
  with pytest.raises(InputError, match='Use --config=configs/kitti360.py'):
    open_dataset(own.config.data)


def test_export_copies_only_images(own, tmp_path):
  own.add('images/1.png').open()
  secret = tmp_path / 'secret'
  secret.write_text('root:x:0:0')
  (own.root / 'images/1.png').unlink()
  (own.root / 'images/1.png').symlink_to(secret)
  with pytest.raises(InputError, match='images/1.png: cannot be read as a PNG or JPEG. Replace'):
    export_transforms.export_transforms(own.config.data, tmp_path / 'out')
  assert not list((tmp_path / 'out').rglob('*'))
