"""The log of a run that was stopped, whose disk may be full and whose clock may be wrong."""

import errno
import json
import os
import time

import numpy as np
import pytest
from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2

from pnerf_jax.data import image_io
from pnerf_jax.errors import InputError
from pnerf_jax.runs.logs import Logs

SCALARS = {'loss': 0.5, 'psnr': 20.0, 'rays_per_second': 10.0, 'seconds_per_step': 0.1}


def progress(scalars):
  return f'psnr {scalars["psnr"]:.2f}'


def lines(workdir):
  return [json.loads(line) for line in (workdir / 'scalars.jsonl').read_text().splitlines()]


def test_a_resumed_log_reads_as_if_uninterrupted(tmp_path):
  logs = Logs(tmp_path, 0, 8, progress)
  for step in (2, 4, 6):
    logs.write(step, SCALARS)
  logs.close()
  with (tmp_path / 'scalars.jsonl').open('a') as file:
    file.write('{"step": 8, "sec')  # cut off by a kill
  logs = Logs(tmp_path, 4, 8, progress)  # the checkpoint is older than the log
  for step in (6, 8):
    logs.write(step, SCALARS)
  logs.close()
  found = lines(tmp_path)
  assert [line['step'] for line in found] == [2, 4, 6, 8]
  assert sorted(found, key=lambda line: line['seconds']) == found


def test_a_resumed_log_keeps_the_lines_after_a_damaged_one(tmp_path, caplog):
  logs = Logs(tmp_path, 0, 8, progress)
  for step in (1, 2, 3, 4):
    logs.write(step, SCALARS)
  logs.close()
  path = tmp_path / 'scalars.jsonl'
  texts = path.read_bytes().splitlines()
  damaged = [
    b'\xff\x00',
    texts[0][:-9],
    b'',
    b'[1]',
    b'"x"',
    b'{}',
    b'{"step": Infinity}',
    b'[' * 9999,
  ]
  path.write_bytes(b'\n'.join([texts[0], damaged[0], texts[1], *damaged[1:], texts[2], texts[3]]))
  Logs(tmp_path, 3, 8, progress).close()
  assert path.read_bytes().splitlines() == texts[:3]
  assert f'{path}: damaged lines are left out: 8' in caplog.text


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir])
def test_a_log_of_another_kind_is_refused(tmp_path, make):
  make(tmp_path / 'scalars.jsonl')
  with pytest.raises(InputError, match='scalars.jsonl: is not a regular file'):
    Logs(tmp_path, 0, 8, progress)


def test_clocks_may_jump(tmp_path, monkeypatch):
  times = iter([4e9, 0.0, 1e9, 1.0] * 100)
  monkeypatch.setattr(time, 'time', lambda: next(times))
  logs = Logs(tmp_path, 0, 8, progress)
  for step in (2, 4, 6, 8):
    logs.write(step, SCALARS)
  logs.close()
  assert all(0 <= line['seconds'] < 1000 for line in lines(tmp_path))
  assert len(list((tmp_path / 'tensorboard').iterdir())) == 1


def records(path):
  """Events of a TFRecord file: length, its check sum, content, its check sum."""
  content = path.read_bytes()
  while content:
    size = int.from_bytes(content[:8], 'little')
    yield event_pb2.Event.FromString(content[12 : 12 + size])
    content = content[16 + size :]


def test_tensorboard_has_every_scalar_and_discards_repeated_steps(tmp_path):
  logs = Logs(tmp_path, 4, 8, progress)
  logs.write(6, SCALARS)
  logs.close()
  version, start, event = records(next((tmp_path / 'tensorboard').iterdir()))
  assert version.file_version == 'brain.Event:2'
  assert start.step == 4 and start.session_log.status == event_pb2.SessionLog.START
  assert event.step == 6
  assert {v.tag: pytest.approx(v.simple_value) for v in event.summary.value} == SCALARS


def test_tensorboard_has_the_previews(tmp_path):
  logs, folder = Logs(tmp_path, 0, 8, progress), tmp_path / 'previews' / '000002'
  for name, width in (('image_01_0000000003', 5), ('image_00_0000000003', 4)):
    image_io.write_rgb(folder / f'{name}.png', np.full((3, width, 3), 9, np.uint8))
  logs.write_images(2, folder)
  logs.write_images(4, tmp_path / 'absent')
  logs.close()
  _, _, event = records(next((tmp_path / 'tensorboard').iterdir()))
  assert event.step == 2
  found = {value.tag: value.image for value in event.summary.value}
  assert list(found) == ['preview/image_00_0000000003', 'preview/image_01_0000000003']
  image = found['preview/image_00_0000000003']
  assert (image.width, image.height, image.colorspace) == (4, 3, 3)
  assert image.encoded_image_string == (folder / 'image_00_0000000003.png').read_bytes()


def test_tensorboard_is_disabled_when_the_disk_is_full(tmp_path, monkeypatch, caplog):
  logs = Logs(tmp_path, 0, 200, progress)

  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(event_file_writer.EventsWriter, 'write_event', full)
  for step in range(2, 102, 2):  # more than the queue of a SummaryWriter holds
    logs.write(step, SCALARS)
  logs.close()
  assert caplog.text.count('tensorboard: cannot be written (No space left') == 1
  assert len(lines(tmp_path)) == 50


def test_a_full_disk_is_reported_with_the_file(tmp_path):
  logs = Logs(tmp_path, 0, 8, progress)
  (tmp_path / 'scalars.jsonl').unlink()
  (tmp_path / 'scalars.jsonl').symlink_to('/dev/full')
  with pytest.raises(OSError) as error:
    logs.write(2, SCALARS)
  assert error.value.errno == errno.ENOSPC and error.value.filename.endswith('scalars.jsonl')
  logs.close()
