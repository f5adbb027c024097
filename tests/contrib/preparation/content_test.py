"""A sample of files of each kind: what is read, how it is described, what is odd."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pnerf_jax.contrib.preparation import content
from pnerf_jax.data import kitti360
from pnerf_jax.data.dataset_index import DatasetIndex
from pnerf_jax.evaluation.ground_truth import READERS

SEQUENCE, CAMERA = 'drive', 'image_00'


@pytest.fixture
def dataset(tmp_path):
  """Ten frames of 10 x 4 pixels without files."""
  count = 10
  return DatasetIndex(
    root=tmp_path,
    derived_root=tmp_path,
    sequence=SEQUENCE,
    frames=tuple(range(count)),
    cameras=(CAMERA,),
    sizes=np.tile([10, 4], (count, 1)),
    intrinsics=np.tile([10.0, 10, 5, 2], (count, 1)),
    world_from_cam=np.tile(np.eye(4), (count, 1, 1)),
    world_from_pose=np.tile(np.eye(4), (count, 1, 1)),
    pose_from_velo=None,
    stereo=(),
    notes=[],
  )


def write(dataset, kind, pixels, frames=(0,)):
  """Write [10] values as all rows of the files of some frames."""
  folder = kitti360.camera_folder(dataset.root, SEQUENCE, CAMERA, kind)
  folder.mkdir(parents=True, exist_ok=True)
  for frame in frames:
    image = np.tile(np.asarray(pixels)[None], (4, 1) + (1,) * (np.ndim(pixels) - 1))
    Image.fromarray(image).save(folder / f'{kitti360.frame_name(frame)}.png')


def test_draw_reads_some_files_over_the_window(dataset):
  write(dataset, 'pseudo_label', np.full(10, 7, np.uint8), frames=(1, 2, 4, 6, 8))
  write(dataset, 'pseudo_label', np.full(10, 255, np.uint8), frames=(4,))
  sample = content.draw(dataset, 'pseudo_label', CAMERA)
  assert sample.frames == [1, 2, 4, 6, 8] and sample.read == [1, 4, 8]
  assert len(sample.values) == 120 and sample.known.sum() == 80
  assert sample.description() == '1 classes (road 100%); 67% known'
  absent = content.draw(dataset, 'true_instance', CAMERA)
  assert (absent.frames, absent.read, absent.description(), absent.faults()) == ([], [], '', [])


def u8(*values):
  return np.array(values, np.uint8)


def u16(*values):
  return np.array(values, np.uint16)


TRAIN_IDS = 'only 0 to 18 occur, i.e. train ids. Write ids: 7 = road, not 0; 26 = car, not 13'
VOID = (
  'of the pixels have ids 1 to 6 (ego vehicle, rectification border, out of roi, static, dynamic,'
  ' ground), which networks do not predict'
)
UNIT = 'Check the unit: metres * 256, or depth_unit_scale_factor of transforms.json'


@pytest.mark.parametrize(
  'kind, pixels, faults',
  [
    ('pseudo_label', u8(7, 7, 7, 8, 11, 11, 17, 21, 23, 26), []),
    ('pseudo_label', u8(0, 0, 0, 1, 2, 2, 5, 8, 10, 13), [TRAIN_IDS]),
    ('pseudo_label', u8(0, 0, 0, 0, 8, 8, 10, 13, 13, 255), [TRAIN_IDS]),  # none of 1 to 6
    ('pseudo_label', u8(0, 0, 7, 7, 11, 11, 13, 13, 17, 8), []),  # no sky, no cars: ids
    ('pseudo_label', u8(7, 7, 7, 4, 11, 11, 1, 21, 23, 26), [f'20% {VOID}']),
    ('pseudo_label', u8(*[255] * 10), ['every pixel is 255, i.e. unknown']),
    ('pseudo_label', u8(*[0] * 5, *[255] * 5), ['every pixel is 0 or 255, i.e. unknown']),
    ('pseudo_label', u8(*[21] * 10), ['every pixel has the value 21']),
    ('true_semantic', u8(7, 7, 7, 4, 11, 11, 1, 21, 23, 26), []),  # annotated, not predicted
    ('true_semantic', u8(0, 0, 0, 1, 2, 2, 5, 8, 10, 13), [TRAIN_IDS]),
    ('pseudo_confidence', u16(*[65535] * 10), []),
    ('pseudo_confidence', u16(*range(10000, 20000, 1000)), []),
    (
      'pseudo_confidence',
      u16(0, 1, 2, 3, 4, 5, 6, 7, 254, 255),
      [
        'the largest confidence is 0.0039 (value 255), so the label losses are weak. Write'
        ' confidence * 65535'
      ],
    ),
    ('true_instance', u16(7000, 7000, 26001, 26002, 0, 0, 0, 0, 23000, 24003), []),
    (
      'true_instance',
      u16(7, 7, 26001, 26002, 0, 0, 0, 0, 23000, 24003),
      [
        '33% of the pixels are below 1000, e.g. 7, and count as void. Write id * 1000 + instanceId'
        ' (26003 = car 3)'
      ],
    ),
    ('pseudo_depth', u16(*np.arange(1, 11) * 1280), []),
    ('pseudo_depth', u16(*np.arange(1, 11) * 5), [f'the median depth is 0.107 m. {UNIT}']),
    ('lidar_depth', u16(*np.arange(1, 11) * 6000), [f'the median depth is 129 m. {UNIT}']),
    (
      'pseudo_depth',
      u16(*np.arange(1, 7) * 2560, *[65535] * 4),
      ['40% of the depths are 256 m, the largest. Write 0 for unknown depth'],
    ),
    ('pseudo_depth', u16(*[0] * 10), ['every pixel is 0, i.e. unknown']),
    ('pseudo_depth', u16(*[2560] * 10), ['every pixel has the value 10']),
    ('rgb', np.zeros((10, 3), np.uint8), ['every pixel has the value 0']),
    ('rgb', np.arange(30, dtype=np.uint8).reshape(10, 3), []),
  ],
)
def test_faults_of_the_content(dataset, kind, pixels, faults):
  write(dataset, kind, pixels, frames=(0, 5))
  assert content.draw(dataset, kind, CAMERA).faults() == faults


@pytest.mark.parametrize(
  'kind, pixels, description',
  [
    ('pseudo_label', u8(7, 7, 7, 7, 11, 11, 11, 21, 21, 255),
     '3 classes (road 44%, building 33%, vegetation 22%); 90% known'),
    ('true_instance', u16(7000, 26001, 26001, 26002, 24001, 26000, 0, 0, 0, 0),
     '3 objects; 60% known'),
    ('pseudo_depth', u16(0, 0, *[2560] * 8), 'median 10 m (10 to 10); 80% known'),
    ('pseudo_confidence', u16(*[65535] * 10), 'median 1 (1 to 1); 100% known'),
    ('rgb', np.zeros((10, 3), np.uint8), ''),
  ],
)  # fmt: skip
def test_description_of_the_content(dataset, kind, pixels, description):
  write(dataset, kind, pixels)
  assert content.draw(dataset, kind, CAMERA).description() == description


def window_of(primitives=(), black=()):
  """Return a window of three frames of two cameras, of which some views are black."""
  rgb = np.random.default_rng(0).integers(0, 256, (6, 4, 10, 3)).astype(np.uint8)
  rgb[list(black)] = 0
  window = SimpleNamespace(
    rgb=rgb,
    pseudo_label=None,
    pseudo_depth=None,
    cameras=('left', 'right'),
    view_camera=np.tile([0, 1], 3),
    view_frame=np.repeat([5, 6, 9], 2),
    crop_to_image=lambda layer, view: layer[view],
    primitives=[
      SimpleNamespace(semantic=s, instance=i, timestamp=t, vertices=np.full((8, 3), float(x)))
      for s, i, t, x in primitives
    ],
  )
  return content.window_faults(window)


def test_window_faults_name_single_constant_images():
  assert window_of() == []
  assert window_of(black=(1, 5)) == ['images, right, frames 5, 9: every pixel has the same value']
  assert window_of(black=range(6)) == []  # all of a camera: a fault of the sample


CAR, BUILDING = 26, 11


def test_window_faults_name_objects_that_are_none_or_several():
  parked = [(CAR, 1, -1, 0), (CAR, 2, -1, 100), (CAR, 1, -1, 2), (CAR, 3, 5, 0), (CAR, 3, 6, 90)]
  assert window_of([*parked, (BUILDING, 0, -1, 0), (BUILDING, 0, -1, 9)]) == []
  assert window_of([(CAR, 0, -1, 0), (CAR, 0, -1, 9), (CAR, 1, -1, 0), (CAR, 1, -1, 90)]) == [
    '2 primitives of car have instance 0 and are no objects',
    '2 primitives of car share instance 1 and are one object, of more than 30 m',
  ]


def test_every_kind_of_file_has_a_reader():
  assert content.KINDS.keys() == READERS.keys() == {*kitti360.DERIVED, *kitti360.RECORDED}
