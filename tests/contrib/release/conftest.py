"""A tiny street in the layout of the archive released with Panoptic NeRF."""

import pathlib
import re
import shutil

import numpy as np
import pytest

from pnerf_jax.data import image_io


def make_archive(street: pathlib.Path, root: pathlib.Path) -> str:
  """Write the folder of the archive; return the name of the sequence."""
  sequence = next((street / 'data_2d_raw').iterdir()).name
  drive = re.search(r'drive_(\d{4})', sequence).group(1)
  frames = [path.stem for path in sorted((street / 'data_2d_raw').rglob('image_00/*/*.png'))]
  shutil.copytree(street / 'data_2d_raw' / sequence, root / sequence)
  shutil.copytree(street / 'calibration', root / 'calibration')
  shutil.copytree(street / 'data_poses', root / 'data_poses')
  (root / 'data_3d_bboxes/train').mkdir(parents=True)
  shutil.copy(street / f'data_3d_bboxes/train_full/{sequence}.xml', root / 'data_3d_bboxes/train')
  truth = street / 'data_2d_semantics/train' / sequence / 'image_00'
  labels = street / 'data_2d_pseudo_semantics/train' / sequence / 'image_00/semantic'
  stereo = street / 'data_2d_pseudo_depth' / sequence / 'image_00'
  span = f'{int(frames[0])}-{int(frames[-1])}'
  folders = {
    'labels': root / f'pspnet/{sequence}/seq0_{span}',
    'stereo': root / f'sgm/{sequence}',
    'lidar': root / f'lidar_depth/{sequence}_{int(frames[0])}_{int(frames[-1])}',
    'semantic': root / f'gt_2d_semantics/seq_{drive}/semantic',
    'instance': root / f'gt_2d_panoptics/seq_{drive}/instance',
    'unused': root / f'visible_id/{sequence}',
  }
  for folder in folders.values():
    folder.mkdir(parents=True)
  (folders['unused'] / f'{frames[0]}.txt').write_text('1 2 3')
  for frame in frames:
    label = image_io.read_label(labels / f'{frame}.png', unknown_allowed=True)
    image_io.write_label(
      folders['labels'] / f'{drive}_{frame}.png', np.where(label == 13, 35, label)
    )
    depth = image_io.read_depth(stereo / f'{frame}.png')
    np.savetxt(folders['stereo'] / f'depth_{frame}_0.txt', np.where(depth > 0, depth, -1.0))
    np.save(folders['lidar'] / f'{frame}_0.npy', depth[::-1].astype(np.float64))
    for kind in ('semantic', 'instance'):
      shutil.copy(truth / kind / f'{frame}.png', folders[kind])
  return sequence


@pytest.fixture(scope='session')
def archive(street, tmp_path_factory) -> pathlib.Path:
  """A folder with the archive. Tests that change it use a copy."""
  root = tmp_path_factory.mktemp('archive')
  make_archive(street, root / 'datasets' / 'KITTI-360')
  return root
