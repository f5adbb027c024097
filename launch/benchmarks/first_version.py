"""The first version of this program that trained, beside the present one.

Its source is taken from the repository's own history; both train the same street with the same
numbers of rays and samples and the same network, each by its own `train` command, in turns.
"""

import json
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any

from launch.benchmarks import measure, scenes
from pnerf_jax.errors import InputError

COMMIT = '10990b5'  # primitives joined fields, losses, readers and loop: the first that could train
_STEPS = 200
_SAME = {  # what the `cpu` variants of both versions differ in
  'model.samples': 20,
  'model.render_samples': 32,
  'model.levels': 6,
  'model.log2_rows': 17,
  'model.fine_cell': 0.06,
  'model.width': 64,
  'train.rays': 1024,
  'train.steps_per_dispatch': 10,
  'model.compute_dtype': 'float32',
}
_OURS = {'model.first_samples': 0}  # the first version has no first look


def checkout(work: pathlib.Path) -> pathlib.Path:
  """The old source in a folder of its own."""
  folder = work / f'version_{COMMIT}'
  if not folder.exists():
    here = pathlib.Path(__file__).resolve().parents[2]
    for words in (
      ['clone', '-q', '--no-checkout', str(here), str(folder)],
      ['-C', str(folder), 'checkout', '-q', COMMIT],
    ):
      done = subprocess.run(['git', *words], capture_output=True, text=True, check=False)
      if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(
          f'{here}: git has no commit {COMMIT} ({done.stderr.strip():.200}). Use a '
          'clone with the whole history, or leave --sections=first out.'
        )
  return folder


def rays_per_second(
  source: pathlib.Path, fields: dict[str, Any], street: pathlib.Path, work: pathlib.Path
) -> float:
  """Median speed that a version's own log tells of a short training, its first lines left out."""
  workdir = pathlib.Path(tempfile.mkdtemp(dir=work))
  scenes.run(
    '-m',
    'pnerf_jax.train',
    '--config=configs/kitti360.py:cpu',
    f'--workdir={workdir / "run"}',
    f'--config.data.root={street.resolve()}',
    f'--config.train.steps={_STEPS}',
    '--config.train.log_every=20',
    f'--config.train.checkpoint_every={_STEPS}',
    f'--config.train.preview_every={_STEPS}',
    *(f'--config.{field}={value}' for field, value in (_SAME | fields).items()),
    folder=source,
  )
  lines = [json.loads(line) for line in (workdir / 'run/scalars.jsonl').read_text().splitlines()]
  shutil.rmtree(workdir)
  speeds = sorted(line['rays_per_second'] for line in lines[2:])
  return speeds[len(speeds) // 2]


def compare(options: Any, row: Any) -> list[measure.Figure]:
  """Rays a second of both versions, in turns."""
  street = scenes.street(options.work, options.street_frames, 0.25)
  sources = {
    'first version': (checkout(options.work), {}),
    'this version': (pathlib.Path(__file__).resolve().parents[2], _OURS),
  }
  found = {name: [] for name in sources}
  for _ in range(options.slow_repeats):
    for name, (source, fields) in sources.items():
      found[name].append(rays_per_second(source, fields, street, options.work.resolve()))
  size = f'{_SAME["train.rays"]} rays x {_SAME["model.samples"]} samples, float32'
  return [
    row(f'hybrid, first version ({COMMIT}) by its own log', size, found['first version'], 'rays/s'),
    row('hybrid, this version by its own log', size, found['this version'], 'rays/s'),
    row(
      'hybrid, this version over the first',
      size,
      measure.ratios(found['this version'], found['first version']),
      'x',
    ),
  ]
