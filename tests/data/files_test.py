"""Atomic writes, size limits and locks."""

import errno
import json
import os
import resource
import threading
from pathlib import Path

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


def test_check_is_folder_refuses_links_and_names_that_lead_nowhere(tmp_path):
  (tmp_path / 'dangling').symlink_to('nowhere')
  (tmp_path / 'loop').symlink_to('loop')
  os.mkfifo(tmp_path / 'pipe')
  for name in ('dangling', 'loop', 'pipe'):
    for path in (tmp_path / name, tmp_path / name / 'b'):
      with pytest.raises(InputError) as error:
        files.check_is_folder(path, '--out')
      line = f'--out={path}: {tmp_path / name} is not a folder. Name a folder.'
      assert str(error.value) == line
  with pytest.raises(OSError) as raised:
    files.check_is_folder(tmp_path / ('n' * 300), '--out')
  assert raised.value.errno == errno.ENAMETOOLONG


def _write(path):
  files.write_bytes(path, b'new')


def _link(path):
  source = path.with_name('source')
  source.write_bytes(b'new')
  files.link(source, path)


def _lock(path):
  with files.file_lock(path):
    pass


@pytest.mark.parametrize('write', [_write, _link, _lock])
def test_outputs_replace_only_regular_files(tmp_path, write):
  photo = tmp_path / 'photo'
  photo.write_bytes(b'photo')
  kinds = {
    'link': 'a link',
    'dangling': 'a link',
    'pipe': 'a pipe or a device',
    'folder': 'a folder',
  }
  (tmp_path / 'link').symlink_to(photo)
  (tmp_path / 'dangling').symlink_to('nowhere')
  os.mkfifo(tmp_path / 'pipe')
  (tmp_path / 'folder').mkdir()
  for name, kind in kinds.items():
    path = tmp_path / name
    with pytest.raises(InputError) as error:
      write(path)
    assert str(error.value) == (
      f'{path}: is {kind} where a file is written. Move it, or use another name.'
    )
    assert os.path.lexists(path)
  assert photo.read_bytes() == b'photo'


def test_outputs_never_replace_devices():
  for name in ('/dev/null', '/dev/full'):
    with pytest.raises(InputError, match='is a pipe or a device where a file is written'):
      files.write_bytes(Path(name), b'')


def test_check_output_keeps_files_without_the_mark(tmp_path):
  path = tmp_path / 'a.txt'
  files.check_output(path, b'mark')
  for content in (b'', b'a mark', b'x' * 4000 + b'mark'):
    path.write_bytes(content)
    files.check_output(path, b'mark')
  for content in (b'photo', b'x' * 5000 + b'mark'):
    path.write_bytes(content)
    with pytest.raises(InputError, match='a.txt: is another file, which is not replaced. Use'):
      files.check_output(path, b'mark')


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir])
def test_read_bytes_refuses_what_may_never_end(tmp_path, make):
  make(tmp_path / 'a')
  with pytest.raises(InputError, match='a: is not a regular file. Replace the file, or move it'):
    files.read_bytes(tmp_path / 'a')


def test_an_unreadable_input_is_not_called_an_output(tmp_path, monkeypatch):
  (tmp_path / 'a').touch()
  refused = PermissionError(errno.EACCES, 'Permission denied', str(tmp_path / 'a'))
  monkeypatch.setattr(Path, 'read_bytes', lambda _: (_ for _ in ()).throw(refused))  # root may read
  with pytest.raises(InputError) as error:
    files.read_bytes(tmp_path / 'a', hint='Copy it again.')
  assert str(error.value) == (
    f'{tmp_path / "a"}: Permission denied. Change its permissions, or use another path.'
  )


def test_check_tree_names_a_pipe_but_no_link(tmp_path):
  (tmp_path / 'a' / 'b').mkdir(parents=True)
  (tmp_path / 'a' / 'file').touch()
  (tmp_path / 'a' / 'link').symlink_to('file')
  (tmp_path / 'a' / 'dangling').symlink_to('nowhere')
  (tmp_path / 'a' / 'folder').symlink_to('b')
  files.check_tree(tmp_path)
  files.check_tree(tmp_path / 'absent')
  os.mkfifo(tmp_path / 'a' / 'b' / 'pipe')
  with pytest.raises(InputError, match=f'^{tmp_path}/a/b/pipe: is not a regular file. Move it'):
    files.check_tree(tmp_path)


def test_read_bytes_advises_no_removal_of_files_that_may_be_intact(tmp_path):
  (tmp_path / 'loop').symlink_to('loop')
  (tmp_path / 'file').write_text('')
  for path, line in (
    (tmp_path / 'loop', 'Too many levels of symbolic links. Correct it, or use another path.'),
    (tmp_path / 'file' / 'a', 'Not a directory. Correct it, or use another path.'),
    (tmp_path / ('n' * 300), 'File name too long. Use a shorter name.'),
  ):
    with pytest.raises(InputError) as error:
      files.read_bytes(path)
    assert str(error.value).startswith(str(path)) and str(error.value).endswith(line)
  with pytest.raises(InputError, match='no path .*null'):
    files.read_bytes(Path('a\0b'))


@pytest.mark.parametrize(
  'content, options, message',
  [
    (b'{', {}, 'a.json: not JSON .*Replace the file, or move it'),
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


def test_json_lines_counts_damaged_lines_and_limits_numbers():
  content = (
    b'{"a": 1}\n[2]\n{"a"\n\xff\n{"seconds": 1' + b'0' * 400 + b', "step": 12}\n' + b'[' * 10**5
  )
  objects, num_damaged = files.json_lines(content)
  assert objects == [{'a': 1}, {'seconds': float('inf'), 'step': 12}] and num_damaged == 4
