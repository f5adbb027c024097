"""Inputs of the benchmarks: a real window with placeholder images, and a synthetic street.

The real window is KITTI-360's drive 0002, frames 6200 to 6263, with real calibration, poses and 977
primitives. Its images and predictions are placeholders of the same size: they cost the same time to
read, and have no meaning.
"""

import os
import pathlib
import subprocess
import sys

import ml_collections
import numpy as np

from configs import kitti360 as configs
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

SEQUENCE = '2013_05_28_drive_0002_sync'
FIRST = 6200


def real_window(work: pathlib.Path, source: pathlib.Path, frames: int, width: int) -> pathlib.Path:
  """Return a dataset root with the real window; missing files are created in `work`.

  Args:
    work: folder of the benchmarks.
    source: folder of the real files.
    frames: number of stereo frames from FIRST on.
    width: of the placeholder images, pixels.
  """
  if not (source / 'data_poses' / SEQUENCE).is_dir():
    raise InputError(f'--real={source}: holds no {SEQUENCE}. Name the folder of the real files.')
  root = work / f'real_{width}'
  root.mkdir(parents=True, exist_ok=True)
  for name in ('calibration', 'data_poses', 'data_3d_bboxes'):
    if not (root / name).exists():
      (root / name).symlink_to((source / name).resolve())
  height = width * 376 // 1408
  rng = np.random.default_rng(0)
  gradient = np.linspace(0, 255, width, dtype=np.uint8)
  label = np.where(np.arange(height)[:, None] > height // 2, 7, 21) * np.ones((1, width), int)
  for frame in range(FIRST, FIRST + frames):
    for camera in ('image_00', 'image_01'):
      name = f'{kitti360.frame_name(frame)}.png'
      image = kitti360.rgb_folder(root, SEQUENCE, camera) / name
      if not image.exists():
        noise = rng.integers(0, 32, (height, width, 3), np.uint8)
        image_io.write_label(kitti360.pseudo_label_folder(root, SEQUENCE, camera) / name, label)
        image_io.write_rgb(image, (gradient[:, None] // 2 + noise).astype(np.uint8))
  return root


def real_config(root: pathlib.Path, frames: int) -> ml_collections.ConfigDict:
  """Return the `cpu` config of the real window, at full size of the placeholder images."""
  config = configs.get_config('cpu')
  config.data.root, config.data.sequence = str(root), SEQUENCE
  config.data.start, config.data.frames, config.data.image_scale = FIRST, frames, 1.0
  return config


def street(work: pathlib.Path, frames: int, scale: float) -> pathlib.Path:
  """Return a synthetic street, generated once; scale 0.5 means images of 704 x 188."""
  root = work / f'street_{frames}_{scale:g}'
  if not (root / 'street.json').exists():
    run_python(
      '-m',
      'pnerf_jax.street',
      f'--out={root}',
      f'--frames={frames}',
      f'--scale={scale}',
      '--predictions=noise',
    )
  return root


def train_run(
  work: pathlib.Path, root: pathlib.Path, variant: str, *, steps: int, rays: int
) -> pathlib.Path:
  """Return a run on a street, trained once.

  Args:
    work: folder of the benchmarks.
    root: of the street.
    variant: of configs/kitti360.py.
    steps: optimiser steps.
    rays: per step; 0 = as in the variant.
  """
  workdir = work / f'run_{root.name}_{variant}_{steps}_{rays}'
  run_python(
    '-m',
    'pnerf_jax.train',
    f'--config=configs/kitti360.py:{variant}',
    f'--workdir={workdir}',
    f'--config.data.root={root}',
    '--config.data.image_scale=1.0',
    f'--config.train.steps={steps}',
    f'--config.train.checkpoint_every={steps}',
    f'--config.train.preview_every={steps}',
    *([f'--config.train.batch_rays={rays}'] if rays else []),
  )
  return workdir


def run_python(*args: str, **environment: str) -> str:
  """Run the Python interpreter with arguments in a new process, and return its output."""
  done = subprocess.run(
    [sys.executable, *args],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': '.', **environment},
  )
  if done.returncode:
    last = done.stderr.strip().splitlines()[-1:] or ['no message']
    raise InputError(f'{" ".join(args)}: failed: {last[0]}')
  return done.stdout
