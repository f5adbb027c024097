"""Kills, signals, full and read-only disks, clocks: training ends as if nothing had happened.

Few kills; `launch/soak.py` has many.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest
from PIL import Image

from launch import soak
from pnerf_jax import cli
from pnerf_jax.runs.evaluate import evaluate
from pnerf_jax.runs.render import render
from pnerf_jax.training import field_task

pytestmark = pytest.mark.stress


@pytest.fixture(scope='module')
def config(config_of):
  # No checkpoint is due before the last step.
  return config_of(checkpoint_every=4, preview_every=2)


@pytest.fixture(scope='module')
def work(config, tmp_path_factory):
  """A soak's work folder with an undisturbed training of this process, on its four devices."""
  work = tmp_path_factory.mktemp('soak')
  field_task.train(config, work / 'uninterrupted' / 'train')
  return work


def stopped(config, workdir, monkeypatch, module, name):
  """Trains until the first call of module.name, which gets a SIGTERM."""
  whole = getattr(module, name)

  def call(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    return whole(*args, **kwargs)

  with monkeypatch.context() as patch:
    patch.setattr(module, name, call)
    with pytest.raises(KeyboardInterrupt):
      field_task.train(config, workdir)


def test_killed_processes_end_like_undisturbed_ones(work, street):
  # They have as many devices as the undisturbed one had (conftest.py): sums are the same.
  found = soak.Soak(
    work, seed=2, steps=4, street=street, settings=['--config.train.preview_every=2']
  )
  found.spans['train'] = {}  # at once
  found.decks['train'] = ['saving', 'training']  # the last one first
  found.round('train', kills=2)  # compares
  assert found.finished == {'train': 1} and found.counts.total() >= 1


def test_the_soak_sees_what_is_lost(work, tmp_path):
  for number, damage in enumerate(
    (
      lambda run: next(run.glob('previews/*/*.png')).unlink(),
      lambda run: (run / 'scalars.jsonl').write_text(''),
      lambda run: shutil.copytree(run / 'checkpoints' / '4', run / 'checkpoints' / 'x'),
      lambda run: (run / 'damaged_checkpoints').mkdir(),
    )
  ):
    run = shutil.copytree(work / 'uninterrupted' / 'train', tmp_path / str(number))
    soak.compare_runs(work / 'uninterrupted' / 'train', run)
    damage(run)
    with pytest.raises(soak.SoakError):
      soak.compare_runs(work / 'uninterrupted' / 'train', run)
  soak.check_complete(run)
  picture = next(run.glob('previews/*/*.png'))
  picture.write_bytes(picture.read_bytes()[:-50])
  with pytest.raises(soak.SoakError, match='incomplete'):
    soak.check_complete(run)


def test_a_stop_during_a_preview_is_saved(config, work, tmp_path, monkeypatch):
  stopped(config, tmp_path, monkeypatch, field_task.FieldTask, 'write_preview')
  assert soak.newest_step(tmp_path) == 2  # though none was due before step 4
  field_task.train(config, tmp_path)
  soak.compare_runs(work / 'uninterrupted' / 'train', tmp_path)


def test_a_preview_that_was_cut_short_is_made_again(config, work, tmp_path, monkeypatch):
  original = field_task.FieldTask.write_preview

  def cut(task, params, folder):
    if folder.name == '000004':  # the last one; finished training writes none
      raise SystemError('killed')
    original(task, params, folder)

  with monkeypatch.context() as patch:
    patch.setattr(field_task.FieldTask, 'write_preview', cut)
    with pytest.raises(SystemError):
      field_task.train(config, tmp_path)
  field_task.train(config, tmp_path)
  soak.compare_runs(work / 'uninterrupted' / 'train', tmp_path)


@contextlib.contextmanager
def limited(folder):
  """No file may be larger than 50 kB."""
  del folder
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def filled(folder):
  """The disk of a folder is full but for 100 kB."""
  file = folder / 'filler'
  free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
  file.write_bytes(b'\0' * (free - 100_000))
  try:
    yield
  finally:
    file.unlink()


@pytest.fixture
def disk(tmp_path):
  """A disk of 8 MB."""
  mounted = subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', tmp_path], capture_output=True, check=False
  )
  if mounted.returncode != 0:
    pytest.skip('needs the right to mount a tmpfs')
  yield tmp_path
  subprocess.run(['umount', '--lazy', tmp_path], check=True)


@pytest.mark.parametrize('no_room, where', [(limited, 'tmp_path'), (filled, 'disk')])
def test_a_full_disk_stops_with_one_line_and_loses_nothing(
  request, config, work, monkeypatch, no_room, where
):
  workdir = request.getfixturevalue(where) / 'run'
  stopped(config, workdir, monkeypatch, field_task.FieldTask, 'write_preview')
  with no_room(workdir.parent), pytest.raises(Exception) as error:
    field_task.train(config, workdir)
  assert 'the disk is full. Free some space' in (cli.error_line(error.value) or repr(error.value))
  assert soak.newest_step(workdir) == 2
  field_task.train(config, workdir)
  soak.compare_runs(work / 'uninterrupted' / 'train', workdir)


def test_clocks_that_jump_change_nothing(config, work, tmp_path, monkeypatch):
  true, offset = time.time, 4e9
  monkeypatch.setattr(time, 'time', lambda: true() + offset)
  stopped(config, tmp_path, monkeypatch, field_task.FieldTask, 'write_preview')
  for path in (tmp_path / 'checkpoints').rglob('*'):
    os.utime(path, (4e9, 4e9))
  offset = -1.7e9
  field_task.train(config, tmp_path)
  assert soak.newest_step(tmp_path) == config.train.steps
  soak.compare_runs(work / 'uninterrupted' / 'train', tmp_path)


@contextlib.contextmanager
def read_only(folder):
  """Nothing below a folder can be written, not even by the superuser where it may mount."""
  paths = [folder, *folder.rglob('*')]
  for path in paths:
    path.chmod(0o555 if path.is_dir() else 0o444)
  mounted = (
    os.geteuid() == 0
    and subprocess.run(
      ['mount', '--bind', '-o', 'ro', folder, folder], capture_output=True, check=False
    ).returncode
    == 0
  )
  try:
    if mounted:
      with pytest.raises(OSError):
        (folder / 'a').touch()
    yield
  finally:
    if mounted:
      subprocess.run(['umount', '--lazy', folder], check=True)
    for path in paths:
      path.chmod(0o755 if path.is_dir() else 0o644)


def test_data_and_finished_runs_may_be_read_only(config, street, work, tmp_path):
  data = shutil.copytree(street, tmp_path / 'data')
  config = config.copy_and_resolve_references()
  config.data.root = str(data)
  run = tmp_path / 'run'
  with read_only(data):
    field_task.train(config, run)
    assert evaluate(run)['step'] == 4
    with read_only(run):
      assert render(run, tmp_path / 'labels') == 4
  for path in (tmp_path / 'labels').rglob('*.png'):
    with Image.open(path) as image:
      image.load()
