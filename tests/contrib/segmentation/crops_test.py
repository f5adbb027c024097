"""Labelled images and their random crops: alignment of image and label, and repeatability."""

import numpy as np
import pytest

from configs import pspnet as configs
from pnerf_jax.contrib.segmentation import crops
from pnerf_jax.contrib.segmentation.cityscapes import TRAIN_ID_FROM_ID
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

SEQUENCE = '2013_05_28_drive_0007_sync'
ROAD, SKY, PARKING = 7, 23, 9


@pytest.fixture
def root(tmp_path):
  """Write two images: red = road, blue = sky, green = parking, which has no training class."""
  rng = np.random.default_rng(0)
  for frame in (4, 9):
    label = rng.choice(np.array([ROAD, SKY, PARKING], np.uint8), (5, 9)).repeat(6, 0).repeat(6, 1)
    colors = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    rgb = colors[np.select([label == ROAD, label == PARKING], [0, 1], 2)]
    name = f'{frame:010d}.png'
    image_io.write_rgb(kitti360.rgb_folder(tmp_path, SEQUENCE, 'image_00') / name, rgb)
    image_io.write_label(
      kitti360.truth_folder(tmp_path, SEQUENCE, 'image_00', 'semantic') / name, label
    )
  extra = kitti360.rgb_folder(tmp_path, SEQUENCE, 'image_00') / '0000000011.png'
  image_io.write_rgb(extra, rgb)  # without a label
  return tmp_path


def data(root, **changes):
  config = configs.get_config('tiny').data
  config.update(roots=str(root), **changes)
  return config


def test_folders_with_brackets_are_folders_and_other_patterns_are_expanded(root, tmp_path):
  bracketed = root.rename(root.with_name(f'{root.name} [1]'))
  for pattern in (bracketed, f'{tmp_path.parent}/{root.name} [[]1]', f'{tmp_path.parent}/*[[]1]'):
    assert len(crops.find_labelled_images(data(pattern))) == 2


def test_find_labelled_images_skips_unlabelled_ones(root):
  images = crops.find_labelled_images(data(root))
  assert [image.rgb.name for image in images] == ['0000000004.png', '0000000009.png']
  assert all(image.label.is_file() and image.size == (54, 30) for image in images)
  assert len(crops.find_labelled_images(data(root, frames=(9,)))) == 1
  assert len(crops.find_labelled_images(data(f'{root},{root.parent}/{root.name[:-1]}?'))) == 4


@pytest.mark.parametrize(
  'changes, expected',
  [
    ({'frames': (9, 11)}, 'config.data.frames: no labelled image of frame 11'),
    ({'cameras': ('image_01',)}, 'holds no labelled image'),
    ({'sequence': 'other'}, 'holds no labelled image'),
    ({'roots': '/nowhere/*'}, "config.data.roots: '/nowhere/\\*' matches no folder"),
  ],
)
def test_find_labelled_images_reports_missing_data(root, changes, expected):
  config = data(root)
  config.update(changes)
  with pytest.raises(InputError, match=expected):
    crops.find_labelled_images(config)


def test_random_crops_keep_image_and_label_aligned(root):
  random_crops = crops.RandomCrops(
    crops.find_labelled_images(data(root)), (20, 40), (0.5, 2.0), seed=0
  )
  padded = 0
  for step in range(30):
    images, train_ids = random_crops.batch(step, 3)
    assert images.shape == (3, 20, 40, 3) and train_ids.shape == (3, 20, 40)
    red, green, blue = np.moveaxis(images.astype(int), -1, 0)
    for mask, expected in (
      (red > 190, TRAIN_ID_FROM_ID[ROAD]),
      (blue > 190, TRAIN_ID_FROM_ID[SKY]),
      (green > 190, 255),
      (images.max(-1) == 0, 255),
    ):
      # Resizing blends colours but not labels.
      assert (train_ids[mask] != expected).sum() <= 0.005 * mask.sum()
    padded += (images.max(-1) == 0).any()
  assert padded  # some image was smaller than a crop


def test_random_crops_depend_only_on_seed_and_step(root):
  images = crops.find_labelled_images(data(root))
  one, two = (crops.RandomCrops(images, (20, 40), (0.5, 2.0), seed=3) for _ in range(2))
  one.batch(0, 4)
  for a, b in zip(one.batch(7, 4), two.batch(7, 4)):
    np.testing.assert_array_equal(a, b)
  other = crops.RandomCrops(images, (20, 40), (0.5, 2.0), seed=4)
  assert any((a != b).any() for a, b in zip(one.batch(7, 4), other.batch(7, 4)))
  assert (one.batch(7, 4)[0] != one.batch(8, 4)[0]).any()


@pytest.mark.parametrize('have', [(10, 12), (3, 12), (10, 4), (3, 4)])
def test_random_crop_is_part_of_the_image_or_pads_it(have):
  rgb = np.random.default_rng(0).integers(1, 256, (*have, 3)).astype(np.uint8)
  train_id = np.arange(have[0] * have[1], dtype=np.uint8).reshape(have)
  positions = set()
  for seed in range(40):
    image, label = crops.random_crop(rgb, train_id, (5, 7), np.random.default_rng(seed))
    inside = np.argwhere(label != 255)
    (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
    assert (bottom - top, right - left) == (min(5, have[0]), min(7, have[1]))
    row, column = divmod(int(label[top, left]), have[1])
    piece = slice(row, row + bottom - top), slice(column, column + right - left)
    np.testing.assert_array_equal(label[top:bottom, left:right], train_id[piece])
    np.testing.assert_array_equal(image[top:bottom, left:right], rgb[piece])
    assert (image[label == 255] == 0).all()
    positions.add((top, left, row, column))
  assert len(positions) > 5
