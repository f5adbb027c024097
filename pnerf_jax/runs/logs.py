"""Scalars to JSON lines and TensorBoard, and the progress line."""

import json
import logging
import pathlib
import time

from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2, summary_pb2

from pnerf_jax.data.files import write_bytes

_LOG = logging.getLogger(__name__)


class Logs:
  """RUN/scalars.jsonl, RUN/tensorboard, and one line a log step.

  On resuming, lines of steps that will be repeated are dropped, so that the file reads as if the
  run had never been stopped.
  """

  def __init__(self, workdir: pathlib.Path, resumed_step: int, total_steps: int):
    """workdir: RUN. resumed_step: steps done already. total_steps: of the run."""
    self._path = workdir / 'scalars.jsonl'
    kept = self._lines_until(resumed_step)
    write_bytes(self._path, ''.join(json.dumps(line) + '\n' for line in kept).encode())
    self._board = _Board(workdir / 'tensorboard', resumed_step)
    self._before = kept[-1]['seconds'] if kept else 0.0
    self._start = time.perf_counter()
    self._total = total_steps

  def _lines_until(self, step: int) -> list[dict]:
    if not self._path.exists():
      return []
    lines = []
    for text in self._path.read_text(errors='replace').splitlines():
      try:
        line = json.loads(text)
        line = {**line, 'step': int(line['step']), 'seconds': float(line['seconds'])}
      except (ValueError, KeyError, TypeError):
        break  # cut off by a kill; that step will be repeated
      if line['step'] <= step:
        lines.append(line)
    return lines

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """One line: step, seconds of training in all, and the scalars."""
    seconds = self._before + time.perf_counter() - self._start
    line = {'step': step, 'seconds': round(seconds, 3), **scalars}
    _append(self._path, json.dumps(line) + '\n')
    self._board.write(step, scalars)
    _LOG.info('%s', progress_line(step, self._total, scalars))

  def close(self) -> None:
    """Flushes and closes TensorBoard's file."""
    self._board.close()


def _append(path: pathlib.Path, text: str) -> None:
  """Adds to a file. Raises OSError with the file's name."""
  try:
    with path.open('a', encoding='utf-8') as file:
      file.write(text)
  except OSError as e:
    raise OSError(e.errno, e.strerror, str(path)) from None


class _Board:
  """RUN/tensorboard: a copy for the eye, given up with a warning where it cannot be written.

  Not a SummaryWriter: its thread dies of a full disk without a word, and who adds the next dozen
  scalars waits for it for ever.
  """

  def __init__(self, folder: pathlib.Path, resumed_step: int):
    self._folder, self._events = folder, None
    try:
      folder.mkdir(parents=True, exist_ok=True)
      self._events = event_file_writer.EventsWriter(str(folder / 'events'))
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      # TensorBoard drops what it knows of later steps: they are repeated.
      self._add(event_pb2.Event(step=resumed_step, session_log=start))
    except OSError as e:
      self._give_up(e)

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """One event with all scalars."""
    values = [
      summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()
    ]
    try:
      self._add(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=values)))
    except OSError as e:
      self._give_up(e)

  def _add(self, event: event_pb2.Event) -> None:
    if self._events is not None:
      event.wall_time = time.time()
      self._events.write_event(event)
      self._events.flush()

  def _give_up(self, error: OSError) -> None:
    _LOG.warning(
      '%s: cannot be written (%s); scalars go to scalars.jsonl alone.', self._folder, error.strerror
    )
    self._events = None

  def close(self) -> None:
    """Lets go of the file."""
    if self._events is not None:
      self._events.close()
      self._events = None


def progress_line(step: int, total: int, scalars: dict[str, float]) -> str:
  """step, rate, loss, PSNR or accuracy, and time left, for people."""
  left = (total - step) * scalars['seconds_per_step']
  if 'rays_per_second' in scalars:
    rate, quality = f'{scalars["rays_per_second"] / 1e3:.1f}k rays/s', f'psnr {scalars["psnr"]:.2f}'
  else:
    rate = f'{scalars["crops_per_second"]:.1f} crops/s'
    quality = f'accuracy {scalars["accuracy"]:.3f}'
  return (
    f'step {step}/{total}  {rate}  loss {scalars["loss"]:.4f}  {quality}  '
    f'left {int(left) // 60}:{int(left) % 60:02d}'
  )
