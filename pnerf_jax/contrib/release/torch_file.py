"""Tensors of a PyTorch checkpoint, read without PyTorch and without running anything in it.

A checkpoint is a zip archive, stored uncompressed: `NAME/data.pkl`, a pickle whose tensors point at
storages, and `NAME/data/KEY`, the storages as raw numbers. A pickle may name any function and have
it called; here it may name what builds tensors and plain containers, and nothing else.
Source: PyTorch, torch/serialization.py (the zip format, since 1.6).
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

_MOST = 2**28  # bytes; the released checkpoints have 11 million, with the state of their optimiser
_MOST_PICKLE = 2**24
_REMEDY = (
  "Write it anew with torch.save({'net': network.state_dict()}, PATH), or fetch the original again."
)
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
# What pickling tensors, numbers, strings and containers of them needs.
_OPCODES = frozenset(
  (
    'PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE'
    ' SHORT_BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT'
    ' SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE'
    ' BUILD BINPERSID'
  ).split()
)


class _Refused(Exception):
  """Why a file is not read."""


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """What the pickle says of a tensor; its numbers are still in the archive, and none is trusted.

  storage: the persistent id ('storage', numpy type, key, device, count).   offset, strides: in
  elements.
  """

  storage: Any
  offset: Any
  shape: Any
  strides: Any


class _Unpickler(pickle.Unpickler):
  """Builds tensors, plain values and containers of them; anything else is refused."""

  def find_class(self, module: str, name: str) -> Any:
    """What a name in the pickle stands for, called by pickle; raises _Refused for all but tensors'
    own names."""
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    allowed = {
      ('collections', 'OrderedDict'): collections.OrderedDict,
      ('collections', 'Counter'): collections.Counter,  # of learning rate schedules
      ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
      ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
    }
    if (module, name) not in allowed:
      raise _Refused(f'names {module}.{name}, which is no part of a tensor')
    return allowed[module, name]

  def persistent_load(self, pid: Any) -> Any:
    """A storage's description as it stands, called by pickle; its numbers are read later."""
    return pid


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> _Tensor:
  del unused  # whether gradients are wanted, hooks
  return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *unused: Any) -> Any:
  del unused
  return data


def read_tensors(path: Path, key: str) -> dict[str, np.ndarray]:
  """The tensors of one state dict of a checkpoint.

  Args:
    path: a file of torch.save.
    key: which entry of the saved dictionary, e.g. 'net'.

  Returns:
    {name: array}, in the file's order.

  Raises:
    InputError: no such file, not a zip archive of torch.save, damaged, too large, holding anything
      but tensors and plain values, or without the entry.
  """
  content = files.read_bytes(path, _MOST, 'Name a checkpoint with --from.')
  if not zipfile.is_zipfile(io.BytesIO(content)):
    raise InputError(
      f'{path}: not a zip archive: it is damaged, or PyTorch before 1.6 wrote it.'
      ' Write it anew: torch.save(torch.load(PATH, weights_only=True), NEW).'
    )
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      return _tensors(archive, key, len(content))
  except _Refused as e:
    raise InputError(f'{path}: {e}. {_REMEDY}') from None
  except Exception as e:  # a damaged archive or pickle raises nearly anything
    raise InputError(f'{path}: damaged ({type(e).__name__}: {str(e)[:200]}). {_REMEDY}') from None


def _tensors(archive: zipfile.ZipFile, key: str, size: int) -> dict[str, np.ndarray]:
  """Reads the archive, a file of `size` bytes."""
  tops = [
    name.removesuffix('data.pkl')
    for name in archive.namelist()
    if name.endswith('/data.pkl') and name.count('/') == 1
  ]
  if len(tops) != 1:
    raise _Refused(f'{len(tops)} files NAME/data.pkl in the archive, expected 1')
  order = '<'
  if tops[0] + 'byteorder' in archive.namelist():
    order = '>' if _entry(archive, tops[0] + 'byteorder', 16) == b'big' else '<'
  saved = _unpickle(_entry(archive, tops[0] + 'data.pkl', _MOST_PICKLE))
  state = saved.get(key) if isinstance(saved, dict) else None
  if not isinstance(state, dict) or not state:
    there = list(saved)[:8] if isinstance(saved, dict) else [type(saved).__name__]
    raise _Refused(f'no state dict under {key!r} (there is: {", ".join(map(str, there))})')
  arrays, total = {}, 0
  for name, tensor in state.items():
    if not isinstance(name, str) or not isinstance(tensor, _Tensor):
      raise _Refused(f'{key}: {str(name)[:100]} is no tensor')
    arrays[name] = _array(archive, tops[0], order, name, tensor)
    total += arrays[name].nbytes
    if total > size:  # one storage used over and over
      raise _Refused(f'{key}: its tensors are larger than the file')
  return arrays


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
  """One file of the archive; PyTorch compresses none."""
  info = archive.getinfo(name)
  if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
    raise _Refused(
      f'{name}: {info.file_size} bytes, compressed to {info.compress_size}; expected'
      f' uncompressed and at most {most}'
    )
  return archive.read(info)


def _unpickle(content: bytes) -> Any:
  for opcode, argument, _ in pickletools.genops(content):
    if opcode.name not in _OPCODES:
      raise _Refused(f'its pickle uses {opcode.name}, which no checkpoint needs')
    # Python sets memory aside up to the largest index.
    if opcode.name == 'LONG_BINPUT' and argument > len(content):
      raise _Refused(f'its pickle stores at index {argument}')
  return _Unpickler(io.BytesIO(content)).load()


def _array(
  archive: zipfile.ZipFile, top: str, order: str, name: str, tensor: _Tensor
) -> np.ndarray:
  """The numbers of a tensor, within its storage's bounds."""
  kind, dtype, key, _, _ = tensor.storage
  numbers = (tensor.offset, *tensor.shape, *tensor.strides)
  if (
    kind != 'storage'
    or dtype not in _STORAGES.values()
    or not isinstance(key, str)
    or not all(isinstance(n, int) and n >= 0 for n in numbers)
    or len(tensor.shape) != len(tensor.strides)
  ):
    raise _Refused(f'{name}: not described as a tensor')
  values = np.frombuffer(_entry(archive, f'{top}data/{key}', _MOST), np.dtype(order + dtype))
  count = math.prod(tensor.shape)
  end = tensor.offset + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides))
  if count > len(values) or (count and end > len(values)):
    raise _Refused(f'{name}: shape {tuple(tensor.shape)} reaches beyond its {len(values)} numbers')
  strides = tuple(s * values.itemsize for s in tensor.strides)
  view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
  return view.astype(np.dtype(dtype))  # a copy, in the machine's own byte order
