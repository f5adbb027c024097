"""From a checkpoint that the authors of Panoptic NeRF released to a run of the published network.

Letters: C classes present in the window.
Source: Fu et al., Panoptic NeRF, 3DV 2022, and the checkpoints of its program (`latest.pth`).
"""

import logging
import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from pnerf_jax.contrib.release import torch_file
from pnerf_jax.data import files, labels
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.fields.paper_field import PaperField
from pnerf_jax.rendering.scene import init_params
from pnerf_jax.runs import checkpoints, lock
from pnerf_jax.runs.config_file import save_config
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training import setup
from pnerf_jax.training import train_state as states

_LOG = logging.getLogger(__name__)

_STATE = 'net'  # entry of the checkpoint
_PREFIX = 'nerf_0.'  # of its tensors
_HEAD = 'semantic_output2'


def make_run(config: ml_collections.ConfigDict, workdir: Path, path: Path) -> None:
  """Writes RUN with the released weights as its checkpoint of step 0.

  eval and render take it as it is; train goes on from the weights, with a fresh optimiser.

  Args:
    config: of the published network, with the centre and far bound that the weights belong to.
    workdir: RUN, without a checkpoint yet.
    path: the released checkpoint.

  Raises:
    InputError: a config, file or folder that does not fit.
  """
  if config.model.field != 'paper':
    raise InputError(
      f'config.model.field: {config.model.field!r}, but the weights are of'
      " 'paper'. Use --config=configs/kitti360.py:paper."
    )
  # Any other centre or far bound moves every point, and nothing later would tell.
  if len(config.scene.center) != 3 or not config.scene.far > 0:
    raise InputError(
      f'config.scene.center, config.scene.far: {tuple(config.scene.center)}, {config.scene.far};'
      ' the weights hold for the centre and far bound of their training alone. Give both (README,'
      " prepare weights; center_pose and dist in the authors' own configs)."
    )
  workdir = Path(workdir)
  files.check_is_folder(workdir, '--workdir')
  _refuse_trained(workdir)
  params = read_params(path)
  run = build_experiment(config)
  class_ids = run.scene.class_ids
  params = share_merged(params, class_ids)
  state = states.init_state(
    jax.tree.map(jnp.asarray, params), setup.make_optimizer(config), len(class_ids)
  )
  workdir.mkdir(parents=True, exist_ok=True)
  with lock.acquire(workdir):
    _refuse_trained(workdir)  # another process may have come first
    save_config(config, workdir)
    saved = checkpoints.Checkpoints(workdir)
    try:
      saved.save(0, jax.device_put(state, sharding.replicated(run.mesh)))
      saved.wait()
    finally:
      saved.close()
  _LOG.info('%s: weights of %s, as step 0', workdir, path)


def _refuse_trained(workdir: Path) -> None:
  if any((workdir / 'checkpoints').glob('*')):
    raise InputError(f'{workdir / "checkpoints"}: there already. Name another --workdir.')


def read_params(path: Path) -> dict[str, Any]:
  """Parameters of PublishedField from a released checkpoint, numpy float32.

  Raises:
    InputError: a file that cannot be read, or tensors of other names, shapes or types.
  """
  tensors = torch_file.read_tensors(path, _STATE)
  field = PaperField(scale=1.0, class_ids=(labels.SKY,))  # neither changes its parameters
  template = jax.eval_shape(lambda: init_params(field, jax.random.key(0)))
  params = {}
  for layer, arrays in template.items():
    params[layer] = {}
    for kind, array in arrays.items():
      dotted = re.sub(r'_(\d+)$', r'.\1', layer)
      name = f'{_PREFIX}{dotted}.{"weight" if kind == "kernel" else kind}'
      # A released weight is the transpose of a kernel.
      params[layer][kind] = _tensor(path, tensors, name, array.shape[::-1]).T
  if tensors:
    raise InputError(
      f'{path}: holds what the published network lacks: {", ".join(tensors)[:200]}.'
      ' Use a checkpoint of Panoptic NeRF itself (3DV 2022).'
    )
  return params


def _tensor(
  path: Path, tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> np.ndarray:
  """Takes a tensor out of the dictionary, checked."""
  if name not in tensors:
    there = ', '.join(tensors)[:200] or 'no other tensor'
    raise InputError(
      f'{path}: {_STATE} lacks {name} (there is: {there}). Use a checkpoint of'
      ' Panoptic NeRF itself (3DV 2022).'
    )
  tensor = tensors.pop(name)
  if tensor.shape != shape or not np.issubdtype(tensor.dtype, np.floating):
    raise InputError(
      f'{path}: {name} is {tensor.dtype} {tensor.shape}, expected float32 {shape}.'
      ' Use a checkpoint of the published configuration (8 x 256, 15 octaves).'
    )
  if not np.isfinite(tensor).all():
    raise InputError(f'{path}: {name} is not finite. Use an earlier checkpoint.')
  return tensor.astype(np.float32)


def share_merged(params: dict[str, Any], class_ids: tuple[int, ...]) -> dict[str, Any]:
  """Gives classes that the authors merged in training the channel of the class they became.

  The released network never learned the channels of parking, gate, trucks and so on: it says
  sidewalk, fence, car. Classes present that became one share its mass equally, so that the sum
  is what the network said; the primitives then divide it (panoptic.split_merged).

  Args:
    params: of PublishedField.
    class_ids: the C ids present.

  Returns:
    A new tree; channels of absent and of unmerged classes are the same.
  """
  kernel, bias = (params[_HEAD][kind].copy() for kind in ('kernel', 'bias'))
  became = [labels.paper_merged_class(i) for i in class_ids]
  for class_id, source in zip(class_ids, became):
    kernel[:, class_id] = params[_HEAD]['kernel'][:, source]
    bias[class_id] = params[_HEAD]['bias'][source] - math.log(became.count(source))
  return {**params, _HEAD: {'kernel': kernel, 'bias': bias}}
