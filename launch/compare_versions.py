"""Compares the results of two checkouts bit by bit: trained parameters and exported images.

    python launch/compare_versions.py OLD NEW --street=DATA --out=DIR [--variants=tiny,cpu,paper]

OLD and NEW are checkouts (git clone, git worktree); both run with the interpreter of this script.
Each variant is trained for a few steps and exported by both; results are kept in DIR, and a second
call compares what is there. Flags that differ between versions are given after a colon, old first:

    --flags=--config.train.steps=300:--config.train.steps=300 --variants=published:paper

Exit code 1 if an array or an image differs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np

# Variant: steps, and how many of them are made in one call of the device.
_STEPS = {'tiny': 4, 'cpu': 300, 'paper': 2}


def _pair(text: str) -> tuple[str, str]:
  """Split 'old:new'; a text without a colon serves for both."""
  old, colon, new = text.partition(':')
  return old, new if colon else old


def _run(checkout: pathlib.Path, module: str, *flags: str) -> None:
  """Run a command of a checkout; raise CalledProcessError if it fails."""
  environment = {**os.environ, 'PYTHONPATH': str(checkout)}
  command = [sys.executable, '-m', f'pnerf_jax.{module}', *flags]
  subprocess.run(command, cwd=checkout, env=environment, check=True)


def _train_and_render(checkout, variant, steps, flags, street, out) -> None:
  """Train and export one variant, unless the export is there."""
  if (out / 'labels').is_dir():
    return
  common = [
    f'--config=configs/kitti360.py:{variant}',
    f'--config.data.root={street}',
    f'--config.train.steps={steps}',
    *(f'--config.train.{name}_every={steps}' for name in ('log', 'checkpoint', 'preview')),
  ]
  _run(checkout, 'train', *common, *flags, f'--workdir={out / "run"}')
  _run(checkout, 'render', f'--workdir={out / "run"}', f'--out={out / "labels"}', '--size=train')


def _parameters(run: pathlib.Path) -> dict[str, np.ndarray]:
  """Read the parameters of a run's newest checkpoint by their path."""
  import jax
  import orbax.checkpoint as ocp

  with ocp.CheckpointManager((run / 'checkpoints').absolute()) as manager:
    state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())
  leaves = jax.tree_util.tree_leaves_with_path(state['params'])
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _images(labels: pathlib.Path) -> dict[str, np.ndarray]:
  """Read all exported images by their path."""
  return {
    str(path.relative_to(labels)): cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    for path in sorted(labels.rglob('*.png'))
  }


def _compare(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> dict[str, object]:
  """Count arrays and list those that differ."""
  differing = sorted(old.keys() ^ new.keys())
  differing += [name for name in old if name in new and not np.array_equal(old[name], new[name])]
  return {'count': len(old), 'differing': differing}


def main() -> int:
  """Compare and print a JSON report; return the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('checkouts', nargs=2, type=pathlib.Path, metavar='CHECKOUT')
  parser.add_argument('--street', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--variants', default='tiny,cpu,paper')
  parser.add_argument('--flags', default='', help='further flags of train, separated by commas')
  options = parser.parse_args()
  flags = (
    list(zip(*map(_pair, options.flags.split(',')), strict=True)) if options.flags else [(), ()]
  )
  report = {}
  for text in options.variants.split(','):
    names = _pair(text)
    runs = [options.out.absolute() / side / names[1] for side in ('old', 'new')]
    for checkout, variant, flag, run in zip(options.checkouts, names, flags, runs, strict=True):
      _train_and_render(
        checkout.absolute(), variant, _STEPS[names[1]], flag, options.street.absolute(), run
      )
    report[names[1]] = {
      'parameters': _compare(*(_parameters(run / 'run') for run in runs)),
      'images': _compare(*(_images(run / 'labels') for run in runs)),
    }
  print(json.dumps(report, indent=2))
  return int(any(part['differing'] for both in report.values() for part in both.values()))


if __name__ == '__main__':
  sys.exit(main())
