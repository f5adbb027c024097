"""Whether a window is ready for training: what is there, what is missing, what training will take.

Everything is read and checked by the very functions that training uses, so what stops training
stops here, in the same words.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pnerf_jax.contrib.preparation import estimate_cost, overlay
from pnerf_jax.data import labels
from pnerf_jax.data.dataset import DatasetIndex, open_dataset, ranges
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation.ground_truth import camera_to_score, frames_to_score
from pnerf_jax.runs.experiment import build_experiment

_GIB = 2**30
_TIGHT = 0.8  # share of a device's memory beyond which training may not fit


def check(config: Any, out: Path, probes: bool = True) -> list[str]:
  """Looks at the window of a config as training would.

  Args:
    config: the whole config.
    out: the picture to write, PNG.
    probes: whether a few steps of training are made to tell time and memory.

  Returns:
    Lines of the report; what is missing or doubtful begins with 'warning: '.

  Raises:
    InputError: what would stop training.
  """
  out = Path(out)
  if out.suffix.lower() != '.png' or out.is_dir():
    raise InputError(f'--out={out}: is not the name of a PNG. Use one such as check.png.')
  dataset = open_dataset(config.data)
  camera = camera_to_score(dataset, config.eval.camera)
  scored = frames_to_score(dataset, camera, config.data.eval_frames)
  run = build_experiment(config)
  window = run.scene.window
  lines = [
    f'{dataset.sequence}, frames {ranges(dataset.frames)} ({len(dataset.frames)}), '
    f'{" and ".join(dataset.cameras)}',
    f'images {_sizes(window.full_sizes)}, trained at {_sizes(window.sizes)}',
    *_layers(dataset, config.loss, camera),
    f'frames to score: {ranges(scored)}',
    *primitives(window.boxes),
    *_supported(config.loss, window),
  ]
  frame = overlay.write(out, dataset, run.scene, camera, config.scene.max_intervals_per_ray)
  lines.append(f'picture of frame {frame}: {out}')
  if probes:
    lines += _costs(estimate_cost.estimate(run))
  doubts = sum(line.startswith('warning: ') for line in lines)
  return [*lines, f'ready; {doubts} warnings' if doubts else 'ready']


def primitives(boxes: list[PrimitiveRecord]) -> list[str]:
  """How many primitives of each class there are, and which objects move."""
  still = Counter(box.semantic for box in boxes if box.timestamp < 0)
  moving = {(box.semantic, box.instance) for box in boxes if box.timestamp >= 0}
  lines = [
    'static primitives: '
    + (', '.join(f'{labels.BY_ID[i].name} {count}' for i, count in still.most_common()) or 'none')
  ]
  if moving:
    kinds = Counter(semantic for semantic, _ in sorted(moving))
    lines.append(
      'moving objects (their pixels are not trained): '
      + ', '.join(f'{labels.BY_ID[i].name} {count}' for i, count in kinds.most_common())
    )
  else:
    lines.append('moving objects: none')
  return lines


def _layers(dataset: DatasetIndex, loss: Any, scored: str) -> list[str]:
  """One line a kind of file and camera: for how many frames it is there, and what it is for."""
  semantic = bool(loss.semantic_2d_fixed or loss.semantic_2d)
  lines = []
  for camera in dataset.cameras:
    makes = '; prepare depth makes it' if camera in dataset.stereo else ''
    lines += [
      _layer(
        dataset,
        camera,
        'pseudo labels',
        'pseudo_label',
        'L_fix and L_2D are off there' if semantic else '',
      ),
      _layer(dataset, camera, 'confidence of pseudo labels', 'pseudo_confidence', ''),
      _layer(
        dataset,
        camera,
        'pseudo depth',
        'pseudo_depth',
        f'the depth loss is off there{makes}' if loss.depth else '',
      ),
    ]
  for kind in ('semantic', 'instance'):
    lines.append(_layer(dataset, scored, f'{kind} truth', f'true_{kind}', ''))
  scans = [frame for frame in dataset.frames if dataset.scan_path(frame) is not None]
  accumulated = _frames(dataset, scored, 'lidar_depth')
  lines.append(
    f'LiDAR: {_of(scans, dataset)} have a scan, {_of(accumulated, dataset)} accumulated depth'
  )
  return lines


def _sizes(sizes: np.ndarray) -> str:
  """The different (width, height) of views [V, 2], largest first."""
  return ' and '.join(f'{width} x {height}' for width, height in np.unique(sizes, axis=0)[::-1])


def _layer(dataset: DatasetIndex, camera: str, name: str, kind: str, consequence: str) -> str:
  """consequence: of what is missing, for training; '' = none."""
  there = _frames(dataset, camera, kind)
  line = f'{name}, {camera}: {_of(there, dataset)}'
  lacking = sorted(set(dataset.frames) - set(there))
  if lacking and consequence:
    return f'warning: {line}; missing {ranges(lacking)}: {consequence}'
  return line


def _frames(dataset: DatasetIndex, camera: str, kind: str) -> list[int]:
  """The frames that have a file of a kind."""
  paths = {frame: dataset.path_of(kind, frame, camera) for frame in dataset.frames}
  return [frame for frame, path in paths.items() if path is not None and path.exists()]


def _of(frames: list[int], dataset: DatasetIndex) -> str:
  return f'{len(frames)} of {len(dataset.frames)} frames'


def _supported(loss: Any, window: Any) -> list[str]:
  """What the window as a whole lets training do."""
  lines = [f'far bound {window.far:g} m, space outside all primitives: {window.outside}']
  if window.pseudo_label is None and not loss.depth:
    lines.append('warning: nothing but colours to train with')
  if window.skipped_frames:
    lines.append(f'warning: {window.skipped_frames} frames have no pose and are left out')
  return lines


def _costs(cost: estimate_cost.Estimate) -> list[str]:
  """Time and memory as lines."""
  work = 'unknown' if cost.work is None else f'{cost.work / _GIB:.2f} GiB'
  total = cost.arrays + (cost.work or 0)
  lines = [
    f'time, measured on this machine over {cost.measured} dispatches: {cost.step * 1e3:.3g} ms a'
    f' step, {_duration(cost.training)} for {cost.steps} steps; before them'
    f' {_duration(cost.table)} for the intervals and {_duration(cost.compile)} to compile'
    ' (previews, checkpoints and evaluation come on top)',
    f'memory of every device, counted: {cost.arrays / _GIB:.2f} GiB for parameters, optimiser and'
    f' rays, {work} of work space as XLA plans it',
  ]
  limit, whose = cost.limit, 'device'
  if limit is None and hasattr(os, 'sysconf'):
    limit, whose = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'), 'machine'
  if limit and total > _TIGHT * limit:
    lines.append(
      f'warning: that may not fit the {limit / _GIB:.1f} GiB of this {whose}: lower'
      ' config.train.batch_rays, config.data.max_width or config.data.frames'
    )
  return lines


def _duration(seconds: float) -> str:
  if seconds < 90:
    return f'{seconds:.0f} s'
  if seconds < 5400:
    return f'{seconds / 60:.0f} min'
  return f'{seconds / 3600:.1f} h'
