"""Checkpoints that were damaged, cut short by a kill, or written under a wrong clock."""

import json
import os
import pathlib
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from pnerf_jax.distributed import sharding
from pnerf_jax.errors import InputError
from pnerf_jax.runs import checkpoints


def state_of(step):
  key = jax.random.key(step)
  return {
    'params': {'kernel': jax.random.normal(key, (40, 30)), 'bias': jnp.arange(7.0) * step},
    'step': jnp.asarray(step, jnp.int32),
  }


TEMPLATE = checkpoints.abstract(state_of(0), sharding.replicated(sharding.make_mesh(1)))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run folder with the checkpoints of steps 2 and 4."""
  workdir = tmp_path_factory.mktemp('run')
  saved = checkpoints.Checkpoints(workdir)
  for step in (2, 4):
    saved.save(step, state_of(step))
  saved.close()
  return workdir


@pytest.fixture
def workdir(whole, tmp_path):
  return shutil.copytree(whole, tmp_path / 'run')


def restored(workdir):
  saved = checkpoints.Checkpoints(workdir)
  try:
    return saved.restore(TEMPLATE)
  finally:
    saved.close()


def assert_is(state, step):
  jax.tree.map(np.testing.assert_array_equal, state, state_of(step))


def flip(path, place):
  content = bytearray(path.read_bytes())
  content[int(place * (len(content) - 1))] ^= 4
  path.write_bytes(content)


DAMAGES = {
  'flipped': lambda path: flip(path, 0.6),
  'flipped at the start': lambda path: flip(path, 0.0),
  'cut': lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
  'empty': lambda path: path.write_bytes(b''),
  'gone': pathlib.Path.unlink,
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_no_damaged_file_changes_a_number(whole, tmp_path, caplog, damage):
  files = [
    path.relative_to(whole) for path in (whole / 'checkpoints' / '4').rglob('*') if path.is_file()
  ]
  assert len(files) > 5
  older = 0
  for number, file in enumerate(files):
    workdir = shutil.copytree(whole, tmp_path / str(number))
    DAMAGES[damage](workdir / file)
    caplog.clear()
    state = restored(workdir)
    step = int(state['step'])
    assert_is(state, step)  # bit by bit one of the two that were saved
    aside = workdir / 'damaged_checkpoints' / '4-1'
    assert aside.exists() == (step == 2) == ('is unreadable' in caplog.text), file
    older += step == 2
  assert older >= 2  # those that hold the numbers at least


def test_evaluation_finds_flipped_bits_too(workdir, caplog):
  numbers = max(
    (workdir / 'checkpoints' / '4').rglob('*'),
    key=lambda path: path.stat().st_size * path.is_file(),
  )
  flip(numbers, 0.6)
  saved = checkpoints.Checkpoints(workdir, read_only=True)
  step, params = saved.restore_params(TEMPLATE['params'], None)
  assert step == 2 and 'differs from what was saved' in caplog.text
  assert_is({'params': params, 'step': step}, 2)
  with pytest.raises(InputError, match=r'none of the checkpoints \[4\] can be read'):
    saved.restore_params(TEMPLATE['params'], 4)
  saved.close()
  assert (workdir / 'checkpoints' / '4').is_dir()  # a reader moves nothing


def test_the_same_step_damaged_twice(workdir):
  for count in (1, 2):
    for path in (workdir / 'checkpoints' / '4').rglob('*'):
      if path.is_file():
        path.write_bytes(b'')
    assert_is(restored(workdir), 2)
    assert (workdir / 'damaged_checkpoints' / f'4-{count}').is_dir()
    saved = checkpoints.Checkpoints(workdir)
    saved.save(4, state_of(4))
    saved.close()
  assert_is(restored(workdir), 4)


def test_what_a_kill_left_goes_with_the_next_training_alone(workdir):
  left = workdir / 'checkpoints' / '5.orbax-checkpoint-tmp'
  shutil.copytree(workdir / 'checkpoints' / '4', left)
  reader = checkpoints.Checkpoints(workdir, read_only=True)
  assert reader.steps() == [2, 4]
  reader.close()
  assert left.exists()  # another process may be writing it
  assert_is(restored(workdir), 4)
  assert not left.exists()


def test_a_reader_makes_no_folder(tmp_path):
  saved = checkpoints.Checkpoints(tmp_path, read_only=True)
  with pytest.raises(InputError, match='no checkpoint'):
    saved.require(None)
  saved.close()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('method', ['save', 'wait_until_finished'])
def test_a_clock_set_ahead_while_saving_is_told(workdir, monkeypatch, method):
  saved = checkpoints.Checkpoints(workdir)
  with monkeypatch.context() as patch:

    def give_up(*_, **__):  # as orbax does when its time is over
      raise TimeoutError("Timeout waiting for key 'x'")

    patch.setattr(ocp.CheckpointManager, method, give_up)
    with pytest.raises(InputError, match='checkpoints: saving took too long .*start again'):
      saved.save(6, state_of(6))
      saved.wait()
  saved.close()
  state = restored(workdir)
  assert_is(state, int(state['step']))


@pytest.mark.parametrize('newer, older', [(0, 4e9), (4e9, 0), (1, 1)])
def test_times_of_files_say_nothing(workdir, newer, older):
  for step, time in ((4, newer), (2, older)):
    folder = workdir / 'checkpoints' / str(step)
    for path in (*folder.rglob('*'), folder):
      os.utime(path, (time, time))
  assert_is(restored(workdir), 4)


def test_checkpoints_of_before_there_were_digests_are_read(workdir):
  path = workdir / 'checkpoints' / '4' / '_CHECKPOINT_METADATA'
  content = json.loads(path.read_text())
  digests = content['custom_metadata'].pop('digests')
  assert digests.keys() == {'params/kernel', 'params/bias', 'step'}
  path.write_text(json.dumps(content))
  assert_is(restored(workdir), 4)


def test_an_empty_folder_of_a_copy_hides_no_checkpoint(workdir, caplog):
  (workdir / 'checkpoints' / '99').mkdir()
  saved = checkpoints.Checkpoints(workdir, read_only=True)
  step, params = saved.restore_params(TEMPLATE['params'], None)
  saved.close()
  assert step == 4 and 'checkpoints/99 is unreadable' in caplog.text
  assert_is({'params': params, 'step': step}, 4)
  assert (workdir / 'checkpoints' / '99').is_dir()
  assert_is(restored(workdir), 4)
  assert (workdir / 'damaged_checkpoints' / '99-1').is_dir()


@pytest.mark.parametrize('changed, there', [('kernel', 'float32 [40, 30]'), ('more', 'absent')])
def test_an_intact_checkpoint_of_other_arrays_is_not_called_damaged(
  workdir, caplog, changed, there
):
  sharding_of = TEMPLATE['step'].sharding
  other = jax.ShapeDtypeStruct((7, 30), jnp.float32, sharding=sharding_of)
  template = {**TEMPLATE, 'params': {**TEMPLATE['params'], changed: other}}
  files = sorted(workdir.rglob('*'))
  saved = checkpoints.Checkpoints(workdir)
  with pytest.raises(InputError) as error:
    saved.restore(template)
  saved.close()
  assert str(error.value) == (
    f'{workdir}/checkpoints/4: is intact, but params/{changed} is {there} there and float32 [7, 30]'
    ' by the data and config.json now, so these have changed since training. Restore them, or'
    ' train in another --workdir.'
  )
  assert files == sorted(workdir.rglob('*')) and 'unreadable' not in caplog.text


@pytest.mark.parametrize(
  'error', [MemoryError('no memory'), ValueError('PERMISSION_DENIED: Error opening "zarr" driver')]
)
def test_what_is_no_damage_moves_nothing(workdir, monkeypatch, error):
  def refuse(*_, **__):
    raise error

  saved = checkpoints.Checkpoints(workdir)
  with monkeypatch.context() as patch:
    patch.setattr(ocp.CheckpointManager, 'restore', refuse)
    with pytest.raises(InputError, match='checkpoints/4: cannot be read at present .*Nothing was'):
      saved.restore(TEMPLATE)
  saved.close()
  assert not (workdir / 'damaged_checkpoints').exists()
  assert_is(restored(workdir), 4)


def test_no_message_advises_to_delete(workdir):
  for path in (workdir / 'checkpoints').rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  with pytest.raises(InputError) as error:
    restored(workdir)
  assert str(error.value) == (
    f'{workdir}/checkpoints: none of the checkpoints [2, 4] can be read. Copy the run again, or'
    ' train in another --workdir.'
  )


def test_what_was_saved_is_read_back_once(workdir, monkeypatch):
  saved = checkpoints.Checkpoints(workdir)
  reads = []
  read = checkpoints.Checkpoints._read

  def count_reads(self, step, part=None):
    reads.append(step)
    if step == 8:
      raise ValueError('the disk lies')
    return read(self, step, part)

  monkeypatch.setattr(checkpoints.Checkpoints, '_read', count_reads)
  saved.save(6, state_of(6))
  saved.wait()
  saved.wait()
  assert reads == [6]
  saved.save(8, state_of(8))
  with pytest.raises(InputError, match=r'checkpoints/8: was saved, .* back \(the disk lies\)'):
    saved.wait()
  saved.close()


@pytest.mark.parametrize('name', ['a[1]', 'a[b', 'a*', 'a?', 'a\\b', 'a\udcffb'])
def test_folders_that_cannot_keep_checkpoints_are_refused(tmp_path, name):
  for workdir in (tmp_path / name, tmp_path / name / 'run'):
    with pytest.raises(InputError, match='--workdir=.*: checkpoints cannot be kept in .* Rename'):
      checkpoints.Checkpoints(workdir)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'name', ['a b', 'a]', "a'b", 'a{b}c', 'a%20b', '~', 'ü', 'a\nb', '-x', '#1']
)
def test_other_names_keep_checkpoints(tmp_path, name):
  with checkpoints.Checkpoints(tmp_path / name) as saved:
    saved.save(2, state_of(2))
    saved.wait()
  assert_is(restored(tmp_path / name), 2)


def test_metadata_that_claims_more_than_the_files_hold_is_not_read(workdir, caplog):
  """Zeros are not stored, so few bytes may stand for any amount of memory."""
  shutil.rmtree(workdir / 'checkpoints')
  claimed = state_of(2) | {'zeros': jnp.zeros((2000, 4000))}
  with checkpoints.Checkpoints(workdir) as saved:
    saved.save(2, claimed)
    saved._manager.wait_until_finished()
    saved._saved = None
    with pytest.raises(InputError, match='none of the checkpoints .2. can be read'):
      saved.restore(TEMPLATE)
  assert 'its metadata claims 32004832 bytes' in caplog.text


def test_classes_that_the_metadata_names_are_not_imported(workdir, tmp_path, monkeypatch):
  (tmp_path / 'evil_handler.py').write_text("open('mark', 'w')\nclass Handler: pass\n")
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  for name in ('_CHECKPOINT_METADATA', 'default/_METADATA'):
    path = workdir / 'checkpoints/4' / name
    text = path.read_text()
    changed = re.sub(
      r'"[\w.]*(PyTreeCheckpointHandler|jax\.Array)"', '"evil_handler.Handler"', text
    )
    assert changed != text
    path.write_text(changed)
  restored(workdir)
  assert not (tmp_path / 'mark').exists() and 'evil_handler' not in sys.modules
