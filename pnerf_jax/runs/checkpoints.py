"""Checkpoints of a run: complete or absent; the newest intact one is used.

An interrupted save leaves no checkpoint. Later damage (disk errors, an incomplete copy) is detected
by digests of all arrays, saved with them: orbax compresses arrays without a checksum, so most
flipped bits would be restored as other numbers.

If several processes train, all of them call every method, and RUN is one folder for all.
"""

import contextlib
import hashlib
import itertools
import logging
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from pnerf_jax.distributed import processes
from pnerf_jax.errors import InputError, Interrupted, SharedInputError

_LOG = logging.getLogger(__name__)

T = TypeVar('T')

_DIGESTS = 'digests'  # entry of a checkpoint's metadata


class Checkpoints:
  """The checkpoints of RUN/checkpoints."""

  def __init__(self, workdir: pathlib.Path, keep: int = 2, read_only: bool = False):
    """Open the folder.

    Args:
      workdir: RUN.
      keep: number of checkpoints to keep.
      read_only: never write; another process may be training.
    """
    self._folder = (workdir / 'checkpoints').absolute()
    if self._folder.exists() and not self._folder.is_dir():
      raise SharedInputError(f'{self._folder}: is a file. Remove it, or use another --workdir.')
    # Incomplete checkpoints are removed when training starts; a reader must leave them, since a
    # training may be writing one.
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=not read_only, cleanup_tmp_directories=not read_only
      ),
    )

  def steps(self) -> list[int]:
    """Return the steps with a checkpoint, ascending."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: Any) -> None:
    """Start saving a state; do nothing if the step is saved already."""
    if step not in self._manager.all_steps():
      with self._report_timeout():  # waits until the previous save is on disk
        self._manager.save(
          step,
          args=ocp.args.StandardSave(state),
          force=True,
          custom_metadata={_DIGESTS: _digests(state)},
        )

  def restore(self, template: T) -> T | None:
    """Restore the newest readable state; return None if there is no checkpoint.

    Newer unreadable ones are moved to RUN/damaged_checkpoints; training repeats these steps and
    saves them again.

    Args:
      template: ShapeDtypeStructs with shardings.

    Raises:
      InputError: there are checkpoints, but none is readable.
    """
    steps = self.steps()
    if not steps:
      return None
    found, state = self._newest_readable(
      steps, lambda step: self._manager.restore(step, args=ocp.args.StandardRestore(template))
    )
    for step in steps:
      if step > found and processes.is_first():
        self._move_damaged(step)
    processes.wait('damaged checkpoints are moved')
    self._manager.reload()
    return state

  def _move_damaged(self, step: int) -> None:
    folder = self._folder.with_name('damaged_checkpoints')
    folder.mkdir(exist_ok=True)
    names = (f'{step}-{count}' for count in itertools.count(1))
    shutil.move(
      self._folder / str(step),
      next(folder / name for name in names if not (folder / name).exists()),
    )

  def _newest_readable(self, steps: list[int], read: Callable[[int], Any]) -> tuple[int, Any]:
    """Return the last of `steps` that `read` can read, and the result."""
    for step in reversed(steps):
      found = None
      try:
        found = read(step)
        self._check(step, found)
      except Exception as error:  # orbax raises many kinds for a damaged file
        found = None
        _LOG.warning(
          'checkpoint %s is unreadable (%s); falling back to the previous one.',
          self._folder / str(step),
          (str(error).splitlines() or [''])[0][:200],
        )
      if not processes.any_of(found is None):
        return step, found
    raise SharedInputError(
      f'{self._folder}: none of the checkpoints {steps} can be read. '
      'Remove the folder to train from the start.'
    )

  def _check(self, step: int, found: Any) -> None:
    """Raise ValueError for the first array that differs from the saved one or is not finite."""
    saved = (self._manager.metadata(step).custom_metadata or {}).get(_DIGESTS)
    if saved is not None:
      for name, digest in _digests(found).items():
        if saved.get(name) != digest:
          raise ValueError(f'{name} differs from what was saved')
    _check_finite(found)

  def require(self, step: int | None) -> int:
    """Return the step, or the newest for None; raise InputError if it has no checkpoint."""
    steps = self.steps()
    if not steps or (step is not None and step not in steps):
      raise InputError(
        f'{self._folder}: no checkpoint {"" if step is None else step} '
        f'(there are {steps}). Train first, or pass --step with one of them.'
      )
    return steps[-1] if step is None else step

  def restore_params(self, params: Any, step: int | None) -> tuple[int, Any]:
    """Restore the parameters alone, for evaluation.

    Args:
      params: ShapeDtypeStructs with shardings.
      step: of the checkpoint; None = the newest readable one.

    Raises:
      InputError: there is no such checkpoint, or it is unreadable.
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
    """Close, unless another process may have been lost: closing would wait for it."""
    shared = kind is None or issubclass(kind, (Interrupted, SharedInputError))
    if shared or jax.process_count() == 1:
      self.close()

  def wait(self) -> None:
    """Wait until every started save is on disk."""
    with self._report_timeout():
      self._manager.wait_until_finished()

  @contextlib.contextmanager
  def _report_timeout(self) -> Iterator[None]:
    """Turn the timeout of orbax, which uses the wall clock, into one clear error."""
    try:
      yield
    except TimeoutError as e:
      raise InputError(
        f'{self._folder}: saving took too long ({e}); the disk is slow, or the clock'
        ' was changed. Earlier checkpoints are intact: start again.'
      ) from e

  def close(self) -> None:
    """Wait for saves and close the folder."""
    self._manager.close()


def _digests(tree: Any) -> dict[str, str]:
  """Return a digest of the bytes of every array by its path in the tree."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): hashlib.blake2b(
      np.ascontiguousarray(leaf).tobytes(), digest_size=8
    ).hexdigest()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _check_finite(tree: Any) -> None:
  """Raise ValueError for the first array with a NaN or an infinity."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    own = leaf.addressable_data(0)  # the whole array, since it is replicated
    if jnp.issubdtype(own.dtype, jnp.inexact) and not bool(jnp.isfinite(own).all()):
      raise ValueError(f'{jax.tree_util.keystr(path)} is not finite')


def abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
  """Return ShapeDtypeStructs of a tree of arrays with one sharding."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
