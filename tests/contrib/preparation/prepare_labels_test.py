"""`prepare labels`: files, batches, resuming, and what stops it; by a network of one line."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from pnerf_jax.contrib.preparation import prepare_labels
from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.data import dataset as dataset_lib
from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def data(street, tmp_path):
  """config.data of the tiny street, what is derived from it elsewhere."""
  found = configs.get_config('tiny').data
  found.root, found.derived = str(street), str(tmp_path / 'derived')
  return found


@pytest.fixture
def batches(monkeypatch):
  """Sizes of the batches that the network got: road where a photo is dark, sky where bright."""
  sizes = []

  def predict(images):
    sizes.append(len(images))
    bright = images.mean(-1) > 120
    return np.where(bright, 23, 7).astype(np.uint8), (images[..., 0] / 255).astype(np.float32)

  monkeypatch.setattr(networks, 'load', lambda network: predict)
  return sizes


def outputs(data):
  return sorted(pathlib.Path(data.derived_root).rglob('*.png'))


def test_labels_and_confidence_of_both_cameras(data, batches):
  assert prepare_labels.prepare_labels(data, 'any', batch=3) == {'written': 4, 'kept': 0}
  assert batches == [3, 1]
  dataset = dataset_lib.open_dataset(data)
  folder = f'data_2d_pseudo_semantics/train/{dataset.sequence}'
  assert [p.relative_to(data.derived_root).as_posix() for p in outputs(data)] == sorted(
    f'{folder}/image_0{c}/{kind}/{frame:010d}.png'
    for c in (0, 1)
    for kind in ('semantic', 'confidence')
    for frame in dataset.frames
  )
  for frame in dataset.frames:
    for camera in ('image_00', 'image_01'):
      photo = np.asarray(Image.open(dataset.image_path(frame, camera)))
      base = pathlib.Path(data.derived_root) / folder / camera
      written = np.asarray(Image.open(base / 'semantic' / f'{frame:010d}.png'))
      np.testing.assert_array_equal(written, np.where(photo.mean(-1) > 120, 23, 7))
      sure = np.asarray(Image.open(base / 'confidence' / f'{frame:010d}.png'))
      np.testing.assert_allclose(sure / 65535, photo[..., 0] / 255, atol=1e-5)


def test_training_reads_what_was_written(data, batches):
  prepare_labels.prepare_labels(data, 'any')
  dataset = dataset_lib.open_dataset(data)
  frame = dataset.frames[0]
  path = dataset.path_of('pseudo_label', frame, 'image_00')
  assert str(path).startswith(data.derived_root)  # and not those of the street itself
  got = image_io.read_label(path, dataset.size(frame, 'image_00'), unknown_allowed=True)
  assert set(np.unique(got)) == {7, 23}


def test_whole_files_are_kept_and_damaged_ones_replaced(data, batches):
  prepare_labels.prepare_labels(data, 'any')
  paths = outputs(data)
  first = [path.read_bytes() for path in paths]
  paths[0].write_bytes(first[0][:60])  # the confidence of one image
  paths[-1].unlink()  # the label of another
  batches.clear()
  assert prepare_labels.prepare_labels(data, 'any') == {'written': 2, 'kept': 2}
  assert batches == [2] and [path.read_bytes() for path in outputs(data)] == first
  batches.clear()
  assert prepare_labels.prepare_labels(data, 'any') == {'written': 0, 'kept': 4}
  assert not batches  # nor is the network loaded
  assert prepare_labels.prepare_labels(data, 'any', overwrite=True) == {'written': 4, 'kept': 0}


def test_an_interrupted_call_keeps_what_is_whole(data, batches, monkeypatch):
  whole = networks.load('any')

  def stopping(images):
    if len(batches) == 2:
      raise KeyboardInterrupt
    return whole(images)

  monkeypatch.setattr(networks, 'load', lambda network: stopping)
  with pytest.raises(KeyboardInterrupt):
    prepare_labels.prepare_labels(data, 'any', batch=1)
  assert len(outputs(data)) == 4 and not list(pathlib.Path(data.derived_root).rglob('*.tmp'))
  monkeypatch.setattr(networks, 'load', lambda network: whole)
  assert prepare_labels.prepare_labels(data, 'any') == {'written': 2, 'kept': 2}


def test_an_answer_that_is_not_finite_is_refused(data, monkeypatch):
  monkeypatch.setattr(
    networks,
    'load',
    lambda network: (
      lambda images: (
        np.zeros(images.shape[:3], np.uint8),
        np.full(images.shape[:3], np.nan, np.float32),
      )
    ),
  )
  with pytest.raises(InputError, match='answer is not finite'):
    prepare_labels.prepare_labels(data, 'any')
  assert not outputs(data)


def test_read_only_root_is_left_alone(data, batches, tmp_path):
  derived = tmp_path / 'derived'
  derived.mkdir()
  os.chmod(derived, 0o555)
  try:
    with pytest.raises(InputError, match='cannot be written .*--config.data.derived_root'):
      prepare_labels.prepare_labels(data, 'any')
  finally:
    os.chmod(derived, 0o755)
  data.source, data.derived_root = 'tfds', ''
  with pytest.raises(InputError, match='can only be read.*labels with --config.data.derived_root'):
    prepare_labels.prepare_labels(data, 'any')


def command(data, *words):
  return subprocess.run(
    [
      sys.executable,
      '-m',
      'pnerf_jax.prepare',
      'labels',
      '--config=configs/kitti360.py',
      f'--config.data.root={data.root}',
      f'--config.data.derived_root={data.derived_root}',
      *words,
    ],
    cwd=ROOT,
    text=True,
    capture_output=True,
    timeout=300,
  )


def test_command_line(data):
  done = command(data)
  assert done.returncode == 1 and done.stderr.startswith('error: --network is missing')
  done = command(data, '--network=segformer')
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert '--network=segformer: no such network' in done.stderr


def test_command_with_a_network_of_transformers(data, tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  torch.manual_seed(0)
  config = transformers.SegformerConfig(
    depths=[1, 1, 1, 1],
    hidden_sizes=[8, 8, 16, 16],
    num_attention_heads=[1, 1, 2, 2],
    decoder_hidden_size=16,
    id2label={0: 'road', 1: 'sky', 2: 'aquarium'},
  )
  transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / 'net')
  transformers.SegformerImageProcessorPil(size={'height': 64, 'width': 128}).save_pretrained(
    tmp_path / 'net'
  )
  done = command(data, f'--network=transformers:{tmp_path / "net"}')
  assert done.returncode == 0, done.stderr
  assert '(written as 0): aquarium' in done.stderr and '4 images written, 0 kept' in done.stderr
  assert len(outputs(data)) == 8
  for path in outputs(data):
    if path.parent.name == 'semantic':
      assert set(np.unique(image_io.read_label(path))) <= {0, 7, 23}
    else:
      assert image_io.read_confidence(path).min() > 1 / 3 - 1e-4  # of three classes, the likeliest
