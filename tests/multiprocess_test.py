"""Two processes of two devices train one run: stopped by a signal, killed, gone on with by one.

They also render one.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs import kitti360 as configs
from pnerf_jax import render
from pnerf_jax.errors import Interrupted
from pnerf_jax.runs import checkpoints
from pnerf_jax.training import field_task, setup

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_TRAIN = {
  'steps': 200,
  'steps_per_dispatch': 2,
  'log_every': 2,
  'checkpoint_every': 20,
  'preview_every': 200,
}
_PATIENCE = 240  # seconds, for a machine that does other things too
# Notes what a process opens for writing, makes and renames, from its first line of Python on.
_AUDIT = """
import os, sys
def note(event, args):
  if event in ('os.mkdir', 'os.rename', 'os.remove', 'os.rmdir') or (
      event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+')):
    os.write(file, f'{args[0]}\\n'.encode(errors='replace'))
file = os.open(os.environ['PNERF_AUDIT'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(note)
"""


class Job:
  """Two processes of `python -m pnerf_jax.MODULE`, of some simulated devices each; what they write
  is noted in `audit`."""

  def __init__(self, folder, module, *words, devices=2):
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(_AUDIT)
    with socket.create_server(('127.0.0.1', 0)) as free:
      port = free.getsockname()[1]
    self.audit = [folder / 'audit0', folder / 'audit1']
    self.stderr = [folder / 'stderr0', folder / 'stderr1']
    self.processes = []
    for index in range(2):
      environment = {
        **os.environ,
        'JAX_NUM_CPU_DEVICES': str(devices),
        'JAX_PLATFORMS': 'cpu',
        'PYTHONPATH': f'{folder}:{_ROOT}',
        'PNERF_AUDIT': str(self.audit[index]),
      }
      with self.stderr[index].open('w') as stderr:
        self.processes.append(
          subprocess.Popen(
            [
              sys.executable,
              '-m',
              f'pnerf_jax.{module}',
              *words,
              f'--coordinator=127.0.0.1:{port}',
              '--processes=2',
              f'--process={index}',
            ],
            cwd=_ROOT,
            env=environment,
            stderr=stderr,
          )
        )

  def wrote(self, index, folder):
    """What a process opened for writing, made or renamed below a folder."""
    lines = self.audit[index].read_text().splitlines()
    return {line for line in lines if line.startswith(str(folder))}

  def said(self):
    return [path.read_text() for path in self.stderr]

  def ends(self):
    """Exit codes of both."""
    return [process.wait(_PATIENCE) for process in self.processes]

  def __enter__(self):
    return self

  def __exit__(self, *_):
    for process in self.processes:
      process.kill()
      process.wait()


class Training(Job):
  """Two processes that train a street."""

  def __init__(self, street, workdir, folder):
    self.workdir = workdir
    super().__init__(
      folder,
      'train',
      '--config=configs/kitti360.py:tiny',
      f'--workdir={workdir}',
      f'--config.data.root={street}',
      *(f'--config.train.{name}={value}' for name, value in _TRAIN.items()),
    )

  def step(self):
    """The newest logged step."""
    path = self.workdir / 'scalars.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])['step'] if lines else 0

  def reach(self, step):
    """Waits for a step to be logged."""
    end = time.monotonic() + _PATIENCE
    while self.step() < step:
      assert time.monotonic() < end and all(p.poll() is None for p in self.processes), self.said()
      time.sleep(0.05)


def _params(workdir):
  """(step, {name: array}) of the newest checkpoint."""
  saved = checkpoints.Checkpoints(workdir)
  step = saved.require(None)
  saved.close()
  import orbax.checkpoint as ocp

  reader, folder = ocp.PyTreeCheckpointer(), workdir / 'checkpoints' / str(step) / 'default'
  as_numpy = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(folder).item_metadata.tree
  )
  tree = reader.restore(folder, restore_args=as_numpy)['params']
  return step, {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


@pytest.fixture(scope='module')
def config(street):
  config = configs.get_config('tiny')
  config.data.root = str(street)
  config.train.update(_TRAIN)
  return config


@pytest.fixture(scope='module')
def stopped(street, tmp_path_factory):
  """A job of which process 1 alone got SIGTERM soon after the first step; with exit codes."""
  folder = tmp_path_factory.mktemp('job')
  with Training(street, folder / 'run', folder / 'first') as job:
    job.reach(2)
    job.processes[1].send_signal(signal.SIGTERM)
    return job, job.ends()


def test_a_signal_to_one_process_saves_and_stops_all(stopped):
  job, codes = stopped
  assert codes == [130, 130], job.said()
  step, _ = _params(job.workdir)
  assert step == job.step() < _TRAIN['steps']  # saved where it was stopped, which was at a log step


def test_the_first_process_alone_wrote(stopped):
  job, _ = stopped
  # orbax writes by all, and every process keeps the intervals of its own views.
  apart = tuple(str(job.workdir / name) for name in ('checkpoints', 'cache'))
  first, second = (
    {line for line in job.wrote(index, job.workdir) if not line.startswith(apart)}
    for index in range(2)
  )
  assert str(job.workdir / 'lock') in first and str(job.workdir / 'scalars.jsonl') in first
  assert not second
  assert 'step 2/200' in job.said()[0] and 'step 2/200' not in job.said()[1]


def test_parameters_are_those_of_one_process(stopped, config, tmp_path, monkeypatch):
  step, found = _params(stopped[0].workdir)
  original = setup.make_steps

  def stopping(*args, **kwargs):
    dispatch, done = original(*args, **kwargs), []

    def counted(*inner):
      done.append(None)
      if len(done) * _TRAIN['steps_per_dispatch'] == step:
        os.kill(os.getpid(), signal.SIGTERM)
      return dispatch(*inner)

    return counted

  monkeypatch.setattr(setup, 'make_steps', stopping)
  with pytest.raises(Interrupted):
    field_task.train(config, tmp_path)
  alone_step, alone = _params(tmp_path)
  assert alone_step == step and alone.keys() == found.keys()
  for name, value in alone.items():
    np.testing.assert_allclose(found[name], value, atol=1e-4 * step, err_msg=name)


def test_two_processes_render_what_one_does(stopped, tmp_path):
  workdir, alone, out = stopped[0].workdir, tmp_path / 'alone', tmp_path / 'together'
  assert render.render(workdir, alone, size='train') == 4
  # As many devices each as here: on some CPUs the rows of a device's share change its rounding, by
  # one of the 65535 steps of a confidence.
  with Job(
    tmp_path / 'job',
    'render',
    f'--workdir={workdir}',
    f'--out={out}',
    '--size=train',
    devices=jax.local_device_count(),
  ) as job:
    assert job.ends() == [0, 0], job.said()
  files = sorted(path.relative_to(alone) for path in alone.rglob('*') if path.is_file())
  assert len(files) == 4 * len(render.KINDS) + 1
  assert files == sorted(path.relative_to(out) for path in out.rglob('*') if path.is_file())
  for name in files:
    assert (out / name).read_bytes() == (alone / name).read_bytes(), name
  # Each wrote its share of the images, under temporary names first; the first alone the table.
  images = [
    {
      re.sub(r'-[^-/]+\.tmp$', '', line)
      for line in job.wrote(index, out)
      if '/image_0' in line and line.endswith('.tmp')
    }
    for index in range(2)
  ]
  assert [len(names) for names in images] == [2 * len(render.KINDS)] * 2
  assert not images[0] & images[1]
  tables = [
    [line for line in job.wrote(index, out) if '/.transforms-' in line] for index in range(2)
  ]
  assert tables[0] and not tables[1]
  assert '4 views rendered' in job.said()[0]


def test_a_killed_process_ends_the_job_with_one_error_and_one_process_goes_on(
  street, config, stopped, tmp_path
):
  workdir = stopped[0].workdir
  with Training(street, workdir, tmp_path / 'second') as job:
    before = _params(workdir)[0]
    job.reach(before + 2)
    job.processes[1].kill()
    start = time.monotonic()
    code = job.processes[0].wait(90)  # the heartbeat's 60 s at most, whatever the devices
    took = time.monotonic() - start
  said = job.said()[0]
  assert code == 1 and took < 90
  lines = [line for line in said.splitlines() if line.startswith('error: ')]
  assert len(lines) == 1 and 'start the job again' in lines[0], said
  assert 'Traceback' not in said
  field_task.train(config, workdir)
  assert _params(workdir)[0] == _TRAIN['steps']
  steps = [json.loads(line)['step'] for line in (workdir / 'scalars.jsonl').open()]
  assert steps == list(range(2, _TRAIN['steps'] + 1, 2))
