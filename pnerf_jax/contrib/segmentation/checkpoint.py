"""Files of trained PSPNets: an .npz with float16 parameters and the settings of the network.

Half precision changes a parameter by at most 0.05 %. Reading a file never runs code from it, and
takes memory in proportion to its size.
"""

import dataclasses
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

from pnerf_jax.contrib import stored_zip
from pnerf_jax.contrib.segmentation import pspnet
from pnerf_jax.contrib.segmentation.cityscapes import ID_FROM_TRAIN_ID
from pnerf_jax.contrib.segmentation.config import ModelConfig
from pnerf_jax.data.files import read_bytes, write_bytes
from pnerf_jax.errors import InputError

NAME = 'pspnet.npz'  # in the folder of a run
_SETTINGS = 'settings'
_NETWORK_FIELDS = ('width', 'blocks', 'stride')
_ARRAYS_PER_BLOCK = 24  # in four stages, of two convolutions with norms each
_MAX_BYTES = 2**28  # the default network has 3e7
_HINT = 'Name a run of python -m pnerf_jax.pspnet, or its pspnet.npz.'


def write(path: Path, network: pspnet.PSPNet, params: Any) -> None:
  """Write a network and its parameters."""
  settings = {field: getattr(network, field) for field in _NETWORK_FIELDS}
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
    archive = stored_zip.StoredZip(content)
    network = _network(_array(archive, _SETTINGS, np.dtype(np.uint8)).tobytes())
    if len(archive.names) < _ARRAYS_PER_BLOCK * network.blocks:  # seconds to trace otherwise
      raise stored_zip.RefusedError(f'{len(archive.names)} arrays for {network.blocks} blocks')
    template = traverse_util.flatten_dict(
      jax.eval_shape(lambda: pspnet.init_params(network, jax.random.key(0))), sep='/'
    )
    arrays = {name: _array(archive, name, np.dtype(np.float16)) for name in template}
  except stored_zip.RefusedError as e:
    raise InputError(f'{path}: is not a trained PSPNet ({e}). {_HINT}') from None
  except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError) as e:  # damaged
    raise InputError(f'{path}: is not a trained PSPNet ({str(e)[:200]}). {_HINT}') from None
  for name, array in arrays.items():
    if array.shape != template[name].shape or not np.isfinite(array).all():
      raise InputError(
        f'{path}: {name} is {array.shape}, expected finite {template[name].shape}. {_HINT}'
      )
    arrays[name] = array.astype(np.float32)
  return network, traverse_util.unflatten_dict(arrays, sep='/')


def _network(settings: bytes) -> pspnet.PSPNet:
  """Return the network of the settings; raises RefusedError if these are not of a config."""
  values = json.loads(settings)
  specs = {
    field.name: field.metadata['spec']
    for field in dataclasses.fields(ModelConfig)
    if field.name in _NETWORK_FIELDS
  }
  if not isinstance(values, dict) or values.keys() != specs.keys():
    raise stored_zip.RefusedError(f'its settings are {str(values)[:80]}')
  for name, declared in specs.items():
    if not declared.accepts(values[name]):
      raise stored_zip.RefusedError(f'{name} is {values[name]!r:.40}, not {declared.description}')
  return pspnet.PSPNet(**values)


def _array(archive: stored_zip.StoredZip, name: str, dtype: np.dtype) -> np.ndarray:
  """Return an array as a view of its bytes, so that a header cannot claim more of them.

  Raises:
    stored_zip.RefusedError: it is absent, compressed, or of another type.
    ValueError: it is damaged.
  """
  content = archive.read(f'{name}.npy', _MAX_BYTES)
  file = io.BytesIO(content)
  if np.lib.format.read_magic(file) != (1, 0):
    raise ValueError(f'{name}: unknown version')
  shape, is_fortran, found = np.lib.format.read_array_header_1_0(file)
  if found != dtype:
    raise stored_zip.RefusedError(f'{name} is {found}, expected {dtype}')
  if is_fortran:
    raise stored_zip.RefusedError(f'{name} is stored column by column')
  return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)


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
