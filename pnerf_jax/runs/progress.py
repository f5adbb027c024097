"""Progress bars on stderr: a line that is updated on a terminal, single lines in a log file."""

import sys
from collections.abc import Iterable
from typing import Any

import tqdm

_TERMINAL_SECONDS = 1.0  # between updates
_FILE_SECONDS = 30.0


class _Lines:
  """Writes every update of a bar to stderr as a line of its own."""

  def write(self, text: str) -> None:
    """Write an update; tqdm surrounds it with carriage returns, blanks and line ends."""
    if line := text.strip():
      print(line, file=sys.stderr, flush=True)

  def flush(self) -> None:
    """Do nothing: lines are written at once."""


def progress_bar(
  items: Iterable[Any] | None,
  description: str,
  unit: str,
  *,
  total: int | None = None,
  disable: bool = False,
) -> Any:
  """Return a tqdm bar: an iterator over `items`, or without items a context with `update(count)`.

  Args:
    items: what to iterate over, or None.
    description: start of the line.
    unit: of an item, in English.
    total: number of items, if `items` has no length.
    disable: show nothing.
  """
  is_terminal = sys.stderr.isatty()
  seconds = _TERMINAL_SECONDS if is_terminal else _FILE_SECONDS
  return tqdm.tqdm(
    items,
    description,
    total,
    unit=unit,
    file=sys.stderr if is_terminal else _Lines(),
    mininterval=seconds,
    maxinterval=max(10.0, seconds),
    disable=disable,
  )
