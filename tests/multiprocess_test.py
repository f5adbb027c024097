"""Two processes of two devices train and render one run; one is interrupted or killed."""

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

from pnerf_jax.errors import Interrupted
from pnerf_jax.labelling import export
from pnerf_jax.runs import checkpoints
from pnerf_jax.runs.render import render
from pnerf_jax.training import field_task

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_TRAIN = {
  'steps': 200,
  'steps_per_call': 2,
  'log_every': 2,
  'checkpoint_every': 20,
  'preview_every': 200,
}
_TIMEOUT = 240  # seconds
# Records the files that a process opens for writing, creates, renames or removes.
_AUDIT = """
import os, sys
def note(event, args):
  if event in ('os.mkdir', 'os.rename', 'os.remove', 'os.rmdir') or (
      event == 'open' and args[2] & (os.O_WRONLY | os.O_RDWR)):
    os.write(file, f'{args[0]}\\n'.encode(errors='replace'))
file = os.open(os.environ['PNERF_AUDIT'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(note)
"""


class DistributedRun:
  """Two processes of `python -m pnerf_jax.MODULE` with simulated devices."""

  def __init__(self, folder, module, *arguments, devices=2):
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
              *arguments,
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
    """Return what a process opened for writing, created or renamed below a folder."""
    lines = self.audit[index].read_text().splitlines()
    return {line for line in lines if line.startswith(str(folder))}

  def logs(self):
    return [path.read_text() for path in self.stderr]

  def wait(self):
    """Wait for both processes and return their exit codes."""
    return [process.wait(_TIMEOUT) for process in self.processes]

  def __enter__(self):
    return self

  def __exit__(self, *_):
    for process in self.processes:
      process.kill()
      process.wait()


class TrainingRun(DistributedRun):
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
    """Return the newest logged step."""
    path = self.workdir / 'scalars.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])['step'] if lines else 0

  def reach(self, step):
    """Wait until a step is logged."""
    end = time.monotonic() + _TIMEOUT
    while self.step() < step:
      assert time.monotonic() < end and all(p.poll() is None for p in self.processes), self.logs()
      time.sleep(0.05)


def _params(workdir):
  """Return (step, {name: array}) of the newest checkpoint."""
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
def config(config_of):
  return config_of(**_TRAIN)


@pytest.fixture(scope='module')
def stopped(street, tmp_path_factory):
  """A run in which only process 1 received SIGTERM soon after the first step; its exit codes."""
  folder = tmp_path_factory.mktemp('distributed')
  with TrainingRun(street, folder / 'run', folder / 'first') as run:
    run.reach(2)
    run.processes[1].send_signal(signal.SIGTERM)
    return run, run.wait()


def test_a_signal_to_one_process_stops_all_after_saving(stopped):
  run, codes = stopped
  assert codes == [130, 130], run.logs()
  step, _ = _params(run.workdir)
  assert step == run.step() < _TRAIN['steps']  # saved at the log step where it stopped


def test_only_the_first_process_writes(stopped):
  run, _ = stopped
  # orbax writes in all processes, and each caches the intervals of its own views.
  shared = tuple(str(run.workdir / name) for name in ('checkpoints', 'cache'))
  first, second = (
    {line for line in run.wrote(index, run.workdir) if not line.startswith(shared)}
    for index in range(2)
  )
  assert str(run.workdir / 'lock') in first and str(run.workdir / 'scalars.jsonl') in first
  assert not second
  assert 'step 2/200' in run.logs()[0] and 'step 2/200' not in run.logs()[1]


def test_parameters_match_a_single_process(stopped, config, tmp_path, interrupt_training):
  step, found = _params(stopped[0].workdir)
  with interrupt_training(step // _TRAIN['steps_per_call']), pytest.raises(Interrupted):
    field_task.train(config, tmp_path)
  single_step, single = _params(tmp_path)
  assert single_step == step and single.keys() == found.keys()
  for name, value in single.items():
    np.testing.assert_allclose(found[name], value, atol=1e-4 * step, err_msg=name)


def test_render_matches_a_single_process(stopped, tmp_path):
  workdir, single, out = stopped[0].workdir, tmp_path / 'single', tmp_path / 'distributed'
  assert render(workdir, single, size='train') == 4
  # The same number of devices as in this process: on some CPUs it changes the rounding of the
  # confidence.
  with DistributedRun(
    tmp_path / 'logs',
    'render',
    f'--workdir={workdir}',
    f'--out={out}',
    '--size=train',
    devices=jax.local_device_count(),
  ) as run:
    assert run.wait() == [0, 0], run.logs()
  files = sorted(path.relative_to(single) for path in single.rglob('*') if path.is_file())
  assert len(files) == 4 * len(export.KINDS) + 2  # with views.json and .lock
  assert files == sorted(path.relative_to(out) for path in out.rglob('*') if path.is_file())
  for name in files:
    assert (out / name).read_bytes() == (single / name).read_bytes(), name
  # Each process wrote its part of the images, under temporary names; only the first the table.
  images = [
    {
      re.sub(r'-[^-/]+\.tmp$', '', line)
      for line in run.wrote(index, out)
      if '/image_0' in line and line.endswith('.tmp')
    }
    for index in range(2)
  ]
  assert [len(names) for names in images] == [2 * len(export.KINDS)] * 2
  assert not images[0] & images[1]
  tables = [[line for line in run.wrote(index, out) if '/.views-' in line] for index in range(2)]
  assert tables[0] and not tables[1]
  assert '4 views rendered' in run.logs()[0]


@pytest.mark.stress
def test_a_killed_process_ends_the_run_which_one_process_resumes(street, config, stopped, tmp_path):
  workdir = stopped[0].workdir
  with TrainingRun(street, workdir, tmp_path / 'second') as run:
    before = _params(workdir)[0]
    run.reach(before + 2)
    run.processes[1].kill()
    start = time.monotonic()
    code = run.processes[0].wait(90)  # the heartbeat timeout is 60 s
    took = time.monotonic() - start
  log = run.logs()[0]
  assert code == 1 and took < 90
  lines = [line for line in log.splitlines() if line.startswith('error: ')]
  assert len(lines) == 1 and 'start the run again' in lines[0], log
  assert 'Traceback' not in log
  field_task.train(config, workdir)
  assert _params(workdir)[0] == _TRAIN['steps']
  steps = [json.loads(line)['step'] for line in (workdir / 'scalars.jsonl').open()]
  assert steps == list(range(2, _TRAIN['steps'] + 1, 2))
