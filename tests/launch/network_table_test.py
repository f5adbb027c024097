"""Table and picture of launch/network_table.py, from files of known content."""

import numpy as np
import pytest
from PIL import Image

from launch import network_table
from pnerf_jax.contrib.street import scenery
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation import evaluator


def test_write_separates_pseudo_labels_from_transferred_labels(tmp_path):
  street = scenery.Parameters('boulevard', 3)
  truth = np.array([[7, 7, 26, 26]], np.uint8).repeat(8, 0)
  images, truths = (
    folder(tmp_path / 'street', street.sequence, 'image_00', *kind)
    for folder, kind in ((kitti360.rgb_folder, ()), (kitti360.truth_folder, ('semantic',)))
  )
  image_io.write_rgb(images / '0000001312.png', np.full((8, 4, 3), 99, np.uint8))
  image_io.write_label(truths / '0000001312.png', truth)
  for i, name in enumerate(network_table.NAMES):
    for method, labels, path in (
      ('pseudo_labels', np.full_like(truth, 7), 'methods/pseudo_labels'),
      ('ours', truth, 'run/eval'),
    ):
      image_io.write_label(tmp_path / name / 'methods' / method / 'semantic/0000001312.png', labels)
      evaluator.write_metrics(
        tmp_path / name / path / 'metrics.json',
        {'semantic.miou': 0.5 + 0.1 * i if method == 'ours' else 0.25},
      )
    if i == 0:
      with pytest.raises(InputError, match='tuned.*network_demo.sh'):
        network_table.write(tmp_path / 'street', tmp_path)
  lines = network_table.write(tmp_path / 'street', tmp_path).splitlines()
  assert [[cell.strip() for cell in line.split('|')[1:3]] for line in lines[2:]] == [
    ['network of other presets, alone', '0.250'],
    ['transfer from network of other presets', '0.500'],
    ['network fine-tuned on 4 frames, alone', '0.250'],
    ['transfer from network fine-tuned on 4 frames', '0.600'],
    ['synthetic noise, alone', '0.250'],
    ['transfer from synthetic noise', '**0.700**'],
  ]
  assert Image.open(tmp_path / 'labels.png').width > 1000
