"""Reader of PyTorch checkpoints that interprets the pickle itself and never runs it.

A checkpoint is an uncompressed zip archive: `NAME/data.pkl`, a pickle whose tensors refer to
storages, and `NAME/data/KEY`, the storages as raw numbers. The interpreter builds tensors, plain
values and containers of them, whose keys are text or integers; time and memory are proportional to
the size of the file.

References:
  PyTorch, torch/serialization.py (the zip format, since 1.6).
  Python, pickletools.py (the opcodes).
"""

import dataclasses
import math
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.contrib.stored_zip import RefusedError, StoredZip, is_zip
from pnerf_jax.data import files
from pnerf_jax.errors import InputError

_MAX_BYTES = 2**26  # the released checkpoints have 11 million, with the optimiser state
_MAX_PICKLE = 2**20  # theirs has some 20,000
_MAX_DIMENSIONS = 8
_MAX_NUMBER = 2**40  # sizes, strides and offsets
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
_NAMES = {('torch', name) for name in _STORAGES} | {
  ('collections', 'OrderedDict'),
  ('collections', 'Counter'),  # of learning rate schedules
  ('torch._utils', '_rebuild_tensor_v2'),
  ('torch._utils', '_rebuild_parameter'),
}
# Opcodes that push their argument, a constant, or a tuple of the last values.
_ATOMS = frozenset('BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE'.split())
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_TUPLES = {'EMPTY_TUPLE': 0, 'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


@dataclasses.dataclass(frozen=True)
class _Name:
  """One of _NAMES, e.g. of a function, without its module, which is never imported."""

  name: str


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """The unvalidated description of a tensor in the pickle, without its numbers.

  Attributes:
    storage: persistent id ('storage', _Name of its type, key, device, count).
    offset: of the first element, in elements.
    shape: tuple of ints.
    strides: per dimension, in elements.
  """

  storage: Any
  offset: Any
  shape: Any
  strides: Any


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
  if not is_zip(content):
    raise InputError(
      f'{path}: not a zip archive: it is damaged, or was written by PyTorch before 1.6.'
      ' Save it again: torch.save(torch.load(PATH, weights_only=True), NEW).'
    )
  try:
    return _tensors(StoredZip(content), key, len(content))
  except RefusedError as e:
    raise InputError(f'{path}: {e}. {_HINT}') from None
  except Exception as e:  # a damaged archive or pickle raises nearly anything
    raise InputError(f'{path}: damaged ({type(e).__name__}: {str(e)[:200]}). {_HINT}') from None


def _tensors(archive: StoredZip, key: str, size: int) -> dict[str, np.ndarray]:
  """Read the tensors of the state dict `key` from an archive of `size` bytes."""
  roots = [
    name.removesuffix('data.pkl')
    for name in archive.names
    if name.endswith('/data.pkl') and name.count('/') == 1
  ]
  if len(roots) != 1:
    raise RefusedError(f'{len(roots)} files NAME/data.pkl in the archive, expected 1')
  root = roots[0]
  order = '<'
  if root + 'byteorder' in archive.names:
    order = '>' if archive.read(root + 'byteorder', 16) == b'big' else '<'
  saved = _Interpreter().run(archive.read(root + 'data.pkl', _MAX_PICKLE))
  state = saved.get(key) if isinstance(saved, dict) else None
  if not isinstance(state, dict) or not state:
    entries = list(saved)[:8] if isinstance(saved, dict) else [type(saved).__name__]
    listed = ', '.join(f'{entry!s:.40}' for entry in entries)
    raise RefusedError(f'no state dict {key!r} (entries: {listed})')
  arrays, total = {}, 0
  storages: dict[str, bytes] = {}  # several tensors may share one
  for name, tensor in state.items():
    if not isinstance(name, str) or not isinstance(tensor, _Tensor):
      raise RefusedError(f'{key}: {name!s:.100} is not a tensor')
    arrays[name] = _array(archive, f'{root}data/', order, (name, tensor), storages)
    total += arrays[name].nbytes
    if total > size:  # tensors that share one storage
      raise RefusedError(f'{key}: the tensors are larger than the file')
  return arrays


class _Interpreter:
  """Stack machine of the opcodes that pickled tensors and plain containers need.

  Every opcode takes constant time, or that of the objects which it removes from the stack. Nothing
  compares, hashes, copies or prints a container, so cycles and deep nesting have no effect.
  """

  def __init__(self) -> None:
    """Start with an empty stack."""
    self._stack: list[Any] = []
    self._outer: list[list[Any]] = []  # the stacks below the marks
    self._memo: dict[int, Any] = {}

  def run(self, content: bytes) -> Any:
    """Return the value of a pickle; raises RefusedError for other opcodes and names."""
    for opcode, argument, _ in pickletools.genops(content):
      if opcode.name in _ATOMS:
        self._stack.append(argument)
      elif opcode.name in _CONSTANTS:
        self._stack.append(_CONSTANTS[opcode.name])
      elif opcode.name in _TUPLES:
        items = [self._stack.pop() for _ in range(_TUPLES[opcode.name])]
        self._stack.append(tuple(items[::-1]))
      else:
        self._run_opcode(opcode.name, argument)
    return self._stack.pop()

  def _run_opcode(self, opcode: str, argument: Any) -> None:
    stack = self._stack
    match opcode:
      case 'PROTO' | 'FRAME' | 'STOP':
        pass
      case 'BINPERSID':  # a storage: the tuple on the stack describes it
        pass
      case 'MARK':
        self._outer.append(stack)
        self._stack = []
      case 'EMPTY_LIST':
        stack.append([])
      case 'EMPTY_DICT':
        stack.append({})
      case 'TUPLE':
        items = self._pop_mark()
        self._stack.append(tuple(items))
      case 'APPEND':
        self._append([stack.pop()])
      case 'APPENDS':
        self._append(self._pop_mark())
      case 'SETITEM':
        value, key = stack.pop(), stack.pop()
        self._set_items([key, value])
      case 'SETITEMS':
        self._set_items(self._pop_mark())
      case 'BINPUT' | 'LONG_BINPUT':
        self._memo[argument] = stack[-1]
      case 'MEMOIZE':
        self._memo[len(self._memo)] = stack[-1]
      case 'BINGET' | 'LONG_BINGET':
        stack.append(self._memo[argument])
      case 'GLOBAL':
        module, _, name = argument.partition(' ')
        stack.append(_checked_name(module, name))
      case 'STACK_GLOBAL':
        name, module = stack.pop(), stack.pop()
        stack.append(_checked_name(module, name))
      case 'REDUCE':
        arguments, function = stack.pop(), stack.pop()
        stack.append(_reduce(function, arguments))
      case 'BUILD':  # attributes, e.g. the versions of a state dict
        stack.pop()
      case _:
        raise RefusedError(f'the pickle uses {opcode}, which no checkpoint needs')

  def _pop_mark(self) -> list[Any]:
    items, self._stack = self._stack, self._outer.pop()
    return items

  def _append(self, items: list[Any]) -> None:
    if type(self._stack[-1]) is not list:
      raise RefusedError('the pickle appends to an object that is not a list')
    self._stack[-1].extend(items)

  def _set_items(self, items: list[Any]) -> None:
    """Add keys and values, which alternate, to the dictionary on the stack."""
    if type(self._stack[-1]) is not dict or len(items) % 2:
      raise RefusedError('the pickle sets items of an object that is not a dictionary')
    for key in items[::2]:
      if type(key) not in (str, int):
        raise RefusedError(f'a key is a {type(key).__name__}, expected text or an integer')
    self._stack[-1].update(zip(items[::2], items[1::2]))


def _checked_name(module: Any, name: Any) -> _Name:
  if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in _NAMES:
    raise RefusedError(f'refers to {_short(module)}.{_short(name)}, which is not part of a tensor')
  return _Name(name)


def _short(value: Any) -> str:
  return value[:80] if isinstance(value, str) else type(value).__name__


def _reduce(function: Any, arguments: Any) -> Any:
  """Return the value of a call in the pickle, of one of _NAMES."""
  name = function.name if isinstance(function, _Name) else type(function).__name__
  count = len(arguments) if isinstance(arguments, tuple) else -1
  if name == 'OrderedDict' and count == 0:
    return {}
  if name == 'Counter' and count == 1 and type(arguments[0]) is dict:
    return arguments[0]
  if name == '_rebuild_tensor_v2' and count >= 4:  # then requires_grad, hooks
    return _Tensor(*arguments[:4])
  if name == '_rebuild_parameter' and count >= 1:
    return arguments[0]
  raise RefusedError(f'the pickle calls {name} with other arguments than those of a tensor')


def _array(
  archive: StoredZip,
  folder: str,
  order: str,
  named: tuple[str, _Tensor],
  storages: dict[str, bytes],
) -> np.ndarray:
  """Read the numbers of a tensor within the bounds of its storage.

  Args:
    archive: the checkpoint.
    folder: prefix of the storages in the archive.
    order: byte order, '<' or '>'.
    named: the tensor's name, for messages, and its description.
    storages: those read before, by key; updated.
  """
  name, tensor = named
  dtype, key = _check_description(name, tensor)
  if key not in storages:
    storages[key] = archive.read(folder + key, _MAX_BYTES)
  values = np.frombuffer(storages[key], np.dtype(order + dtype))
  count = math.prod(tensor.shape)
  end = tensor.offset + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides))
  if count > len(values) or (count and end > len(values)):
    raise RefusedError(f'{name}: shape {tensor.shape} exceeds its storage of {len(values)} numbers')
  strides = tuple(s * values.itemsize for s in tensor.strides)
  view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
  return view.astype(np.dtype(dtype))  # a copy, in native byte order


def _check_description(name: str, tensor: _Tensor) -> tuple[str, str]:
  """Return the numpy type and the key of a tensor's storage; refuse invalid descriptions."""
  storage, shape, strides = tensor.storage, tensor.shape, tensor.strides
  if (
    isinstance(storage, tuple)
    and len(storage) == 5
    and storage[0] == 'storage'
    and isinstance(storage[1], _Name)
    and storage[1].name in _STORAGES
    and isinstance(storage[2], str)
    and isinstance(shape, tuple)
    and isinstance(strides, tuple)
    and len(shape) == len(strides) <= _MAX_DIMENSIONS
    and all(type(n) is int and 0 <= n < _MAX_NUMBER for n in (tensor.offset, *shape, *strides))
  ):
    return _STORAGES[storage[1].name], storage[2]
  raise RefusedError(f'{name:.100}: not a valid description of a tensor')
