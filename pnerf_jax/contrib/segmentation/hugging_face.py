"""Semantic and universal segmentation networks of Hugging Face transformers, from a local folder.

SegFormer, BEiT, UPerNet etc. predict one logit per class; MaskFormer, Mask2Former and OneFormer
predict masks with classes. Labels are those of the library's own post-processing.
Letters: N images, H and W their size, C classes of the network.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.contrib.segmentation import names
from pnerf_jax.data.files import check_tree
from pnerf_jax.errors import InputError

_LOG = logging.getLogger(__name__)


def load(folder: Path) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """Load a network from a folder written by `save_pretrained`, offline and without remote code.

  Returns:
    `predict(images [N, H, W, 3] uint8) -> ids [N, H, W] uint8, confidence [N, H, W] float32`: the
    most likely class as KITTI-360's id (0 without a counterpart), and the probability of that id
    (summed over the classes of the network that map to it).

  Raises:
    InputError: packages are missing, or the folder does not hold such a network.
  """
  folder = Path(folder)
  if not (folder / 'config.json').is_file():
    raise InputError(
      f'{folder}: is not a network of Hugging Face transformers (no config.json). Name a'
      ' folder written by save_pretrained, with its preprocessor_config.json.'
    )
  check_tree(folder)
  os.environ['HF_HUB_OFFLINE'] = '1'  # is read when the library is imported
  try:
    import torch
    import transformers
  except ImportError as e:
    raise InputError(
      f'--network=transformers:{folder}: the package {e.name} is not installed. Use'
      ' pip install -r requirements-extra.txt -c constraints.txt.'
    ) from None
  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  try:
    model, processor = _load(transformers, folder)
  except InputError:
    raise
  except Exception as e:  # the library raises many types of errors for a bad folder
    reason = ' '.join(str(e).split())[:300]
    raise InputError(
      f'{folder}: cannot be loaded ({type(e).__name__}: {reason}). Name a folder'
      ' with config.json, preprocessor_config.json and model.safetensors.'
    ) from e
  device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
  model = model.to(device).eval()
  ids, unknown = names.ids_of({int(i): name for i, name in model.config.id2label.items()})
  if not ids.any():
    raise InputError(
      f'{folder}/config.json: id2label names no street class ({", ".join(unknown)[:200]}).'
      ' Write the names of the classes into it.'
    )
  if unknown:
    _LOG.info('classes without a counterpart in KITTI-360 (written as 0): %s', ', '.join(unknown))
  table = torch.as_tensor(ids.astype(np.int64), device=device)
  return lambda images: _predict(torch, model, processor, table, images)


def _load(transformers: Any, folder: Path) -> tuple[Any, Any]:
  """Load the model and its processor."""
  local = {'local_files_only': True, 'trust_remote_code': False}  # without a question
  config = transformers.AutoConfig.from_pretrained(folder, **local)
  if type(config) in transformers.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING:
    auto = transformers.AutoModelForSemanticSegmentation
  elif type(config) in transformers.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING:
    auto = transformers.AutoModelForUniversalSegmentation
  else:
    raise InputError(
      f'{folder}/config.json: model type {config.model_type!r} is not a semantic or'
      ' universal segmentation network. Use e.g. SegFormer or Mask2Former.'
    )
  model, info = auto.from_pretrained(
    folder, config=config, use_safetensors=True, output_loading_info=True, **local
  )
  parameters = {name for name, _ in model.named_parameters()}
  missing = sorted(parameters & set(info['missing_keys'])) + list(map(str, info['mismatched_keys']))
  if missing:  # the library initialises them at random
    raise InputError(
      f"{folder}: the weights lack {len(missing)} of the network's parameters"
      f' ({", ".join(missing)[:200]}). Use the weights of a segmentation network.'
    )
  if config.model_type == 'oneformer':
    # The table of class names is needed for training only, and would be downloaded.
    images = transformers.AutoImageProcessor.from_pretrained(folder, class_info_file=None, **local)
    return model, transformers.OneFormerProcessor(
      images,
      transformers.AutoTokenizer.from_pretrained(folder, **local),
      task_seq_length=config.task_seq_len,
    )
  return model, transformers.AutoImageProcessor.from_pretrained(folder, **local)


def _predict(
  torch: Any, model: Any, processor: Any, table: Any, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return ids and confidence, see `load`. table: [C] int64, ids of the network's classes."""
  sizes = [image.shape[:2] for image in images]
  task = {}
  if model.config.model_type == 'oneformer':
    task['task_inputs'] = ['semantic'] * len(images)
  inputs = processor(images=list(images), return_tensors='pt', **task)
  if len(inputs['pixel_values']) != len(images):
    raise InputError(
      f'transformers: {model.config.model_type!r} splits images into windows, which is'
      ' not supported. Use e.g. SegFormer or Mask2Former.'
    )
  inputs = {name: value.to(model.device) for name, value in inputs.items() if hasattr(value, 'to')}
  with torch.inference_mode():
    outputs = model(**inputs)
    results = processor.post_process_semantic_segmentation(
      outputs, target_sizes=sizes, return_segmentation_scores=True
    )
    ids, confidences = [], []
    for result in results:
      scores, predicted = result['segmentation_scores'], table[result['segmentation']]
      if getattr(outputs, 'logits', None) is not None:
        probabilities = scores.softmax(0)
      else:  # of masks; the remainder to 1 is 'no class'
        probabilities = scores / scores.sum(0).clamp(min=1.0)
      ids.append(predicted)
      confidences.append((probabilities * (table[:, None, None] == predicted)).sum(0))
  return (
    torch.stack(ids).cpu().numpy().astype(np.uint8),
    torch.stack(confidences).cpu().numpy().astype(np.float32),
  )
