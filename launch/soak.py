"""Kills training, export and merging at random moments and checks that nothing is lost.

    PYTHONPATH=. python launch/soak.py --work=DIR [--kills=50] [--seed=0] [--steps=200]
        [--street=DATA]

Draws a tiny street, does everything once undisturbed, then anew with kills (SIGKILL; of training
every fourth time SIGTERM), and resumes each time. For every kill a phase is drawn, such as loading,
training or saving, and a moment in it; a phase is told from what the process has written. After
every kill, what has a name must be whole: PNGs decode, JSON parses. What is finished must be what
the undisturbed run gave: parameters and optimiser bit by bit, the log's losses, exported files byte
by byte. SIGTERM must end training within 10 s with exit code 130.

Prints progress, and last a summary as JSON (also DIR/summary.json): how many kills fell into which
phase. Exit code 1 at the first broken promise, with everything in DIR as it was left.
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

_ROOT = Path(__file__).resolve().parents[1]
_GRACE = 10.0  # seconds from SIGTERM to the end
_GLANCE = 0.01  # seconds between looks at what a process has written
_KILLS_A_ROUND = 4  # then the round is let finish and compared
_MEASURED = ('seconds', 'rays_per_second', 'seconds_per_step')  # of the log; times differ

# The phases of the commands in their order, and how often of so many kills each is drawn.
_DECKS = {
  'train': {'start': 1, 'loading': 1, 'first step': 1, 'training': 2, 'saving': 3},
  'render': {'start': 1, 'loading': 1, 'rendering': 2, 'writing': 2},
  'merge': {'start': 1, 'merging': 2, 'writing': 2},
}
# What a process says when a phase begins. What is saved or written has a temporary name.
_SIGNS = {
  'train': {'first step': r'intervals of \d+', 'training': r' step \d+/\d+ '},
  'render': {'loading': ' primitives ', 'rendering': 'render:'},
  'merge': {'merging': '_sync:'},
}
_TEMPORARY = {'saving': 'checkpoints/*tmp*', 'writing': '**/.*.tmp'}


class Broken(Exception):
  """A promise that was not kept."""


@dataclasses.dataclass
class Stage:
  """One command. words: of its command line, for the folder that it writes. log: of a process."""

  name: str
  words: list[str]
  folder: Path
  log: Path
  left: set[Path] = dataclasses.field(default_factory=set)  # temporary files of killed processes

  def start(self) -> subprocess.Popen:
    """Starts the command in a process of its own."""
    self.left = set(self.folder.glob(_TEMPORARY['writing']))
    with self.log.open('wb') as log:
      return subprocess.Popen(
        [sys.executable, '-m', *self.words], cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT
      )

  def finish(self) -> dict[str, float]:
    """Runs the command to its end; seconds of its phases, of those that recur the mean."""
    process, seen = self.start(), []  # (phase, begin)
    while process.poll() is None:
      phase = self.phase(process)
      if not seen or seen[-1][0] != phase:
        seen.append((phase, time.monotonic()))
      time.sleep(_GLANCE)
    if process.returncode != 0:
      raise Broken(f'{self.name}: exit code {process.returncode}, see {self.log}')
    spans = collections.defaultdict(list)
    for (phase, begin), (_, end) in zip(seen, [*seen[1:], ('end', time.monotonic())]):
      spans[phase].append((begin, end))
    return {
      phase: (
        sum(end - begin for begin, end in parts) / len(parts)
        if phase in _TEMPORARY
        else parts[-1][1] - parts[0][0]
      )
      for phase, parts in spans.items()
    }

  def phase(self, process: subprocess.Popen) -> str:
    """What a process is doing or, once it was killed, was doing."""
    said = self.log.read_text(errors='replace')
    begun = [phase for phase, sign in _SIGNS.get(self.name, {}).items() if re.search(sign, said)]
    for phase, pattern in _TEMPORARY.items():
      if begun and phase in _DECKS[self.name] and set(self.folder.glob(pattern)) - self.left:
        return phase
    if begun or self.name != 'train':
      return begun[-1] if begun else 'start'
    lock = self.folder / 'lock'
    held = lock.exists() and f'process {process.pid} ' in lock.read_text()
    return 'loading' if held else 'start'


class Soak:
  """The stages in one work folder, and what was counted."""

  def __init__(
    self,
    work: Path,
    seed: int,
    steps: int,
    street: Path | None = None,
    settings: Sequence[str] = (
      '--config.train.preview_every=20',
      '--config.train.checkpoint_every=10',
    ),
  ):
    """work: DIR. steps, settings: of training. street: a dataset's root; drawn where None."""
    self.work, self.random = work, random.Random(seed)
    self.counts = collections.Counter()
    self.finished = collections.Counter()
    self.slowest_stop = 0.0
    self.spans = {}  # by command: seconds of its phases
    self.decks = {name: [] for name in _DECKS}  # phases that are to be hit next, the last one first
    self.before = []  # what the commands need
    if street is None:
      street = work / 'street'
      self.before.append(
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
    run, table, windows = work / 'undisturbed' / 'train', work / 'windows.txt', work / 'windows'
    self.before += [
      [
        'pnerf_jax.windows',
        'cut',
        *config,
        '--config.data.frames=2',
        '--overlap=1',
        f'--out={table}',
      ],
      ['pnerf_jax.windows', 'run', f'--windows={table}', f'--out={windows}'],
    ]
    self.commands = {
      'train': ['pnerf_jax.train', *config, f'--config.train.steps={steps}', '--workdir=FOLDER'],
      'render': ['pnerf_jax.render', f'--workdir={run}', '--out=FOLDER'],
      'merge': ['pnerf_jax.merge', f'--windows={table}', f'--runs={windows}', '--out=FOLDER'],
    }

  def stage(self, name: str, round_name: str, words: list[str] | None = None) -> Stage:
    """A command that writes DIR/ROUND/NAME."""
    folder = self.work / round_name / name
    folder.mkdir(parents=True, exist_ok=True)
    words = [word.replace('FOLDER', str(folder)) for word in words or self.commands[name]]
    return Stage(name, words, folder, folder.with_name(f'{name}.log'))

  def run(self, kills: int) -> None:
    """Everything undisturbed once, then rounds until so many processes were killed."""
    for words in self.before:
      self.stage('before', 'undisturbed', words).finish()
    for name in self.commands:
      self.stage(name, 'undisturbed').finish()  # compiles, which later processes need not
      shutil.rmtree(self.work / 'undisturbed' / name)
      self.spans[name] = self.stage(name, 'undisturbed').finish()
      check_whole(self.work / 'undisturbed' / name)
      spans = ', '.join(f'{phase} {span:.2f} s' for phase, span in self.spans[name].items())
      print(f'{name} undisturbed: {spans}', flush=True)
    while self.counts.total() < kills:
      for name in self.commands:
        self.round(name, min(_KILLS_A_ROUND, kills - self.counts.total()))

  def round(self, name: str, kills: int) -> None:
    """Kills a command a few times, lets it finish, compares and cleans up."""
    stage = self.stage(name, f'round_{self.finished.total():03d}')
    for _ in range(kills):
      deck = self.decks[name]
      if not deck:
        deck += self.random.sample(
          list(_DECKS[name]), sum(_DECKS[name].values()), counts=_DECKS[name].values()
        )
      if not self.disturb(stage, deck[-1]):
        break  # it was faster than the kill
      deck.pop()
      check_whole(stage.folder)
    stage.finish()
    check_whole(stage.folder)
    _COMPARE[name](self.work / 'undisturbed' / name, stage.folder)
    self.finished[name] += 1
    shutil.rmtree(stage.folder.parent)
    print(f'{self.counts.total()} kills; {name} is as undisturbed', flush=True)

  def disturb(self, stage: Stage, wanted: str) -> bool:
    """Starts a command and kills it in a phase; False where it ended before."""
    process = stage.start()
    if wanted in _TEMPORARY:  # the first one or a later one
      for _ in range(self.random.randrange(4)):
        _until(process, lambda: stage.phase(process) == wanted)
        _until(process, lambda: stage.phase(process) != wanted)
    _until(process, lambda: stage.phase(process) == wanted)
    try:
      code = process.wait(self.random.uniform(0, self.spans[stage.name].get(wanted, 0.0)))
      if code != 0:
        raise Broken(f'{stage.name}: exit code {code}, see {stage.log}')
      return False
    except subprocess.TimeoutExpired:
      pass
    number = signal.SIGKILL
    if stage.name == 'train' and self.random.random() < 0.25:
      number = signal.SIGTERM
    phase, start = stage.phase(process), time.monotonic()
    process.send_signal(number)
    code = process.wait()
    if number == signal.SIGTERM:
      self.check_stop(stage, phase, code, time.monotonic() - start)
    else:
      phase = stage.phase(process)
    self.counts[f'{stage.name}, {phase}, {number.name}'] += 1
    return True

  def check_stop(self, stage: Stage, phase: str, code: int, seconds: float) -> None:
    """SIGTERM: 130 in time, or an end that came first; Python alone dies of it at the start."""
    self.slowest_stop = max(self.slowest_stop, seconds)
    if code not in ((130, -signal.SIGTERM) if phase == 'start' else (130, 0)):
      raise Broken(f'{stage.name}: exit code {code} after SIGTERM while {phase}, see {stage.log}')
    if seconds > _GRACE:
      raise Broken(f'{stage.name}: {seconds:.1f} s from SIGTERM to the end, while {phase}')

  def summary(self, seconds: float, broken: str | None) -> dict:
    """What was done, for people and programs."""
    return {
      'broken': broken,
      'kills': self.counts.total(),
      'seconds': round(seconds),
      'by_phase': dict(sorted(self.counts.items())),
      'compared': dict(self.finished),
      'slowest_stop_seconds': round(self.slowest_stop, 2),
    }


def _until(process: subprocess.Popen, sign: Callable[[], bool]) -> None:
  """Returns when a sign is there or the process has ended."""
  while process.poll() is None and not sign():
    time.sleep(_GLANCE)


def check_whole(folder: Path) -> None:
  """Every file with an output's name can be read to its end."""
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
      raise Broken(f'{path}: not whole ({e})') from e


def newest(run: Path) -> int:
  """Step of the newest checkpoint that has its name; 0 for none."""
  return max(
    (int(path.name) for path in run.glob('checkpoints/*') if path.name.isdigit()), default=0
  )


def _arrays(run: Path) -> dict[str, np.ndarray]:
  """All arrays of the newest checkpoint, by name."""
  tree = ocp.PyTreeCheckpointer().restore(run / 'checkpoints' / str(newest(run)) / 'default')
  return {
    jax.tree_util.keystr(key): np.asarray(value)
    for key, value in jax.tree_util.tree_leaves_with_path(tree)
  }


def compare_runs(expected: Path, found: Path) -> None:
  """Bit-equal checkpoints, the same losses at the same steps, the same previews."""
  theirs, ours = _arrays(expected), _arrays(found)
  different = [
    name for name in theirs if name not in ours or theirs[name].tobytes() != ours[name].tobytes()
  ]
  if different or len(theirs) != len(ours) or len(theirs) < 20:
    raise Broken(f'{found}: parameters differ from {expected}: {different[:3]}')
  logs = []
  for run in (expected, found):
    lines = [json.loads(line) for line in (run / 'scalars.jsonl').read_text().splitlines()]
    logs.append([{k: v for k, v in line.items() if k not in _MEASURED} for line in lines])
  if logs[0] != logs[1] or not logs[0]:
    raise Broken(f'{found}/scalars.jsonl: not as in {expected}')
  compare_files(expected / 'previews', found / 'previews')
  left = [path.name for path in (found / 'checkpoints').iterdir() if not path.name.isdigit()]
  if left or (found / 'damaged_checkpoints').exists():
    raise Broken(f'{found}: leaves {left} or damaged checkpoints')


def compare_files(expected: Path, found: Path) -> None:
  """The same files, byte by byte; hidden ones are no output."""
  contents = []
  for folder in (expected, found):
    paths = [path for path in folder.rglob('*') if path.is_file() and not path.name.startswith('.')]
    contents.append({str(path.relative_to(folder)): path.read_bytes() for path in paths})
  different = sorted(
    name
    for name in contents[0].keys() | contents[1].keys()
    if contents[0].get(name) != contents[1].get(name)
  )
  if different or not contents[0]:
    raise Broken(f'{found}: not as {expected}: {different[:3]}')


_COMPARE = {'train': compare_runs, 'render': compare_files, 'merge': compare_files}


def main() -> int:
  """Soaks as the command line says; 1 where a promise is broken."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--work', type=Path, required=True, help='a new folder')
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--steps', type=int, default=200, help='of training')
  parser.add_argument('--street', type=Path, help='root of a small dataset; drawn by default')
  options = parser.parse_args()
  if options.work.exists() and any(options.work.iterdir()):
    parser.error(f'--work={options.work}: not empty. Name a new folder.')
  # Programs compiled once serve all processes; what a kill does to this cache is part of the soak.
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(options.work.absolute() / 'cache'))
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  start, broken = time.monotonic(), None
  soak = Soak(options.work.absolute(), options.seed, options.steps, options.street)
  try:
    soak.run(options.kills)
  except Broken as e:
    broken = str(e)
  summary = json.dumps(soak.summary(time.monotonic() - start, broken), indent=2)
  (options.work / 'summary.json').write_text(summary + '\n')
  print(summary)
  return 1 if broken else 0


if __name__ == '__main__':
  sys.exit(main())
