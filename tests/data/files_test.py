"""Files are whole or absent, whatever the disk does."""

import errno
import resource
import threading

import pytest

from pnerf_jax.data import files
from pnerf_jax.errors import InputError


@pytest.fixture
def no_room():
  """The kernel refuses to write more than 1000 bytes into any file."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_there_stays_where_there_is_no_room(tmp_path, no_room):
  path = tmp_path / 'a.png'
  files.write_bytes(path, b'old')
  with pytest.raises(OSError) as error:
    files.write_bytes(path, b'new' * 1000)
  assert error.value.errno == errno.EFBIG and error.value.filename == str(path)
  assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
  (tmp_path / 'a').write_text('')
  for path in (tmp_path / 'a', tmp_path / 'a' / 'b'):
    with pytest.raises(InputError, match=f'^--out={path}: {tmp_path / "a"} is a file'):
      files.check_is_folder(path, '--out')
  files.check_is_folder(tmp_path / 'b' / 'c', '--out')


def test_nothing_is_lost_between_reading_and_writing_back(tmp_path):
  path = tmp_path / 'count'
  path.write_text('0')

  def count():
    for _ in range(50):
      with files.folder_lock(tmp_path):
        files.write_bytes(path, str(int(path.read_text()) + 1).encode())

  threads = [threading.Thread(target=count) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert path.read_text() == '200'
