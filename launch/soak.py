"""Soak test: kills training, export and merging at random moments, resumes them, compares results.

    PYTHONPATH=. python launch/soak.py --work=DIR [--kills=50] [--seed=0] [--steps=200]
        [--street=DATA]

Generates a tiny street, runs every command once without interruption, then again with kills
(SIGKILL; every fourth kill of training SIGTERM), resuming after each. For every kill a phase, such
as loading, training or saving, and a moment in it are drawn; the phase is inferred from the output
of the process. After every kill all output files must be complete: PNGs decode, JSON parses. The
final results must equal the uninterrupted ones: parameters and optimiser bit by bit, logged losses,
exported files byte by byte. SIGTERM must end training within 10 s with exit code 130.

Prints progress, then a summary as JSON (also DIR/summary.json) with the number of kills per phase.
Exit code 1 at the first violation, leaving DIR unchanged.
"""

import argparse
import collections
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

_REFERENCE = 'uninterrupted'  # folder of the results to compare with
_ROOT = Path(__file__).resolve().parents[1]
_MAX_STOP_SECONDS = 10.0  # from SIGTERM to the exit
_POLL_SECONDS = 0.01  # between checks of the output of a process
_KILLS_PER_ROUND = 4  # then the command is completed and compared
_TIMINGS = ('seconds', 'rays_per_second', 'seconds_per_step')  # of the log; not compared

# The phases of the commands in order, with the number of kills of each phase per deck.
_DECKS = {
  'train': {'start': 1, 'loading': 1, 'first step': 1, 'training': 2, 'saving': 3},
  'render': {'start': 1, 'loading': 1, 'rendering': 2, 'writing': 2},
  'merge': {'start': 1, 'merging': 2, 'writing': 2},
}
# Output at the start of a phase; saving and writing are detected by temporary file names.
_PHASE_OUTPUT = {
  'train': {'first step': r'intervals of \d+', 'training': r' step \d+/\d+ '},
  'render': {'loading': ' primitives ', 'rendering': 'render:'},
  'merge': {'merging': '_sync:'},
}
_TEMPORARY = {'saving': 'checkpoints/*tmp*', 'writing': '**/.*.tmp'}


class SoakError(Exception):
  """A violated requirement."""


@dataclasses.dataclass
class Stage:
  """One command.

  Attributes:
    name: name of the command.
    arguments: module and arguments of its command line.
    folder: folder that it writes.
    log: log file of its process.
    stale: temporary files of killed processes.
  """

  name: str
  arguments: list[str]
  folder: Path
  log: Path
  stale: set[Path] = dataclasses.field(default_factory=set)

  def start(self) -> subprocess.Popen:
    """Start the command in a subprocess."""
    self.stale = set(self.folder.glob(_TEMPORARY['writing']))
    with self.log.open('wb') as log:
      return subprocess.Popen(
        [sys.executable, '-m', *self.arguments], cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT
      )

  def finish(self) -> dict[str, float]:
    """Run the command to completion; return the seconds per phase, means of recurring phases."""
    process, starts = self.start(), []  # (phase, start time)
    while process.poll() is None:
      phase = self.phase(process)
      if not starts or starts[-1][0] != phase:
        starts.append((phase, time.monotonic()))
      time.sleep(_POLL_SECONDS)
    if process.returncode != 0:
      raise SoakError(f'{self.name}: exit code {process.returncode}, see {self.log}')
    spans = collections.defaultdict(list)
    for (phase, start), (_, end) in zip(starts, [*starts[1:], ('end', time.monotonic())]):
      spans[phase].append((start, end))
    return {
      phase: (
        sum(end - start for start, end in parts) / len(parts)
        if phase in _TEMPORARY
        else parts[-1][1] - parts[0][0]
      )
      for phase, parts in spans.items()
    }

  def phase(self, process: subprocess.Popen) -> str:
    """Return the current phase of a process, or the last one if it was killed."""
    output = self.log.read_text(errors='replace')
    patterns = _PHASE_OUTPUT.get(self.name, {})
    started = [phase for phase, pattern in patterns.items() if re.search(pattern, output)]
    for phase, pattern in _TEMPORARY.items():
      if started and phase in _DECKS[self.name] and set(self.folder.glob(pattern)) - self.stale:
        return phase
    if started or self.name != 'train':
      return started[-1] if started else 'start'
    lock = self.folder / 'lock'
    is_locked = lock.exists() and f'process {process.pid} ' in lock.read_text()
    return 'loading' if is_locked else 'start'


class Soak:
  """The stages in one work folder, with the counts of kills."""

  def __init__(
    self,
    work: Path,
    *,
    seed: int,
    steps: int,
    street: Path | None = None,
    settings: Sequence[str] = (
      '--config.train.preview_every=20',
      '--config.train.checkpoint_every=10',
    ),
  ):
    """Set up the commands.

    Args:
      work: DIR.
      seed: of the kills and the street.
      steps: training steps.
      street: root of a dataset; None generates a street.
      settings: config flags of training.
    """
    self.work, self.random = work, random.Random(seed)
    self.counts = collections.Counter()
    self.finished = collections.Counter()
    self.slowest_stop = 0.0
    self.spans = {}  # seconds per phase, by command
    self.decks = {name: [] for name in _DECKS}  # phases of the next kills, last one first
    self.setup = []  # commands that create the input
    if street is None:
      street = work / 'street'
      self.setup.append(
        [
          'pnerf_jax.street',
          f'--out={street}',
          '--frames=3',
          '--scale=0.08',
          f'--seed={seed}',
          '--predictions=noise',
        ]
      )
    config = ['--config=configs/kitti360.py:tiny', f'--config.data.root={street}', *settings]
    run, manifest, windows = work / _REFERENCE / 'train', work / 'windows.txt', work / 'windows'
    self.setup += [
      [
        'pnerf_jax.windows',
        'cut',
        *config,
        '--config.data.frames=2',
        '--overlap=1',
        f'--out={manifest}',
      ],
      ['pnerf_jax.windows', 'run', f'--windows={manifest}', f'--out={windows}'],
    ]
    self.commands = {
      'train': ['pnerf_jax.train', *config, f'--config.train.steps={steps}', '--workdir=FOLDER'],
      'render': ['pnerf_jax.render', f'--workdir={run}', '--out=FOLDER'],
      'merge': ['pnerf_jax.merge', f'--windows={manifest}', f'--runs={windows}', '--out=FOLDER'],
    }

  def stage(self, name: str, round_name: str, arguments: list[str] | None = None) -> Stage:
    """Return the stage of a command that writes DIR/ROUND/NAME."""
    folder = self.work / round_name / name
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [a.replace('FOLDER', str(folder)) for a in arguments or self.commands[name]]
    return Stage(name, arguments, folder, folder.with_name(f'{name}.log'))

  def run(self, kills: int) -> None:
    """Run everything uninterrupted once, then rounds until enough processes were killed."""
    for arguments in self.setup:
      self.stage('setup', _REFERENCE, arguments).finish()
    for name in self.commands:
      self.stage(name, _REFERENCE).finish()  # fills the compilation cache
      shutil.rmtree(self.work / _REFERENCE / name)
      self.spans[name] = self.stage(name, _REFERENCE).finish()
      check_complete(self.work / _REFERENCE / name)
      spans = ', '.join(f'{phase} {span:.2f} s' for phase, span in self.spans[name].items())
      print(f'{name} uninterrupted: {spans}', flush=True)
    while self.counts.total() < kills:
      for name in self.commands:
        self.round(name, min(_KILLS_PER_ROUND, kills - self.counts.total()))

  def round(self, name: str, kills: int) -> None:
    """Kill a command several times, complete it, compare the results and clean up."""
    stage = self.stage(name, f'round_{self.finished.total():03d}')
    for _ in range(kills):
      deck = self.decks[name]
      if not deck:
        deck += self.random.sample(
          list(_DECKS[name]), sum(_DECKS[name].values()), counts=_DECKS[name].values()
        )
      if not self.interrupt(stage, deck[-1]):
        break  # the command ended before the kill
      deck.pop()
      check_complete(stage.folder)
    stage.finish()
    check_complete(stage.folder)
    _COMPARE[name](self.work / _REFERENCE / name, stage.folder)
    self.finished[name] += 1
    shutil.rmtree(stage.folder.parent)
    print(f'{self.counts.total()} kills; {name} equals the uninterrupted run', flush=True)

  def interrupt(self, stage: Stage, phase: str) -> bool:
    """Start a command and kill it in a phase; return False if it ended before."""
    process = stage.start()
    if phase in _TEMPORARY:  # the first occurrence or a later one
      for _ in range(self.random.randrange(4)):
        _until(process, lambda: stage.phase(process) == phase)
        _until(process, lambda: stage.phase(process) != phase)
    _until(process, lambda: stage.phase(process) == phase)
    try:
      code = process.wait(self.random.uniform(0, self.spans[stage.name].get(phase, 0.0)))
      if code != 0:
        raise SoakError(f'{stage.name}: exit code {code}, see {stage.log}')
      return False
    except subprocess.TimeoutExpired:
      pass
    number = signal.SIGKILL
    if stage.name == 'train' and self.random.random() < 0.25:
      number = signal.SIGTERM
    actual, start = stage.phase(process), time.monotonic()
    process.send_signal(number)
    code = process.wait()
    if number == signal.SIGTERM:
      self.check_stop(stage, actual, code, time.monotonic() - start)
    else:
      actual = stage.phase(process)
    self.counts[f'{stage.name}, {actual}, {number.name}'] += 1
    return True

  def check_stop(self, stage: Stage, phase: str, code: int, seconds: float) -> None:
    """Check the exit after SIGTERM: code 130 in time, or completion; at the start also SIGTERM."""
    self.slowest_stop = max(self.slowest_stop, seconds)
    if code not in ((130, -signal.SIGTERM) if phase == 'start' else (130, 0)):
      raise SoakError(
        f'{stage.name}: exit code {code} after SIGTERM while {phase}, see {stage.log}'
      )
    if seconds > _MAX_STOP_SECONDS:
      raise SoakError(f'{stage.name}: {seconds:.1f} s from SIGTERM to the exit, while {phase}')

  def summary(self, seconds: float, error: str | None) -> dict:
    """Return the summary of the soak test as JSON types."""
    return {
      'error': error,
      'kills': self.counts.total(),
      'seconds': round(seconds),
      'by_phase': dict(sorted(self.counts.items())),
      'compared': dict(self.finished),
      'slowest_stop_seconds': round(self.slowest_stop, 2),
    }


def _until(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
  """Wait until a condition is true or the process has ended."""
  while process.poll() is None and not condition():
    time.sleep(_POLL_SECONDS)


def check_complete(folder: Path) -> None:
  """Check that every output file can be read completely."""
  for path in sorted(folder.rglob('*')):
    if path.name.startswith('.') or not path.is_file() or 'orbax-checkpoint-tmp' in str(path):
      continue
    try:
      if path.suffix == '.png':
        with Image.open(path) as image:
          image.load()
      elif path.suffix == '.json':
        json.loads(path.read_text())
    except Exception as e:
      raise SoakError(f'{path}: incomplete ({e})') from e


def newest_step(run: Path) -> int:
  """Return the step of the newest complete checkpoint, 0 if there is none."""
  return max(
    (int(path.name) for path in run.glob('checkpoints/*') if path.name.isdigit()), default=0
  )


def _arrays(run: Path) -> dict[str, np.ndarray]:
  """Read all arrays of the newest checkpoint by name."""
  tree = ocp.PyTreeCheckpointer().restore(run / 'checkpoints' / str(newest_step(run)) / 'default')
  return {
    jax.tree_util.keystr(key): np.asarray(value)
    for key, value in jax.tree_util.tree_leaves_with_path(tree)
  }


def compare_runs(expected: Path, found: Path) -> None:
  """Check for bit-equal checkpoints, equal logged losses and equal previews."""
  a, b = _arrays(expected), _arrays(found)
  different = [name for name in a if name not in b or a[name].tobytes() != b[name].tobytes()]
  if different or len(a) != len(b) or len(a) < 20:
    raise SoakError(f'{found}: parameters differ from {expected}: {different[:3]}')
  logs = []
  for run in (expected, found):
    lines = [json.loads(line) for line in (run / 'scalars.jsonl').read_text().splitlines()]
    logs.append([{k: v for k, v in line.items() if k not in _TIMINGS} for line in lines])
  if logs[0] != logs[1] or not logs[0]:
    raise SoakError(f'{found}/scalars.jsonl: differs from {expected}')
  compare_files(expected / 'previews', found / 'previews')
  stale = [path.name for path in (found / 'checkpoints').iterdir() if not path.name.isdigit()]
  if stale or (found / 'damaged_checkpoints').exists():
    raise SoakError(f'{found}: contains {stale} or damaged checkpoints')


def compare_files(expected: Path, found: Path) -> None:
  """Check for equal files, byte by byte, except hidden ones and those with a date or process."""
  contents = []
  for folder in (expected, found):
    paths = [path for path in folder.rglob('*') if path.is_file() and not path.name.startswith('.')]
    paths = [path for path in paths if path.name not in _DATED]
    contents.append({str(path.relative_to(folder)): path.read_bytes() for path in paths})
  different = sorted(
    name
    for name in contents[0].keys() | contents[1].keys()
    if contents[0].get(name) != contents[1].get(name)
  )
  if different or not contents[0]:
    raise SoakError(f'{found}: differs from {expected}: {different[:3]}')


_DATED = ('lock', 'merged.json', 'report.html')
_COMPARE = {'train': compare_runs, 'render': compare_files, 'merge': compare_files}


def main() -> int:
  """Run the soak test of the command line; return 1 if a requirement is violated."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--work', type=Path, required=True, help='a new folder')
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--steps', type=int, default=200, help='training steps')
  parser.add_argument('--street', type=Path, help='root of a small dataset; generated by default')
  options = parser.parse_args()
  if options.work.exists() and any(options.work.iterdir()):
    parser.error(f'--work={options.work}: not empty. Use a new folder.')
  # The processes share compiled programs; kills while this cache is written are tested as well.
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(options.work.absolute() / 'cache'))
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  start, error = time.monotonic(), None
  soak = Soak(
    options.work.absolute(), seed=options.seed, steps=options.steps, street=options.street
  )
  try:
    soak.run(options.kills)
  except SoakError as e:
    error = str(e)
  summary = json.dumps(soak.summary(time.monotonic() - start, error), indent=2)
  (options.work / 'summary.json').write_text(summary + '\n')
  print(summary)
  return 1 if error else 0


if __name__ == '__main__':
  sys.exit(main())
