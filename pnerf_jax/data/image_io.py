"""PNG files of KITTI-360: RGB images (also JPEG), label, instance, confidence and depth maps.

Arrays are numpy `[H, W]` or `[H, W, 3]`; depth is planar, in metres, 0 = none. Readers check the
header before they decode pixels, and raise InputError with the file name. Writes are atomic.
"""

import dataclasses
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pnerf_jax.data import files, labels
from pnerf_jax.data.files import ReadableFile
from pnerf_jax.errors import InputError

DEPTH_UNITS_PER_METRE = 256.0  # KITTI's encoding
MAX_DEPTH = 65535 / DEPTH_UNITS_PER_METRE
MAX_PIXELS = 64_000_000  # far above any camera here, far below a decompression bomb
_MAX_BYTES = 2**28  # of an encoded image; the largest is smaller even without compression
_MAX_SCANS = 50  # of a progressive JPEG, each of which takes the time of all pixels; usually 10
_RGB_FORMATS = ('PNG', 'JPEG')
_MODES = {'RGB': ('RGB',), '8 bit grey': ('L',), '16 bit grey': ('I;16', 'I;16B', 'I')}


def read_size(path: ReadableFile) -> tuple[int, int]:
  """Read (width, height) of an RGB image from its header."""
  with _open(path, _content(path, _RGB_FORMATS), _RGB_FORMATS) as image:
    return image.size


def read_rgb(path: ReadableFile, size: tuple[int, int] | None = None) -> np.ndarray:
  """Read [H, W, 3] uint8. size: required (width, height)."""
  return _read(path, 'RGB', size)


def read_label(
  path: ReadableFile, size: tuple[int, int] | None = None, unknown_allowed: bool = False
) -> np.ndarray:
  """Read a label map [H, W] uint8 of ids 0..44; 255 only if `unknown_allowed` (pseudo-labels)."""
  label = _read(path, '8 bit grey', size)
  invalid = label >= labels.NUM_IDS
  if unknown_allowed:
    invalid &= label != 255
  if invalid.any():
    row, column = np.argwhere(invalid)[0]
    remedy = f'Write ids 0..{labels.NUM_IDS - 1}' + (' or 255.' if unknown_allowed else '.')
    raise InputError(
      f'{path}: label id {label[row, column]} (pixel {column}, {row}) is not in the'
      f' label table. {remedy}'
    )
  return label


def read_instance(path: ReadableFile, size: tuple[int, int] | None = None) -> np.ndarray:
  """Read an instance map [H, W] uint16, id * 1000 + instanceId, ids 0..44."""
  instance = _read(path, '16 bit grey', size)
  invalid = instance // 1000 >= labels.NUM_IDS
  if invalid.any():
    raise InputError(
      f'{path}: instance value {instance[invalid][0]} has a label id that is not in'
      ' the label table. Write id * 1000 + instanceId with'
      f' ids 0..{labels.NUM_IDS - 1}.'
    )
  return instance


def read_confidence(path: ReadableFile, size: tuple[int, int] | None = None) -> np.ndarray:
  """Read confidence [H, W] float32 in [0, 1] from a 16 bit PNG (value / 65535)."""
  return (_read(path, '16 bit grey', size) / 65535.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class DepthFile:
  """A depth map in another unit than KITTI's; its bytes are those of the same map in KITTI's.

  Attributes:
    path: 16 bit PNG.
    unit: metres.
  """

  path: Path
  unit: float

  def __str__(self) -> str:
    return str(self.path)

  def exists(self) -> bool:
    """Return whether there is such a file."""
    return files.exists(self.path)

  def stat(self) -> os.stat_result:
    """Return its type and size."""
    return self.path.stat()

  def read_bytes(self) -> bytes:
    """Return a PNG of metres * 256, rounded."""
    return _encode(_depth_units(read_depth(self)), np.uint16, 2)


def read_depth(path: ReadableFile, size: tuple[int, int] | None = None) -> np.ndarray:
  """Read planar depth [H, W] float32, metres, 0 = none, from KITTI's 16 bit PNG (metres * 256)."""
  unit = 1 / DEPTH_UNITS_PER_METRE
  if isinstance(path, DepthFile):
    unit, path = path.unit, path.path
  return _read(path, '16 bit grey', size).astype(np.float32) * np.float32(unit)


def write_rgb(path: Path, rgb: np.ndarray) -> None:
  """Write [H, W, 3] uint8."""
  _write(path, rgb, np.uint8, 3)


def write_label(path: Path, label: np.ndarray) -> None:
  """Write [H, W] ids 0..44 as 8 bit grey."""
  if np.max(label, initial=0) >= labels.NUM_IDS or np.min(label, initial=0) < 0:
    raise ValueError(f'label ids {np.min(label)}..{np.max(label)} are not in the label table')
  _write(path, label, np.uint8, 2)


def write_instance(path: Path, instance: np.ndarray) -> None:
  """Write [H, W] uint16 values id * 1000 + instanceId."""
  _write(path, instance, np.uint16, 2)


def write_confidence(path: Path, confidence: np.ndarray) -> None:
  """Write [H, W] confidences in [0, 1] as 16 bit grey (value / 65535)."""
  _write(path, np.round(np.clip(confidence, 0, 1) * 65535), np.uint16, 2)


def write_depth(path: Path, depth: np.ndarray) -> None:
  """Write planar depth [H, W], metres; 0 where not finite, negative or beyond 255.99 m."""
  _write(path, _depth_units(depth), np.uint16, 2)


def _depth_units(depth: np.ndarray) -> np.ndarray:
  units = np.round(np.where(np.isfinite(depth), depth, 0) * DEPTH_UNITS_PER_METRE)
  return np.where((units > 0) & (units <= 65535), units, 0)


def _content(path: ReadableFile, formats: tuple[str, ...]) -> bytes:
  return files.read_bytes(path, _MAX_BYTES, f'Replace it by a {" or ".join(formats)}.')


def _open(path: ReadableFile, content: bytes, formats: tuple[str, ...]) -> Image.Image:
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', Image.DecompressionBombWarning)
      image = Image.open(io.BytesIO(content), formats=formats)
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    reason = '' if isinstance(e, UnidentifiedImageError) else f' ({e})'  # names the BytesIO
    raise InputError(
      f'{path}: cannot be read as a {" or ".join(formats)}{reason}. Replace the file.'
    ) from None
  if image.width * image.height > MAX_PIXELS:
    image.close()
    raise InputError(
      f'{path}: the header claims {image.width}x{image.height} pixels. Replace the file.'
    )
  if image.format == 'JPEG' and content.count(b'\xff\xda') > _MAX_SCANS:
    raise InputError(f'{path}: a JPEG of more than {_MAX_SCANS} scans. Save it again.')
  return image


def _read(path: ReadableFile, kind: str, size: tuple[int, int] | None) -> np.ndarray:
  formats = _RGB_FORMATS if kind == 'RGB' else ('PNG',)
  content = _content(path, formats)
  with _open(path, content, formats) as image:
    if size is not None and image.size != tuple(size):
      raise InputError(
        f'{path}: size {image.width}x{image.height}, expected {size[0]}x{size[1]}. Resize it, or'
        ' correct the size and intrinsics that the dataset states.'
      )
    if image.mode not in _MODES[kind]:
      raise InputError(f'{path}: pixel type {image.mode}, expected {kind}. Save it as {kind}.')
    try:
      pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError) as e:
      raise InputError(f'{path}: damaged {image.format} ({e}). Replace the file.') from None
  if image.format == 'PNG' and not pixels[-1].any() and not _has_all_rows(content):
    raise InputError(f'{path}: damaged PNG (rows are missing). Replace the file.')
  return pixels.astype(np.uint16) if kind == '16 bit grey' else pixels


def _has_all_rows(content: bytes) -> bool:
  """Return whether a PNG has data for all of its rows; Pillow fills missing ones with 0."""
  width, height, bits, colour, _, _, interlaced = struct.unpack_from('>IIBBBBB', content, 16)
  if interlaced:
    return True
  expected = height * (1 + -(-width * bits * (3 if colour == 2 else 1) // 8))
  position, data = 8, b''
  while position + 8 <= len(content):
    length, kind = struct.unpack_from('>I4s', content, position)
    if kind == b'IDAT':
      data += content[position + 8 : position + 8 + length]
    position += 12 + length
  return len(zlib.decompressobj().decompress(data, expected)) == expected


def _write(path: Path, pixels: np.ndarray, dtype: type, ndim: int) -> None:
  files.write_bytes(path, _encode(pixels, dtype, ndim))


def _encode(pixels: np.ndarray, dtype: type, ndim: int) -> bytes:
  pixels = np.asarray(pixels)
  if pixels.ndim != ndim:
    raise ValueError(f'expected {ndim} dimensions, got shape {pixels.shape}')
  buffer = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(pixels.astype(dtype))).save(buffer, format='PNG')
  return buffer.getvalue()
