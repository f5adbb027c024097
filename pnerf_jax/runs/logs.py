"""Scalars and previews of a run: JSON lines, TensorBoard events and the progress line."""

import json
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2, summary_pb2

from pnerf_jax.data import image_io
from pnerf_jax.data.files import exists, json_lines, read_bytes, write_bytes

_LOG = logging.getLogger(__name__)

Scalars = dict[str, float]
_make_value = summary_pb2.Summary.Value  # the protocol buffers have no types: Any below


class Logs:
  """RUN/scalars.jsonl, RUN/tensorboard, and one progress line per log step.

  When a run is resumed, lines of steps that will be repeated are dropped, so the file reads as if
  the run had not been interrupted.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    resumed_step: int,
    total_steps: int,
    progress: Callable[[Scalars], str],
  ):
    """Open the logs.

    Args:
      workdir: RUN.
      resumed_step: steps done before.
      total_steps: steps of the run.
      progress: formats the task's part of the progress line.
    """
    self._path = workdir / 'scalars.jsonl'
    kept = _lines_until(self._path, resumed_step)
    write_bytes(self._path, ''.join(json.dumps(line) + '\n' for line in kept).encode())
    self._events = _EventFile(workdir / 'tensorboard', resumed_step)
    self._seconds_before = kept[-1]['seconds'] if kept else 0.0
    self._start = time.perf_counter()
    self._total_steps = total_steps
    self._progress = progress

  def write(self, step: int, scalars: Scalars) -> None:
    """Write one line: step, total seconds of training, and the scalars."""
    seconds = self._seconds_before + time.perf_counter() - self._start
    line = {'step': step, 'seconds': round(seconds, 3), **scalars}
    _append(self._path, json.dumps(line) + '\n')
    self._events.write(
      step, [_make_value(tag=name, simple_value=value) for name, value in scalars.items()]
    )
    left = int((self._total_steps - step) * scalars['seconds_per_step'])
    _LOG.info(
      'step %d/%d  %s  left %d:%02d',
      step,
      self._total_steps,
      self._progress(scalars),
      left // 60,
      left % 60,
    )

  def write_images(self, step: int, folder: pathlib.Path) -> None:
    """Copy the PNG files of a folder, RUN/previews/STEP, to TensorBoard."""
    if values := [_image_value(path) for path in sorted(folder.glob('*.png'))]:
      self._events.write(step, values)

  def close(self) -> None:
    """Flush and close the TensorBoard file."""
    self._events.close()


def _lines_until(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
  """Read the lines up to a step; damaged ones are left out and counted in the log."""
  lines = []
  objects, num_damaged = json_lines(read_bytes(path) if exists(path) else b'')
  for line in objects:
    try:
      line = {**line, 'step': int(line['step']), 'seconds': float(line['seconds'])}
    except (ArithmeticError, ValueError, KeyError, TypeError):
      num_damaged += 1
      continue
    if line['step'] <= step:
      lines.append(line)
  if num_damaged:
    _LOG.warning('%s: damaged lines are left out: %d', path, num_damaged)
  return lines


def _append(path: pathlib.Path, text: str) -> None:
  """Append to a file; OSErrors carry its name."""
  try:
    with path.open('a', encoding='utf-8') as file:
      file.write(text)
  except OSError as e:
    raise OSError(e.errno, e.strerror, str(path)) from None


def _image_value(path: pathlib.Path) -> Any:
  """Return an RGB PNG as a value; its tag 'preview/NAME' makes the steps of a view a series."""
  width, height = image_io.read_size(path)
  png = summary_pb2.Summary.Image(
    height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
  )
  return _make_value(tag=f'preview/{path.stem}', image=png)


class _EventFile:
  """RUN/tensorboard, an optional copy: if it cannot be written, a warning is logged.

  Not a SummaryWriter: its writer thread ends silently when the disk is full, and the training loop
  then blocks forever on the thread's queue.
  """

  def __init__(self, folder: pathlib.Path, resumed_step: int):
    self._folder, self._writer = folder, None
    try:
      folder.mkdir(parents=True, exist_ok=True)
      self._writer = event_file_writer.EventsWriter(str(folder / 'events'))
      # Makes TensorBoard discard the later steps, which will be repeated.
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._add(event_pb2.Event(step=resumed_step, session_log=start))
    except OSError as e:
      self._disable(e)

  def write(self, step: int, values: list[Any]) -> None:
    """Write one event with all values."""
    try:
      self._add(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=values)))
    except OSError as e:
      self._disable(e)

  def _add(self, event: event_pb2.Event) -> None:
    if self._writer is not None:
      event.wall_time = time.time()
      self._writer.write_event(event)
      self._writer.flush()

  def _disable(self, error: OSError) -> None:
    _LOG.warning(
      '%s: cannot be written (%s); scalars.jsonl and previews are complete.',
      self._folder,
      error.strerror,
    )
    self._writer = None

  def close(self) -> None:
    """Close the file."""
    if self._writer is not None:
      self._writer.close()
      self._writer = None
