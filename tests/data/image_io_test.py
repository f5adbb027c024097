"""PNG readers and writers against OpenCV, and damaged files."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 45, (6, 9)).astype(np.uint8)


@pytest.mark.parametrize(
  'write, read, values',
  [
    (image_io.write_rgb, image_io.read_rgb, RNG.integers(0, 256, (6, 9, 3)).astype(np.uint8)),
    (image_io.write_label, image_io.read_label, LABEL),
    (image_io.write_instance, image_io.read_instance, LABEL.astype(np.uint16) * 1000 + 999),
    (
      image_io.write_depth,
      image_io.read_depth,
      np.array([[0, 1 / 256, 12.5, 65535 / 256]], np.float32),
    ),
    (
      image_io.write_confidence,
      image_io.read_confidence,
      np.array([[0, 1, 1 / 65535]], np.float32),
    ),
  ],
)
def test_round_trip(tmp_path, write, read, values):
  path = tmp_path / 'folder' / 'a.png'
  write(path, values)
  back = read(path, values.shape[1::-1])
  assert back.dtype == values.dtype
  np.testing.assert_array_equal(back, values)
  assert [f.name for f in path.parent.iterdir()] == ['a.png']


def test_written_files_in_opencv(tmp_path):
  depth = np.array([[0.5, 255.99609375, 256.0, np.nan, np.inf, -3.0]])
  image_io.write_depth(tmp_path / 'depth.png', depth)
  seen = cv2.imread(tmp_path / 'depth.png', cv2.IMREAD_UNCHANGED)
  assert seen.dtype == np.uint16
  np.testing.assert_array_equal(seen, [[128, 65535, 0, 0, 0, 0]])
  image_io.write_confidence(tmp_path / 'confidence.png', np.array([[0.5, 2.0, -1.0]]))
  seen = cv2.imread(tmp_path / 'confidence.png', cv2.IMREAD_UNCHANGED)
  np.testing.assert_array_equal(seen, [[32768, 65535, 0]])
  image_io.write_rgb(tmp_path / 'rgb.png', np.array([[[1, 2, 3]]], np.uint8))
  np.testing.assert_array_equal(cv2.imread(tmp_path / 'rgb.png'), [[[3, 2, 1]]])
  cv2.imwrite(str(tmp_path / 'instance.png'), np.array([[26005]], np.uint16))
  np.testing.assert_array_equal(image_io.read_instance(tmp_path / 'instance.png'), [[26005]])


def test_read_size(tmp_path):
  image_io.write_label(tmp_path / 'a.png', LABEL)
  assert image_io.read_size(tmp_path / 'a.png') == (9, 6)


def _bomb(width, height, size=10000):
  """Return a well-formed PNG with too little data for the size in its header."""

  def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

  header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  return (
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', header)
    + chunk(b'IDAT', zlib.compress(b'\0' * size))
    + chunk(b'IEND', b'')
  )


def _cut(path):
  path.write_bytes(path.read_bytes()[:-40])


def _flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(bytes(data))


LARGE = RNG.integers(0, 45, (60, 90)).astype(np.uint8)


@pytest.mark.parametrize(
  'make, expected',
  [
    (lambda p: None, ['no such file']),
    (lambda p: p.write_bytes(b''), ['PNG']),
    (lambda p: p.write_text('hello'), ['PNG']),
    (lambda p: (image_io.write_label(p, LARGE), _cut(p)), ['damaged']),
    (lambda p: (image_io.write_label(p, LARGE), _flip(p)), ['damaged']),
    (lambda p: p.write_bytes(_bomb(60000, 60000)), ['PNG']),
    (lambda p: p.write_bytes(_bomb(9000, 9000)), ['9000x9000']),
    (lambda p: p.write_bytes(_bomb(90, 60, 1000)), ['damaged']),
    (lambda p: image_io.write_label(p, LABEL), ['9x6', '90x60']),
    (lambda p: image_io.write_rgb(p, np.zeros((60, 90, 3), np.uint8)), ['RGB', '8 bit grey']),
    (lambda p: image_io.write_depth(p, np.zeros((60, 90))), ['I;16', '8 bit grey']),
    (lambda p: Image.fromarray(LARGE).convert('P').save(p, format='PNG'), ['pixel type P']),
    (lambda p: Image.fromarray(LARGE).save(p, format='BMP'), ['PNG']),
    (
      lambda p: Image.fromarray(np.full((60, 90), 45, np.uint8)).save(p),
      ['label id 45', 'pixel 0, 0', '0..44'],
    ),
    (lambda p: Image.fromarray(np.full((60, 90), 255, np.uint8)).save(p), ['label id 255']),
  ],
)
def test_read_label_rejects_malformed_files(tmp_path, make, expected):
  path = tmp_path / 'label.png'
  make(path)
  with pytest.raises(InputError) as error:
    image_io.read_label(path, (90, 60))
  assert '\n' not in str(error.value)
  for word in [str(path), *expected]:
    assert word in str(error.value)


def test_png_with_half_of_its_rows_is_damaged(tmp_path):
  """Pillow fills rows that the data ends before with 0, without a word."""
  path = tmp_path / 'a.png'
  for values, read in (
    (RNG.integers(1, 45, (6, 9), np.uint8), image_io.read_label),
    (RNG.integers(1, 255, (6, 9, 3), np.uint8), image_io.read_rgb),
    (RNG.integers(1, 9000, (6, 9), np.uint16), image_io.read_depth),
  ):
    values[-1] = 0  # a last row of 0 alone is not damage
    Image.fromarray(values).save(path, format='PNG')
    assert not read(path)[-1].any() and read(path)[0].any()
    content = path.read_bytes()
    start = content.index(b'IDAT') - 4
    length = struct.unpack_from('>I', content, start)[0]
    rows = zlib.decompress(content[start + 8 : start + 8 + length])
    half = b'IDAT' + zlib.compress(rows[: len(rows) // 2])
    damaged = struct.pack('>I', len(half) - 4) + half + struct.pack('>I', zlib.crc32(half))
    path.write_bytes(content[:start] + damaged + content[start + 12 + length :])
    with pytest.raises(
      InputError, match=r'a.png: damaged PNG \(rows are missing\). Replace the file'
    ):
      read(path)


def test_read_label_unknown_allowed(tmp_path):
  path = tmp_path / 'label.png'
  Image.fromarray(np.array([[7, 255, 0]], np.uint8)).save(path)
  np.testing.assert_array_equal(image_io.read_label(path, unknown_allowed=True), [[7, 255, 0]])
  Image.fromarray(np.array([[7, 254, 0]], np.uint8)).save(path)
  with pytest.raises(InputError, match=r'label id 254 \(pixel 1, 0\).*or 255'):
    image_io.read_label(path, unknown_allowed=True)


def test_readers_reject_wrong_values_and_types(tmp_path):
  path = tmp_path / 'a.png'
  cv2.imwrite(str(path), np.array([[45000]], np.uint16))
  with pytest.raises(InputError, match='a.png: instance value 45000'):
    image_io.read_instance(path)
  image_io.write_label(path, LABEL)
  with pytest.raises(InputError, match='a.png: pixel type L, expected 16 bit grey'):
    image_io.read_depth(path)
  with pytest.raises(InputError, match='a.png: pixel type L, expected RGB'):
    image_io.read_rgb(path)
  Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(path)
  with pytest.raises(InputError, match='a.png: pixel type RGBA, expected RGB'):
    image_io.read_rgb(path)


def test_write_label_keeps_the_old_file_on_failure(tmp_path, monkeypatch):
  path = tmp_path / 'a.png'
  image_io.write_label(path, LABEL)

  def full_disk(*_, **__):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', full_disk)
  with pytest.raises(OSError):
    image_io.write_label(path, LABEL + 0)
  assert [f.name for f in tmp_path.iterdir()] == ['a.png']
  np.testing.assert_array_equal(image_io.read_label(path), LABEL)


def test_writers_reject_what_readers_reject(tmp_path):
  with pytest.raises(ValueError, match='255'):
    image_io.write_label(tmp_path / 'a.png', np.array([[255]]))
  with pytest.raises(ValueError, match='shape'):
    image_io.write_label(tmp_path / 'a.png', np.zeros((2, 2, 3)))
  assert not list(tmp_path.iterdir())


def test_jpegs_of_many_scans_are_refused(tmp_path):
  """Each scan of a progressive JPEG takes the time of all pixels, however few its bytes."""
  path = tmp_path / 'a.jpg'
  Image.new('RGB', (64, 48)).save(path, progressive=True)
  assert image_io.read_size(path) == (64, 48)
  content = path.read_bytes()
  last = content[content.rindex(b'\xff\xda') : -2]
  path.write_bytes(content[:-2] + last * 50 + content[-2:])
  for read in (image_io.read_rgb, image_io.read_size):
    with pytest.raises(InputError, match='a.jpg: a JPEG of more than 50 scans. Save it again.'):
      read(path)
