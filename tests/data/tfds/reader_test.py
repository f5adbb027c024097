"""A packed folder against pathlib's own answers on the same files."""

import stat

import pytest

from pnerf_jax.data import files
from pnerf_jax.data.tfds.reader import PackedPath
from pnerf_jax.errors import InputError

_FILES = {'a/b/0000000001.png': b'one', 'a/b/0000000002.png': b'', 'a/c.txt': b'text'}


@pytest.fixture
def both(tmp_path):
  for name, content in _FILES.items():
    files.write_bytes(tmp_path / name, content)
  sizes = {name: len(content) for name, content in _FILES.items()}
  return tmp_path, PackedPath('packed', sizes, _FILES.__getitem__)


@pytest.mark.parametrize(
  'inside', ['', 'a', 'a/b', 'a/c.txt', 'a/b/0000000002.png', 'a/d', 'a/b/0']
)
def test_answers_are_those_of_pathlib(both, inside):
  disk, packed = (files.join(root, *inside.split('/')) if inside else root for root in both)
  for question in ('exists', 'is_dir', 'is_file'):
    assert getattr(packed, question)() == getattr(disk, question)(), question
  if inside:
    assert (packed.name, packed.stem, packed.suffix) == (disk.name, disk.stem, disk.suffix)
    assert packed.with_name('x.png').name == 'x.png'
    assert packed.with_name('c.txt').exists() == disk.with_name('c.txt').exists()
  if disk.is_dir():
    assert {place.name for place in packed.iterdir()} == {place.name for place in disk.iterdir()}
  if disk.is_file():
    assert packed.read_bytes() == packed.open().read() == disk.read_bytes()
  if disk.exists():
    assert stat.S_IFMT(packed.stat().st_mode) == stat.S_IFMT(disk.stat().st_mode)


def test_what_is_absent_and_what_is_a_folder_are_named(both):
  packed = both[1]
  with pytest.raises(InputError, match=r'packed/a/d: no such file. Remedy'):
    files.read_bytes(packed / 'a' / 'd', 10, 'Remedy.')
  with pytest.raises(InputError, match=r'packed/a: is not a regular file'):
    files.read_bytes(packed / 'a', 10, 'Remedy.')
  with pytest.raises(InputError, match=r'packed/a/c.txt: 4 bytes, expected at most 3'):
    files.read_bytes(packed / 'a' / 'c.txt', 3, 'Remedy.')
  with pytest.raises(OSError):
    (packed / 'a').open('wb')
