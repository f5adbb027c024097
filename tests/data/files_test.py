"""Atomic writes, size limits and locks."""

import errno
import json
import resource
import threading

import pytest

from pnerf_jax.data import files
from pnerf_jax.errors import InputError


@pytest.fixture
def full_disk():
  """The kernel refuses to write more than 1000 bytes into any file."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_write_bytes_keeps_the_old_file_on_a_full_disk(tmp_path, full_disk):
  path = tmp_path / 'a.png'
  files.write_bytes(path, b'old')
  with pytest.raises(OSError) as error:
    files.write_bytes(path, b'new' * 1000)
  assert error.value.errno == errno.EFBIG and error.value.filename == str(path)
  assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_check_is_folder_names_the_file(tmp_path):
  (tmp_path / 'a').write_text('')
  for path in (tmp_path / 'a', tmp_path / 'a' / 'b'):
    with pytest.raises(InputError, match=f'^--out={path}: {tmp_path / "a"} is a file'):
      files.check_is_folder(path, '--out')
  files.check_is_folder(tmp_path / 'b' / 'c', '--out')


@pytest.mark.parametrize(
  'content, options, message',
  [
    (b'{', {}, 'a.json: not JSON .*Replace or remove the file'),
    (b'\xff\xff', {}, 'not JSON'),
    (b'[' * 100_000, {}, 'not JSON'),
    (b'[1, 2]', {'max_bytes': 3}, 'a.json: 6 bytes, expected at most 3'),
    (None, {'hint': 'Write one.'}, 'a.json: no such file. Write one.'),
  ],
)
def test_read_json_rejects_bad_files(tmp_path, content, options, message):
  path = tmp_path / 'a.json'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(InputError, match=message):
    files.read_json(path, **options)


def test_read_json(tmp_path):
  (tmp_path / 'a.json').write_text(json.dumps({'a': [1, 0.1]}))
  assert files.read_json(tmp_path / 'a.json') == {'a': [1, 0.1]}


def test_folder_lock_serialises_updates(tmp_path):
  path = tmp_path / 'count'
  path.write_text('0')

  def count():
    for _ in range(25):
      with files.folder_lock(tmp_path):
        files.write_bytes(path, str(int(path.read_text()) + 1).encode())

  threads = [threading.Thread(target=count) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert path.read_text() == '100'
