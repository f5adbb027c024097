"""Readers on arbitrary bytes and damaged files: a result or InputError, nothing else.

Few examples, always the same. To search longer (new examples every time):

    PNERF_FUZZ=20000 python -m pytest tests/data/fuzz_test.py
"""

import dataclasses
import io
import os
import struct
import zipfile
import zlib

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pnerf_jax.config.spec import MAX_INT
from pnerf_jax.contrib.release import torch_file
from pnerf_jax.data import dataset, image_io, kitti360, primitives

LONGER = int(os.environ.get('PNERF_FUZZ', 0))
fuzzed = settings(
  max_examples=LONGER or 60,
  derandomize=not LONGER,
  deadline=None,
  database=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_NUMBERS = (
  'nan -inf 1e999 1e308 -1e200 0 -0 1 2.5 x ² 0x10 1_0 \0 4294967296 < &b; -1 1e-320'.split(' ')
)
NUMBERS = st.one_of(
  st.sampled_from([*_NUMBERS, '', '9' * 5000]),
  st.floats().map(repr),
  st.integers().map(str),
  st.text(max_size=8),
)


@st.composite
def edits(draw, text):
  """Replace, drop or repeat some tokens of a text, or cut off its end."""
  tokens = text.split(' ')
  for _ in range(draw(st.integers(1, 4))):
    index = draw(st.integers(0, len(tokens) - 1))
    tokens[index] = draw(
      st.one_of(NUMBERS, st.just(f'{tokens[index]} {tokens[index]}'), st.just(''))
    )
  text = ' '.join(tokens)
  return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


@fuzzed
@given(data=st.data())
def test_primitives(tiny, write, result_or_input_error, data):
  whole = tiny.boxes_xml(tiny.cube_xml()).replace('>', '> ').replace('<', ' <')
  content = data.draw(st.one_of(edits(whole), edits(whole), st.binary(max_size=200), st.text()))
  for record in (
    result_or_input_error(primitives.read_primitives_xml, write(tiny.primitives_path, content))
    or ()
  ):
    assert np.isfinite(record.vertices).all() and record.faces.max() < len(record.vertices)
    assert 0 <= record.semantic < 45 and record.instance >= 0
    np.int32([record.index, record.annotation, record.timestamp, record.instance])


@fuzzed
@given(
  data=st.data(),
  name=st.sampled_from(['perspective.txt', 'calib_cam_to_pose.txt', 'calib_cam_to_velo.txt']),
)
def test_calibration(tiny, write, result_or_input_error, data, name):
  path = tiny.root / 'calibration' / name
  before = path.read_bytes()
  try:
    write(
      path,
      data.draw(st.one_of(edits(before.decode()), edits(before.decode()), st.binary(max_size=200))),
    )
    found = result_or_input_error(kitti360.read_calibration, tiny.root)
  finally:
    path.write_bytes(before)
  if found:
    assert np.isfinite(found.pose_from_velo).all() and min(found.size) > 0
    for camera, intrinsics in found.intrinsics.items():
      assert np.isfinite(kitti360.resize_intrinsics(intrinsics, found.size, (30, 20))).all()
      assert np.isfinite(np.linalg.inv(found.pose_from_cam[camera])).all()


@fuzzed
@given(data=st.data())
def test_poses(tiny, write, result_or_input_error, data):
  path = tiny.root / 'data_poses' / tiny.sequence / 'poses.txt'
  whole = '0 1 0 0 1000 0 1 0 2000 0 0 1 100 \n1 1 0 0 1001 0 1 0 2000 0 0 1 100 \n'
  write(path, data.draw(st.one_of(edits(whole), edits(whole), st.binary(max_size=200))))
  found = result_or_input_error(kitti360.read_pose_file, path, 12)
  for frame, pose in (found or {}).items():
    assert 0 <= frame < 2**31 and np.isfinite(np.linalg.inv(pose)).all()


@fuzzed
@given(
  content=st.one_of(
    st.binary(max_size=64),
    st.lists(st.floats(width=32), max_size=16).map(lambda x: struct.pack(f'<{len(x)}f', *x)),
  )
)
def test_scans(tmp_path, write, result_or_input_error, content):
  points = result_or_input_error(kitti360.read_velodyne, write(tmp_path / 'a.bin', content))
  assert points is None or np.isfinite(points.astype(np.float64) ** 2).all()


_CHUNKS = b'tEXt zTXt iCCP PLTE tRNS iTXt eXIf acTL fcTL fdAT sRGB pHYs gAMA cHRM'


@st.composite
def pictures(draw, chunk):
  """Return a PNG, perhaps truncated, with any header and chunks with valid checksums."""
  sizes = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))
  header = struct.pack(
    '>IIBBBBB',
    draw(sizes),
    draw(sizes),
    draw(st.sampled_from([1, 8, 16, 3])),
    draw(st.sampled_from([0, 2, 3, 4, 6, 7])),
    *draw(st.tuples(*[st.integers(0, 2)] * 3)),
  )
  content = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
  for _ in range(draw(st.integers(0, 2))):
    kind = draw(st.sampled_from(_CHUNKS.split()))
    content += chunk(kind, draw(st.binary(max_size=40)))
  content += chunk(
    b'IDAT', draw(st.one_of(st.binary(max_size=20), st.binary(max_size=200).map(zlib.compress)))
  )
  content += chunk(b'IEND', b'')
  return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


@fuzzed
@given(data=st.data())
def test_pictures(tmp_path, write, chunk, result_or_input_error, data):
  content = data.draw(st.one_of(pictures(chunk), pictures(chunk), st.binary(max_size=100)))
  path = write(tmp_path / 'a.png', content)
  result_or_input_error(image_io.read_size, path)
  for read in (
    image_io.read_rgb,
    image_io.read_label,
    image_io.read_instance,
    image_io.read_confidence,
    image_io.read_depth,
  ):
    found = result_or_input_error(read, path, (4, 3))
    assert found is None or found.shape[:2] == (3, 4)


# A checkpoint of PyTorch: one tensor of 3 x 4 numbers, as its pickle says it in protocol 2.
PICKLE = (
  b'\x80\x02}X\x03\0\0\0net}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n'
  b'((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x0ctQ'
  b'K\0K\x03K\x04\x86K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtRss.'
)
PIECES = st.one_of(
  st.sampled_from([bytes([code]) for code in b'}](t)usebaRQN.0\x85\x86\x87\x88\x89\x94\x93']),
  st.sampled_from(
    [
      b'ctorch._utils\n_rebuild_tensor_v2\n',
      b'ccollections\nOrderedDict\n',
      b'ctorch\nLongStorage\n',
      b'ccollections\nCounter\n',
      b'cos\nsystem\n',
      b'ctorch._utils\n_rebuild_parameter\n',
      b'X\x03\0\0\0net',
      b'X\x01\0\0\x000',
      b'X\x07\0\0\0storage',
    ]
  ),
  st.integers(-(2**31), 2**31 - 1).map(lambda n: b'J' + struct.pack('<i', n)),
  st.integers(0, 255).map(lambda n: b'K' + bytes([n])),
  st.tuples(st.sampled_from(b'hq'), st.integers(0, 5)).map(bytes),
  st.integers(0, 2**32 - 1).map(lambda n: b'r' + struct.pack('<I', n)),
  st.binary(max_size=9).map(lambda b: b'\x8a' + bytes([len(b)]) + b),
  st.binary(max_size=3),
)


@st.composite
def spliced(draw, content):
  """Insert, overwrite or remove some pieces of bytes."""
  for _ in range(draw(st.integers(1, 4))):
    start = draw(st.integers(0, len(content)))
    end = start + draw(st.integers(0, 6))
    content = content[:start] + draw(PIECES) + content[end:]
  return content


@fuzzed
@given(
  data=st.data(),
  name=st.sampled_from(['a/', '../a/', '/a/', 'a/../', '']),
  method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_checkpoints_of_pytorch(tmp_path, write, result_or_input_error, data, name, method):
  saved = data.draw(
    st.one_of(spliced(PICKLE), spliced(PICKLE), st.lists(PIECES, max_size=30).map(b''.join))
  )
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', method) as archive:
    archive.writestr(f'{name}data.pkl', saved)
    archive.writestr(f'{name}data/0', np.arange(12, dtype=np.float32).tobytes())
    archive.writestr(f'{name}byteorder', data.draw(st.sampled_from([b'little', b'big', b''])))
  content = file.getvalue()
  if data.draw(st.booleans()):
    content = data.draw(spliced(content))
  path = write(tmp_path / 'a.pth', content)
  there = sorted(tmp_path.iterdir())
  found = result_or_input_error(torch_file.read_tensors, path, 'net')
  assert sum(values.nbytes for values in (found or {}).values()) <= len(content)
  assert sorted(tmp_path.iterdir()) == there


_NAMES = '.. . ../root /etc a/../b a\0b image_00 image_00/.. ~ \ud800'.split(' ')
NAMES = st.one_of(st.text(max_size=12), st.sampled_from([*_NAMES, 'x' * 300]))


@fuzzed
@given(
  sequence=NAMES,
  cameras=st.lists(NAMES, max_size=3).map(tuple),
  start=st.integers(-1, MAX_INT),
  frames=st.integers(1, MAX_INT),
)
def test_no_name_leads_out_of_the_dataset(
  tiny, result_or_input_error, sequence, cameras, start, frames
):
  data = dataclasses.replace(
    tiny.data, sequence=sequence, cameras=cameras, start=start, frames=frames
  )
  found = result_or_input_error(dataset.open_dataset, data)
  if found:
    assert found.sequence == tiny.sequence
    for view in found.views():
      assert found.image_path(*view).resolve().is_relative_to(tiny.root.resolve())
