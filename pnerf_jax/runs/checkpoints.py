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
import math
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from pnerf_jax.data.files import check_tree
from pnerf_jax.distributed import processes
from pnerf_jax.errors import InputError, Interrupted, SharedInputError, first_line

_LOG = logging.getLogger(__name__)

T = TypeVar('T')

_DIGESTS = 'digests'  # entry of a checkpoint's metadata
_DAMAGED = 'damaged_checkpoints'  # folder of RUN
_MAX_RATIO, _MIN_CLAIM = 20, 2**24  # of the bytes in memory to those of the files; bytes
_UNUSABLE = '[*?\\'  # in paths
_NOT_DAMAGE = re.compile('RESOURCE_EXHAUSTED|(?i:permission.denied)|Too many open files')


class Checkpoints:
  """The checkpoints of RUN/checkpoints."""

  def __init__(self, workdir: pathlib.Path, keep: int = 2, read_only: bool = False):
    """Open the folder.

    Args:
      workdir: RUN.
      keep: number of checkpoints to keep.
      read_only: never write; another process may be training.
    """
    check_name(workdir)
    self._folder = (workdir / 'checkpoints').absolute()
    if self._folder.exists() and not self._folder.is_dir():
      raise SharedInputError(f'{self._folder}: is a file. Move it, or use another --workdir.')
    check_tree(self._folder)
    # Incomplete checkpoints are removed when training starts; a reader must leave them, since a
    # training may be writing one.
    self._manager = ocp.CheckpointManager(
      self._folder,
      # Given, since orbax would derive it from the newest checkpoint, which may be damaged.
      item_handlers=ocp.PyTreeCheckpointHandler(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=not read_only, cleanup_tmp_directories=not read_only
      ),
    )
    self._saved: int | None = None  # step of the last save

  def steps(self) -> list[int]:
    """Return the steps with a checkpoint, ascending."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: Any) -> None:
    """Start saving a state; do nothing if the step is saved already."""
    if step not in self._manager.all_steps():
      with self._report_timeout():  # waits until the previous save is on disk
        self._manager.save(
          step,
          args=ocp.args.PyTreeSave(state),
          force=True,
          custom_metadata={_DIGESTS: _digests(_by_path(state))},
        )
      self._saved = step

  def restore(self, template: T) -> T | None:
    """Restore the newest readable state; return None if there is no checkpoint.

    Newer unreadable ones are moved to RUN/damaged_checkpoints; training repeats these steps and
    saves them again.

    Args:
      template: ShapeDtypeStructs with shardings.

    Raises:
      InputError: there are checkpoints, but none is readable, or it is of another state.
    """
    steps = self.steps()
    if not steps:
      return None
    found, arrays = self._newest_readable(steps)
    state = self._place(found, arrays, template)
    for step in steps:
      if step > found and processes.is_first():
        self._move_damaged(step)
    processes.wait('damaged checkpoints are moved')
    self._manager.reload()
    return state

  def _move_damaged(self, step: int) -> None:
    folder = self._folder.with_name(_DAMAGED)
    folder.mkdir(exist_ok=True)
    names = (f'{step}-{count}' for count in itertools.count(1))
    shutil.move(
      self._folder / str(step),
      next(folder / name for name in names if not (folder / name).exists()),
    )

  def _newest_readable(
    self, steps: list[int], part: str | None = None
  ) -> tuple[int, dict[str, np.ndarray]]:
    """Return the last of `steps` that is intact, and its arrays as of `_read`."""
    for step in reversed(steps):
      found = None
      try:
        found = self._read(step, part)
      except Exception as error:  # orbax raises many kinds for a damaged file
        name, reason = self._folder / str(step), first_line(error)[:200]
        if isinstance(error, MemoryError) or _NOT_DAMAGE.search(str(error)):
          raise InputError(
            f'{name}: cannot be read at present ({reason}). Nothing was changed: remove the cause'
            ' and start again.'
          ) from None
        _LOG.warning(
          'checkpoint %s is unreadable (%s); falling back to the previous one.', name, reason
        )
      if not processes.any_of(found is None):
        assert found is not None
        return step, found
    raise SharedInputError(
      f'{self._folder}: none of the checkpoints {steps} can be read. Copy the run again, or train'
      ' in another --workdir.'
    )

  def _read(self, step: int, part: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint, or of one entry of its root, by path in the tree.

    Raises:
      Exception: of any kind, if an array is absent, differs from the saved one or is not finite.
    """
    tree = self._manager.item_metadata(step).tree
    tree = tree if part is None else {part: tree[part]}
    # Parameters, a third of the state at least, hardly become smaller by compression.
    claimed = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
    files = [path for path in (self._folder / str(step)).rglob('*') if path.is_file()]
    if claimed > _MIN_CLAIM + _MAX_RATIO * sum(path.stat().st_size for path in files):
      raise ValueError(f'its metadata claims {claimed} bytes, far more than its files have')
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    found = _by_path(
      self._manager.restore(
        step,
        args=ocp.args.PyTreeRestore(item=tree, restore_args=as_numpy, partial_restore=True),
      )
    )
    saved = (self._manager.metadata(step).custom_metadata or {}).get(_DIGESTS)
    if saved is not None:
      for name, digest in _digests(found).items():
        if saved.get(name) != digest:
          raise ValueError(f'{name} differs from what was saved')
    for name, array in found.items():
      if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
        raise ValueError(f'{name} is not finite')
    return found

  def _place(self, step: int, arrays: dict[str, np.ndarray], template: T) -> T:
    """Return arrays as a tree on the devices.

    Raises:
      InputError: the template has other arrays, so the input has changed since.
    """

    def place(path: Any, expected: jax.ShapeDtypeStruct) -> jax.Array:
      """Return the array of one leaf with the expected shape, type and sharding."""
      name = _name(path)
      array = arrays.get(name)
      if array is None or (array.shape, array.dtype) != (expected.shape, expected.dtype):
        there = 'absent' if array is None else f'{array.dtype} {list(array.shape)}'
        raise SharedInputError(
          f'{self._folder / str(step)}: is intact, but {name} is {there} there and'
          f' {expected.dtype} {list(expected.shape)} by the data and config.json now, so these have'
          ' changed since training. Restore them, or train in another --workdir.'
        )
      return jax.make_array_from_callback(expected.shape, expected.sharding, array.__getitem__)

    return jax.tree_util.tree_map_with_path(place, template)

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
    found, arrays = self._newest_readable(self.steps() if step is None else [newest], 'params')
    return found, self._place(found, arrays, {'params': params})['params']

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
    """Close, unless another process may have been lost: closing would wait for it."""
    shared = kind is None or issubclass(kind, (Interrupted, SharedInputError))
    if shared or jax.process_count() == 1:
      self.close()

  def wait(self) -> None:
    """Wait until every started save is on disk, and read the last one back once.

    Raises:
      InputError: it cannot be read.
    """
    with self._report_timeout():
      self._manager.wait_until_finished()
    if self._saved is None:
      return
    try:
      self._read(self._saved)
    except Exception as error:  # see _newest_readable
      raise InputError(
        f'{self._folder / str(self._saved)}: was saved, but cannot be read back'
        f' ({first_line(error):.200}). Check the disk, or use another --workdir.'
      ) from error
    self._saved = None

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


def exist(workdir: pathlib.Path) -> bool:
  """Return whether RUN holds anything that may be a checkpoint, damaged or not."""
  return any(any(workdir.glob(f'{folder}/[0-9]*')) for folder in ('checkpoints', _DAMAGED))


def check_name(workdir: pathlib.Path) -> None:
  """Raise InputError if checkpoints could be written to a folder but not be read again.

  The libraries that write them take [, * and ? for patterns and \\ for /, and need valid Unicode.
  """
  path = str(workdir.absolute())
  unusable = [repr(x) for x in sorted(set(path)) if x in _UNUSABLE or '\ud800' <= x <= '\udfff']
  if unusable:
    raise SharedInputError(
      f'--workdir={workdir}: checkpoints cannot be kept in a folder whose path has'
      f' {", ".join(unusable)}. Rename the folder, or use another.'
    )


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _by_path(tree: Any) -> dict[str, Any]:
  """Return the arrays of a tree by their path, e.g. 'params/grid_0'."""
  return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _digests(arrays: dict[str, Any]) -> dict[str, str]:
  """Return a digest of the bytes of every array."""
  return {
    name: hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()
    for name, array in arrays.items()
  }


def abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
  """Return ShapeDtypeStructs of a tree of arrays with one sharding."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
