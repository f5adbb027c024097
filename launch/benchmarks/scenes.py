"""What the benchmarks run on: a real window without its photos, and a synthetic street.

The real window is KITTI-360's drive 0002, frames 6200 to 6263, whose calibration, poses and 977
primitives are real; its photos and predictions cannot be had, so that placeholders stand in for
them. They cost what real ones of their size cost to read, and say nothing.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np

from configs import kitti360 as configs
from pnerf_jax.data import image_io, kitti360
from pnerf_jax.errors import InputError

SEQUENCE = '2013_05_28_drive_0002_sync'
FIRST = 6200


def real_window(work: pathlib.Path, source: pathlib.Path, frames: int, width: int) -> pathlib.Path:
  """A dataset root with the real window, made in `work` when it is not there yet.

  Args:
    work: the benchmark's folder.
    source: folder of the real files.
    frames: stereo frames from FIRST on.
    width: of the placeholders, pixels.
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
  smooth = np.linspace(0, 255, width, dtype=np.uint8)
  for frame in range(FIRST, FIRST + frames):
    for camera in ('image_00', 'image_01'):
      name = f'{kitti360.frame_name(frame)}.png'
      photo = kitti360.rgb_folder(root, SEQUENCE, camera) / name
      if not photo.exists():
        noise = rng.integers(0, 32, (height, width, 3), np.uint8)
        image_io.write_label(
          kitti360.pseudo_label_folder(root, SEQUENCE, camera) / name,
          np.where(np.arange(height)[:, None] > height // 2, 7, 21) * np.ones((1, width), int),
        )
        image_io.write_rgb(photo, (smooth[:, None] // 2 + noise).astype(np.uint8))
  return root


def real_config(root: pathlib.Path, frames: int):
  """The config of the real window: two cores' recipe at full size of the placeholders."""
  config = configs.get_config('cpu')
  config.data.root, config.data.sequence = str(root), SEQUENCE
  config.data.start, config.data.frames, config.data.image_scale = FIRST, frames, 1.0
  return config


def street(work: pathlib.Path, frames: int, scale: float) -> pathlib.Path:
  """A synthetic street, drawn once; scale 0.5 gives images of 704 x 188."""
  root = work / f'street_{frames}_{scale:g}'
  if not (root / 'street.json').exists():
    run(
      '-m',
      'pnerf_jax.street',
      f'--out={root}',
      f'--frames={frames}',
      f'--scale={scale}',
      '--predictions=noise',
    )
  return root


def trained(
  work: pathlib.Path, root: pathlib.Path, variant: str, steps: int, rays: int
) -> pathlib.Path:
  """A run on a street, trained once for some steps. rays: 0 = those of the variant."""
  workdir = work / f'run_{root.name}_{variant}_{steps}_{rays}'
  run(
    '-m',
    'pnerf_jax.train',
    f'--config=configs/kitti360.py:{variant}',
    f'--workdir={workdir}',
    f'--config.data.root={root}',
    f'--config.train.steps={steps}',
    '--config.data.image_scale=1.0',
    f'--config.train.checkpoint_every={steps}',
    f'--config.train.preview_every={steps}',
    *([f'--config.train.batch_rays={rays}'] if rays else []),
  )
  return workdir


def run(*words: str, folder: pathlib.Path = pathlib.Path('.'), **environment: str) -> str:
  """Runs this interpreter on a program of its own; returns what it printed."""
  done = subprocess.run(
    [sys.executable, *words],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': '.', **environment},
  )
  if done.returncode:
    last = done.stderr.strip().splitlines()[-1:] or ['no message']
    raise InputError(f'{" ".join(words)}: failed: {last[0]}')
  return done.stdout
