"""Tests of the checkpoint reader: files built byte by byte, and files of PyTorch if installed."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from pnerf_jax.contrib.release import torch_file
from pnerf_jax.errors import InputError

# Pickle protocol 2: each function returns the bytes that push one value.


def text(value):
  return b'X' + struct.pack('<I', len(value)) + value.encode()


def number(value):
  return b'J' + struct.pack('<i', value)


def row(*items):
  return b'(' + b''.join(items) + b't'


def table(**items):
  return b'}(' + b''.join(text(name) + value for name, value in items.items()) + b'u'


def named(module, name):
  return f'c{module}\n{name}\n'.encode()


def call(function, *arguments):
  return function + row(*arguments) + b'R'


def tensor(key, shape, strides, offset=0, storage='FloatStorage', count=0):
  pid = row(text('storage'), named('torch', storage), text(key), text('cuda:0'), number(count))
  return call(
    named('torch._utils', '_rebuild_tensor_v2'),
    pid + b'Q',
    number(offset),
    row(*map(number, shape)),
    row(*map(number, strides)),
    b'\x89',
    call(named('collections', 'OrderedDict')),
  )


NUMBERS = np.arange(12, dtype=np.float32) - 3.5


def write(path, saved, storages=None, compression=zipfile.ZIP_STORED, **entries):
  with zipfile.ZipFile(path, 'w', compression) as archive:
    archive.writestr('latest/data.pkl', b'\x80\x02' + saved + b'.')
    for key, values in (storages or {'0': NUMBERS}).items():
      archive.writestr(f'latest/data/{key}', values.tobytes())
    for name, content in entries.items():
      archive.writestr(f'latest/{name}', content)
  return path


def saved_with(*tensors):
  return table(
    net=call(named('collections', 'OrderedDict'))
    + b'('
    + b''.join(text(f't{i}') + t for i, t in enumerate(tensors))
    + b'u',
    epoch=number(3),
  )


def test_read_tensors_applies_offset_and_strides(tmp_path):
  path = write(
    tmp_path / 'a.pth',
    saved_with(
      tensor('0', (3, 4), (4, 1)), tensor('0', (4, 2), (1, 4), offset=4), tensor('0', (), (), 11)
    ),
  )
  found = torch_file.read_tensors(path, 'net')
  assert list(found) == ['t0', 't1', 't2']
  np.testing.assert_array_equal(found['t0'], NUMBERS.reshape(3, 4))
  np.testing.assert_array_equal(found['t1'], NUMBERS.reshape(3, 4)[1:].T)
  assert found['t2'] == 7.5 and found['t2'].shape == ()


@pytest.mark.parametrize(
  'storage, dtype',
  [('DoubleStorage', 'f8'), ('HalfStorage', 'f2'), ('LongStorage', 'i8'), ('BoolStorage', '?')],
)
def test_read_tensors_keeps_types(tmp_path, storage, dtype):
  values = np.array([0, 1, 1, 0]).astype(dtype)
  path = write(
    tmp_path / 'a.pth', saved_with(tensor('0', (2, 2), (2, 1), 0, storage)), {'0': values}
  )
  found = torch_file.read_tensors(path, 'net')['t0']
  assert found.dtype == dtype
  np.testing.assert_array_equal(found, values.reshape(2, 2))


def test_read_tensors_follows_the_byte_order_of_the_file(tmp_path):
  path = write(
    tmp_path / 'a.pth',
    saved_with(tensor('0', (12,), (1,))),
    {'0': NUMBERS.astype('>f4')},
    byteorder='big',
  )
  np.testing.assert_array_equal(torch_file.read_tensors(path, 'net')['t0'], NUMBERS)


def test_nothing_in_the_file_is_executed(tmp_path):
  mark = tmp_path / 'mark'
  for module, name in (
    ('os', 'system'),
    ('posix', 'system'),
    ('builtins', 'eval'),
    ('torch.storage', '_load_from_bytes'),
    ('torch', 'load'),
  ):
    bad = call(named(module, name), text(f'touch {mark}'))
    path = write(tmp_path / 'a.pth', table(net=saved_with(tensor('0', (12,), (1,))), epoch=bad))
    with pytest.raises(InputError, match=f'a.pth: refers to {module}.{name}, which is not part'):
      torch_file.read_tensors(path, 'net')
  assert not mark.exists()


@pytest.mark.parametrize(
  'saved, message',
  [
    (b'i' + b'os\nsystem\n', 'uses INST'),
    (number(1) + b'r' + struct.pack('<I', 2**31), 'stores at index 2147483648'),
    (b'\x8e' + struct.pack('<Q', 2**50), 'damaged .ValueError'),
    (table(state=number(1)), "no state dict 'net' .entries: state"),
    (number(1), 'entries: int'),
    (table(net=table()), 'no state dict'),
    (table(net=table(a=number(1))), 'net: a is not a tensor'),
    (saved_with(tensor('0', (13,), (1,))), r'shape \(13,\) exceeds its storage of 12 numbers'),
    (saved_with(tensor('0', (3, 4), (5, 1))), 'exceeds its storage'),
    (saved_with(tensor('0', (2,), (1,), offset=11)), 'exceeds its storage'),
    (saved_with(tensor('0', (2**30, 2**30), (0, 0))), 'exceeds its storage'),
    (saved_with(tensor('0', (2,), (-1,), offset=1)), 'not a valid description of a tensor'),
    (saved_with(tensor('0', (2,), (1, 1))), 'not a valid description of a tensor'),
    (saved_with(tensor('9', (2,), (1,))), 'damaged .KeyError'),
    (saved_with(tensor('0', (12,), (1,), 0, 'BFloat16Storage')), 'refers to torch.BFloat16Storage'),
    (call(named('collections', 'OrderedDict'), number(1)), 'damaged .TypeError'),
    (b'', 'damaged'),
  ],
)
def test_invalid_pickles_are_refused(tmp_path, saved, message):
  path = write(tmp_path / 'a.pth', saved)
  with pytest.raises(InputError, match=message) as error:
    torch_file.read_tensors(path, 'net')
  assert 'a.pth' in str(error.value) and 'torch.save' in str(error.value)


def test_tensors_larger_than_the_file_are_refused(tmp_path):
  path = write(
    tmp_path / 'a.pth',
    saved_with(*(tensor('0', (1000,), (1,)) for _ in range(99))),
    {'0': np.zeros(1000, np.float32)},
  )
  with pytest.raises(InputError, match='the tensors are larger than the file'):
    torch_file.read_tensors(path, 'net')


def test_compressed_entries_are_refused(tmp_path):
  path = write(
    tmp_path / 'a.pth',
    saved_with(tensor('0', (12,), (1,))),
    {'0': np.zeros(10**6, np.float32)},
    zipfile.ZIP_DEFLATED,
  )
  with pytest.raises(InputError, match='expected uncompressed'):
    torch_file.read_tensors(path, 'net')


@pytest.mark.slow
def test_damaged_files_are_refused(tmp_path):
  path = write(tmp_path / 'a.pth', saved_with(tensor('0', (12,), (1,))))
  content = path.read_bytes()
  at = content.index(NUMBERS.tobytes())
  path.write_bytes(content[:at] + b'\xff' + content[at + 1 :])
  with pytest.raises(InputError, match='a.pth: damaged .BadZipFile: Bad CRC'):
    torch_file.read_tensors(path, 'net')
  rng = np.random.default_rng(0)
  for end in rng.integers(0, len(content), 20):
    path.write_bytes(content[:end])
    with pytest.raises(InputError, match='a.pth: '):
      torch_file.read_tensors(path, 'net')
  for at in rng.integers(0, len(content), 200):  # unchanged values, or InputError
    path.write_bytes(
      content[:at] + bytes([content[at] ^ (1 << rng.integers(8))]) + content[at + 1 :]
    )
    try:
      torch_file.read_tensors(path, 'net')
    except InputError:
      pass


def test_other_files_are_refused(tmp_path):
  path = tmp_path / 'a.pth'
  path.write_bytes(bytes.fromhex('80028a0a6cfc9c46f9206aa850192e80024de9032e'))  # torch < 1.6
  with pytest.raises(InputError, match='not a zip archive.*PyTorch before 1.6'):
    torch_file.read_tensors(path, 'net')
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('a/b/data.pkl', b'')
  with pytest.raises(InputError, match='0 files NAME/data.pkl'):
    torch_file.read_tensors(path, 'net')
  os.mkfifo(tmp_path / 'pipe')
  for name, message in (('pipe', 'not a regular file'), ('absent', 'no such file')):
    with pytest.raises(InputError, match=f'{message}.*--from'):
      torch_file.read_tensors(tmp_path / name, 'net')


def test_files_written_by_pytorch(tmp_path):
  torch = pytest.importorskip('torch')
  net = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 2).double())
  optimizer = torch.optim.Adam(net.parameters())
  net[1](net[0](torch.ones(3, 5)).double()).sum().backward()
  optimizer.step()
  schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4])
  state = net.state_dict()
  state['transposed'] = torch.arange(6.0).reshape(2, 3).T
  state['part'] = torch.nn.Parameter(torch.arange(20.0)[3:17:2])
  saved = {
    'net': state,
    'optim': optimizer.state_dict(),
    'scheduler': schedule.state_dict(),
    'recorder': {'step': 7},
    'epoch': 3,
  }
  for protocol in (2, 4):
    file = io.BytesIO()
    torch.save(saved, file, pickle_protocol=protocol)
    path = tmp_path / 'latest.pth'
    path.write_bytes(file.getvalue())
    found = torch_file.read_tensors(path, 'net')
    assert list(found) == list(state)
    for name, value in state.items():
      np.testing.assert_array_equal(found[name], value.detach().numpy(), err_msg=name)
      assert found[name].dtype == value.detach().numpy().dtype
  torch.save(saved, path, _use_new_zipfile_serialization=False)
  with pytest.raises(InputError, match='not a zip archive'):
    torch_file.read_tensors(path, 'net')
  torch.save({'net': net}, path)
  with pytest.raises(InputError, match='uses NEWOBJ'):
    torch_file.read_tensors(path, 'net')
