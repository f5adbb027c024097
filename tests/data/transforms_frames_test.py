"""Frames, cameras and poses of transforms.json: how they are counted, named and checked."""

import json

import numpy as np
import pytest

from pnerf_jax.data import window
from pnerf_jax.errors import InputError


def numbered(numbers, folder='images'):
  return [f'{folder}/frame_{number:05d}.png' for number in numbers]


@pytest.mark.parametrize(
  'numbers', [range(2300, 2900, 30), range(0, 200, 10), (7, 8, 1000, 90000), range(20)]
)
def test_frames_are_counted_where_they_exist(own, numbers):
  found = own.add(*numbered(numbers)).open()
  assert found.frames == tuple(numbers)
  assert not any('images used' in note for note in found.notes)


def test_unused_images_are_counted_by_reason(own):
  own.config.data.start, own.config.data.frames = 3, 4
  own.add(*numbered(range(10), 'left'), *numbered((0, 3, 4, 6, 7, 9), 'right'))
  own.add(*numbered(range(2), 'rear'))
  own.config.data.cameras = ('left', 'right')
  found = own.open()
  assert found.frames == (3, 4, 6, 7)
  assert found.notes[0] == (
    '8 of 18 images used, because 4 precede config.data.start=3 (frames 0-2);'
    ' 3 follow the 4 frames of config.data.frames (frames 8-9);'
    ' 1 lack an image of right (frames 5); 2 are of rear, which is not selected'
  )


def test_cameras_that_alternate_are_named_with_what_they_lack(own):
  own.add(*numbered(range(0, 12, 2), 'left'), *numbered(range(1, 12, 2), 'right'))
  message = own.error()
  assert 'left lacks 1, 3, 5, 7, ...; right lacks 0, 2, 4, 6, ...' in message
  assert 'the same number (the key "frame" of transforms.json)' in message
  assert '--config.data.cameras' in message and '--config.data.start' not in message
  for i, entry in enumerate(own.frames):
    entry['frame'] = i % 6
  assert own.open().frames == tuple(range(6))


@pytest.mark.parametrize(
  'name, count',
  [
    ('1305031102.175304.png', 2),
    ('0.100.png', 2),
    ('0.100', 2),
    ('IMG_20230101_120000.JPG', 2),
    ('cam1_0005.jpeg', 2),
    ('left.png', 0),
  ],
)
def test_names_without_one_number_need_the_key_frame(own, name, count):
  own.add(f'images/{name}.png')
  own.frames[0]['file_path'] = f'images/{name}'
  message = own.error()
  assert f'holds {count} numbers. Give every entry a "frame"' in message and name[:4] in message
  (own.root / 'images' / f'{name}.png').rename(own.root / 'images' / name)
  own.frames[0]['frame'] = 5
  assert own.open().frames == (5,)


@pytest.mark.parametrize('name', ['12.png', 'frame_00012.PNG', 'photo (12).png', '0000000012.png'])
def test_the_only_number_of_a_name_is_the_frame(own, name):
  found = own.add(f'images/{name}').open()
  assert found.frames == (12,)
  assert any('frame numbers are those of the file names' in note for note in found.notes)


@pytest.mark.parametrize(
  'folder, camera',
  [
    ('image_02/data', 'image_02'),
    ('drive/image_00/data_rect', 'image_00'),
    ('left/images', 'left'),
    ('images/left', 'left'),
    ('images', 'images'),
    ('data', 'data'),
  ],
)
def test_camera_is_named_by_its_folder(own, folder, camera):
  assert own.add(f'{folder}/0000000001.png').open().cameras == (camera,)


FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.mark.parametrize('motion, degrees', [(FLIP, 180), (np.diag([-1.0, 1, -1, 1]), 180)])
def test_a_camera_that_turns_between_frames_is_a_warning(own, motion, degrees):
  own.add(*numbered(range(4)))
  turned = own.frames[2]
  turned['transform_matrix'] = (np.array(turned['transform_matrix']) @ motion).tolist()
  own.open()
  notes = window.load_window(own.config.data, own.config.scene, supervision=False).notes
  assert [note for note in notes if note.startswith('warning: ')] == [
    f'warning: images turns by {degrees} degrees from frame 1 to 2; check their poses'
  ]


def test_primitives_of_other_frames_are_counted(own):
  own.add(*numbered(range(3)))
  box = {'class': 'car', 'instance': 1, 'center': [9, 0, 1], 'size': [4, 2, 2], 'yaw': 0}
  own.config.data.primitives, own.config.scene.unannotated_space = 'auto', 'empty'
  (own.root / 'boxes.json').write_text(json.dumps({'boxes': [{**box, 'frames': [900, 901]}]}))
  own.open(boxes_path='boxes.json')
  with pytest.raises(InputError) as error:
    window.load_window(own.config.data, own.config.scene, supervision=False)
  text = 'no primitive is in view of frames 0-2. 1 are of other frames, 0 out of view. Choose other'
  assert text in str(error.value)


def test_camera_axes_of_opencv(own):
  own.add('a/1.png', 'b/1.png', 'c/1.png')
  own.frames[1]['transform_matrix'] = (np.array(own.frames[1]['transform_matrix']) @ FLIP).tolist()
  own.frames[1]['camera_axes'] = 'OPENCV'
  poses = own.open().world_from_cam
  np.testing.assert_allclose(poses[:, :3, :3], [[[0, 0, 1], [-1, 0, 0], [0, -1, 0]]] * 3)
  np.testing.assert_allclose(poses[:, 0, 3], [0, 1, 2])
  assert "camera_axes is 'COLMAP', not one of OPENGL, OPENCV" in own.error(camera_axes='COLMAP')


POSES = {
  'right': lambda pose: pose,
  'upside down': lambda pose: pose @ FLIP,
  'world to camera': lambda pose: np.linalg.inv(pose @ FLIP),
}


@pytest.mark.parametrize('case', POSES)
def test_poses_that_look_the_wrong_way_are_explained(own, case):
  own.add(*numbered(range(4)))
  for entry in own.frames:
    pose = np.array(entry['transform_matrix'])
    pose[:3, 3] += [60, 300, 0]
    entry['transform_matrix'] = POSES[case](pose).tolist()
  boxes = [
    {'class': 'car', 'instance': i, 'center': [70 + 3 * i, 300, 1], 'size': [4, 2, 2], 'yaw': 0}
    for i in range(5)
  ]
  own.config.data.primitives = 'auto'
  (own.root / 'boxes.json').write_text(json.dumps({'boxes': boxes}))
  own.open(boxes_path='boxes.json')
  load = lambda: window.load_window(own.config.data, own.config.scene, supervision=False)
  warnings = [note for note in load().notes if note.startswith('warning: ')]
  expected = {
    'upside down': '4 of 4 images are upside down: set the key "camera_axes" (OPENGL or OPENCV).',
    'world to camera': 'transform_matrix may be world to camera: write the inverse.',
  }.get(case)
  text = f'warning: 0% of the primitives within 100 m are in view. {expected}'
  assert warnings == ([text] if expected else [])
  own.config.scene.unannotated_space = 'empty'
  if expected:
    with pytest.raises(InputError) as error:
      load()
    assert 'boxes.json: no primitive is in view of frames 0-3.' in str(error.value)
    assert expected in str(error.value)
  else:
    assert len(load().primitives) == 5


def test_scaled_poses_are_refused(own):
  message = own.add('images/1.png').error(applied_scale=0.1)
  assert 'applied_scale is 0.1, so the poses are not in metres. Divide the positions' in message


def test_cameras_far_apart_or_far_from_the_centre_are_refused(own):
  own.add(*numbered(range(3)))
  own.frames[2]['transform_matrix'][1][3] = 9e7
  own.open()
  load = lambda: window.load_window(own.config.data, own.config.scene, supervision=False)
  with pytest.raises(InputError, match='images of frame 2 is 6e.07 m from the centre'):
    load()
  own.frames[2]['transform_matrix'][1][3] = 80
  own.open()
  warning = 'warning: frames 1 and 2 are 80 m apart; --config.data.frames=2 ends the window before'
  assert warning in load().notes
  own.config.scene.center = (3e7, 0.0, 0.0)
  with pytest.raises(InputError, match=r'Correct config.scene.center, which is \(30000000.0, 0'):
    load()
