"""Safe reader of PyTorch checkpoints, without PyTorch and without executing their contents.

A checkpoint is an uncompressed zip archive: `NAME/data.pkl`, a pickle whose tensors refer to
storages, and `NAME/data/KEY`, the storages as raw numbers. A pickle can call any function; this
reader only accepts those that build tensors and plain containers.

References:
  PyTorch, torch/serialization.py (the zip format, since 1.6).
"""

import collections
import dataclasses
import io
import math
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.data import files
from pnerf_jax.errors import InputError

_MAX_BYTES = 2**28  # the released checkpoints have 11 million, with the optimiser state
_MAX_PICKLE = 2**24
_HINT = "Save it again with torch.save({'net': network.state_dict()}, PATH), or download it again."
_STORAGES = {
  'FloatStorage': 'f4',
  'DoubleStorage': 'f8',
  'HalfStorage': 'f2',
  'LongStorage': 'i8',
  'IntStorage': 'i4',
  'ShortStorage': 'i2',
  'CharStorage': 'i1',
  'ByteStorage': 'u1',
  'BoolStorage': '?',
}
# Opcodes that pickled tensors, numbers, strings and containers of them need.
_OPCODES = frozenset(
  (
    'PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE'
    ' SHORT_BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT'
    ' SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE'
    ' BUILD BINPERSID'
  ).split()
)


class _RefusedError(Exception):
  """The reason why a file is not read."""


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """The unvalidated description of a tensor in the pickle, without its numbers.

  Attributes:
    storage: persistent id ('storage', numpy type, key, device, count).
    offset: of the first element, in elements.
    shape: tuple of ints.
    strides: per dimension, in elements.
  """

  storage: Any
  offset: Any
  shape: Any
  strides: Any


class _Unpickler(pickle.Unpickler):
  """An unpickler of tensors, plain values and containers of them; refuses everything else."""

  def find_class(self, module: str, name: str) -> Any:
    """Resolve a name in the pickle, called by pickle; raises _RefusedError for all others."""
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    allowed = {
      ('collections', 'OrderedDict'): collections.OrderedDict,
      ('collections', 'Counter'): collections.Counter,  # of learning rate schedules
      ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
      ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
    }
    if (module, name) not in allowed:
      raise _RefusedError(f'refers to {module}.{name}, which is not part of a tensor')
    return allowed[module, name]

  def persistent_load(self, pid: Any) -> Any:
    """Return the description of a storage, called by pickle; its numbers are read later."""
    return pid


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> _Tensor:
  del unused  # requires_grad, hooks
  return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *unused: Any) -> Any:
  del unused
  return data


def read_tensors(path: Path, key: str) -> dict[str, np.ndarray]:
  """Read the tensors of one state dict of a checkpoint.

  Args:
    path: a file of torch.save.
    key: entry of the saved dictionary, e.g. 'net'.

  Returns:
    Arrays by name, in the order of the file.

  Raises:
    InputError: the file is missing, damaged, too large, not a zip archive of torch.save, contains
      anything but tensors and plain values, or lacks the entry.
  """
  content = files.read_bytes(path, _MAX_BYTES, 'Use a checkpoint with --from.')
  if not zipfile.is_zipfile(io.BytesIO(content)):
    raise InputError(
      f'{path}: not a zip archive: it is damaged, or was written by PyTorch before 1.6.'
      ' Save it again: torch.save(torch.load(PATH, weights_only=True), NEW).'
    )
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      return _tensors(archive, key, len(content))
  except _RefusedError as e:
    raise InputError(f'{path}: {e}. {_HINT}') from None
  except Exception as e:  # a damaged archive or pickle raises nearly anything
    raise InputError(f'{path}: damaged ({type(e).__name__}: {str(e)[:200]}). {_HINT}') from None


def _tensors(archive: zipfile.ZipFile, key: str, size: int) -> dict[str, np.ndarray]:
  """Read the tensors of the state dict `key` from an archive of `size` bytes."""
  roots = [
    name.removesuffix('data.pkl')
    for name in archive.namelist()
    if name.endswith('/data.pkl') and name.count('/') == 1
  ]
  if len(roots) != 1:
    raise _RefusedError(f'{len(roots)} files NAME/data.pkl in the archive, expected 1')
  root = roots[0]
  order = '<'
  if root + 'byteorder' in archive.namelist():
    order = '>' if _read_member(archive, root + 'byteorder', 16) == b'big' else '<'
  saved = _unpickle(_read_member(archive, root + 'data.pkl', _MAX_PICKLE))
  state = saved.get(key) if isinstance(saved, dict) else None
  if not isinstance(state, dict) or not state:
    entries = list(saved)[:8] if isinstance(saved, dict) else [type(saved).__name__]
    raise _RefusedError(f'no state dict {key!r} (entries: {", ".join(map(str, entries))})')
  arrays, total = {}, 0
  for name, tensor in state.items():
    if not isinstance(name, str) or not isinstance(tensor, _Tensor):
      raise _RefusedError(f'{key}: {str(name)[:100]} is not a tensor')
    arrays[name] = _array(archive, root, order, name, tensor)
    total += arrays[name].nbytes
    if total > size:  # tensors that share one storage
      raise _RefusedError(f'{key}: the tensors are larger than the file')
  return arrays


def _read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
  """Read one file of the archive; PyTorch stores them uncompressed."""
  info = archive.getinfo(name)
  if info.compress_type != zipfile.ZIP_STORED or info.file_size > max_bytes:
    raise _RefusedError(
      f'{name}: {info.file_size} bytes, compressed to {info.compress_size}; expected'
      f' uncompressed and at most {max_bytes}'
    )
  return archive.read(info)


def _unpickle(content: bytes) -> Any:
  for opcode, argument, _ in pickletools.genops(content):
    if opcode.name not in _OPCODES:
      raise _RefusedError(f'the pickle uses {opcode.name}, which no checkpoint needs')
    # Python allocates memory up to the largest index.
    if opcode.name == 'LONG_BINPUT' and isinstance(argument, int) and argument > len(content):
      raise _RefusedError(f'the pickle stores at index {argument}')
  return _Unpickler(io.BytesIO(content)).load()


def _array(
  archive: zipfile.ZipFile, root: str, order: str, name: str, tensor: _Tensor
) -> np.ndarray:
  """Read the numbers of a tensor within the bounds of its storage.

  Args:
    archive: the checkpoint.
    root: prefix of its files.
    order: byte order, '<' or '>'.
    name: of the tensor, for messages.
    tensor: description of the tensor.
  """
  kind, dtype, key, _, _ = tensor.storage
  numbers = (tensor.offset, *tensor.shape, *tensor.strides)
  if (
    kind != 'storage'
    or dtype not in _STORAGES.values()
    or not isinstance(key, str)
    or not all(isinstance(n, int) and n >= 0 for n in numbers)
    or len(tensor.shape) != len(tensor.strides)
  ):
    raise _RefusedError(f'{name}: not a valid description of a tensor')
  values = np.frombuffer(
    _read_member(archive, f'{root}data/{key}', _MAX_BYTES), np.dtype(order + dtype)
  )
  count = math.prod(tensor.shape)
  end = tensor.offset + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides))
  if count > len(values) or (count and end > len(values)):
    raise _RefusedError(
      f'{name}: shape {tuple(tensor.shape)} exceeds its storage of {len(values)} numbers'
    )
  strides = tuple(s * values.itemsize for s in tensor.strides)
  view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
  return view.astype(np.dtype(dtype))  # a copy, in native byte order
