"""Tests of the checkpoint reader: files built byte by byte, and files of PyTorch if installed."""

import io
import os
import struct
import time
import zipfile

import numpy as np
import pytest

from pnerf_jax.contrib import stored_zip
from pnerf_jax.contrib.release import torch_file
from pnerf_jax.errors import InputError

# Pickle protocol 2: each function returns the bytes that push one value.


def text(value):
  return b'X' + struct.pack('<I', len(value)) + value.encode()


def number(value):
  if value < 2**31:
    return b'J' + struct.pack('<i', value)
  return b'\x8a\x08' + struct.pack('<q', value)


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
    (number(1) + b'r' + struct.pack('<I', 2**31), 'entries: int'),
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
    (saved_with(tensor('9', (2,), (1,))), 'a.pth: no latest/data/9 in the archive'),
    (saved_with(tensor('0', (2**40,), (1,))), 't0: not a valid description of a tensor'),
    (saved_with(tensor('0', (1,) * 9, (1,) * 9)), 't0: not a valid description of a tensor'),
    (saved_with(text('net')), 'net: t0 is not a tensor'),
    (b'}' + row(number(1)) + number(2) + b's', 'a key is a tuple, expected text or an integer'),
    (b'}G' + struct.pack('>d', 1) + number(2) + b's', 'a key is a float, expected text'),
    (b'}' + text('a') + number(2) + b'ss', 'damaged .IndexError'),
    (b'](' + number(1) + b'u', 'sets items of an object that is not a dictionary'),
    (b'}(' + number(1) + b'u', 'sets items of an object that is not a dictionary'),
    (b'}' + number(1) + b'a', 'appends to an object that is not a list'),
    (b'h\x05', 'damaged .KeyError'),
    (call(text('print')), 'the pickle calls str with other arguments'),
    (saved_with(tensor('0', (12,), (1,), 0, 'BFloat16Storage')), 'refers to torch.BFloat16Storage'),
    (
      call(named('collections', 'OrderedDict'), number(1)),
      'the pickle calls OrderedDict with other arguments than those of a tensor',
    ),
    (call(named('collections', 'Counter'), row(number(1))), 'calls Counter with other arguments'),
    (b'', 'damaged'),
  ],
)
def test_invalid_pickles_are_refused(tmp_path, saved, message):
  path = write(tmp_path / 'a.pth', saved)
  with pytest.raises(InputError, match=message) as error:
    torch_file.read_tensors(path, 'net')
  assert 'a.pth' in str(error.value) and 'torch.save' in str(error.value)


HOSTILE = {  # nested 100,000 deep, or shared as often
  'a tuple that holds itself as a key': (
    # t = (list,); list += [t, t]; t = (t, t), 60 times; {t: 1}
    b']q\x00\x85q\x01h\x00(h\x01h\x01e' + b'0' + b''.join(b'2\x86' for _ in range(60)),
    'the pickle uses POP, which no checkpoint needs',
  ),
  'the same with memoised tuples': (
    b']q\x00\x85q\x01'
    + b'h\x00(h\x01h\x01e'
    + b'}('
    + b'h\x01'
    + b'q\x02h\x02\x86' * 60
    + number(1)
    + b'u',
    'a key is a tuple, expected text or an integer',
  ),
  'tuples': (b')' + b'\x85' * 100_000, "no state dict 'net' (entries: tuple)"),
  'lists': (b']q\x00' + b']h\x00aq\x00' * 100_000, "no state dict 'net' (entries: list)"),
  'nested state': (table(net=b')' + b'\x85' * 100_000), "no state dict 'net' (entries: net)"),
  'nested tensor': (
    table(net=table(a=b')' + b'\x85' * 100_000)),
    'net: a is not a tensor',
  ),
  'tensors of tensors': (
    table(
      net=table(
        a=named('torch._utils', '_rebuild_tensor_v2')
        + b'q\x00('
        + b'h\x00(' * 100_000
        + b')'
        + b')))tR' * 100_001
      )
    ),
    'a: not a valid description of a tensor',
  ),
  'marks': (b'(' * 1_000_000, 'damaged (IndexError: pop from empty list)'),
  'a shape of many large numbers': (
    table(
      net=table(
        a=call(
          named('torch._utils', '_rebuild_tensor_v2'),
          row(text('storage'), named('torch', 'FloatStorage'), text('0'), text(''), number(0))
          + b'Q',
          number(0),
          b'(\x8a\xff' + b'\x7f' * 255 + b'q\x07' + b'h\x07' * 200_000 + b't',
          b'(' + b'h\x07' * 200_001 + b't',
        )
      )
    ),
    'a: not a valid description of a tensor',
  ),
  'a long key': (table(**{'k' * 1000: number(1)}), f"no state dict 'net' (entries: {'k' * 40})"),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_nested_and_shared_values_take_linear_time(tmp_path, name):
  saved, message = HOSTILE[name]
  path = write(tmp_path / 'a.pth', saved)
  start = time.process_time()
  with pytest.raises(InputError) as error:
    torch_file.read_tensors(path, 'net')
  assert str(error.value) == f'{path}: {message}. {torch_file._HINT}'
  assert time.process_time() - start < 5


def test_a_shared_storage_is_read_once(tmp_path, monkeypatch):
  reads = []
  original = stored_zip.StoredZip.read
  monkeypatch.setattr(
    stored_zip.StoredZip,
    'read',
    lambda self, name, most: reads.append(name) or original(self, name, most),
  )
  saved = saved_with(*(tensor('0', (0,), (1,)) for _ in range(500)))
  path = write(tmp_path / 'a.pth', saved, {'0': np.zeros(10**5, np.float32)})
  found = torch_file.read_tensors(path, 'net')
  assert len(found) == 500 and all(array.shape == (0,) for array in found.values())
  assert reads == ['latest/data.pkl', 'latest/data/0']


def test_the_members_of_an_archive_are_limited(tmp_path):
  path = write(tmp_path / 'a.pth', number(1), **{f'data/{i}': b'' for i in range(1, 10_000)})
  with pytest.raises(InputError, match='a.pth: 10001 members, expected at most 10000. Save it'):
    torch_file.read_tensors(path, 'net')
  with pytest.warns(UserWarning, match='Duplicate'):
    write(path, number(1), **{'data/0': b''})
  with pytest.raises(InputError, match='a.pth: two members of the archive have one name. Save it'):
    torch_file.read_tensors(path, 'net')
  path = write(tmp_path / 'a.pth', text('k' * 2**20))
  with pytest.raises(InputError, match='latest/data.pkl: .* expected uncompressed and at most 104'):
    torch_file.read_tensors(path, 'net')


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
