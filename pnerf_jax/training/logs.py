"""Scalars to JSON lines and TensorBoard, and the progress line."""
import json
import logging
import os
import pathlib
import time

from tensorboardX import SummaryWriter

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
    temporary = self._path.with_suffix('.tmp')
    temporary.write_text(''.join(json.dumps(line) + '\n' for line in kept))
    os.replace(temporary, self._path)
    self._file = self._path.open('a')
    self._board = SummaryWriter(str(workdir / 'tensorboard'), purge_step=resumed_step)
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
    self._file.write(json.dumps(line) + '\n')
    self._file.flush()
    for name, value in scalars.items():
      self._board.add_scalar(name, value, step)
    _LOG.info('%s', progress_line(step, self._total, scalars))

  def close(self) -> None:
    """Flushes and closes both files."""
    self._file.close()
    self._board.close()


def progress_line(step: int, total: int, scalars: dict[str, float]) -> str:
  """step, rate, loss, PSNR and time left, for people."""
  left = (total - step) * scalars['seconds_per_step']
  return (f'step {step}/{total}  {scalars["rays_per_second"] / 1e3:.1f}k rays/s  '
          f'loss {scalars["loss"]:.4f}  psnr {scalars["psnr"]:.2f}  '
          f'left {int(left) // 60}:{int(left) % 60:02d}')
