"""Conversion of a checkpoint released with Panoptic NeRF to a run of the paper's field.

References:
  Fu et al., Panoptic NeRF, 3DV 2022, and the checkpoints of its program (`latest.pth`).
"""

import logging
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pnerf_jax.config.schema import Config
from pnerf_jax.contrib.release import torch_file
from pnerf_jax.data import files, labels
from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.fields.paper_field import PaperField
from pnerf_jax.rendering.scene import init_params
from pnerf_jax.runs import checkpoints, lock
from pnerf_jax.runs.config_file import save_config
from pnerf_jax.runs.experiment import build_experiment
from pnerf_jax.training.field_task import FieldTask

_LOG = logging.getLogger(__name__)

_STATE = 'net'  # entry of the checkpoint
_PREFIX = 'nerf_0.'  # of the tensor names


def make_run(config: Config, workdir: Path, path: Path) -> None:
  """Write RUN with the released weights as its checkpoint of step 0.

  eval and render use it directly; train continues from the weights, with a fresh optimiser.

  Args:
    config: config of the paper's field, with the centre and far bound of the weights.
    workdir: RUN, without a checkpoint.
    path: the released checkpoint.

  Raises:
    InputError: the config, checkpoint or folder is unsuitable.
  """
  if config.model.field != 'paper':
    raise InputError(
      f"config.model.field: {config.model.field!r}, but the weights are of 'paper'. Use"
      ' --config=configs/kitti360.py:paper.'
    )
  if config.loss.form == 'default':
    raise InputError(
      "config.loss.form: 'default', but the weights are of the paper's program and its labels. Use"
      ' --config=configs/kitti360.py:paper.'
    )
  # Another centre or far bound moves every point, which nothing later can detect.
  if len(config.scene.center) != 3 or not config.scene.far > 0:
    raise InputError(
      f'config.scene.center, config.scene.far: {tuple(config.scene.center)}, {config.scene.far};'
      ' the weights are valid only for the centre and far bound of their training. Set both'
      ' (docs/data_kitti360.md; center_pose and dist in the configs of the authors).'
    )
  workdir = Path(workdir)
  files.check_is_folder(workdir, '--workdir')
  _check_no_checkpoint(workdir)
  params = read_params(path)
  experiment = build_experiment(config)
  state = FieldTask(experiment).init_state(jax.tree.map(jnp.asarray, params))
  workdir.mkdir(parents=True, exist_ok=True)
  with lock.acquire(workdir):
    _check_no_checkpoint(workdir)  # another process may have written one in the meantime
    save_config(experiment.config, workdir)
    with checkpoints.Checkpoints(workdir) as saved:
      saved.save(0, jax.device_put(state, sharding.replicated(experiment.mesh)))
      saved.wait()
  _LOG.info('%s: weights of %s, as step 0', workdir, path)


def _check_no_checkpoint(workdir: Path) -> None:
  if any((workdir / 'checkpoints').glob('*')):
    raise InputError(f'{workdir / "checkpoints"}: exists already. Use another --workdir.')


def read_params(path: Path) -> dict[str, Any]:
  """Read the parameters of PaperField from a released checkpoint, numpy float32.

  Raises:
    InputError: the file cannot be read, or its tensors have other names, shapes or types.
  """
  tensors = torch_file.read_tensors(path, _STATE)
  field = PaperField(scale=1.0, class_ids=(labels.SKY,))  # neither affects the parameters
  template = jax.eval_shape(lambda: init_params(field, jax.random.key(0)))
  params: dict[str, Any] = {}
  for layer, arrays in template.items():
    params[layer] = {}
    for kind, array in arrays.items():
      dotted = re.sub(r'_(\d+)$', r'.\1', layer)
      name = f'{_PREFIX}{dotted}.{"weight" if kind == "kernel" else kind}'
      # A PyTorch weight is the transpose of a kernel.
      params[layer][kind] = _pop_tensor(path, tensors, name, array.shape[::-1]).T
  if tensors:
    raise InputError(
      f'{path}: has tensors that the published network lacks: {", ".join(tensors)[:200]}.'
      ' Use a checkpoint of Panoptic NeRF (3DV 2022).'
    )
  return params


def _pop_tensor(
  path: Path, tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> np.ndarray:
  """Remove a tensor from the dictionary and return it, validated, as float32."""
  if name not in tensors:
    others = ', '.join(tensors)[:200] or 'none'
    raise InputError(
      f'{path}: {_STATE} lacks {name} (other tensors: {others}). Use a checkpoint of Panoptic NeRF'
      ' (3DV 2022).'
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
