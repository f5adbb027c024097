"""Readers on arbitrary bytes and damaged files: a result or InputError, nothing else.

Few examples, always the same. To search longer (new examples every time):

    PNERF_FUZZ=20000 python -m pytest tests/data/fuzz_test.py
"""

import dataclasses
import io
import json
import os
import resource
import struct
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pnerf_jax.config.schema import DataConfig, SceneConfig
from pnerf_jax.config.spec import MAX_INT
from pnerf_jax.contrib.release import torch_file
from pnerf_jax.contrib.report import plots
from pnerf_jax.data import dataset, image_io, kitti360, primitives, primitives_json, transforms
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError
from pnerf_jax.runs import config_file, logs, provenance
from pnerf_jax.training import interval_cache

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


def result_or_input_error(read, *args):
  """Call a reader; an InputError must have one line of bounded length."""
  try:
    return read(*args)
  except InputError as error:
    assert '\n' not in str(error) and len(str(error)) < 1500
    return None


def write(path, content):
  if isinstance(content, str):
    content = content.encode('utf-8', 'surrogatepass')
  path.write_bytes(content)
  return path


@fuzzed
@given(data=st.data())
def test_primitives(tiny, data):
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
def test_calibration(tiny, data, name):
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
def test_poses(tiny, data):
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
def test_scans(tmp_path, content):
  points = result_or_input_error(kitti360.read_velodyne, write(tmp_path / 'a.bin', content))
  assert points is None or np.isfinite(points.astype(np.float64) ** 2).all()


def chunk(kind, content):
  return (
    struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
  )


_CHUNKS = b'tEXt zTXt iCCP PLTE tRNS iTXt eXIf acTL fcTL fdAT sRGB pHYs gAMA cHRM'


@st.composite
def pictures(draw):
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
@given(content=st.one_of(pictures(), pictures(), st.binary(max_size=100)))
def test_pictures(tmp_path, content):
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
def test_checkpoints_of_pytorch(tmp_path, data, name, method):
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
def test_no_name_leads_out_of_the_dataset(tiny, sequence, cameras, start, frames):
  data = dataclasses.replace(
    tiny.data, sequence=sequence, cameras=cameras, start=start, frames=frames
  )
  found = result_or_input_error(dataset.open_dataset, data)
  if found:
    assert found.sequence == tiny.sequence
    for view in found.views():
      assert found.image_path(*view).resolve().is_relative_to(tiny.root.resolve())


def nested(depth):
  return '<a>' * depth + '</a>' * depth


@pytest.mark.parametrize(
  'content',
  [
    '<!DOCTYPE l [<!ENTITY a "ha">'
    + ''.join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip('abcdefgh', 'bcdefghi'))
    + ']><l>&i;</l>',
    f'<a>{nested(20_000)}</a>',
    '<a><b><transform/><index>' + '9' * 100_000 + '</index></b></a>',
  ],
)
def test_hostile_xml_takes_little_memory(tmp_path, content):
  path = write(tmp_path / 'a.xml', content)
  tracemalloc.start()
  try:
    assert not result_or_input_error(primitives.read_primitives_xml, path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize('size', [(2**31 - 1, 2**31 - 1), (8001, 8000), (1, 64_000_001)])
def test_a_huge_picture_is_refused_before_it_is_allocated(tmp_path, size):
  content = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', *size, 8, 2, 0, 0, 0))
  path = write(tmp_path / 'a.png', content + chunk(b'IDAT', zlib.compress(b'\0' * 100)))
  tracemalloc.start()
  try:
    for read in (image_io.read_size, image_io.read_rgb):
      with pytest.raises(InputError, match='a.png: '):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
  finally:
    tracemalloc.stop()


def test_pipes_and_huge_files_are_refused(tmp_path):
  pipe = tmp_path / 'pipe'
  os.mkfifo(pipe)  # reading it would wait for ever
  huge = tmp_path / 'huge'
  with huge.open('wb') as file:
    file.truncate(2**40)  # a hole, which takes no space
  for path, message in ((pipe, 'not a regular file'), (huge, '1099511627776 bytes')):
    for read in (kitti360.read_velodyne, kitti360.read_perspective, primitives.read_primitives_xml):
      with pytest.raises(InputError, match=message):
        read(path)


DEEP = '[' * 100_000
CAR = {'class': 'car', 'center': [0, 0, 0], 'size': [4, 2, 2], 'yaw': 0}


def arrays(method, claim, megabytes):
  """Return a file of cached intervals whose arrays claim a shape."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', method) as archive:
    for name in ('count', 'enter', 'exit', 'primitive', 'num_truncated', 'moving'):
      header = {'descr': '<f8', 'fortran_order': False, 'shape': claim}
      with archive.open(f'{name}.npy', 'w') as member:
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(megabytes):
          member.write(bytes(2**20))
  return file.getvalue()


def read_intervals(path):
  assert interval_cache._read(path, 10, 4, 4) is None


@pytest.mark.parametrize(
  'name, content, read, expected',
  [
    ('a.json', DEEP, primitives_json.read_primitives_json, 'a.json: not JSON'),
    ('a.json', '{"boxes": ' + DEEP, primitives_json.read_primitives_json, 'a.json: not JSON'),
    (
      'a.json',
      json.dumps({'boxes': [CAR | {'size': [10**4000, 1, 1]}]}),
      primitives_json.read_primitives_json,
      'boxes[0]: size: 1000',
    ),
    (
      'transforms.json',
      DEEP,
      lambda path: transforms.read(path.parent),
      'transforms.json: not JSON',
    ),
    (
      'config.json',
      DEEP,
      lambda path: config_file.load_config(path.parent),
      'config.json: not JSON',
    ),
    ('scalars.jsonl', DEEP, lambda path: plots.read_scalars(path) == [], None),
    ('scalars.jsonl', DEEP, lambda path: logs._lines_until(path, 3) == [], None),
    ('sessions.jsonl', DEEP, lambda path: provenance.read_sessions(path.parent) == [], None),
    ('a.txt', '1e999 ' * 2000, lambda path: kitti360.read_pose_file(path, 12), 'has 2000 numbers'),
    ('a.npz', arrays(zipfile.ZIP_STORED, (2**60, 2**60), 0), read_intervals, None),
    ('a.npz', arrays(zipfile.ZIP_DEFLATED, (2**22,), 32), read_intervals, None),
    ('a.npz', arrays(zipfile.ZIP_BZIP2, (2**22,), 32), read_intervals, None),
  ],
)
def test_small_files_take_little_time_and_memory(tmp_path, name, content, read, expected):
  path = write(tmp_path / name, content)
  tracemalloc.start()
  start = time.process_time()
  try:
    if expected is None:
      assert read(path) in (True, None)
    else:
      with pytest.raises(InputError) as error:
        read(path)
      assert expected in str(error.value) and len(str(error.value)) < 600
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert time.process_time() - start < 10 and peak < 2e8


def test_cached_intervals_that_claim_terabytes_are_computed_anew(tmp_path, caplog):
  read_intervals(write(tmp_path / 'a.npz', arrays(zipfile.ZIP_STORED, (10**12,), 0)))
  assert 'a.npz is invalid (Unable to allocate 7.28 TiB' in caplog.text


def test_memory_is_not_taken_for_images_that_are_smaller_than_claimed(tmp_path):
  """6 GB for the sizes that the dataset states."""
  header = struct.pack('>IIBBBBB', 4, 3, 8, 2, 0, 0, 0)
  content = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(39)))
  frames = []
  for i in range(30):
    write(tmp_path / f'{i}.png', content + chunk(b'IEND', b''))
    pose = np.eye(4).tolist()
    frames.append({'file_path': f'{i}.png', 'camera': 'a', 'frame': i, 'transform_matrix': pose})
  camera = {'w': 8000, 'h': 8000, 'fl_x': 4e3, 'fl_y': 4e3, 'cx': 4e3, 'cy': 4e3}
  (tmp_path / 'transforms.json').write_text(json.dumps(camera | {'frames': frames}))
  data = DataConfig(source='transforms', root=str(tmp_path), primitives='none', cameras=('a',))
  data = dataclasses.replace(data, image_scale=1.0, max_width=8000)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
  with pytest.raises(InputError, match='0.png: size 4x3, expected 8000x8000'):
    load_window(data, SceneConfig(unannotated_space='void'))
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18
