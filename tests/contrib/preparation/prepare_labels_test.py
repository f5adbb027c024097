"""Tests of the pseudo-labels of a window: files, batches, resuming, errors."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from configs import kitti360 as configs
from pnerf_jax.contrib.preparation import prepare_labels
from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.data import dataset as dataset_lib
from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError


@pytest.fixture
def data(street, tmp_path):
  """config.data of the tiny street with another folder for derived data."""
  found = configs.get_config('tiny').data
  found.root, found.derived_root = str(street), str(tmp_path / 'derived')
  return found


@pytest.fixture
def batches(monkeypatch):
  """Batch sizes of a network that predicts road for dark and sky for bright pixels."""
  sizes = []

  def predict(images):
    sizes.append(len(images))
    bright = images.mean(-1) > 120
    return np.where(bright, 23, 7).astype(np.uint8), (images[..., 0] / 255).astype(np.float32)

  monkeypatch.setattr(networks, 'load', lambda network: predict)
  return sizes


def written(data):
  return sorted(pathlib.Path(data.derived_root).rglob('*.png'))


def test_prepare_labels_writes_labels_and_confidence_of_both_cameras(data, batches):
  assert prepare_labels.prepare_labels(data, 'any', batch_size=3) == {'written': 4, 'kept': 0}
  assert batches == [3, 1]
  dataset = dataset_lib.open_dataset(data)
  folder = f'data_2d_pseudo_semantics/train/{dataset.sequence}'
  assert [p.relative_to(data.derived_root).as_posix() for p in written(data)] == sorted(
    f'{folder}/image_0{c}/{kind}/{frame:010d}.png'
    for c in (0, 1)
    for kind in ('semantic', 'confidence')
    for frame in dataset.frames
  )
  for frame in dataset.frames:
    for camera in ('image_00', 'image_01'):
      image = np.asarray(Image.open(dataset.image_path(frame, camera)))
      base = pathlib.Path(data.derived_root) / folder / camera
      label = np.asarray(Image.open(base / 'semantic' / f'{frame:010d}.png'))
      np.testing.assert_array_equal(label, np.where(image.mean(-1) > 120, 23, 7))
      confidence = np.asarray(Image.open(base / 'confidence' / f'{frame:010d}.png'))
      np.testing.assert_allclose(confidence / 65535, image[..., 0] / 255, atol=1e-5)


def test_training_reads_the_written_labels(data, batches):
  prepare_labels.prepare_labels(data, 'any')
  dataset = dataset_lib.open_dataset(data)
  frame = dataset.frames[0]
  path = dataset.path_of('pseudo_label', frame, 'image_00')
  assert str(path).startswith(data.derived_root)  # not those of the street
  label = image_io.read_label(path, dataset.size(frame, 'image_00'), unknown_allowed=True)
  assert set(np.unique(label)) == {7, 23}


def test_complete_files_are_kept_and_damaged_ones_rewritten(data, batches):
  prepare_labels.prepare_labels(data, 'any')
  paths = written(data)
  first = [path.read_bytes() for path in paths]
  paths[0].write_bytes(first[0][:60])  # the confidence of one image
  paths[-1].unlink()  # the label of another
  batches.clear()
  assert prepare_labels.prepare_labels(data, 'any') == {'written': 2, 'kept': 2}
  assert batches == [2] and [path.read_bytes() for path in written(data)] == first
  batches.clear()
  assert prepare_labels.prepare_labels(data, 'any') == {'written': 0, 'kept': 4}
  assert not batches  # the network is not loaded
  assert prepare_labels.prepare_labels(data, 'any', overwrite=True) == {'written': 4, 'kept': 0}


def test_an_interrupted_call_keeps_complete_files(data, batches, monkeypatch):
  predict = networks.load('any')

  def stopping(images):
    if len(batches) == 2:
      raise KeyboardInterrupt
    return predict(images)

  monkeypatch.setattr(networks, 'load', lambda network: stopping)
  with pytest.raises(KeyboardInterrupt):
    prepare_labels.prepare_labels(data, 'any', batch_size=1)
  assert len(written(data)) == 4 and not list(pathlib.Path(data.derived_root).rglob('*.tmp'))
  monkeypatch.setattr(networks, 'load', lambda network: predict)
  assert prepare_labels.prepare_labels(data, 'any') == {'written': 2, 'kept': 2}


def test_a_prediction_that_is_not_finite_is_refused(data, monkeypatch):
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
  with pytest.raises(InputError, match='output of the network is not finite'):
    prepare_labels.prepare_labels(data, 'any')
  assert not written(data)


def test_a_read_only_root_is_not_written(data, batches, tmp_path):
  derived = tmp_path / 'derived'
  derived.mkdir()
  os.chmod(derived, 0o555)
  try:
    with pytest.raises(InputError, match='cannot be written .*--config.data.derived_root'):
      prepare_labels.prepare_labels(data, 'any')
  finally:
    os.chmod(derived, 0o755)
  data.source, data.derived_root = 'tfds', ''
  with pytest.raises(InputError, match='read-only.*labels with --config.data.derived_root'):
    prepare_labels.prepare_labels(data, 'any')


@pytest.fixture
def run_prepare(binary, data):
  """Run `prepare labels` on the street; return exit code and stderr."""
  return lambda *arguments: binary(
    'prepare',
    'labels',
    '--config=configs/kitti360.py',
    f'--config.data.root={data.root}',
    f'--config.data.derived_root={data.derived_root}',
    *arguments,
  )


def test_command_line_errors(run_prepare):
  code, err = run_prepare()
  assert code == 1 and err.startswith('error: --network is missing')
  code, err = run_prepare('--network=segformer')
  assert code == 1 and err.count('\n') == 1
  assert '--network=segformer: unknown network' in err


@pytest.mark.slow
def test_command_line_with_a_network_of_transformers(run_prepare, data, tmp_path):
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
  code, err = run_prepare(f'--network=transformers:{tmp_path / "net"}')
  assert code == 0, err
  assert '(written as 0): aquarium' in err and '4 images written, 0 kept' in err
  assert len(written(data)) == 8
  for path in written(data):
    if path.parent.name == 'semantic':
      assert set(np.unique(image_io.read_label(path))) <= {0, 7, 23}
    else:
      assert image_io.read_confidence(path).min() > 1 / 3 - 1e-4  # the largest of three
