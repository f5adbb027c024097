"""Files of trained PSPNets: an .npz with float16 parameters and the settings of the network.

Half precision changes a parameter by at most 0.05 %. Reading a file never runs code from it.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from pnerf_jax.contrib.segmentation import pspnet
from pnerf_jax.contrib.segmentation.cityscapes import ID_FROM_TRAIN_ID
from pnerf_jax.data.files import read_bytes, write_bytes
from pnerf_jax.errors import InputError

NAME = 'pspnet.npz'  # in the folder of a run
_SETTINGS = 'settings'
_MAX_BYTES = 2**30
_HINT = 'Name a run of python -m pnerf_jax.pspnet, or its pspnet.npz.'


def write(path: Path, network: pspnet.PSPNet, params: Any) -> None:
  """Write a network and its parameters."""
  settings = {field: getattr(network, field) for field in ('width', 'blocks', 'stride')}
  arrays: dict[str, Any] = {_SETTINGS: np.frombuffer(json.dumps(settings).encode(), np.uint8)}
  for name, value in traverse_util.flatten_dict(params, sep='/').items():
    arrays[name] = np.asarray(value, np.float16)
  content = io.BytesIO()
  np.savez(content, **arrays)
  write_bytes(path, content.getvalue())


def read(path: Path) -> tuple[pspnet.PSPNet, Any]:
  """Return the network and the float32 parameters of a file, or of a run folder.

  Raises:
    InputError: there is no such file, or it does not hold a PSPNet.
  """
  path = Path(path) / NAME if Path(path).is_dir() else Path(path)
  content = read_bytes(path, _MAX_BYTES, _HINT)
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
      settings = json.loads(file[_SETTINGS].tobytes())
      network = pspnet.PSPNet(**{name: int(value) for name, value in settings.items()})
      template = traverse_util.flatten_dict(
        jax.eval_shape(lambda: pspnet.init_params(network, jax.random.key(0))), sep='/'
      )
      arrays = {name: file[name].astype(np.float32) for name in template}
  except (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    AttributeError,
    zipfile.BadZipFile,
  ) as e:
    raise InputError(f'{path}: is not a trained PSPNet ({e}). {_HINT}') from None
  for name, array in arrays.items():
    if array.shape != template[name].shape or not np.isfinite(array).all():
      raise InputError(
        f'{path}: {name} is {array.shape}, expected finite {template[name].shape}. {_HINT}'
      )
  return network, traverse_util.unflatten_dict(arrays, sep='/')


def load(path: Path) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """Return `predict(images [N, H, W, 3] uint8) -> ids [N, H, W] uint8, confidence [N, H, W]`.

  Ids are KITTI-360's; confidence is the float32 probability of the class.
  """
  network, params = read(path)

  @jax.jit
  def apply(params, images):
    logits, _ = network.apply({'params': params}, images)
    return jnp.argmax(logits, -1), jnp.max(jax.nn.softmax(logits), -1)

  def predict(images):
    train_ids, confidence = apply(params, images)
    return ID_FROM_TRAIN_ID[np.asarray(train_ids)], np.asarray(confidence)

  return predict
