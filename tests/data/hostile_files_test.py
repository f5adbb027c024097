"""Hostile files: little time and memory are taken, whatever they claim or contain."""

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

from pnerf_jax.config.schema import DataConfig, SceneConfig
from pnerf_jax.contrib.report import plots
from pnerf_jax.data import image_io, kitti360, primitives, primitives_json, transforms
from pnerf_jax.data.window import load_window
from pnerf_jax.errors import InputError
from pnerf_jax.runs import config_file, logs, provenance
from pnerf_jax.training import interval_cache


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
def test_hostile_xml_takes_little_memory(tmp_path, write, result_or_input_error, content):
  path = write(tmp_path / 'a.xml', content)
  tracemalloc.start()
  try:
    assert not result_or_input_error(primitives.read_primitives_xml, path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize('size', [(2**31 - 1, 2**31 - 1), (8001, 8000), (1, 64_000_001)])
def test_a_huge_picture_is_refused_before_it_is_allocated(tmp_path, write, chunk, size):
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
def test_small_files_take_little_time_and_memory(tmp_path, write, name, content, read, expected):
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


def test_cached_intervals_that_claim_terabytes_are_computed_anew(tmp_path, write, caplog):
  read_intervals(write(tmp_path / 'a.npz', arrays(zipfile.ZIP_STORED, (10**12,), 0)))
  assert 'a.npz is invalid (Unable to allocate 7.28 TiB' in caplog.text


def test_memory_is_not_taken_for_images_that_are_smaller_than_claimed(tmp_path, write, chunk):
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
