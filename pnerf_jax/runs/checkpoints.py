"""Checkpoints of a run: whole or absent, the newest whole one is used.

A checkpoint that a kill cuts short never gets its name. What happens to one afterwards (a disk that
errs, a copy cut short) is found by digests of all arrays, saved with them: orbax itself compresses
the numbers without a check sum, and most flipped bits would come back as other numbers.

Where several processes train, all of them call every method, and RUN is one folder for all.
"""

import contextlib
import hashlib
import itertools
import logging
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from pnerf_jax.distributed import processes
from pnerf_jax.errors import InputError, Interrupted, SharedInputError
from pnerf_jax.training.train_state import TrainState

_LOG = logging.getLogger(__name__)

_DIGESTS = 'digests'  # entry of a checkpoint's metadata


class Checkpoints:
  """The checkpoints under RUN/checkpoints."""

  def __init__(self, workdir: pathlib.Path, keep: int = 2, read_only: bool = False):
    """workdir: RUN. keep: how many are kept. read_only: RUN may be another process's."""
    self._folder = (workdir / 'checkpoints').absolute()
    if self._folder.exists() and not self._folder.is_dir():
      raise SharedInputError(f'{self._folder}: is a file. Remove it, or use another --workdir.')
    # What a kill left half-written goes when the next training starts; for a reader it may be what
    # the training is writing just now.
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=not read_only, cleanup_tmp_directories=not read_only
      ),
    )

  def steps(self) -> list[int]:
    """Steps with a checkpoint, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: TrainState) -> None:
    """Starts saving; a step that is saved already is left alone."""
    if step not in self._manager.all_steps():
      with self._in_time():  # the save before this one must be on disk first
        self._manager.save(
          step,
          args=ocp.args.StandardSave(state),
          force=True,
          custom_metadata={_DIGESTS: _digests(state)},
        )

  def restore(self, template: TrainState) -> TrainState | None:
    """The newest state that can be read, None where there is no checkpoint at all.

    Newer ones that cannot be read are moved to RUN/damaged_checkpoints: training repeats their
    steps and saves them anew.

    Args:
      template: ShapeDtypeStructs with shardings.

    Raises:
      InputError: there are checkpoints, none can be read.
    """
    steps = self.steps()
    if not steps:
      return None
    found, state = self._newest_readable(
      steps, lambda step: self._manager.restore(step, args=ocp.args.StandardRestore(template))
    )
    for step in steps:
      if step > found and processes.is_first():
        self._put_aside(step)
    processes.wait('damaged checkpoints are moved')
    self._manager.reload()
    return state

  def _put_aside(self, step: int) -> None:
    folder = self._folder.with_name('damaged_checkpoints')
    folder.mkdir(exist_ok=True)
    names = (f'{step}-{count}' for count in itertools.count(1))
    shutil.move(
      self._folder / str(step),
      next(folder / name for name in names if not (folder / name).exists()),
    )

  def _newest_readable(self, steps: list[int], read: Callable[[int], Any]) -> tuple[int, Any]:
    """The last of `steps` that `read` can read, and what it read."""
    for step in reversed(steps):
      found = None
      try:
        found = read(step)
        self._check(step, found)
      except Exception as error:  # orbax raises many kinds for a damaged file
        found = None
        _LOG.warning(
          '%s: cannot be read (%s); trying the one before.',
          self._folder / str(step),
          (str(error).splitlines() or [''])[0][:200],
        )
      if not processes.any_of(found is None):
        return step, found
    raise SharedInputError(
      f'{self._folder}: none of the checkpoints {steps} can be read. '
      'Remove the folder to train anew.'
    )

  def _check(self, step: int, found: Any) -> None:
    """ValueError naming the first array that is not what was saved, or not finite."""
    saved = (self._manager.metadata(step).custom_metadata or {}).get(_DIGESTS)
    for name, digest in _digests(found).items() if saved is not None else ():
      if saved.get(name) != digest:
        raise ValueError(f'{name} is not what was saved')
    _check_finite(found)

  def require(self, step: int | None) -> int:
    """The step itself, or the newest for None. Raises InputError where there is none."""
    steps = self.steps()
    if not steps or (step is not None and step not in steps):
      raise InputError(
        f'{self._folder}: no checkpoint {"" if step is None else step} '
        f'(there are {steps}). Train first, or pass --step with one of them.'
      )
    return steps[-1] if step is None else step

  def restore_params(self, params: Any, step: int | None) -> tuple[int, Any]:
    """Parameters alone, for evaluation.

    Args:
      params: ShapeDtypeStructs with shardings.
      step: which checkpoint; None = the newest that can be read.

    Raises:
      InputError: no such checkpoint, or it cannot be read.
    """
    newest = self.require(step)
    steps = self.steps() if step is None else [newest]
    item = {'params': params}
    arguments = ocp.args.PyTreeRestore(
      item=item,
      restore_args=ocp.checkpoint_utils.construct_restore_args(item),
      partial_restore=True,
    )
    step, restored = self._newest_readable(
      steps, lambda step: self._manager.restore(step, args=arguments)
    )
    return step, restored['params']

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
    """Closes, but for where another process may be gone, whom closing would wait for."""
    together = kind is None or issubclass(kind, (Interrupted, SharedInputError))
    if together or jax.process_count() == 1:
      self.close()

  def wait(self) -> None:
    """Returns when everything started is on disk."""
    with self._in_time():
      self._manager.wait_until_finished()

  @contextlib.contextmanager
  def _in_time(self) -> Iterator[None]:
    """Says as one line that orbax gave up waiting; it measures by the wall clock."""
    try:
      yield
    except TimeoutError as e:
      raise InputError(
        f'{self._folder}: saving took too long ({e}); the disk is slow, or the clock'
        ' was set meanwhile. What was saved before is whole: start again.'
      ) from e

  def close(self) -> None:
    """Waits and lets go of the folder."""
    self._manager.close()


def _digests(tree: Any) -> dict[str, str]:
  """A digest of the bytes of every array, by its path in the tree."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): hashlib.blake2b(
      np.ascontiguousarray(leaf).tobytes(), digest_size=8
    ).hexdigest()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _check_finite(tree: Any) -> None:
  """ValueError naming the first array that holds a NaN or an infinity."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    own = leaf.addressable_data(0)  # of what is replicated, the whole
    if jnp.issubdtype(own.dtype, jnp.inexact) and not bool(jnp.isfinite(own).all()):
      raise ValueError(f'{jax.tree_util.keystr(path)} is not finite')


def abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
  """Shapes, types and sharding of a tree of arrays."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
