"""transforms.json: rays, cameras of several sizes, equality with a folder, refused values."""

import copy
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from configs import transforms as configs
from pnerf_jax.contrib.preparation import export_transforms, prepare_depth, stereo
from pnerf_jax.contrib.preparation.pack_window import pack_window
from pnerf_jax.data import image_io, transforms, window
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.errors import InputError
from pnerf_jax.geometry import cameras

SIZES = {'front': (64, 40), 'roof-left': (48, 56), 'b.2': (30, 22)}


def entry(camera, frame, size, rotation, position, **more):
  """Return an image entry with unique focal lengths and centre."""
  return {
    'file_path': f'pictures/{camera}/shot{frame}.png',
    'w': size[0],
    'h': size[1],
    'fl_x': 40.0 + size[0] / 8,
    'fl_y': 44.0 + frame,
    'cx': size[0] / 2 + 1.25,
    'cy': size[1] / 2 - 0.5,
    'transform_matrix': [*np.column_stack([rotation, position]).tolist(), [0, 0, 0, 1]],
    **more,
  }


@pytest.fixture
def own(tmp_path):
  """Write three cameras of three sizes at frames 3, 4 and 7, and a car 12 m ahead of them."""
  root = tmp_path / 'own'
  rng = np.random.default_rng(0)
  frames = []
  for frame in (3, 4, 7):
    for i, (camera, size) in enumerate(SIZES.items()):
      # OpenGL axes: looking along +x of the world with z up, then a little aside.
      rotation = (
        np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
        @ Rotation.from_euler('xyz', rng.uniform(-0.2, 0.2, 3)).as_matrix()
      )
      frames.append(entry(camera, frame, size, rotation, [500 + 0.5 * frame, -20 + i, 7.5]))
      path = root / frames[-1]['file_path']
      image_io.write_rgb(path, rng.integers(0, 256, (*size[::-1], 3)))
  content = {'camera_model': 'OPENCV', 'k1': 0.0, 'boxes_path': 'boxes.json', 'frames': frames}
  boxes = {
    'boxes': [
      {'class': 'car', 'instance': 1, 'center': [513.5, -19, 7], 'size': [4, 2, 2], 'yaw': 0.3}
    ]
  }
  (root / 'boxes.json').write_text(json.dumps(boxes))

  def save(changed=content):
    (root / transforms.NAME).write_text(json.dumps(changed))

  save()
  config = configs.get_config('tiny')
  config.data.root = str(root)
  return SimpleNamespace(
    root=root, content=content, save=save, config=config, data=config.data, scene=config.scene
  )


@pytest.mark.slow
def test_rays_follow_nerfstudio(own):
  found = window.load_window(own.data, own.scene)
  assert found.cameras == tuple(SIZES) and found.frames == (3, 4, 7)
  assert found.sizes.tolist() == [list(size) for size in SIZES.values()] * 3
  for view, record in enumerate(own.content['frames']):
    c2w = np.array(record['transform_matrix'])
    pixels = np.stack(np.meshgrid(np.arange(record['w']), np.arange(record['h'])), -1)
    # nerfstudio: pixel (i, j) is looked through at (i + 0.5, j + 0.5); x right, y up, -z forward.
    x = (pixels[..., 0] + 0.5 - record['cx']) / record['fl_x']
    y = -(pixels[..., 1] + 0.5 - record['cy']) / record['fl_y']
    expected = np.stack([x, y, -np.ones_like(x)], -1) @ c2w[:3, :3].T
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    rays = cameras.pixel_rays(
      found.intrinsics[view], found.world_from_cam[view], pixels.astype(np.float32), view
    )
    np.testing.assert_allclose(rays.directions, expected, atol=2e-6)
    np.testing.assert_allclose(rays.origins[0, 0] + found.center, c2w[:3, 3], atol=1e-5)


def test_views_of_different_sizes(own):
  found = window.load_window(own.data, own.scene)
  assert found.rgb.shape == (9, 56, 64, 3) and (found.width, found.height) == (64, 56)
  for view, record in enumerate(own.content['frames']):
    image = np.asarray(Image.open(own.root / record['file_path']))
    np.testing.assert_array_equal(found.crop_to_image(found.rgb, view), image)
    outside = ~found.valid_pixels()[view]
    assert (
      outside.sum() == 64 * 56 - record['w'] * record['h'] and not found.rgb[view][outside].any()
    )


def test_half_size_of_all(own):
  own.data.image_scale = 0.5
  found = window.load_window(own.data, own.scene)
  assert found.sizes[:3].tolist() == [[32, 20], [24, 28], [15, 11]]
  first = own.content['frames'][2]
  # Half as many pixels across the same angles: corners stay corners.
  for axis, size in (('x', 15), ('y', 11)):
    k = 'xy'.index(axis)
    corner = (size - 0.5 - found.intrinsics[2, 2 + k]) / found.intrinsics[2, k]
    full = (2 * size - first[f'c{axis}']) / first[f'fl_{axis}']
    assert corner == pytest.approx(full, abs=1e-6)


def test_explicit_paths(own):
  rng = np.random.default_rng(1)
  record = own.content['frames'][1]
  size = record['h'], record['w']
  label, depth = rng.integers(1, 45, size), np.full(size, 12.5)
  for key, write, values in (
    ('semantics_path', image_io.write_label, label),
    ('depth_file_path', image_io.write_depth, depth),
    ('confidence_path', image_io.write_confidence, np.full(size, 0.5)),
    ('gt_semantics_path', image_io.write_label, label),
  ):
    record[key] = f'more/{key}/1.png'
    write(own.root / record[key], values)
  record['depth_unit_scale_factor'] = 1 / 256
  own.save()
  found = window.load_window(own.data, own.scene)
  np.testing.assert_array_equal(found.crop_to_image(found.pseudo_label, 1), label)
  assert (found.crop_to_image(found.pseudo_depth, 1) == 12.5).all()
  np.testing.assert_allclose(found.crop_to_image(found.pseudo_confidence, 1), 0.5, atol=1e-5)
  for view in (0, 2, 4):  # of other cameras, or of the same camera at another frame
    assert not found.pseudo_label[view].any() and not found.pseudo_depth[view].any()
  (missing,) = [note for note in found.notes if 'no pseudo depth for roof-left' in note]
  assert missing.startswith('warning: no pseudo depth for roof-left in 2 of 3 frames, 4, 7 (')
  assert any('no pseudo-labels for front' in note for note in found.notes)
  dataset = open_dataset(own.data)
  assert dataset.path_of('true_semantic', 3, 'roof-left') == own.root / record['gt_semantics_path']
  assert dataset.path_of('true_semantic', 3, 'front') is None


def test_derived_files_have_precedence_over_explicit_paths(own, tmp_path):
  own.data.derived_root = str(tmp_path / 'derived')
  place = tmp_path / 'derived/data_2d_pseudo_semantics/train/scene/b.2/semantic'
  image_io.write_label(place / '0000000004.png', np.full((22, 30), 26))
  found = window.load_window(own.data, own.scene)
  assert (found.crop_to_image(found.pseudo_label, 5) == 26).all()


def test_frames_cameras_and_names(own):
  own.data.cameras, own.data.start, own.data.frames = ('b.2', 'front'), 4, 1
  found = window.load_window(own.data, own.scene)
  assert found.cameras == ('b.2', 'front') and found.frames == (4,)
  assert found.sizes.tolist() == [[30, 22], [64, 40]]
  own.content['frames'][4] |= {'camera': 'other', 'frame': 12}
  own.save()
  own.data.cameras, own.data.start, own.data.frames = (), -1, 64
  message = 'other lacks 3-4, 7. Give images of one instant the same number .the key "frame"'
  with pytest.raises(InputError, match=message):
    open_dataset(own.data)  # no frame has an image of all four
  own.data.cameras = ('other',)
  assert open_dataset(own.data).frames == (12,)


def test_stereo_depth_needs_a_rectified_pair(own):
  with pytest.raises(InputError, match='names no rectified stereo pair'):
    prepare_depth.prepare_depth(own.data)
  own.content['stereo'] = ['front', 'roof-left']
  own.save()
  with pytest.raises(InputError, match='frame 3: front and roof-left are not a rectified'):
    prepare_depth.prepare_depth(own.data)
  assert not list(own.root.rglob('*depth*'))


def test_depth_of_a_declared_pair(own, monkeypatch):
  """Pass the focal length and baseline of two declared cameras to the matching."""
  rotation = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
  frames = [
    entry(camera, 5, (64, 40), rotation, [0, y, 0])  # right of the left one is -y
    for camera, y in (('l', 1.0), ('r', 0.6))
  ]
  for record in frames:
    image_io.write_rgb(own.root / record['file_path'], np.zeros((40, 64, 3)))
  own.save({'stereo': ['l', 'r'], 'frames': [*own.content['frames'], *frames]})
  seen = []
  monkeypatch.setattr(
    stereo,
    'stereo_depth',
    lambda left, right, fx, baseline, nearest: (
      seen.append((fx, baseline)) or (np.full((40, 64), 9.0), np.full((40, 64), 8.0))
    ),
  )
  assert prepare_depth.prepare_depth(own.data) == {'written': 2, 'kept': 0}
  assert seen == [(48.0, pytest.approx(0.4))]
  own.data.cameras, own.data.primitives, own.scene.unannotated_space = ('r', 'l'), 'none', 'void'
  found = window.load_window(own.data, own.scene)
  assert (found.pseudo_depth[0] == 8).all() and (found.pseudo_depth[1] == 9).all()


def arrays(found):
  return {name: value for name, value in vars(found).items() if isinstance(value, np.ndarray)}


@pytest.mark.slow
def test_exported_street_equals_the_street(street, tmp_path):
  from configs import kitti360

  config = kitti360.get_config('tiny')
  config.data.root = str(street)
  folder = window.load_window(config.data, config.scene)
  export_transforms.export_transforms(config.data, tmp_path / 'own')
  own = configs.get_config('tiny')
  own.data.root = str(tmp_path / 'own')
  pack_window(own.data, str(tmp_path / 'packed'))
  packed = copy.deepcopy(own)
  packed.data.root, packed.data.source = str(tmp_path / 'packed'), 'tfds'
  for each in (own, packed):
    found = window.load_window(each.data, each.scene)
    assert (found.frames, found.cameras, found.far) == (folder.frames, folder.cameras, folder.far)
    assert arrays(found).keys() == arrays(folder).keys() and len(arrays(found)) >= 12
    for name, value in arrays(folder).items():
      np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    for ours, theirs in zip(found.primitives, folder.primitives, strict=True):
      np.testing.assert_array_equal(ours.vertices, theirs.vertices)
      assert (ours.semantic, ours.instance, ours.timestamp) == (
        theirs.semantic,
        theirs.instance,
        theirs.timestamp,
      )


def test_write_and_read_restore_all_values(own):
  found = transforms.read(own.root)
  other = own.root / 'other'
  transforms.write(other / transforms.NAME, found)
  again = transforms.read(other)
  assert again.records.keys() == found.records.keys()
  assert (again.sequence, again.cameras, again.primitives) == ('scene', tuple(SIZES), 'boxes.json')
  for key, record in found.records.items():
    np.testing.assert_allclose(again.records[key].intrinsics, record.intrinsics, rtol=1e-15)
    np.testing.assert_array_equal(again.records[key].world_from_cam, record.world_from_cam)
    assert again.records[key].files == record.files


def _at(key, value):
  return lambda content: content['frames'][4].update({key: value})


def _matrix(row, column, value):
  return lambda content: content['frames'][4]['transform_matrix'][row].__setitem__(column, value)


WRONG = [
  (lambda content: content.pop('frames'), 'no list "frames"'),
  (lambda content: content['frames'].append(3), 'frames[9]: 3 is not an object'),
  (lambda content: content['frames'][4].pop('file_path'), 'frames[4]: no file_path'),
  (lambda content: content['frames'][4].pop('fl_y'), 'fl_y: absent, expected a number'),
  (lambda content: content['frames'][4].pop('transform_matrix'), '4 x 4 numbers'),
  (_at('fl_x', float('nan')), 'fl_x: nan, expected a number'),
  (_at('fl_x', '40'), "fl_x: '40', expected a number"),
  (_at('fl_x', 10**400), 'expected a number'),
  (_at('fl_x', -40), 'focal lengths -40'),
  (_at('fl_x', True), 'fl_x: True'),
  (_at('w', 0), '0 x 56'),
  (_at('w', 3.5), '3.5 x 56'),
  (_at('cx', 1e7), 'centre (1e+07'),
  (_matrix(0, 3, float('inf')), 'transform_matrix: inf'),
  (_matrix(0, 3, 1e30), 'transform_matrix: 1e+30'),
  (_matrix(0, 0, 1.5), 'no rotation'),
  (_matrix(0, 0, 1e7), 'no rotation'),
  (_matrix(3, 3, 2), 'the last row'),
  (_at('transform_matrix', np.diag([1, 1, -1, 1]).tolist()), 'no rotation'),  # mirrored
  (_at('transform_matrix', [[1, 0, 0, 0]] * 3), '4 x 4 numbers'),
  (_at('k1', 0.1), 'k1 is 0.1: the image is distorted'),
  (_at('distortion_params', [0.1]), 'distorted'),
  (_at('camera_model', 'OPENCV_FISHEYE'), "'OPENCV_FISHEYE'"),
  (_at('file_path', '../b.png'), 'does not lie below'),
  (_at('file_path', '/etc/b.png'), 'does not lie below'),
  (_at('file_path', 'a//b.png'), 'does not lie below'),
  (_at('file_path', 7), 'not a path'),
  (_at('file_path', 'a\0.png'), 'not a path'),
  (_at('depth_file_path', 'x/../../y.png'), 'depth_file_path is x/../../y.png'),
  (_at('depth_file_path', 'pictures/front/shot3.png'), 'belongs to frames[0] too'),
  (_at('file_path', 'pictures/front/shot3.png'), 'another image of frame 3 and camera front'),
  (_at('file_path', 'gone/roof-left/shot4.png'), 'gone/roof-left/shot4.png: no such file'),
  (_at('gt_semantics_path', 'gone.png'), 'gone.png: no such file'),
  (_at('file_path', 'pictures/two words/1.png'), "camera is 'two words'"),
  (_at('camera', '..'), "camera is '..'"),
  (_at('camera', 'a/b'), "camera is 'a/b'"),
  (_at('file_path', 'pictures/b/x.png'), 'name \'x\' holds 0 numbers. Give every entry a "frame"'),
  (_at('frame', -1), 'frame is -1'),
  (_at('frame', 2.0), 'frame is 2.0'),
  (_at('frame', 2**40), 'frame is 1099511627776'),
  (lambda content: content.update(stereo=['front']), '"stereo"'),
  (lambda content: content.update(stereo=['front', 'front']), '"stereo"'),
  (lambda content: content.update(stereo=['front', 'rear']), '"stereo"'),
  (lambda content: content.update(sequence='../x'), "sequence is '../x'"),
  (lambda content: content.update(boxes_path='/boxes.json'), 'does not lie below'),
  (lambda content: content.update(boxes_path='boxes.ply'), 'neither .xml nor .json'),
  (lambda content: content.update(boxes_path='gone.json'), 'gone.json: no such file'),
  (lambda content: content.pop('boxes_path'), 'boxes_path of '),
]


@pytest.mark.parametrize('damage, message', WRONG)
def test_wrong_files_are_refused(own, damage, message):
  content = copy.deepcopy(own.content)
  damage(content)
  own.save(content)
  with pytest.raises(InputError) as error:
    window.load_window(own.data, own.scene)
  assert message in str(error.value) and str(own.root) in str(error.value)
  assert str(error.value)[-1] in '.?' and len(str(error.value)) < 600


@pytest.mark.parametrize(
  'group, field, value, message',
  [
    ('data', 'cameras', ('rear',), "config.data.cameras is ('rear',)"),
    ('data', 'cameras', ('front', 'front'), 'each once'),
    ('data', 'sequence', 'other', "config.data.sequence is 'other'"),
    ('data', 'primitives', 'train_full', "config.data.primitives is 'train_full'"),
    ('data', 'start', 90, 'no frame from 90 on'),
  ],
)
def test_wrong_settings(own, group, field, value, message):
  own.config[group][field] = value
  with pytest.raises(InputError) as error:
    window.load_window(own.data, own.scene)
  assert message in str(error.value)


def test_image_of_another_size_is_refused(own):
  path = own.root / own.content['frames'][5]['file_path']
  image_io.write_rgb(path, np.zeros((22, 31, 3)))
  with pytest.raises(InputError, match='shot4.png: size 31x22, expected 30x22'):
    window.load_window(own.data, own.scene)


def test_jpeg_images(own):
  record = own.content['frames'][0]
  image = Image.open(own.root / record['file_path'])
  record['file_path'] = 'pictures/front/shot3.jpg'
  image.save(own.root / record['file_path'], quality=95)
  own.save()
  found = window.load_window(own.data, own.scene)
  np.testing.assert_array_equal(
    found.crop_to_image(found.rgb, 0), np.asarray(Image.open(own.root / record['file_path']))
  )
  cut = (own.root / record['file_path']).read_bytes()
  (own.root / record['file_path']).write_bytes(cut[: len(cut) // 2])
  with pytest.raises(InputError, match='shot3.jpg: damaged JPEG'):
    window.load_window(own.data, own.scene)


def test_far_bound_does_not_depend_on_the_canvas(own):
  """Use the size of each view, not of the largest one, to decide what it sees."""
  yaw = math.radians(8)
  content = copy.deepcopy(own.content)
  rotation = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
  small = entry('b.2', 3, SIZES['b.2'], rotation, [0, 0, 0])
  content['frames'] = [small]
  own.save(content)
  half_width = (small['w'] - small['cx']) / small['fl_x']
  for side, seen in ((0.9, True), (1.1, False)):
    y = -20 * half_width * side  # right is -y
    (own.root / 'boxes.json').write_text(
      json.dumps(
        {'boxes': [{'class': 'pole', 'center': [20, y, 0], 'size': [0.1, 0.1, 0.1], 'yaw': yaw}]}
      )
    )
    if seen:
      assert len(window.load_window(own.data, own.scene).primitives) == 1
    else:
      with pytest.raises(InputError, match='no primitive is in view'):
        window.load_window(own.data, own.scene)
