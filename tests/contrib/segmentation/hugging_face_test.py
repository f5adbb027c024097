"""Small random networks of transformers, saved to disk, against the library itself.

Skipped where transformers and torch are absent; with them:

    pip install -r requirements-extra.txt -c constraints.txt
"""

import json
import shutil
import socket

import numpy as np
import pytest

from pnerf_jax.contrib.segmentation import networks
from pnerf_jax.errors import InputError

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

# Names of three datasets and their ids in KITTI-360, by hand; 'sofa' has no counterpart.
NAMES = ['road', 'Lane Marking - General', 'building, edifice', 'sofa', 'tree', 'car', 'sky']
IDS = np.array([7, 7, 11, 0, 21, 26, 23])
ID2LABEL = dict(enumerate(NAMES))
SIZE = (40, 96)  # rows, columns; divisible by the networks' strides


def segformer(folder):
  config = transformers.SegformerConfig(
    depths=[1, 1, 1, 1],
    hidden_sizes=[8, 8, 16, 16],
    num_attention_heads=[1, 1, 2, 2],
    decoder_hidden_size=16,
    id2label=ID2LABEL,
  )
  model = transformers.SegformerForSemanticSegmentation(config)
  processor = transformers.SegformerImageProcessorPil(size={'height': 64, 'width': 128})
  model.save_pretrained(folder)
  processor.save_pretrained(folder)


def randomize_queries(model):
  """Randomise the queries, which all predict the same after initialisation."""
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if parameter.ndim == 2 and ('class' in name or 'mask_embed' in name):
        parameter.normal_()
  return model


def backbone():
  return transformers.SwinConfig(
    embed_dim=8,
    depths=[1, 1, 1, 1],
    num_heads=[1, 1, 2, 2],
    window_size=4,
    image_size=64,
    out_features=['stage1', 'stage2', 'stage3', 'stage4'],
  )


def mask2former(folder):
  config = transformers.Mask2FormerConfig(
    backbone_config=backbone(),
    feature_size=32,
    mask_feature_size=32,
    hidden_dim=32,
    encoder_feedforward_dim=16,
    dim_feedforward=16,
    encoder_layers=1,
    decoder_layers=2,
    num_attention_heads=2,
    num_queries=12,
    id2label=ID2LABEL,
  )
  model = randomize_queries(transformers.Mask2FormerForUniversalSegmentation(config))
  processor = transformers.Mask2FormerImageProcessorPil(size={'height': 64, 'width': 128})
  model.save_pretrained(folder)
  processor.save_pretrained(folder)


def oneformer(folder):
  config = transformers.OneFormerConfig(
    backbone_config=backbone(),
    conv_dim=32,
    mask_dim=32,
    hidden_dim=32,
    num_queries=12,
    encoder_feedforward_dim=16,
    dim_feedforward=16,
    encoder_layers=1,
    decoder_layers=2,
    num_attention_heads=2,
    text_encoder_width=16,
    text_encoder_num_layers=1,
    text_encoder_vocab_size=64,
    text_encoder_context_length=16,
    task_seq_len=16,
    max_seq_len=16,
    use_task_norm=True,
    id2label=ID2LABEL,
    is_training=False,
  )
  randomize_queries(transformers.OneFormerForUniversalSegmentation(config)).save_pretrained(folder)
  letters = 'abcdefghijklmnopqrstuvwxyz'
  tokens = ['<|startoftext|>', '<|endoftext|>', *letters, *(f'{c}</w>' for c in letters)]
  folder.joinpath('vocab.json').write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
  folder.joinpath('merges.txt').write_text('#version: 0.2\n')
  transformers.CLIPTokenizer(
    vocab=str(folder / 'vocab.json'), merges=str(folder / 'merges.txt')
  ).save_pretrained(folder)
  # As in released models, whose table of class names is on the hub.
  folder.joinpath('preprocessor_config.json').write_text(
    json.dumps(
      {
        'image_processor_type': 'OneFormerImageProcessor',
        'size': {'height': 64, 'width': 128},
        'class_info_file': 'cityscapes_panoptic.json',
        'repo_path': 'shi-labs/oneformer_demo',
      }
    )
  )


WRITERS = {'segformer': segformer, 'mask2former': mask2former, 'oneformer': oneformer}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  torch.manual_seed(0)
  paths = {}
  for name, write in WRITERS.items():
    paths[name] = tmp_path_factory.mktemp(name)
    write(paths[name])
  return paths


@pytest.fixture
def no_network(monkeypatch):
  """Fail the test if anything connects to another machine."""

  def refuse(*args, **kwargs):
    raise AssertionError(f'attempted connection: {args}')

  monkeypatch.setattr(socket.socket, 'connect', refuse)
  monkeypatch.setattr(socket, 'getaddrinfo', refuse)


@pytest.fixture
def images():
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (3, 5, 12, 3)).astype(np.uint8)
  return coarse.repeat(8, 1).repeat(8, 2)


def predict_with_library(folder, name, images):
  """Return classes [N, H, W] and probabilities [N, C, H, W], computed one image at a time."""
  kind = {
    'segformer': transformers.SegformerForSemanticSegmentation,
    'mask2former': transformers.Mask2FormerForUniversalSegmentation,
    'oneformer': transformers.OneFormerForUniversalSegmentation,
  }[name]
  model = kind.from_pretrained(folder).eval()
  classes, probabilities = [], []
  for image in images:
    if name == 'oneformer':
      processor = transformers.OneFormerImageProcessorPil(
        size={'height': 64, 'width': 128}, class_info_file=None
      )
      tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        ['the task is semantic'],
        padding='max_length',
        max_length=16,
        truncation=True,
        return_tensors='pt',
      )
      task = tokens['input_ids'] * tokens['attention_mask']
      inputs = processor(image, ['semantic'], return_tensors='pt')
      inputs = {'pixel_values': inputs['pixel_values'], 'task_inputs': task}
    else:
      processor = transformers.AutoImageProcessor.from_pretrained(folder)
      inputs = {'pixel_values': processor(image, return_tensors='pt')['pixel_values']}
    assert len(inputs['pixel_values']) == 1
    with torch.no_grad():
      out = model(**inputs)
    classes.append(processor.post_process_semantic_segmentation(out, target_sizes=[SIZE])[0])
    resize = lambda x: torch.nn.functional.interpolate(x, SIZE, mode='bilinear')[0]
    if name == 'segformer':
      probabilities.append(resize(out.logits).softmax(0))
    else:
      masks = out.masks_queries_logits
      if name == 'mask2former':
        masks = torch.nn.functional.interpolate(masks, (384, 384), mode='bilinear')
      mass = torch.einsum(
        'qc,qhw->chw', out.class_queries_logits[0].softmax(-1)[:, :-1], masks[0].sigmoid()
      )
      mass = resize(mass[None])
      probabilities.append(mass / torch.maximum(mass.sum(0), torch.ones(())))
  return torch.stack(classes).numpy(), torch.stack(probabilities).numpy()


@pytest.mark.parametrize('name', WRITERS)
def test_predictions_match_the_library(folders, images, name, no_network, caplog):
  with caplog.at_level('INFO', logger='pnerf_jax'):
    predict = networks.load(f'transformers:{folders[name]}')
  assert 'classes without a counterpart in KITTI-360 (written as 0): sofa' in caplog.text
  ids, confidence = map(np.concatenate, zip(*(predict(image[None]) for image in images)))
  classes, probabilities = predict_with_library(folders[name], name, images)
  assert len(np.unique(classes)) > 1
  assert ids.dtype == np.uint8
  np.testing.assert_array_equal(ids, IDS[classes])
  expected = np.zeros(ids.shape)
  for index in np.ndindex(ids.shape):
    image, row, column = index
    expected[index] = probabilities[image, IDS == ids[index], row, column].sum()
  np.testing.assert_allclose(confidence, expected, atol=1e-5)
  assert confidence.min() >= 0 and confidence.max() <= 1 + 1e-6


def test_prediction_of_a_batch_matches_single_images(folders, images):
  predict = networks.load(f'transformers:{folders["segformer"]}')
  ids, confidence = predict(images)
  single = [predict(image[None]) for image in images]
  assert np.mean(ids == np.concatenate([x for x, _ in single])) > 0.999
  np.testing.assert_allclose(confidence, np.concatenate([c for _, c in single]), atol=1e-4)


def remove_weight(folder):
  safetensors = pytest.importorskip('safetensors.torch')
  tensors = safetensors.load_file(folder / 'model.safetensors')
  tensors.pop('decode_head.classifier.weight')
  safetensors.save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})


def replace_by_pickle(folder):
  (folder / 'model.safetensors').unlink()
  torch.save({}, folder / 'pytorch_model.bin')


def rewrite(**entries):
  def change(folder):
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, **entries}))

  return change


@pytest.mark.parametrize(
  'change, expected',
  [
    (remove_weight, 'lack 1 of .*decode_head.classifier.weight'),
    (replace_by_pickle, 'cannot be loaded .*model.safetensors'),
    (lambda folder: (folder / 'preprocessor_config.json').unlink(), 'cannot be loaded'),
    (lambda folder: (folder / 'config.json').write_text('{'), 'cannot be loaded'),
    (lambda folder: (folder / 'config.json').unlink(), 'no config.json'),
    (
      lambda folder: (folder / 'config.json').write_text('{"model_type": "bert"}'),
      "model type 'bert' is not a semantic",
    ),
    (rewrite(id2label={str(i): f'LABEL_{i}' for i in range(7)}), 'names no street class'),
  ],
)
def test_load_reports_unusable_folders(folders, tmp_path, change, expected, no_network):
  folder = shutil.copytree(folders['segformer'], tmp_path / 'copy')
  change(folder)
  with pytest.raises(InputError, match=expected) as error:
    networks.load(f'transformers:{folder}')
  assert str(folder) in str(error.value)
