"""Readiness check of a window: which files exist, which are missing, the cost of training.

The input is read and validated by the functions that training uses, so the check fails on the same
input as training, with the same message.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np

from pnerf_jax.config.schema import Config, LossConfig
from pnerf_jax.contrib.preparation import estimate_cost, overlay
from pnerf_jax.data import labels
from pnerf_jax.data.dataset import open_dataset
from pnerf_jax.data.dataset_index import DatasetIndex, format_ranges
from pnerf_jax.data.primitives import PrimitiveRecord
from pnerf_jax.data.window import Window
from pnerf_jax.errors import InputError
from pnerf_jax.evaluation.ground_truth import camera_to_score, frames_to_score
from pnerf_jax.runs.experiment import build_experiment

_GIB = 2**30
_MAX_MEMORY = 0.8  # fraction of the device memory above which training may not fit
_WARNING = 'warning: '


def check(config: Config, out: Path, estimates_cost: bool = True) -> list[str]:
  """Check whether the window of a config is ready for training.

  Args:
    config: the config of the run.
    out: picture to write, PNG.
    estimates_cost: run a few training steps to estimate time and memory.

  Returns:
    Lines of a report; missing or suspicious input starts with 'warning: '.

  Raises:
    InputError: input on which training fails, or an invalid `out`.
  """
  out = Path(out)
  if out.suffix.lower() != '.png' or out.is_dir():
    raise InputError(f'--out={out}: is not a PNG file name. Use for example --out=check.png.')
  dataset = open_dataset(config.data)
  camera = camera_to_score(dataset, config.eval.camera)
  scored = frames_to_score(dataset, camera, config.data.eval_frames)
  experiment = build_experiment(config)
  window = experiment.scene.window
  lines = [
    f'{dataset.sequence}, frames {format_ranges(dataset.frames)} ({len(dataset.frames)}), '
    f'{" and ".join(dataset.cameras)}',
    f'images {_format_sizes(window.full_sizes)}, trained at {_format_sizes(window.sizes)}',
    *_file_lines(dataset, config.loss, camera),
    f'frames to score: {format_ranges(scored)}',
    *primitive_lines(window.primitives),
    *_window_lines(config.loss, window),
  ]
  frame = overlay.write_overlay(
    out, dataset, experiment.scene, camera, config.scene.max_intervals_per_ray
  )
  lines.append(f'picture of frame {frame}: {out}')
  if estimates_cost:
    lines += _cost_lines(estimate_cost.estimate(experiment))
  num_warnings = sum(line.startswith(_WARNING) for line in lines)
  return [*lines, f'ready; {num_warnings} warnings' if num_warnings else 'ready']


def primitive_lines(primitives: list[PrimitiveRecord]) -> list[str]:
  """Return the number of static primitives and of moving objects per class."""
  static = Counter(p.semantic for p in primitives if p.timestamp < 0)
  objects = {(p.semantic, p.instance) for p in primitives if p.timestamp >= 0}
  moving = Counter(semantic for semantic, _ in sorted(objects))
  counts = lambda counter: ', '.join(
    f'{labels.BY_ID[i].name} {n}' for i, n in counter.most_common()
  )
  return [
    f'static primitives: {counts(static) or "none"}',
    f'moving objects (their pixels are not trained): {counts(moving)}'
    if moving
    else 'moving objects: none',
  ]


def _file_lines(dataset: DatasetIndex, loss: LossConfig, scored_camera: str) -> list[str]:
  """Return a line per kind of file and camera: the frames that have it, and the consequence."""
  uses_labels = bool(loss.semantic_2d_fixed or loss.semantic_2d)
  lines = []
  for camera in dataset.cameras:
    remedy = '; create it with prepare depth' if camera in dataset.stereo else ''
    lines += [
      _file_line(
        dataset,
        camera,
        'pseudo_label',
        'pseudo-labels',
        'disables L_fix and L_2D there' if uses_labels else '',
      ),
      _file_line(dataset, camera, 'pseudo_confidence', 'pseudo-label confidence'),
      _file_line(
        dataset,
        camera,
        'pseudo_depth',
        'stereo depth',
        f'disables the depth loss there{remedy}' if loss.depth else '',
      ),
    ]
  for kind in ('semantic', 'instance'):
    lines.append(_file_line(dataset, scored_camera, f'true_{kind}', f'{kind} ground truth'))
  scans = [frame for frame in dataset.frames if dataset.scan_path(frame) is not None]
  accumulated = _frames_with(dataset, scored_camera, 'lidar_depth')
  lines.append(
    f'LiDAR: {_count(scans, dataset)} have a scan, {_count(accumulated, dataset)} accumulated depth'
  )
  return lines


def _format_sizes(sizes: np.ndarray) -> str:
  """Format the distinct (width, height) of sizes [V, 2], largest first."""
  return ' and '.join(f'{width} x {height}' for width, height in np.unique(sizes, axis=0)[::-1])


def _file_line(
  dataset: DatasetIndex, camera: str, kind: str, title: str, consequence: str = ''
) -> str:
  """Return the line of one kind of file.

  Args:
    dataset: the window's files.
    camera: e.g. 'image_00'.
    kind: kind of file, see DatasetIndex.path_of.
    title: the kind in English.
    consequence: effect of missing files on training; '' = none, no warning.
  """
  existing = _frames_with(dataset, camera, kind)
  line = f'{title}, {camera}: {_count(existing, dataset)}'
  missing = sorted(set(dataset.frames) - set(existing))
  if missing and consequence:
    return f'{_WARNING}{line}; missing {format_ranges(missing)}: {consequence}'
  return line


def _frames_with(dataset: DatasetIndex, camera: str, kind: str) -> list[int]:
  """Return the frames that have a file of a kind."""
  paths = {frame: dataset.path_of(kind, frame, camera) for frame in dataset.frames}
  return [frame for frame, path in paths.items() if path is not None and path.exists()]


def _count(frames: list[int], dataset: DatasetIndex) -> str:
  return f'{len(frames)} of {len(dataset.frames)} frames'


def _window_lines(loss: LossConfig, window: Window) -> list[str]:
  """Return lines on the window as a whole."""
  lines = [f'far bound {window.far:g} m, space outside all primitives: {window.unannotated_space}']
  if window.pseudo_label is None and not loss.depth:
    lines.append(f'{_WARNING}colour is the only supervision')
  # Missing files are counted by _file_lines.
  return lines + [
    note
    for note in window.notes
    if ' images used, ' in note or (note.startswith(_WARNING) and ': missing, ' not in note)
  ]


def _cost_lines(cost: estimate_cost.CostEstimate) -> list[str]:
  """Return the estimated time and memory as lines."""
  workspace = 'unknown' if cost.workspace is None else f'{cost.workspace / _GIB:.2f} GiB'
  lines = [
    f'time, measured on this machine over {cost.num_calls} calls: {cost.step * 1e3:.3g} ms per'
    f' step, {_format_duration(cost.training)} for {cost.num_steps} steps; before that'
    f' {_format_duration(cost.intervals)} for the intervals and {_format_duration(cost.compile)} to'
    ' compile (previews, checkpoints and evaluation not included)',
    f'memory per device, computed: {cost.arrays / _GIB:.2f} GiB for parameters, optimiser and'
    f' rays, {workspace} of XLA workspace',
  ]
  limit, owner = cost.device_memory, 'device'
  if limit is None and hasattr(os, 'sysconf'):
    limit, owner = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'), 'machine'
  if limit and cost.arrays + (cost.workspace or 0) > _MAX_MEMORY * limit:
    lines.append(
      f'{_WARNING}this may not fit into the {limit / _GIB:.1f} GiB of this {owner}: reduce'
      ' config.train.batch_rays, config.data.max_width or config.data.frames'
    )
  return lines


def _format_duration(seconds: float) -> str:
  if seconds < 90:
    return f'{seconds:.0f} s'
  if seconds < 5400:
    return f'{seconds / 60:.0f} min'
  return f'{seconds / 3600:.1f} h'
